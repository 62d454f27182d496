package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
)

// Check knows what is blocked, from the server as from the store, and what a link of
// the server itself shows.
func TestCheckBlocked(t *testing.T) {
	draw := func(width int) []byte {
		var b bytes.Buffer
		if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, width, 2))); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	picture, other := draw(3), draw(4)
	var mu sync.Mutex
	asked := map[string]int{}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		mu.Unlock()
		switch r.URL.Path {
		case "/leads":
			http.Redirect(w, r, "/target", http.StatusFound)
		case "/bytes":
			w.Write(other)
		default:
			w.Write(picture)
		}
	}))
	defer origin.Close()
	port := origin.URL[strings.LastIndex(origin.URL, ":")+1:]
	root := filepath.Join(t.TempDir(), "store")
	file := written(t, fmt.Sprintf("root: %s\nbase_url: https://img.example.net\nsign: {secrets: [the secret of these tests]}\n"+
		"fetch: {networks: [127.0.0.0/8], ports: [443, %s]}\nstore: {min_free: 0, min_free_inodes: 0}\n", root, port))
	command := func(args ...string) (int, string, string) {
		return run(t, t.Context(), Env{Args: append(args, "--config", file)})
	}
	link := func(url string) string {
		t.Helper()
		status, out, errs := command("sign", url)
		if status != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	check := func(url string) (checked, string) {
		t.Helper()
		status, out, errs := command("check", "--json", url)
		var x checked
		if err := json.Unmarshal([]byte(out), &x); err != nil || x.OK != (status == 0) {
			t.Fatalf("%s: status %d, %v: %s%s", url, status, err, out, errs)
		}
		return x, errs
	}
	if x, errs := check(origin.URL + "/blocked"); !x.OK || !strings.Contains(errs, "cannot ask what is blocked: there is no store") {
		t.Errorf("without a store: %+v, %s", x, errs)
	}

	c := config.Default()
	c.Root, c.Store.MinFree, c.Store.MinFreeInodes = root, 0, 0
	store := openStore(t, c, same{})
	for _, target := range []bucket.Target{
		{URL: origin.URL + "/blocked"}, {URL: origin.URL + "/target"}, {Host: "*.example.org"},
		{Digest: sha256.Sum256(other)},
	} {
		if _, err := store.Block(t.Context(), target, bucket.RemoveOptions{Why: "a ticket"}); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	clear(asked)
	mu.Unlock()
	all := func() {
		t.Helper()
		for _, tt := range []struct{ url, class, why, shows string }{
			{origin.URL + "/good", "", "", ""},
			{origin.URL + "/blocked", "removed", "blocked: url ", ""},
			{origin.URL + "/leads", "removed", "blocked: url ", ""},
			{origin.URL + "/bytes", "removed", "blocked: digest ", ""},
			{"https://a.example.org/a.png", "removed", "blocked: host *.example.org since ", ""},
			{link(origin.URL + "/good"), "", "", origin.URL + "/good"},
			{link(link(origin.URL + "/blocked")), "removed", "blocked: url ", origin.URL + "/blocked"},
			{strings.Replace(link(origin.URL+"/good"), "/full/", "/full/A", 1), "refused", "URL of this server", ""},
		} {
			x, errs := check(tt.url)
			if string(x.Class) != tt.class || !strings.Contains(x.Why, tt.why) || x.OK != (tt.class == "") || x.Shows != tt.shows || errs != "" && x.OK {
				t.Errorf("%s: %+v, %s; want %+v", tt.url, x, errs, tt)
			}
			if tt.class == "removed" && !strings.Contains(x.Why, ": a ticket") {
				t.Errorf("%s: %s", tt.url, x.Why)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if asked["/blocked"] > 0 {
			t.Error("what is blocked is fetched")
		}
	}
	stop := answer(t, t.Context(), c, store)
	all()
	stop()
	if err := store.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	all()
	// An image that is added without a server is noted too.
	if status, _, errs := command("add", "--url", "https://example.com/a.png", written(t, string(picture))); status != 0 {
		t.Fatal(errs)
	}
	text, err := os.ReadFile(filepath.Join(root, "audit.ndjson"))
	if err != nil || !strings.Contains(string(text), `"op":"add","what":{"bucket":"i","url":"https://example.com/a.png","kept":true,"bytes":`) || strings.Count(string(text), "\n") != 1 {
		t.Errorf("the audit log: %s, %v", text, err)
	}
}
