package page

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/sign"
)

// What each role sees, and does; without signing in, nothing is seen.
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
