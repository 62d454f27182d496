package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/cmd/imgkeep/app/config"
)

// On an installed machine the secret is in a file that only the unit names: what needs a
// secret says which file that is, and the command that reads it.
func TestNoSecret(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "forum.yaml")
	if err := os.WriteFile(file, []byte("sizes: [150]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ secret, hint string }{
		{"", ""},
		{"secret", "; the service's is in " + dir + "/secret: sudo env IMGKEEP_SIGN_SECRET_FILES=" + dir + "/secret imgkeep %s --config " + file + " …"},
		{"forum.secret", "; the service's is in " + dir + "/forum.secret: sudo env IMGKEEP_SIGN_SECRET_FILES=" + dir + "/forum.secret imgkeep %s --config " + file + " …"},
	} {
		if tt.secret != "" {
			if err := os.WriteFile(filepath.Join(dir, tt.secret), []byte("the secret of these tests\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for command, arg := range map[string]string{"sign": "https://example.com/a.png", "verify": aLink} {
			hint := tt.hint
			if hint != "" {
				hint = fmt.Sprintf(hint, command)
			}
			status, out, errs := run(t, t.Context(), Env{Args: []string{command, "--config", file, arg}})
			if status != ExitUsage || out != "" || !strings.Contains(errs, "in the configuration"+hint+"\n") {
				t.Errorf("%s, with %q: status %d, %s%s; want %q", command, tt.secret, status, out, errs, hint)
			}
		}
	}
}

// Of several links, each line says which one it is about.
func TestVerifyNames(t *testing.T) {
	file := written(t, "sign: {secrets: [the secret of these tests]}\n")
	_, out, _ := run(t, t.Context(), Env{Args: []string{"sign", "--config", file, "https://example.com/a.png"}})
	good := strings.TrimSpace(out)
	status, out, errs := run(t, t.Context(), Env{Args: []string{"verify", "--config", file, good, aLink, "a\x1b"}})
	lines := strings.Split(out, "\n")
	if status != ExitPartial || len(lines) != 4 || !strings.HasPrefix(lines[0], good+": good until ") || lines[1] != aLink+": not good: the signature fits no secret" || !strings.HasPrefix(lines[2], "a\uFFFD: not good: ") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
}

// A tag is signed into a link, and verify tells it, unless somebody else has made it.
func TestSignBy(t *testing.T) {
	file := written(t, "sign: {secrets: [the secret of these tests]}\n")
	sign := func(args ...string) string {
		t.Helper()
		status, out, errs := run(t, t.Context(), Env{Args: append([]string{"sign", "--config", file}, args...)})
		if status != ExitOK {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	for link, want := range map[string]string{
		sign("--by", "4711", "https://example.com/a.png"):                  " i full https://example.com/a.png by 4711\n",
		sign("--by", "4711", "--proxy", "https://example.com/a.png#x"):     " i full https://example.com/a.png by 4711\n",
		sign("https://example.com/a.png#imgkeep-by=4711.AAAAAAAAAAAAAAAA"): " i full https://example.com/a.png\n",
	} {
		if _, out, errs := run(t, t.Context(), Env{Args: []string{"verify", "--config", file, link}}); !strings.HasSuffix(out, want) {
			t.Errorf("%s%s, want %q", out, errs, want)
		}
	}
	for _, args := range [][]string{{"sign", "--by", "a b", "https://example.com/"}, {"list", "--failed", "--by", "1"}, {"list", "--blocked", "--by", "1"}} {
		if status, _, errs := run(t, t.Context(), Env{Args: append(args, "--config", file)}); status != ExitUsage || !strings.Contains(errs, "--by") {
			t.Errorf("%v: status %d, %s", args, status, errs)
		}
	}
}

// Show says whether the link that it is given has expired, as far as a secret is known.
// (That a server says so too is in TestService of package control.)
func TestShowLink(t *testing.T) {
	c := config.Default()
	c.Root = filepath.Join(t.TempDir(), "store")
	c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
	c.Sign.Secrets = []config.Secret{"the secret of these tests"}
	store := openStore(t, c, same{})
	const url = "https://example.com/a.png"
	if _, err := store.Keep(t.Context(), "i", url); err != nil {
		t.Fatal(err)
	}
	secret := written(t, "root: "+c.Root+"\nsign: {secrets: [the secret of these tests]}\n")
	none := written(t, "root: "+c.Root+"\n")
	now := time.Now()
	signed := func(ago time.Duration) string {
		_, out, errs := run(t, t.Context(), Env{Args: []string{"sign", "--config", secret, "--at", now.Add(-ago).Format(time.RFC3339), url}})
		if errs != "" {
			t.Fatal(errs)
		}
		return strings.TrimSpace(out)
	}
	const week = 7 * 24 * time.Hour
	all := func() {
		t.Helper()
		for _, tt := range []struct {
			file, link, want string
		}{
			{secret, signed(0), "link      good until "},
			{secret, signed(4 * week), "link      has expired: viewers get 410"},
			{secret, signed(100 * week), "link      has expired: viewers get 410"},
			{none, signed(4 * week), "link      not known: there is no secret here to check its signature with"},
			{secret, url, ""},
		} {
			status, out, errs := run(t, t.Context(), Env{Args: []string{"show", "--config", tt.file, tt.link}})
			if status != ExitOK || !strings.Contains(out, tt.want) || strings.Contains(out, "\nlink") != (tt.want != "") {
				t.Errorf("%s: status %d, %s%s; want %q", tt.link, status, out, errs, tt.want)
			}
		}
	}
	if err := store.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	forged := aLink[:len("/i/250x250/")] + "A" + aLink[len("/i/250x250/")+1:]
	if _, out, errs := run(t, t.Context(), Env{Args: []string{"show", "--config", secret, "--unverified", forged}}); !strings.Contains(out, "link      the signature fits no secret\n") {
		t.Errorf("a forged link: %s%s", out, errs)
	}
	all()
}

// Check takes links of the server itself for the images that they show: as paths and as
// URLs, and also where no secret is known here.
func TestCheckLinks(t *testing.T) {
	origin := httptest.NewServer(http.NotFoundHandler())
	defer origin.Close()
	port := origin.URL[strings.LastIndex(origin.URL, ":")+1:]
	const fetching = "fetch: {networks: [127.0.0.0/8], ports: [%s]}\n"
	rules := fmt.Sprintf(fetching, port)
	named := written(t, "base_url: https://img.example.net\nsign: {secrets: [the secret of these tests]}\n"+rules)
	nameless := written(t, "sign: {secrets: [the secret of these tests]}\n"+rules)
	secretless := written(t, "base_url: https://img.example.net\n"+rules)
	neither := written(t, rules)
	url := origin.URL + "/a.png"
	_, out, _ := run(t, t.Context(), Env{Args: []string{"sign", "--config", named, url}})
	whole := strings.TrimSpace(out)
	path := strings.TrimPrefix(whole, "https://img.example.net")
	forged := strings.Replace(path, "/full/", "/full/A", 1)
	forged = forged[:len("/i/full/")+16] + forged[len("/i/full/")+17:]
	for _, tt := range []struct {
		file, arg, shows, why string
		unverified            bool
	}{
		{named, whole, url, "404", false},
		{named, path, url, "404", false},
		{nameless, whole, url, "404", false}, // by its signature
		{nameless, path, url, "404", false},
		{secretless, whole, url, "404", true},
		{secretless, path, url, "404", true},
		{neither, path, url, "404", true},
		{named, forged, "", "has not signed it", false},
		{named, "https://img.example.net" + forged, "", "has not signed it", false},
		// Another's link is the URL of an image as any other.
		{named, "http://127.0.0.1:" + port + forged, "", "404", false},
		{neither, "http://127.0.0.1:" + port + forged, "", "404", false},
	} {
		_, out, errs := run(t, t.Context(), Env{Args: []string{"check", "--config", tt.file, "--json", tt.arg}})
		var x checked
		if err := json.Unmarshal([]byte(out), &x); err != nil || x.Shows != tt.shows || !strings.Contains(x.Why, tt.why) || x.Unverified != tt.unverified {
			t.Errorf("%s: %+v, %v, %s; want %+v", tt.arg, x, err, errs, tt)
		}
	}
	if _, out, _ := run(t, t.Context(), Env{Args: []string{"check", "--config", secretless, path}}); !strings.Contains(out, "  shows    "+url+"\n  link     its signature was not checked: no secret is known here\n") {
		t.Errorf("as text:\n%s", out)
	}
}

// What is not there is said with what is.
func TestErrorsNameWhatExists(t *testing.T) {
	file := written(t, "sizes: [150, 250]\npresets: [{name: avatar, width: 96}, {name: card, width: 600}]\n")
	bare := written(t, "sizes: []\n")
	empty := filepath.Join(t.TempDir(), "old", "i")
	if err := os.MkdirAll(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"list", "--config", file, "--class", "foo"}, ExitUsage, `--class: "foo" is not a class of failures: want one of refused, denied, gone, blocked, failed, timeout, too-large, too-many-pixels, too-many-frames, not-image, broken, busy, paused, lost, removed, rejected, unchecked, similar` + "\n"},
		{[]string{"preview", "--config", file, "nosuch", "a.png"}, ExitUsage, "presets: avatar, card; sizes: all combinations of 150, 250, as 150x150, 150x or x150\n"},
		{[]string{"preview", "--config", bare, "nosuch", "a.png"}, ExitUsage, "presets: none; sizes: none\n"},
		{[]string{"import", "--config", file, "--root", t.TempDir(), filepath.Dir(empty)}, ExitFailure, "no image was found in " + filepath.Dir(empty) + ", in the folders i: want {a}/{b}/{name} and {name}.headers in them"},
		{[]string{"import", "--config", file, "--root", t.TempDir(), "--dry-run", filepath.Dir(empty)}, ExitFailure, "no image was found in "},
	} {
		if status, out, errs := run(t, t.Context(), Env{Args: tt.args}); status != tt.status || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: status %d, %s%s; want %q", tt.args, status, out, errs, tt.want)
		}
	}
}
