package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/variant"
	"imgkeep/cmd/imgkeep/app/config"
)

// pages is same, but for URLs that lead to a page.
type pages struct{ same }

func (p pages) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	if imageurl.URL(r.URL).Host() == "page.example.net" {
		return fetch.Result{}, &fetch.Error{Kind: fetch.NotImage, Status: 200, Host: "cdn.example.net", Head: []byte("<p>\x1b"), Err: errors.New("a page")}
	}
	return p.same.Fetch(ctx, r, dst)
}

// What there is to see is the same whether the server looks or the command itself.
func TestQueries(t *testing.T) {
	c := config.Default()
	c.Root = filepath.Join(t.TempDir(), "store")
	c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
	store := openStore(t, c, pages{})
	const page = "https://page.example.net/a.png"
	if _, err := store.Keep(t.Context(), "i", page); err == nil {
		t.Fatal("a page is kept")
	}
	var urls []string
	for n := range 3 {
		urls = append(urls, fmt.Sprintf("https://%d.example.com/a.png?x&y", n))
		if _, err := store.Keep(t.Context(), "i", urls[n]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Forget(t.Context(), urls[2], bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Keep(t.Context(), "i", urls[2]); err != nil { // a second line of the journal
		t.Fatal(err)
	}
	if _, err := store.Block(t.Context(), bucket.Target{Host: "*.example.org"}, bucket.RemoveOptions{Why: "why"}); err != nil {
		t.Fatal(err)
	}
	image, err := store.Find("i", urls[0])
	if err != nil {
		t.Fatal(err)
	}
	digest := image.Digest.String()
	if _, err := store.OpenVariant(t.Context(), image, "150x", probe.PNG, func(context.Context, io.Reader, int64) ([]byte, error) {
		return nil, fmt.Errorf("%w: it died", variant.ErrPoison)
	}); err == nil {
		t.Fatal("made")
	}

	weak := filepath.Join(t.TempDir(), "weak.yaml")
	const profiles = "fetch: {profiles: [{hosts: [1.example.com], insecure: true, tls_min: '1.0'}, {hosts: ['*.example.com'], insecure: true}]}"
	if err := os.WriteFile(weak, []byte(profiles), 0o600); err != nil {
		t.Fatal(err)
	}
	command := func(args ...string) (int, string, string) {
		return run(t, t.Context(), Env{Args: append(args, "--root", c.Root)})
	}
	all := func() (out string) {
		t.Helper()
		for _, tt := range []struct {
			args   string
			status int
			lines  int // of the output; 0: any
			want   []string
		}{
			{"list", 0, 3, []string{`"url":"` + urls[0] + `"`, `"digest":"` + digest + `"`, `"type":"png","width":3,"height":2,"frames":1,"bytes":9`}},
			{"list --host 1.example.com --host 2.example.com --type png --bucket i", 0, 2, nil},
			{"list --host example.com", 0, 0, []string{""}},
			{"list --type webp", 0, 0, []string{""}},
			{"list --since 1h", 0, 3, nil},
			{"list --until 1h", 0, 0, []string{""}},
			{"list --blocked", 0, 1, []string{`"kind":"host","subject":"*.example.org"`, `"why":"why"`}},
			{"list --failed", 0, 1, []string{`"url":"` + page + `","class":"not-image","status":200`, `"host":"cdn.example.net","head":"<p>\\x1b"`}},
			{"list --failed --host *.example.net --class not-image", 0, 1, nil},
			{"list --failed --host page.example.net", 0, 1, []string{`"url":"` + page}},
			{"list --failed --host page.example.net --class gone", 0, 0, []string{""}},
			{"list --failed --host example.net", 0, 0, []string{""}},
			{"list --bucket nope", 1, 0, nil},
			{"list --type svg", 2, 0, nil},
			{"list --host a/b", 2, 0, nil},
			{"list --since yesterday", 2, 0, nil},
			{"list --failed --blocked", 2, 0, nil},
			{"show " + digest, 0, 0, []string{"image     i/" + digest, "  is      png, 3 x 2, 1 frames, 9 B", urls[0], urls[1], urls[2]}},
			{"show " + digest, 0, 0, []string{"  deadly  has ended 1 decoders, the last at ", ": it died; one more, and"}},
			{"show " + page, 0, 7, []string{"failure   in i: not-image: ", "  host    cdn.example.net\n  status  200\n  begins  <p>\\x1b\n  since   ", ", 1 in a row\n  next    "}},
			{"show --json " + urls[1], 0, 0, []string{`"here": true`, `"digest": "` + digest + `"`}},
			{"show https://a.example.org/", 0, 2, []string{"blocked   host *.example.org since "}},
			{"show https://a.example.net/", 1, 0, nil},
			{"show nonsense", 2, 0, nil},
			// By the configuration of the command.
			{"show --json " + urls[1] + " --config " + weak, 0, 0, []string{`"weak_tls": [`, `"host": "1.example.com"`, `"insecure": true`}},
			{"show " + urls[1] + " --config " + weak, 0, 0, []string{"weak      1.example.com, its certificate is not checked, TLS from 1.0 (fetch.profiles)\n"}},
			{"stats", 0, 0, []string{"all        1 images, 3 URLs, 9 B, 18 B saved by sharing", "host       0.example.com  1 URLs, 9 B", "blocks     1"}},
			{"stats --json", 0, 0, []string{`"saved": 18`}},
		} {
			status, text, errs := command(strings.Fields(tt.args)...)
			if status != tt.status || tt.lines > 0 && strings.Count(text, "\n") != tt.lines {
				t.Errorf("%s: status %d, want %d: %s%s", tt.args, status, tt.status, text, errs)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) || want == "" && text != "" {
					t.Errorf("%s: want %q: %s%s", tt.args, want, text, errs)
				}
			}
			if !strings.HasPrefix(tt.args, "stats") { // whose index has other pages
				out += text
			}
		}
		return out
	}
	stop := answer(t, t.Context(), c, store)
	served := all()
	stop()
	if err := store.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if alone := all(); alone != served {
		t.Errorf("the server says\n%s\nthe command itself\n%s", served, alone)
	}
}

// written is a file with this text.
func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "imgkeep.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerify(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	const url = "https://example.com/a.png"
	file := written(t, "base_url: https://img.example.net\nsign: {secrets: [the secret of these tests]}\npresets: [{name: avatar, width: 100}]\n")
	verify := func(args ...string) (int, string, string) {
		return run(t, t.Context(), Env{Args: append([]string{"verify", "--config", file}, args...), Now: func() time.Time { return now }})
	}
	sign := func(args ...string) string {
		t.Helper()
		status, out, errs := run(t, t.Context(), Env{Args: append([]string{"sign", "--config", file}, args...), Now: func() time.Time { return now }})
		if status != 0 {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	const base = "https://img.example.net"
	whole := sign(url)
	good := strings.TrimPrefix(whole, base)
	forged := strings.Replace(good, "/full/", "/full/A", 1)[:len(good)]
	for _, tt := range []struct {
		link, want string
		status     int
	}{
		{good, "good until 2026-11-30T00:00:00Z: i full " + url, 0},
		{whole, "good until 2026-11-30T00:00:00Z: i full " + url, 0},
		{strings.Replace(good, "/full/", "/150x/", 1), "good until", 0},
		{strings.Replace(good, "/full/", "/info/", 1), "good until", 0},
		{strings.Replace(good, "/full/", "/avatar/", 1), "good until", 0},
		{strings.Replace(good, "/full/", "/avatars/", 1), `not good: no such size: "avatars" is neither one of the presets avatar`, 1},
		{sign("--proxy", url), "good until", 0},
		{strings.Replace(sign("--proxy", url), "/full/", "/150x/", 1), "not good: /proxy goes with the size full only", 1},
		{sign(whole), "good until 2026-11-30T00:00:00Z: i full " + url + "\n", 0},
		{sign(base + forged), "not good: ", 1},
		{strings.Replace(good, "/full/", "/151x/", 1), "not good: no such size: 151, of 151x, is not one of the sizes", 1},
		{strings.Replace(good, "/i/", "/f/", 1), "not good: the signature fits no secret", 1},
		{forged, "not good: ", 1},
		{url, "not good: malformed link", 1},
	} {
		if status, out, errs := verify(tt.link); status != tt.status || !strings.HasPrefix(out, tt.want) {
			t.Errorf("%s: status %d, %s%s; want %q", tt.link, status, out, errs, tt.want)
		}
	}
	if status, out, _ := verify("--json", good, forged); status != ExitPartial || strings.Count(out, `"good": `) != 2 {
		t.Errorf("two: status %d, %s", status, out)
	}
	now = now.Add(15 * 24 * time.Hour)
	if status, out, _ := verify(good); status != ExitFailure || !strings.HasPrefix(out, "not good: the link has expired") {
		t.Errorf("later: status %d, %s", status, out)
	}
}

// Check tells which rule refuses, and what would be kept.
func TestCheck(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/page", http.StatusFound)
		case "/page":
			w.Write([]byte("<html>"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer origin.Close()
	port := origin.URL[strings.LastIndex(origin.URL, ":")+1:]
	file := written(t, "fetch: {networks: [127.0.0.0/8], ports: ["+port+"]}\n")
	for path, want := range map[string]struct{ class, why string }{
		origin.URL + "/gone":  {"gone", "404"},
		origin.URL + "/moved": {"not-image", ""},
		"http://127.0.0.1/":   {"refused", "is not on the list of ports"},
		"ftp://example.com/":  {"refused", `want http, https, s3 or local`},
	} {
		status, out, errs := run(t, t.Context(), Env{Args: []string{"check", "--config", file, "--json", path}})
		var x checked
		if err := json.Unmarshal([]byte(out), &x); err != nil || status != ExitFailure || x.OK || string(x.Class) != want.class || !strings.Contains(x.Why, want.why) {
			t.Errorf("%s: status %d, %+v, %v, %s; want %+v", path, status, x, err, errs, want)
		}
	}
	if status, _, errs := run(t, t.Context(), Env{Args: []string{"check", "--bucket", "nope", "https://example.com/"}}); status != ExitUsage || !strings.Contains(errs, "no bucket") {
		t.Errorf("status %d, %s", status, errs)
	}
}
