package main_test

import (
	"bytes"
	"fmt"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"imgkeep/nginx"
)

// moderated is a world whose server has a page for moderators.
func moderated(t testing.TB, more settings) (w *world, ng *server, site nginx.Site, base string) {
	t.Helper()
	w, site = newFronted(t, more)
	w.set("page.listen", "127.0.0.1:0")
	s := w.start()
	base, _ = s.logged("serving the moderators' page")["url"].(string)
	if base == "" {
		t.Fatal("the log does not say where the page is")
	}
	return w, w.front(site), site, base
}

// invite makes an account, and returns the link by which its password is chosen.
func (w *world) invite(base, name, role string) string {
	w.t.Helper()
	out, stderr, status := w.imgkeep("moderator", "add", name, "--role", role)
	_, secret, ok := strings.Cut(out, "/join/")
	if status != 0 || stderr != "" || !ok {
		w.t.Fatalf("status %d: %s%s", status, out, stderr)
	}
	return base + "/join/" + strings.Fields(secret)[0]
}

const password = "correct horse battery"

// join chooses the password of an account, and signs in by that.
func (b *browser) join(link string) {
	b.t.Helper()
	b.do(chromedp.Navigate(link), chromedp.SendKeys(chromedp.CSS(`input[name=password]`), password), chromedp.SendKeys(chromedp.CSS(`input[name=again]`), password))
	b.press("Set password")
	b.shows("Gallery")
}

// A moderator's day: from the link that they were given, without a shell, to a block that
// is undone. What strangers have written is text, and runs nowhere.
func TestModeratorsDay(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	w, ng, site, base := moderated(t, nil)
	good := w.origin.serve("/pictures/good", photo(t, 80, 60))
	bad := w.origin.serve(`/pictures/"><img src=x onerror=alert(1)>`, photo(t, 70, 60))
	bad = strings.NewReplacer(`"`, "%22", "<", "%3C", ">", "%3E", " ", "%20").Replace(bad)
	const page = `<script>alert(document.title = "stolen")</script>`
	hostile := w.origin.on("/pictures/page", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page) })
	served := func(path string, want int) {
		t.Helper()
		if got := ng.see("GET", path, nil); got.status != want {
			t.Fatalf("%s: status %d, want %d: %s", path, got.status, want, got.body)
		}
	}
	goodLink, badLink := link("i", "full", good), link("i", "20x20", bad)
	served(link("i", "full", hostile), http.StatusUnsupportedMediaType)
	served(goodLink, http.StatusOK)
	served(badLink, http.StatusOK)
	served(badLink, http.StatusOK) // hot by now

	// The link works once, and no password but a good one is taken.
	invitation := w.invite(base, "anna", "remove")
	b.do(chromedp.Navigate(base + "/"))
	b.shows("Sign in")
	b.accessible("sign in")
	b.do(chromedp.Navigate(invitation))
	b.accessible("join")
	b.join(invitation)
	b.do(chromedp.Navigate(invitation))
	b.shows("already used")

	// Found in the gallery by keys alone: the newest first.
	until(t, "both are in the gallery", func() bool { // which has little time to look for them
		b.do(chromedp.Navigate(base + "/"))
		b.shows("Kept")
		return evaluate[int](b, "document.querySelectorAll('.gallery .tile').length") == 2
	})
	if !evaluate[bool](b, "Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth > 0))).then(a => a.every(x => x))") {
		t.Error("a picture in the gallery is not shown")
	}
	blurred := func() string {
		return evaluate[string](b, "getComputedStyle(document.querySelector('.gallery img')).filter")
	}
	if !strings.HasPrefix(blurred(), "blur(") {
		t.Errorf("a picture is clear: %s", blurred())
	}
	b.do(chromedp.KeyEvent("j"))
	if blurred() != "none" {
		t.Errorf("with the focus it is %s", blurred())
	}
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("k"), chromedp.KeyEvent("x"), chromedp.KeyEvent("b"))
	b.shows("What will happen")
	b.shows("1 URL, 1 file of")
	b.accessible("remove")
	b.do(chromedp.SetValue(chromedp.CSS("select[name=why]"), "spam"), chromedp.SendKeys(chromedp.CSS("input[name=text]"), `<img src=x onerror=alert(2)>`))
	b.press("Remove now")
	b.shows("were taken away")
	b.accessible("removed")

	// Gone for everybody, nginx' hot links included.
	w.within(site, "blocked", func() bool { return ng.see("GET", badLink, nil).status == http.StatusUnavailableForLegalReasons })
	served(goodLink, http.StatusOK)

	// It is known why, by whom, and what failed.
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), badLink+kb.Enter))
	b.shows("Blocked")
	b.shows("moderator anna")
	b.shows("spam: <img src=x onerror=alert(2)>")
	b.accessible("image")
	b.do(chromedp.Navigate(base + "/?state=failed"))
	b.shows(page)
	b.accessible("failed")
	b.do(chromedp.Navigate(base + "/?state=blocked"))
	b.shows("spam")
	b.accessible("blocked")
	b.do(chromedp.Navigate(base + "/audit"))
	b.shows("sign-out")
	b.shows("<img src=x onerror=alert(2)>")
	b.accessible("audit")

	// Undone, without a script: the image is seen again, fetched anew.
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.do(chromedp.Navigate(base + "/?state=blocked"))
	b.shows("Select blocks to lift them.")
	b.do(chromedp.Click(chromedp.CSS("tbody tr:nth-child(1) input")), chromedp.Click(chromedp.CSS("tbody tr:nth-child(2) input")))
	b.shows("Select blocks to lift them.") // nobody counts
	b.press("Lift selected")
	b.shows("Lift 2 blocks")
	b.do(chromedp.SendKeys(chromedp.CSS("input[name=text]"), "a mistake"))
	b.press("Lift now")
	b.shows("Lifted")
	w.within(site, "seen again", func() bool { return ng.see("GET", badLink, nil).status == http.StatusOK })
	b.do(chromedp.Navigate(base + "/search?q=" + bad[:len(bad)-2]))
	b.shows("1")
	b.quiet(base)

	text, err := os.ReadFile(filepath.Join(w.root(), "audit.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	log := string(text)
	for _, line := range []string{
		`"op":"moderator","what":{"did":"add","name":"anna","role":"remove"}`, `"by":"moderator anna","claims":{"address":"127.0.0.1"},"op":"password"`,
		`"by":"moderator anna","claims":{"address":"127.0.0.1"},"op":"block"`, `"op":"unblock"`, `"why":"a mistake"`,
	} {
		if !strings.Contains(log, line) {
			t.Errorf("the audit log lacks %s:\n%s", line, log)
		}
	}
	if strings.Contains(log, password) || strings.Contains(log, strings.TrimPrefix(invitation, base)) {
		t.Error("the audit log holds what opens an account")
	}
}

// Each role sees what it may, on pages that everybody can use: wide and as on a phone,
// light and dark.
func TestModeratorsRoles(t *testing.T) {
	t.Parallel()
	first := newBrowser(t)
	w, ng, _, base := moderated(t, settings{"page.two_persons": true, "likeness": "on"})
	cat := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	for _, path := range []string{link("i", "full", cat), link("i", "full", w.origin.refuse("/gone", http.StatusNotFound))} {
		ng.see("GET", path, nil)
	}
	image := "/image?bucket=i&url=" + url.QueryEscape(cat)
	for role, c := range map[string]struct{ may, not []string }{
		"view":   {[]string{"/", "/?state=failed", "/?state=quarantined", "/?state=similar", image, "/hosts", "/figures", "/similar"}, []string{"/audit", "/waiting", "/accounts", "/audit.csv", "/remove?pick=url+https://a.example/"}},
		"remove": {[]string{"/", image, "/audit", "/waiting", "/hosts"}, []string{"/accounts", "/audit.csv"}},
		"admin":  {[]string{"/", "/accounts", "/audit"}, nil},
	} {
		b := first.other()
		b.join(w.invite(base, role, role))
		if boxes := evaluate[int](b, "document.querySelectorAll('input[name=pick]').length"); (boxes > 0) != (role != "view") {
			t.Errorf("%s: %d boxes in the gallery", role, boxes)
		}
		if links := evaluate[string](b, "document.querySelector('nav').innerText"); strings.Contains(links, "Audit") != (role != "view") || strings.Contains(links, "Accounts") != (role == "admin") {
			t.Errorf("%s: %q", role, links)
		}
		for _, path := range c.may {
			for _, scheme := range []string{"light", "dark"} {
				if scheme == "dark" && role != "view" && testing.Short() {
					continue
				}
				b.look(scheme)
				b.do(b.size(map[string]int64{"light": 1280, "dark": 390}[scheme], 900), chromedp.Navigate(base+path))
				b.shows("Sign out")
				b.accessible(role + ", " + path + ", " + scheme)
			}
		}
		for _, path := range c.not {
			b.do(chromedp.Navigate(base + path))
			b.shows("Your role does not allow this")
		}
		b.quiet(base)
	}
	first.quiet(base)
}

// What comes back recompressed after a block by likeness is refused, shown to moderators
// beside what it resembles, and can be let through; a picture of one's own is compared.
func TestModeratorsLookAlikes(t *testing.T) {
	t.Parallel()
	b := newBrowser(t)
	w, ng, _, base := moderated(t, settings{"likeness": "on"})
	picture := hills(t, 3, 400, 300)
	decoded, err := jpeg.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := jpeg.Encode(&again, decoded, &jpeg.Options{Quality: 45}); err != nil {
		t.Fatal(err)
	}
	first, copied := w.origin.serve("/pictures/first", picture), w.origin.serve("/pictures/copy", again.Bytes())
	other := w.origin.serve("/pictures/other", hills(t, 11, 400, 300))
	for _, u := range []string{first, other} {
		if got := ng.see("GET", link("i", "50x50", u), nil); got.status != http.StatusOK {
			t.Fatal(got.status, got.body)
		}
	}
	upload := filepath.Join(w.dir, "copy.jpg")
	if err := os.WriteFile(upload, again.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	b.join(w.invite(base, "anna", "remove"))
	compare := func(shows string) {
		t.Helper()
		b.do(chromedp.Navigate(base+"/similar"), chromedp.SetUploadFiles(chromedp.CSS("input[type=file]"), []string{upload}))
		b.press("Compare")
		b.shows(shows)
	}
	compare("bits away")
	if n := evaluate[int](b, "document.querySelectorAll('.gallery .tile').length"); n != 1 {
		t.Errorf("%d look-alikes", n)
	}
	b.accessible("look-alikes")

	token, _, status := w.imgkeep("moderator", "token", "anna", "forum", "--role", "view")
	if status != 0 {
		t.Fatal(token)
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/api/v1/compare", bytes.NewReader(again.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	r.Header.Set("Content-Type", "image/jpeg")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), digest(picture)) || strings.Contains(string(text), digest(hills(t, 11, 400, 300))) {
		t.Errorf("the API: %s %s", resp.Status, text)
	}

	b.do(chromedp.Navigate(base + "/image?bucket=i&url=" + url.QueryEscape(first)))
	b.press("Block…")
	b.shows("Keep out what looks like it")
	b.do(chromedp.Click(chromedp.CSS("input[name=like]")), chromedp.SendKeys(chromedp.CSS("input[name=text]"), "ticket 12"))
	b.press("Remove now")
	b.shows("were taken away")
	if got := ng.see("GET", link("i", "full", copied), nil); got.status != http.StatusUnavailableForLegalReasons {
		t.Errorf("the copy: %d %s", got.status, got.body)
	}
	b.do(chromedp.Navigate(base + "/?state=similar"))
	b.shows("/pictures/copy")
	b.shows("ticket 12")
	b.accessible("refused look-alikes")
	compare("Would be refused")
	b.do(chromedp.Navigate(base + "/?state=similar"))
	b.press("Let through")
	b.shows("Keep out again")
	b.quiet(base)
	if got := ng.see("GET", link("i", "full", copied), nil); got.status != http.StatusOK {
		t.Errorf("let through: %d %s", got.status, got.body)
	}
}
