package main_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
)

// A store that was copied without its times, as cp does, is another node or a restored
// one: browsers' copies are still good, whichever server answers, and so are halves of downloads.
func TestETagOutlivesTheStore(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	cat := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	flag := w.origin.serve("/pictures/flag", toPNG(t, corners(20, 20))) // whose size is the original itself
	paths := []string{link("i", "full", cat), link("i", "20x20", cat), link("i", "full", flag), link("i", "50x", flag)}
	s := w.start()
	before := map[string]http.Header{}
	tags := map[string]string{}
	for _, path := range paths {
		before[path] = s.get(path).header
		if other := tags[before[path].Get("ETag")]; other != "" && !strings.Contains(other+path, "/50x/") {
			t.Errorf("%s and %s have one tag", path, other)
		}
		tags[before[path].Get("ETag")] = path
	}
	s.stop()

	// The files, anew: with the time of now, and as the day before.
	root := w.root()
	for _, age := range []time.Duration{0, 24 * time.Hour} {
		other := root + fmt.Sprint("-", age)
		if out, err := exec.Command("cp", "-r", root, other).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v %s", err, out)
		}
		then := time.Now().Add(-age)
		err := filepath.WalkDir(other, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type() != 0 {
				return err
			}
			return os.Chtimes(path, then, then)
		})
		if err != nil {
			t.Fatal(err)
		}
		w.set("root", other)
		w.set("nginx.hot", filepath.Join(w.dir, fmt.Sprint("hot-", age)))
		site.Root, site.Hot = other, filepath.Join(w.dir, fmt.Sprint("hot-", age))
		s := w.start()
		ng := w.front(site)
		for i, path := range paths {
			tag, modified := before[path].Get("ETag"), before[path].Get("Last-Modified")
			// The second and third have a link of their own, which nobody has asked for.
			fresh := func(n int) string {
				parts := strings.Split(path, "/")
				return link("i", parts[2], fmt.Sprint([]string{cat, cat, flag, flag}[i], "#", age, n))
			}
			hot := fresh(2)
			told := http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}}
			first := ng.see(http.MethodGet, fresh(1), http.Header{"If-None-Match": {tag}})
			if a, err := s.request(t.Context(), http.MethodGet, hot, told); err != nil || a.header.Get(nginx.HeaderRedirect) == "" {
				t.Fatalf("%v, %v", a.header, err)
			}
			if first.status != http.StatusNotModified {
				t.Errorf("%s, by nginx, at its first view: %d %s, want 304 for %s", path, first.status, first.header, tag)
			}
			for _, c := range []struct {
				header http.Header
				status int
			}{
				{http.Header{"If-None-Match": {tag}}, 304},
				{http.Header{"If-None-Match": {`"other"`}}, 200},
				{http.Header{"If-Modified-Since": {modified}}, 304},
				{http.Header{"If-None-Match": {tag}, "If-Modified-Since": {modified}}, 304},
				{http.Header{"If-Modified-Since": {time.Now().UTC().Format(http.TimeFormat)}}, 200},
				{http.Header{"If-None-Match": {tag}, "If-Modified-Since": {time.Now().UTC().Format(http.TimeFormat)}}, 200},
				{http.Header{"If-Range": {tag}, "Range": {"bytes=10-19"}}, 206},
				{http.Header{"If-Range": {`"other"`}, "Range": {"bytes=10-19"}}, 200},
				{http.Header{"If-Range": {modified}, "Range": {"bytes=10-19"}}, 206},
				{http.Header{"If-Match": {tag}}, 200},
			} {
				want := s.see(http.MethodGet, path, c.header)
				if want.status != c.status || c.status < 300 && !strings.Contains(want.header, fmt.Sprintf("Etag: [%q]", tag)) {
					t.Errorf("%s %v, direct: %d %s, want %d, %s", path, c.header, want.status, want.header, c.status, tag)
				}
				for way, path := range map[string]string{"warm": fresh(3 + len(fmt.Sprint(c))), "hot": hot} {
					if got := ng.see(http.MethodGet, path, c.header); got != want {
						t.Errorf("%s %v, %s:\ngot  %d %s\nwant %d %s", path, c.header, way, got.status, got.header, want.status, want.header)
					}
				}
			}
		}
		s.stop()
	}
}
