package main_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An imported store may name images by their paths, as links of the same site do: both are
// read by fetch.base_url.
func TestImportBaseURL(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		serving bool
		args    []string
	}{"served": {true, nil}, "alone": {false, nil}, "linked": {false, []string{"--link"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			old := oldStore{t, filepath.Join(w.dir, "old")}
			cat, dog := photo(t, 60, 40), photo(t, 30, 40)
			images := map[string][]byte{plain("cat.jpg"): cat, plain("/other/dog.jpg"): dog}
			for ext, image := range images {
				old.put("i", ext, image)
			}
			args := append([]string{"import", old.dir}, c.args...)
			if out, errs, status := w.imgkeep(args...); status != 1 || strings.Count(out, "not the URL of an image") != 2 {
				t.Errorf("without a base: status %d: %s%s", status, out, errs)
			}
			w.set("fetch.base_url", w.origin.URL+"/pictures/")
			var s *server
			if c.serving {
				s = w.start()
			}
			if out, errs, status := w.imgkeep(append(args, "--dry-run")...); status != 0 || !strings.Contains(out, "2 images could be kept, 0 could not") {
				t.Errorf("a dry run: status %d: %s%s", status, out, errs)
			}
			if out, errs, status := w.imgkeep(args...); status != 0 || !strings.Contains(out, ": 2 kept now") {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
			if !c.serving {
				s = w.start()
			}
			for ext, image := range images {
				s.get("/i/full/"+signature(secret, "i/"+ext, time.Now())+"/"+ext).isBytes("image/jpeg", image)
			}
			s.get(link("i", "full", w.origin.URL+"/pictures/cat.jpg")).isBytes("image/jpeg", cat)
			s.get(link("i", "full", w.origin.URL+"/other/dog.jpg")).isBytes("image/jpeg", dog)
			if n := w.origin.count("/pictures/cat.jpg") + w.origin.count("/other/dog.jpg"); n != 0 {
				t.Errorf("%d fetches of what is imported", n)
			}
			s.stop()
		})
	}
}

// What is imported or added under one URL of an image is found under all of them, where
// parameters of the query do not name it; and each command takes any of them.
func TestKeyOfOwnImages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{
		"fetch.same_image":  []any{map[string]any{"hosts": []string{"cdn.example"}, "params": []string{"ex", "X-*"}}},
		"fetch.same_scheme": true,
	})
	const at = "https://cdn.example/a.png?id=7"
	cat, dog := photo(t, 60, 40), photo(t, 30, 40)
	old := oldStore{t, filepath.Join(w.dir, "old")}
	old.put("i", plain(at+"&ex=1"), cat)
	old.put("i", plain(at+"&ex=2&X-Sign=3"), cat) // the same image
	file := filepath.Join(w.dir, "dog.jpg")
	if err := os.WriteFile(file, dog, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := w.imgkeep("import", old.dir); status != 0 || !strings.Contains(out, ": 1 kept now") || !strings.Contains(out, "1 kept before, 0 not kept") {
		t.Errorf("import: status %d: %s%s", status, out, errs)
	}
	add := func(url, want string, exit int) {
		t.Helper()
		if out, errs, status := w.imgkeep("add", "--url", url, file); status != exit || !strings.Contains(out+errs, want) {
			t.Errorf("add %s: status %d: %s%s; want %q", url, status, out, errs, want)
		}
	}
	add(at+"&ex=3", "another image is kept", 1)
	add("http://cdn.example/b.png?ex=1&id=8", "kept:", 0)
	add("https://cdn.example/b.png?id=8&ex=2", "kept before", 0)
	add("http://plain.example/c.png?ex=1", "kept:", 0) // no such rule, but any scheme

	s := w.start()
	for url, image := range map[string][]byte{
		at: cat, at + "&ex=9": cat, "http://cdn.example/a.png?X-a=1&id=7": cat,
		"https://cdn.example/b.png?id=8": dog, "http://cdn.example/b.png?id=8&ex=7": dog,
		"https://plain.example/c.png?ex=1": dog, "http://plain.example/c.png?ex=1": dog,
	} {
		s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	}
	// A port is a place of its own, and so is a parameter where no rule names it.
	for _, url := range []string{"http://cdn.example:8080/b.png?id=8", "https://plain.example/c.png?ex=2", "https://cdn.example/a.png?id=8"} {
		if r := s.get(link("i", "full", url)); r.status == http.StatusOK {
			t.Errorf("%s shows an image", url)
		}
	}
	for _, url := range []string{at + "&ex=10", link("i", "full", at+"&ex=11")} {
		if out, errs, status := w.imgkeep("show", url); status != 0 || !strings.Contains(out, at) || strings.Contains(out, "&ex=1") {
			t.Errorf("show %s: status %d: %s%s", url, status, out, errs)
		}
	}
	if _, errs, status := w.imgkeep("block", "--why", "test", at+"&ex=12"); status != 0 {
		t.Errorf("block: status %d: %s", status, errs)
	}
	s.get(link("i", "full", at+"&ex=13")).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.stop()
}

// A failure stands under the URL that was fetched: show and retry find it by that, and not
// by another of the same image. They take one at a time.
func TestShowAndRetryOfOneImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	first, second := w.origin.refuse("/pictures/one", http.StatusNotFound), w.origin.refuse("/pictures/two", http.StatusNotFound)
	w.set("fetch.same_image", []any{map[string]any{"hosts": []string{"127.0.0.1"}, "params": []string{"ex"}}})
	s := w.start()
	s.get(link("i", "full", first+"?ex=1")).isError(http.StatusNotFound, "gone")
	s.get(link("i", "full", second+"?ex=1")).isError(http.StatusNotFound, "gone")
	for _, command := range []string{"show", "retry"} {
		if _, errs, status := w.imgkeep(command, first, second); status != 2 || !strings.Contains(errs, "accepts 1 arg(s), received 2") {
			t.Errorf("%s of two: status %d: %s", command, status, errs)
		}
	}
	if out, errs, status := w.imgkeep("show", first+"?ex=1"); status != 0 || !strings.Contains(out, "gone") {
		t.Errorf("show: status %d: %s%s", status, out, errs)
	}
	if out, errs, status := w.imgkeep("show", first+"?ex=2"); status != 1 || !strings.Contains(errs, "nothing is known of") {
		t.Errorf("show of another: status %d: %s%s", status, out, errs)
	}
	if out, _, status := w.imgkeep("retry", first+"?ex=2"); status != 0 || !strings.Contains(out, "no recorded failures") {
		t.Errorf("retry of another: status %d: %s", status, out)
	}
	if out, _, status := w.imgkeep("retry", first+"?ex=1"); status != 0 || !strings.Contains(out, "cleared: it could not be fetched") {
		t.Errorf("retry: status %d: %s", status, out)
	}
	asked := w.origin.count("/pictures/one")
	s.get(link("i", "full", first+"?ex=1")).isError(http.StatusNotFound, "gone")
	s.get(link("i", "full", second+"?ex=1")).isError(http.StatusNotFound, "gone")
	if got := w.origin.count("/pictures/one"); got != asked+1 {
		t.Errorf("%d fetches after retry, want %d", got, asked+1)
	}
	if got := w.origin.count("/pictures/two"); got != 1 {
		t.Errorf("%d fetches of what nobody retried, want 1", got)
	}
	s.stop()
}

// An image that was kept before fetch.same_image named its host is shown by its own links, which
// remove it, too.
func TestRemoveFromBeforeSameImage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	at := w.origin.serve("/pictures/cat", photo(t, 40, 30)) + "?ex=1"
	s := w.start()
	s.get(link("i", "full", at)).isImage("image/jpeg")
	s.stop()
	w.set("fetch.same_image", []any{map[string]any{"hosts": []string{"127.0.0.1"}, "params": []string{"ex"}}})
	s = w.start()
	s.get(link("i", "full", at)).isImage("image/jpeg")
	before := w.origin.count("/pictures/cat")
	if out, errs, status := w.imgkeep("purge", link("i", "full", at)); status != 0 || !strings.Contains(out, "1 files removed") {
		t.Errorf("purge: status %d: %s%s", status, out, errs)
	}
	s.get(link("i", "full", at)).isImage("image/jpeg")
	if n := w.origin.count("/pictures/cat"); n != before+1 {
		t.Errorf("%d fetches after a purge", n-before)
	}
	s.stop()
}
