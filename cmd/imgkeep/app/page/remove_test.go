package page

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/page/account"
)

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
