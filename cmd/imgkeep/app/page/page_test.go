package page

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/page/trend"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

const password = "correct horse battery"

// hostile is what strangers write.
const hostile = `<script>alert(1)</script>"><img src=x onerror=alert(2)>`

// origin has nothing, and says so in words of a stranger.
type origin struct{}

func (origin) Fetch(_ context.Context, r fetch.Request, _ io.Writer) (fetch.Result, error) {
	return fetch.Result{}, &fetch.Error{Kind: fetch.NotImage, Host: "evil.example", Err: errors.New(hostile), Head: []byte(hostile)}
}

// self knows the links of img.example.
type self struct{}

func (self) ImageOf(l sign.Link) (string, error) { return l.URL() }
func (self) Key(canonical string) string         { return canonical }
func (self) Is(u imageurl.URL) bool              { return u.Host() == "img.example" }

// world is a page on a store of its own.
type world struct {
	t     *testing.T
	root  string
	store *bucket.Store
	page  *Server
	http  *httptest.Server
	book  *account.Book
	at    time.Time
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), at: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return w.at }
	var err error
	w.store, err = bucket.Open(bucket.Options{Root: w.root, Buckets: []bucket.Bucket{{Name: "f"}, {Name: "i"}}, Origin: origin{}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close(context.Background()) })
	audit := &control.Audit{Path: filepath.Join(w.root, "audit.ndjson"), Now: now}
	service := control.New(control.Options{Store: control.OpenStore{Store: w.store}, Audit: audit})
	w.book = account.Open(w.root, now)
	o := Options{
		URL: "http://page.example", Accounts: w.book, Audit: audit.Write, Buckets: []string{"f", "i"}, Now: now,
		As:      func(c control.Caller) control.Service { return service.As(c) },
		Read:    target.Reader{Self: self{}}.Read,
		Sizes:   func() []int { return []int{150, 250} },
		Reasons: func() []string { return []string{"spam", hostile} },
		Trend: func() []trend.Sample {
			return []trend.Sample{{At: w.at, Warm: 3, Cold: 2, Failed: 1, Hot: 7, FetchWait: 1.5}}
		},
		Code: func(error) string { return "gone" },
		Picture: func(_ context.Context, bucket, u, size string) (*os.File, string, error) {
			i, err := w.store.Find(bucket, u)
			if err != nil || size != "250x250" {
				return nil, "", errors.Join(err, errors.New("no such size"))
			}
			f, err := w.store.Open(context.Background(), i)
			return f, "image/png", err
		},
	}
	if change != nil {
		change(&o)
	}
	if w.page, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.page.Close)
	w.http = httptest.NewServer(w.page)
	t.Cleanup(w.http.Close)
	return w
}

// keep keeps an image of a number under a URL.
func (w *world) keep(bucket, u string, n int) {
	w.t.Helper()
	var b bytes.Buffer
	m := image.NewGray(image.Rect(0, 0, 8, 8))
	m.Set(n%8, n/8, color.White)
	if err := png.Encode(&b, m); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.store.Add(bucket, u, &b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) audit() string {
	text, _ := os.ReadFile(filepath.Join(w.root, "audit.ndjson"))
	return string(text)
}

// visitor is somebody's browser.
type visitor struct {
	w       *world
	cookies map[string]string
	header  http.Header
	host    string
}

func (w *world) visitor() *visitor {
	return &visitor{w: w, cookies: map[string]string{}, header: http.Header{}, host: strings.TrimPrefix(w.page.opts.URL[strings.Index(w.page.opts.URL, "//"):], "//")}
}

// answer is what a visitor got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (v *visitor) send(method, path string, form url.Values) answer {
	v.w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, v.w.http.URL+path, body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	r.Host = v.host
	for name, values := range v.header {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		if v.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func (v *visitor) get(path string) answer { v.w.t.Helper(); return v.send("GET", path, nil) }

var tokenIn = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form of a page.
func (v *visitor) post(from, to string, form url.Values) answer {
	v.w.t.Helper()
	found := tokenIn.FindStringSubmatch(v.get(from).body)
	if found == nil {
		v.w.t.Fatalf("%s has no form", from)
	}
	form.Set("csrf", found[1])
	return v.send("POST", to, form)
}

// signedIn is a visitor who has an account of this role, and is signed in.
func (w *world) signedIn(name string, role account.Role) *visitor {
	w.t.Helper()
	secret, err := w.book.Add(name, role, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	v := w.visitor()
	if a := v.post("/join/"+secret, "/join/"+secret, url.Values{"password": {password}, "again": {password}}); a.status != http.StatusSeeOther {
		w.t.Fatalf("join: %d %s", a.status, a.body)
	}
	return v
}

const cat = "https://cats.example/cat.png?a=1&b=2"

// What each role sees, and does; whoever has not signed in sees nothing.
func TestRoles(t *testing.T) {
	w := newWorld(t, nil)
	w.keep("i", cat, 1)
	i, err := w.store.Find("i", cat)
	if err != nil {
		t.Fatal(err)
	}
	who := map[account.Role]*visitor{"": w.visitor(), account.View: w.signedIn("v", account.View), account.Remove: w.signedIn("r", account.Remove), account.Admin: w.signedIn("a", account.Admin)}
	for _, c := range []struct {
		method, path string
		least        account.Role
		status       int // for those who may
	}{
		{"GET", "/", account.View, 200}, {"GET", "/?state=failed", account.View, 200}, {"GET", "/?state=failed&before=x", account.View, 400}, {"GET", "/?state=blocked", account.View, 200}, {"GET", "/?state=quarantined", account.View, 200},
		{"GET", "/?state=nonsense", account.View, 404}, {"GET", "/?before=%21", account.View, 400}, {"GET", "/?host=%2F", account.View, 400}, {"GET", "/?bucket=x", account.View, 404}, {"GET", "/?min_kb=-1", account.View, 400},
		{"GET", "/search?q=cat", account.View, 200}, {"GET", "/image?bucket=i&url=" + url.QueryEscape(cat), account.View, 200}, {"GET", "/image?digest=" + i.Digest.String(), account.View, 200},
		{"GET", "/image", account.View, 404}, {"GET", "/image?digest=x", account.View, 400}, {"GET", "/image?url=https://nothing.example/", account.View, 404},
		{"GET", pictureURL("i", "250x250", cat), account.View, 200}, {"GET", pictureURL("i", "1x1", cat), account.View, 404}, {"GET", pictureURL("i", "250x250", "https://nothing.example/"), account.View, 404}, {"GET", "/picture/i/250x250/!", account.View, 404},
		{"GET", "/hosts", account.View, 200}, {"GET", "/hosts?sort=x", account.View, 404}, {"GET", "/figures", account.View, 200}, {"GET", "/nothing", "", 404},
		{"GET", "/audit", account.Remove, 200}, {"GET", "/audit?before=x", account.Remove, 400}, {"GET", "/audit?since=x", account.Remove, 400}, {"GET", "/waiting", account.Remove, 200}, {"GET", "/jobs/x", account.Remove, 404},
		{"GET", "/remove?pick=url+" + url.QueryEscape(cat), account.Remove, 200}, {"GET", "/remove", account.Remove, 422}, {"GET", "/remove?pick=x", account.Remove, 400},
		{"GET", "/accounts", account.Admin, 200}, {"GET", "/audit.csv", account.Admin, 200}, {"GET", "/audit.json", account.Admin, 200},
		{"GET", "/sign-in", "", 200}, {"GET", "/join/x", "", 404}, {"GET", "/static/style.css", "", 200}, {"GET", "/static/none", "", 404}, {"GET", "/robots.txt", "", 200},
		{"DELETE", "/", "", 405},
	} {
		for role, v := range who {
			a := v.send(c.method, c.path, nil)
			want := c.status
			switch {
			case role == "" && c.least != "" && strings.HasPrefix(c.path, "/picture/"):
				want = http.StatusUnauthorized
			case role == "" && c.least != "", c.path == "/sign-in" && role != "":
				want = http.StatusSeeOther
			case c.least != "" && !role.May(c.least):
				want = http.StatusForbidden
			}
			if a.status != want {
				t.Errorf("%s %s as %q: %d, want %d: %s", c.method, c.path, role, a.status, want, a.body)
			}
			if role == "" && (strings.Contains(a.body, "cats.example") || strings.Contains(a.body, i.Digest.String())) {
				t.Errorf("%s tells who has not signed in of an image", c.path)
			}
			if want := role.May(account.Remove); c.method+c.path == "GET/" && strings.Contains(a.body, `name="pick"`) != want {
				t.Errorf("as %q the gallery has boxes: %v", role, !want)
			}
		}
	}
}

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

// Whatever strangers, moderators and operators have written is text.
func TestHostileTexts(t *testing.T) {
	w := newWorld(t, nil)
	w.keep("i", cat, 1)
	if _, err := w.store.Keep(t.Context(), "i", "https://evil.example/page"); err == nil {
		t.Fatal("kept")
	}
	if _, err := w.store.Block(t.Context(), bucket.Target{Host: "blocked.example"}, bucket.RemoveOptions{Why: hostile, By: hostile}); err != nil {
		t.Fatal(err)
	}
	v := w.signedIn("anna", account.Admin)
	if a := v.post("/", "/remove/do", url.Values{"pick": {"url https://dogs.example/dog.png"}, "why": {hostile}, "text": {hostile}}); a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for _, path := range []string{
		"/", "/?state=failed", "/?state=blocked", "/?state=quarantined", "/?text=" + url.QueryEscape(hostile), "/?host=" + url.QueryEscape(hostile), "/?state=" + url.QueryEscape(hostile),
		"/search?q=" + url.QueryEscape(hostile), "/image?bucket=i&url=" + url.QueryEscape("https://evil.example/page"), "/image?bucket=" + url.QueryEscape(hostile) + "&url=" + url.QueryEscape(hostile),
		"/image?url=" + url.QueryEscape("https://dogs.example/dog.png"), "/hosts?text=" + url.QueryEscape(hostile), "/hosts", "/audit", "/audit?text=" + url.QueryEscape(hostile), "/figures",
		"/remove?pick=" + url.QueryEscape("url "+hostile), "/remove?verb=" + url.QueryEscape(hostile) + "&pick=url+https://a.example/", "/remove?why=" + url.QueryEscape(hostile) + "&pick=url+https://a.example/",
		"/" + url.PathEscape(hostile), "/jobs/" + url.PathEscape(hostile), "/join/" + url.PathEscape(hostile), "/audit?since=" + url.QueryEscape(hostile),
	} {
		body := v.get(path).body
		for _, bad := range []string{"<script>alert", "<img src=x", `"><`} {
			if strings.Contains(strings.ReplaceAll(body, `""><`, ""), bad) && (bad != `"><` || strings.Contains(body, hostile)) {
				t.Errorf("%s: markup of a stranger: %s", path, body[strings.Index(body, bad):][:60])
			}
		}
	}
	if body := v.get("/?state=failed").body; !strings.Contains(body, "&lt;script&gt;alert(1)") {
		t.Errorf("what failed is not shown: %s", body)
	}
}

// The whole of a removal: what will happen is told, it happens under the moderator's name,
// and undoing it is one form more.
func TestRemoveAndUndo(t *testing.T) {
	w := newWorld(t, nil)
	for n, u := range []string{cat, cat + "&again=1", "https://dogs.example/dog.png"} {
		w.keep("i", u, n/2) // the first two are the same picture
	}
	v := w.signedIn("anna", account.Remove)
	form := url.Values{"pick": {"url " + cat, "url https://dogs.example/dog.png", "url " + cat}}
	a := v.post("/", "/remove", form)
	for _, want := range []string{"Remove 2 images", "<strong>3 URLs</strong>", "spam"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the preview lacks %q: %s", want, a.body)
		}
	}
	if _, err := w.store.Find("i", cat); err != nil {
		t.Errorf("the preview has removed it: %v", err)
	}
	if a := v.post("/", "/remove/do", form); a.status != http.StatusBadRequest || !strings.Contains(a.body, "reason") {
		t.Errorf("without a reason: %d", a.status)
	}
	form.Set("why", "spam")
	form.Set("text", "ticket 7")
	a = v.post("/", "/remove/do", form)
	if a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, a.body)
	}
	done := v.get(a.header.Get("Location"))
	for _, want := range []string{"<strong>3 URLs</strong>", "Undo: lift 2 blocks", "spam: ticket 7"} {
		if !strings.Contains(done.body, want) {
			t.Errorf("the job lacks %q: %s", want, done.body)
		}
	}
	for _, u := range []string{cat, cat + "&again=1", "https://dogs.example/dog.png"} {
		if _, err := w.store.Find("i", u); err == nil {
			t.Errorf("%s is there", u)
		}
	}
	if !strings.Contains(w.audit(), `"by":"moderator anna","claims":{"address":"127.0.0.1"},"op":"block","what":{"verb":"block","url":"https://dogs.example/dog.png","why":"spam: ticket 7"},"why":"spam: ticket 7"`) {
		t.Errorf("the audit log: %s", w.audit())
	}
	undo := url.Values{"verb": {"unblock"}, "pick": regexp.MustCompile(`name="pick" value="([^"]*)"`).FindAllString(done.body, -1), "why": {"a mistake"}}
	for i, p := range undo["pick"] {
		undo["pick"][i] = strings.NewReplacer("&amp;", "&").Replace(strings.TrimSuffix(strings.TrimPrefix(p, `name="pick" value="`), `"`))
	}
	if a = v.post("/", "/remove/do", undo); a.status != http.StatusSeeOther {
		t.Fatalf("%d %s", a.status, a.body)
	}
	for b, err := range w.store.Blocks() {
		t.Errorf("a block is left: %+v, %v", b, err)
	}
}

// Nothing that was not selected on a page is taken, and not too much of it.
func TestPicks(t *testing.T) {
	w := newWorld(t, nil)
	v := w.signedIn("anna", account.Remove)
	many := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("url https://a.example/%d", i))
		}
		return all
	}
	for name, c := range map[string]struct {
		form   url.Values
		status int
	}{
		"a URL":                 {url.Values{"pick": many(1)}, 200},
		"as many as may be":     {url.Values{"pick": many(maxPicks)}, 200},
		"one too many":          {url.Values{"pick": many(maxPicks + 1)}, 400},
		"nothing":               {url.Values{}, 422},
		"no URL":                {url.Values{"pick": {"url ftp://a.example/"}}, 400},
		"another spelling":      {url.Values{"pick": {"url https://A.example/"}}, 400},
		"no digest":             {url.Values{"pick": {"digest x"}}, 400},
		"a digest":              {url.Values{"pick": {"digest " + record.Digest{1}.String()}}, 200},
		"a host":                {url.Values{"pick": {"host *.a.example"}}, 200},
		"no host":               {url.Values{"pick": {"host a/b"}}, 400},
		"no kind":               {url.Values{"pick": {"x y"}}, 400},
		"another verb":          {url.Values{"pick": many(1), "verb": {"burn"}}, 400},
		"the longest reason":    {url.Values{"pick": many(1), "why": {strings.Repeat("x", maxWhy)}}, 200},
		"a longer reason":       {url.Values{"pick": many(1), "why": {strings.Repeat("x", maxWhy+1)}}, 400},
		"the largest form":      {url.Values{"pick": many(1), "x": {strings.Repeat("x", maxBody-200)}}, 200},
		"larger than it may be": {url.Values{"pick": many(1), "x": {strings.Repeat("x", maxBody)}}, 413},
	} {
		if a := v.post("/", "/remove", c.form); a.status != c.status {
			t.Errorf("%s: %d, want %d: %.300s", name, a.status, c.status, a.body)
		}
	}
}

// With two persons nothing happens before another moderator has agreed, and both stand in
// the audit log.
func TestTwoPersons(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.TwoPersons = true })
	w.keep("i", cat, 1)
	anna, bert, view := w.signedIn("anna", account.Remove), w.signedIn("bert", account.Remove), w.signedIn("view", account.View)
	propose := func() string {
		t.Helper()
		if a := anna.post("/", "/remove/do", url.Values{"pick": {"url " + cat}, "why": {"spam"}}); a.status != http.StatusSeeOther || a.header.Get("Location") != "/waiting" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		found := regexp.MustCompile(`action="(/waiting/[A-Z0-9]+)"`).FindStringSubmatch(bert.get("/waiting").body)
		if found == nil {
			t.Fatal("nothing waits")
		}
		return found[1]
	}
	at := propose()
	if _, err := w.store.Find("i", cat); err != nil {
		t.Fatal("it did not wait")
	}
	if a := anna.post("/", at, url.Values{"decision": {"agree"}}); a.status != http.StatusForbidden {
		t.Errorf("by herself: %d", a.status)
	}
	if a := view.post("/", at, url.Values{"decision": {"agree"}}); a.status != http.StatusForbidden {
		t.Errorf("by who may not remove: %d", a.status)
	}
	if a := bert.post("/", at, url.Values{"decision": {"refuse"}}); a.status != http.StatusSeeOther {
		t.Errorf("refused: %d", a.status)
	}
	if a := bert.post("/", at, url.Values{"decision": {"agree"}}); a.status != http.StatusNotFound {
		t.Errorf("after it was refused: %d", a.status)
	}
	propose()
	w.at = w.at.Add(proposalLife + time.Second)
	if p := w.page.proposals.list(); len(p) != 0 {
		t.Errorf("%d wait for more than a week", len(p))
	}
	w.at = w.at.Add(-proposalLife - time.Second)
	at = propose()
	if a := bert.post("/", at, url.Values{"decision": {"agree"}}); a.status != http.StatusSeeOther {
		t.Fatalf("%d", a.status)
	}
	if _, err := w.store.Find("i", cat); err == nil {
		t.Error("it is there")
	}
	for _, line := range []string{`"by":"moderator anna with consent of moderator bert"`, `"op":"propose block"`, `"op":"refuse block of anna"`} {
		if !strings.Contains(w.audit(), line) {
			t.Errorf("the audit log lacks %s: %s", line, w.audit())
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
}

// Who signs in, and who tries to, is noted; whoever guesses is slowed down, and fills no
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

// Whatever is pasted finds the image: links in any size and of any age, its URL, its
// digest; a host and a part of a URL find all that have it.
func TestSearch(t *testing.T) {
	w := newWorld(t, nil)
	w.keep("i", cat, 1)
	w.keep("i", "https://dogs.example/dog.png", 9)
	i, err := w.store.Find("i", cat)
	if err != nil {
		t.Fatal(err)
	}
	v := w.signedIn("anna", account.View)
	signature := strings.Repeat("A", 16)
	for name, c := range map[string]struct{ q, want, not string }{
		"a link":           {"https://img.example/i/250x250/" + signature + "/" + sign.EncodeURL(cat), "Came in", "dogs"},
		"a path of a link": {"/i/full/" + signature + "/" + sign.EncodeURL(cat), "Came in", "dogs"},
		"BBCode":           {"[img]https://img.example/i/full/" + signature + "/" + sign.EncodeURL(cat) + "[/img]", "Came in", "dogs"},
		"its URL":          {cat, "Came in", "dogs"},
		"its digest":       {i.Digest.String(), "Came in", "dogs"},
		"its host":         {"cats.example", "cats.example", "dogs"},
		"hosts below one":  {"*.example", "cats.example", "nothing"},
		"a part":           {"cat.png?a=1&b", "cats.example", "dogs"},
		"a name of a file": {"dog.png", "dogs.example", "cats"},
		"a word":           {"dog", "dogs.example", "cats"},
		"nothing":          {"rabbit", "Nothing is here that the filter chooses", "cats"},
		"an unknown URL":   {"https://cats.example/other.png", "Nothing is known of this image", "dogs"},
	} {
		a := v.get("/search?q=" + url.QueryEscape(c.q))
		shown := regexp.MustCompile(`(?s)<main.*</main>`).FindString(a.body)
		if !strings.Contains(shown, c.want) || strings.Contains(shown, c.not) {
			t.Errorf("%s: want %q and not %q: %s", name, c.want, c.not, shown)
		}
		if !strings.Contains(a.body, `id="q"`) {
			t.Errorf("%s: no box to go on", name)
		}
	}
	if a := v.get("/search?q="); a.status != http.StatusSeeOther {
		t.Errorf("an empty search: %d", a.status)
	}
}

// An export has all that the filter chooses, and nothing in it is a formula.
func TestExport(t *testing.T) {
	w := newWorld(t, nil)
	v := w.signedIn("anna", account.Admin)
	if a := v.post("/", "/remove/do", url.Values{"pick": {"host evil.example"}, "text": {`=HYPERLINK("http://evil.example")`}}); a.status != http.StatusSeeOther {
		t.Fatal(a.status)
	}
	csv := v.get("/audit.csv?op=block")
	if !strings.Contains(csv.body, `"'=HYPERLINK(""http://evil.example"")"`) || strings.Count(csv.body, "\n") != 2 || !strings.HasPrefix(csv.header.Get("Content-Disposition"), "attachment; ") {
		t.Errorf("%v %s", csv.header, csv.body)
	}
	lines := v.get("/audit.json")
	if strings.Count(lines.body, "\n") < 3 || !strings.Contains(lines.body, `"op":"export audit"`) {
		t.Errorf("%s", lines.body)
	}
	for in, want := range map[string]string{"": "", "a": "a", "=1": "'=1", "+1": "'+1", "-1": "'-1", "@a": "'@a", "\ta": "'\ta", "a=1": "a=1"} {
		if got := cell(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// Pictures are the size that is listed and fits best.
func TestSize(t *testing.T) {
	for _, c := range []struct {
		sizes []int
		side  int
		want  string
	}{
		{nil, 200, "full"}, {[]int{150}, 200, "150x150"}, {[]int{10, 150, 100}, 200, "150x150"}, {[]int{500, 250, 200}, 200, "200x200"}, {[]int{1000, 500, 100}, 200, "500x500"},
	} {
		s := &Server{opts: Options{Sizes: func() []int { return c.sizes }}}
		if got := s.size(c.side); got != c.want {
			t.Errorf("of %v for %d: %s, want %s", c.sizes, c.side, got, c.want)
		}
	}
	if got := []string{short("abc", 3), short("aaaabbbbcc", 6), short("a\nb\x1b", 9)}; !slices.Equal(got, []string{"abc", "aaaa…cc", "a\uFFFDb\uFFFD"}) {
		t.Errorf("%q", got)
	}
}
