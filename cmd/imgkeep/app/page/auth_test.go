package page

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"imgkeep/cmd/imgkeep/app/page/account"
)

// What changes something needs the token of the visitor's own form, and comes from this
// origin.
func TestForgedForms(t *testing.T) {
	w := newWorld(t, nil)
	w.keep("i", cat, 1)
	anna, bert := w.signedIn("anna", account.Remove), w.signedIn("bert", account.Remove)
	token := func(v *visitor) string { return tokenIn.FindStringSubmatch(v.get("/").body)[1] }
	stranger := w.visitor()
	stranger.get("/sign-in")
	before := w.audit()
	for _, path := range []string{"/remove", "/remove/do", "/sign-out", "/preferences", "/waiting/x"} {
		form := url.Values{"pick": {"url " + cat}, "why": {"spam"}, "verb": {"block"}}
		for name, forge := range map[string]func(*visitor){
			"no token":             func(*visitor) { form.Del("csrf") },
			"an empty token":       func(*visitor) { form.Set("csrf", "") },
			"another's token":      func(*visitor) { form.Set("csrf", token(bert)) },
			"a token before":       func(*visitor) { form.Set("csrf", anna.cookies[formCookie]) },
			"from another site":    func(v *visitor) { form.Set("csrf", token(anna)); v.header.Set("Sec-Fetch-Site", "cross-site") },
			"from another host":    func(v *visitor) { form.Set("csrf", token(anna)); v.header.Set("Sec-Fetch-Site", "same-site") },
			"a token in the query": func(v *visitor) { form.Del("csrf"); v.header.Set("X-Csrf", token(anna)) },
		} {
			v := &visitor{w, anna.cookies, http.Header{}, anna.host}
			forge(v)
			if a := v.send("POST", path+map[bool]string{true: "?csrf=" + token(anna)}[name == "a token in the query"], form); a.status != http.StatusForbidden {
				t.Errorf("%s, %s: %d", path, name, a.status)
			}
		}
		if a := stranger.send("POST", path, url.Values{"csrf": {stranger.cookies[formCookie]}}); a.status != http.StatusUnauthorized {
			t.Errorf("%s by who has not signed in: %d", path, a.status)
		}
	}
	// Signing in and joining have a token too, or another site could sign a moderator in
	// under its own account.
	secret, err := w.book.Add("carl", account.View, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/sign-in", "/join/" + secret} {
		for _, csrf := range []string{"", "x", stranger.cookies[formCookie] + "x"} {
			a := stranger.send("POST", path, url.Values{"csrf": {csrf}, "name": {"anna"}, "password": {password}, "again": {password}})
			if a.status != http.StatusForbidden || stranger.cookies[sessionCookie] != "" {
				t.Errorf("%s with %q: %d", path, csrf, a.status)
			}
		}
	}
	if w.audit() != before {
		t.Errorf("something has happened: %s", strings.TrimPrefix(w.audit(), before))
	}
	if _, err := w.store.Find("i", cat); err != nil {
		t.Errorf("the image: %v", err)
	}
}

// The page answers under its own host alone.
func TestHost(t *testing.T) {
	for at, hosts := range map[string]map[string]bool{
		"http://page.example":       {"page.example": true, "PAGE.example": true, "page.example:80": true, "page.example:8080": false, "img.example": false, "127.0.0.1": false, "page.example.evil.example": false},
		"https://page.example":      {"page.example": true, "page.example:443": true, "page.example:80": false, "": false},
		"https://page.example:8443": {"page.example:8443": true, "page.example": false},
	} {
		w := newWorld(t, func(o *Options) { o.URL = at })
		for host, good := range hosts {
			for _, path := range []string{"/sign-in", "/static/style.css", "/api/v1/openapi.json", "/"} {
				r := httptest.NewRequest("GET", path, nil)
				r.Host = host
				a := httptest.NewRecorder()
				w.page.ServeHTTP(a, r)
				if good == (a.Code == http.StatusMisdirectedRequest) {
					t.Errorf("%s asked as %q for %s: %d", at, host, path, a.Code)
				}
			}
		}
	}
}

// Every answer tells browsers to trust nothing in it; pictures even less.
func TestHeaders(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.URL = "https://page.example" })
	w.keep("i", cat, 1)
	v := w.signedIn("anna", account.Admin)
	for _, path := range []string{"/", "/sign-in", "/nothing", "/audit.csv", "/static/keys.js", "/robots.txt", "/api/v1/show", pictureURL("i", "250x250", cat), pictureURL("i", "250x250", "https://none.example/")} {
		h := v.get(path).header
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin", "X-Robots-Tag": "noindex, nofollow", "Strict-Transport-Security": "max-age=31536000",
		} {
			if h.Get(name) != want {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
		csp := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: %q", path, csp)
		}
	}
	picture := v.get(pictureURL("i", "250x250", cat))
	if picture.header.Get("Content-Security-Policy") != "default-src 'none'; sandbox" || picture.header.Get("Content-Type") != "image/png" || picture.header.Get("Cache-Control") != "private, no-cache" {
		t.Errorf("a picture: %v", picture.header)
	}
	again := v.get("/")
	if again.header.Get("Cache-Control") != "no-store" || again.header.Get("Set-Cookie") != "" {
		t.Errorf("a page: %v", again.header)
	}
	// Nothing on a page is from elsewhere, and no script or style stands in it.
	for _, path := range []string{"/", "/hosts", "/figures", "/audit", "/accounts", "/image?bucket=i&url=" + url.QueryEscape(cat)} {
		body := v.get(path).body
		for _, bad := range []string{"<style", " style=", "<script>", " onclick", "javascript:", `src="http`, `href="http`, "@import"} {
			if strings.Contains(body, bad) {
				t.Errorf("%s holds %q", path, bad)
			}
		}
	}
}

// Cookies are the page's alone: no script reads them, and no other site sends them.
func TestCookies(t *testing.T) {
	for at, prefix := range map[string]string{"https://page.example": "__Host-", "http://page.example": ""} {
		w := newWorld(t, func(o *Options) { o.URL = at })
		secret, err := w.book.Add("anna", account.View, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		v := w.visitor()
		a := v.post("/join/"+secret, "/join/"+secret, url.Values{"password": {password}, "again": {password}})
		for _, name := range []string{sessionCookie, deviceCookie} {
			if v.cookies[prefix+name] == "" {
				t.Errorf("%s: no cookie %s", at, prefix+name)
			}
		}
		for _, line := range a.header["Set-Cookie"] {
			if !strings.Contains(line, "HttpOnly") || !strings.Contains(line, "SameSite=Strict") || !strings.Contains(line, "Path=/") || strings.Contains(line, "Domain") || strings.Contains(line, "Secure") != (prefix != "") {
				t.Errorf("%s: %s", at, line)
			}
		}
		// Signed out, the same cookie opens nothing.
		old := v.cookies[prefix+sessionCookie]
		if a := v.post("/", "/sign-out", url.Values{}); a.status != http.StatusSeeOther || v.cookies[prefix+sessionCookie] != "" {
			t.Errorf("sign out: %d", a.status)
		}
		v.cookies[prefix+sessionCookie] = old
		if a := v.get("/"); a.status != http.StatusSeeOther {
			t.Errorf("the session of who has signed out: %d", a.status)
		}
	}
}

// A proxy's word counts where it comes from this machine, and for accounts that exist.
func TestProxyHeaders(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.UserHeader, o.AddressHeader = "X-Remote-User", "X-Real-IP" })
	if _, err := w.book.Add("anna", account.View, time.Hour); err != nil {
		t.Fatal(err)
	}
	as := func(name string) *visitor {
		v := w.visitor()
		v.header.Set("X-Remote-User", name)
		return v
	}
	anna := as("anna")
	if a := anna.get("/"); a.status != 200 || !strings.Contains(a.body, "<strong>anna</strong>") {
		t.Errorf("anna: %d", a.status)
	}
	if a := anna.post("/", "/preferences", url.Values{"blur": {"off"}}); a.status != http.StatusSeeOther || anna.cookies[clearCookie] == "" {
		t.Errorf("a form of hers: %d", a.status)
	}
	if a := as("nobody").get("/"); a.status != http.StatusForbidden {
		t.Errorf("nobody: %d", a.status)
	}
	for at, want := range map[string]string{"192.0.2.1:5": "", "127.0.0.1:5": "anna", "[::1]:5": "anna", "[::ffff:127.0.0.1]:5": "anna"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = at
		r.Header.Set("X-Remote-User", "anna")
		r.Header.Set("X-Real-IP", "198.51.100.9, 203.0.113.5")
		if got := w.page.proxyUser(r); got != want {
			t.Errorf("from %s it is %q", at, got)
		}
		address := netip.MustParseAddrPort(at).Addr().Unmap()
		if want != "" {
			address = netip.MustParseAddr("203.0.113.5")
		}
		if got := w.page.address(r); got != address {
			t.Errorf("from %s the address is %s", at, got)
		}
	}
	// Some proxies add a line of their own to those that the client has sent.
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "127.0.0.1:5"
	r.Header["X-Remote-User"] = []string{"root", "anna"}
	r.Header["X-Real-Ip"] = []string{"198.51.100.9", "203.0.113.5"}
	if got := w.page.proxyUser(r); got != "anna" {
		t.Errorf("after the client's own line it is %q", got)
	}
	if got := w.page.address(r); got != netip.MustParseAddr("203.0.113.5") {
		t.Errorf("after the client's own line the address is %s", got)
	}
}

// Who signs in, and who tries to, is noted; guessing is slowed down, and fills no
// log.
func TestSignIn(t *testing.T) {
	w := newWorld(t, nil)
	w.signedIn("anna", account.View)
	v := w.visitor()
	try := func(name, password string) answer {
		t.Helper()
		return v.post("/sign-in", "/sign-in", url.Values{"name": {name}, "password": {password}})
	}
	if a := try("anna", "wrong"); a.status != http.StatusForbidden || !strings.Contains(a.body, "The name or the password is wrong.") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := try("nobody", "wrong"); a.status != http.StatusForbidden || !strings.Contains(a.body, "The name or the password is wrong.") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := try(" Anna ", password); a.status != http.StatusSeeOther {
		t.Errorf("%d %s", a.status, a.body)
	}
	log := w.audit()
	if strings.Count(log, `"op":"sign-in"`) != 2 || strings.Count(log, "password is wrong") != 1 || strings.Contains(log, "nobody") || strings.Contains(log, password) {
		t.Errorf("the audit log: %s", log)
	}
	v = w.visitor()
	status := 0
	for range 20 {
		if status = try("anna", "wrong").status; status == http.StatusTooManyRequests {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("guessing ends with %d", status)
	}
	before := w.audit()
	if try("anna", password); w.audit() != before {
		t.Error("what was refused unseen is noted")
	}
}
