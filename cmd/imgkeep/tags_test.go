package main_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// All images that links of a member have shown can be found and removed: what the server
// has kept for them, and what was kept before; and no URL that a member posts counts for
// another.
func TestTags(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.start()
	sign := func(args ...string) string {
		t.Helper()
		out, errs, status := w.imgkeep(append([]string{"sign"}, args...)...)
		if status != 0 {
			t.Fatalf("sign: %s", errs)
		}
		return strings.TrimSpace(out)
	}
	var urls []string
	for _, name := range []string{"1", "2", "3"} {
		urls = append(urls, w.origin.serve("/pictures/"+name, photo(t, 30, 30+len(urls))))
	}
	view := func(link string) { t.Helper(); s.get(link).isImage("image/jpeg") }
	view(sign(urls[0])) // nobody's: kept before a member shows it
	for _, by := range []string{"4711", "8"} {
		view(sign("--by", by, "--size", "10x10", urls[0]))
		view(sign("--by", by, "--size", "10x10", urls[0]))
	}
	view(sign("--by", "4711", urls[1]))
	// A user takes the tag of another's link into their post, or makes one up.
	theirs := sign("--by", "4711", urls[1])
	stolen := strings.Split(decodeExt(t, theirs), "#")[1]
	view(sign(urls[2] + "#" + stolen))
	view(sign(urls[2] + "#imgkeep-by=4711.AAAAAAAAAAAAAAAA"))
	view(sign("--by", "8", urls[2]+"#"+stolen))
	// An image that could not be kept is of nobody.
	s.get(sign("--by", "4711", w.origin.url("/pictures/missing"))).isError(http.StatusNotFound, "gone")

	of := func(by string) (found []string) {
		t.Helper()
		out, errs, status := w.imgkeep("list", "--by", by)
		if status != 0 {
			t.Fatalf("list: %s", errs)
		}
		for line := range strings.Lines(out) {
			_, rest, _ := strings.Cut(line, `"url":"`)
			url, _, _ := strings.Cut(rest, `"`)
			found = append(found, url)
		}
		slices.Sort(found)
		return found
	}
	check := func(when string) {
		t.Helper()
		for by, want := range map[string][]string{"4711": urls[:2], "8": {urls[0], urls[2]}, "9": nil} {
			if got := of(by); !slices.Equal(got, want) {
				t.Errorf("%s: of %s: %q, want %q", when, by, got, want)
			}
		}
	}
	check("the server")
	s.kill()
	check("the command, after the server was killed")
	s = w.start()
	defer s.stop()

	// Removed as the help says it. The links that a cache has to drop are those of members too.
	help, _, _ := w.imgkeep("list", "--help")
	const words = "imgkeep list --by 4711 | jq -r .url | xargs -d '\\n' imgkeep block --why 'member 4711'"
	if !strings.Contains(help, words) {
		t.Fatalf("the help does not say %s:\n%s", words, help)
	}
	path := t.TempDir()
	for name, text := range map[string]string{
		"imgkeep": `exec "` + filepath.Join(w.bin(), "imgkeep") + `" "$@" --config "` + filepath.Join(w.dir, "imgkeep.yaml") + `"`,
		"jq":      `exec sed 's/.*"url":"\([^"]*\)".*/\1/'`,
	} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-c", words)
	cmd.Env = append(os.Environ(), "PATH="+path+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, link := range []string{theirs, sign("--by", "4711", "--size", "10x10", urls[0]), sign("--by", "8", "--size", "10x10", urls[0]), sign(urls[0])} {
		if !strings.Contains(string(out), "  "+link+"\n") {
			t.Errorf("a cache is not told to drop %s:\n%s", link, out)
		}
		s.get(link).isError(http.StatusUnavailableForLegalReasons, "removed")
	}
	view(sign("--by", "8", urls[2]))
	if got := of("4711"); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

// decodeExt is the URL in a link.
func decodeExt(t *testing.T, link string) string {
	t.Helper()
	url, err := base64.RawURLEncoding.DecodeString(link[strings.LastIndex(link, "/")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return string(url)
}
