package main_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"imgkeep/scripts/patience"
)

// list writes a list of URLs, and returns its path.
func (w *world) list(urls ...string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, "urls")
	if err := os.WriteFile(path, []byte(strings.Join(urls, "\n")), 0o644); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// reported are the lines of a file, sorted: they come in any order.
func (w *world) reported(path string) []string {
	w.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	all := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(text) == 0 {
		all = nil
	}
	slices.Sort(all)
	return all
}

// Populated images and sizes are there for the first viewer, without origin and
// without decoder; what was done once is not done again; the reports tell of each
// URL. With a server and without one.
func TestPopulate(t *testing.T) {
	t.Parallel()
	for name, serving := range map[string]bool{"served": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			var good []string
			images := map[string][]byte{}
			for i := range 20 {
				path := fmt.Sprintf("/pictures/%d", i)
				images[path] = photo(t, 60, 40)
				good = append(good, w.origin.serve(path, images[path]))
			}
			gone := w.origin.refuse("/pictures/gone", http.StatusNotFound)
			page := w.origin.serve("/pictures/page", []byte("<html>"))
			broken := w.origin.serve("/pictures/broken", undecodable())
			file := w.list(slices.Concat([]string{"", "  " + good[0] + "#fragment \r", page + "\tan earlier run's words"}, good,
				[]string{gone, "ftp://example.com/", broken, strings.Repeat("x", 20_000), ""})...)
			var s *server
			if serving {
				s = w.start()
			}
			out, errs, status := w.imgkeep("populate", "--sizes", "10x10,x20,10x10", file)
			if status != 3 || !strings.Contains(out, "26 URLs in ") || !strings.Contains(out, ", 5 failed; 4") || !strings.HasSuffix(errs, "imgkeep: 5 of 26 URLs are not kept\n") {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
			if got, want := w.reported(file+".success"), slices.Sorted(slices.Values(append([]string{good[0] + "#fragment"}, good...))); !slices.Equal(got, want) {
				t.Errorf("success: %q, want %q", got, want)
			}
			audit, err := os.ReadFile(filepath.Join(w.root(), "audit.ndjson"))
			if line := fmt.Sprintf(`"by":"uid %d`, os.Getuid()); err != nil || strings.Count(string(audit), "\n") != 1 || !strings.Contains(string(audit), line) ||
				!strings.Contains(string(audit), `"op":"populate","what":{"bucket":"i","sizes":["10x10","x20"],"urls":26,"kept":2`) || !strings.Contains(string(audit), `,"failed":5,"made":4`) {
				t.Errorf("the audit log: %s, %v", audit, err)
			}
			failed := w.reported(file + ".failed")
			codes := map[string]string{}
			for _, line := range failed {
				if f := strings.Split(line, "\t"); len(f) == 3 && f[2] != "" {
					codes[f[0][:min(len(f[0]), 100)]] = f[1]
				}
			}
			want := map[string]string{gone: "gone", page: "type", broken: "broken", "ftp://example.com/": "url", strings.Repeat("x", 100): "url"}
			if fmt.Sprint(codes) != fmt.Sprint(want) || len(failed) != 5 {
				t.Errorf("failed: %q, want %v", failed, want)
			}
			// Again: nothing is done twice, and what has failed is left in peace.
			out, _, status = w.imgkeep("populate", "--sizes", "10x10,x20", "--quiet", file)
			if status != 3 || !strings.Contains(out, ": 0 kept now (0 B), 21 kept before, 5 failed; 0 sizes made\n") {
				t.Errorf("again: status %d, %s", status, out)
			}
			for path := range w.origin.requests {
				if n := w.origin.count(path); n != 1 {
					t.Errorf("%s was fetched %d times", path, n)
				}
			}
			// What failed can be the list of another run.
			_, _, status = w.imgkeep("populate", file+".failed")
			if got := w.reported(file + ".failed.failed"); status != 3 || len(got) != 4 {
				t.Errorf("what failed: status %d, %q", status, got)
			}
			if got := w.reported(file + ".failed.success"); !slices.Equal(got, []string{broken}) {
				t.Errorf("without sizes: %q", got)
			}
			if !serving {
				s = w.start()
			}
			w.origin.off()
			for _, url := range good {
				s.get(link("i", "full", url)).isBytes("image/jpeg", images[strings.TrimPrefix(url, w.origin.URL)])
				s.get(link("i", "10x10", url)).isImage("image/jpeg")
				s.get(link("i", "x20", url)).isImage("image/jpeg")
			}
			s.stop()
		})
	}
}

// All sizes that are wanted of an image cost one decoding, and nothing for its
// viewers.
func TestPopulateDecodesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	gate := w.addGate(nil)
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	s := w.start()
	if out, errs, status := w.imgkeep("populate", "--sizes", "10x10,x20,50x", w.list(url)); status != 0 || !strings.Contains(out, "; 3 sizes made") {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	for _, size := range []string{"10x10", "x20", "50x"} {
		s.get(link("i", size, url)).isImage("image/jpeg")
	}
	if n := gate.count(); n != 1 {
		t.Errorf("%d decodings, want 1", n)
	}
	s.stop()
}

// However much is populated, a viewer finds a place free; one who wants what is
// still to be populated does not wait for its turn; and each image is fetched
// once.
func TestViewersBeforePopulate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"fetch.concurrency": 4, "fetch.per_host": 4})
	arrived := make(chan string, 100)
	released := make(chan struct{})
	var urls []string
	cat := photo(t, 30, 30)
	for i := range 10 {
		path := fmt.Sprintf("/pictures/%d", i)
		urls = append(urls, w.origin.on(path, func(w http.ResponseWriter, _ *http.Request) {
			arrived <- path
			if path != "/pictures/9" && path != "/pictures/8" {
				<-released
			}
			w.Write(cat)
		}))
	}
	s := w.start()
	done := make(chan string)
	go func() {
		out, errs, status := w.imgkeep("populate", "--quiet", w.list(urls[:9]...))
		done <- fmt.Sprint(status, " ", out, errs)
	}()
	begun := map[string]bool{<-arrived: true, <-arrived: true, <-arrived: true}
	// Three of four places are populate's, at most. A viewer who comes now is served.
	for _, url := range []string{urls[9], urls[8], urls[9]} {
		s.get(link("i", "full", url)).isBytes("image/jpeg", cat)
	}
	if begun["/pictures/8"] {
		t.Log("populate began with the last one")
	}
	close(released)
	if got := <-done; !strings.HasPrefix(got, "0 9 URLs in ") {
		t.Errorf("populate: %s", got)
	}
	for _, url := range urls {
		if n := w.origin.count(strings.TrimPrefix(url, w.origin.URL)); n != 1 {
			t.Errorf("%s was fetched %d times", url, n)
		}
	}
	s.stop()
}

// A run that is told to stop ends, loses nothing that it has done, and another
// goes on where it was.
func TestPopulateStops(t *testing.T) {
	t.Parallel()
	for name, serving := range map[string]bool{"served": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{"fetch.concurrency": 4, "fetch.per_host": 4})
			cat := photo(t, 30, 30)
			var urls []string
			for i := range 30 {
				urls = append(urls, w.origin.serve(fmt.Sprintf("/pictures/%d", i), cat))
			}
			h := w.origin.hold("/pictures/held", cat)
			file := w.list(append([]string{h.url}, urls...)...)
			var s *server
			if serving {
				s = w.start()
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience.Of(t))
			defer cancel()
			cmd := w.command(ctx, "populate", file)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-h.arrived
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if serving { // the server goes on with what it has begun, and nobody waits
				cmd.Wait()
				h.release()
			} else {
				h.release()
				cmd.Wait()
			}
			if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(errs.String(), "told to stop: run it again") {
				t.Errorf("status %d: %s%s", status, &out, &errs)
			}
			if stdout, stderr, status := w.imgkeep("populate", file); status != 0 || !strings.Contains(stdout, "31 URLs in ") {
				t.Errorf("again: status %d: %s%s", status, stdout, stderr)
			}
			if got := w.reported(file + ".success"); len(got) != 31 {
				t.Errorf("%d of 31 are kept", len(got))
			}
			for _, url := range append(urls, h.url) {
				if n := w.origin.count(strings.TrimPrefix(url, w.origin.URL)); n != 1 {
					t.Errorf("%s was fetched %d times", url, n)
				}
			}
			if serving {
				s.stop()
			}
		})
	}
}

// What would fail for all URLs ends the run; a server that goes away does.
func TestPopulateGivesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"store.min_free": "900000GiB"})
	url := w.origin.serve("/pictures/cat", photo(t, 30, 30))
	if _, errs, status := w.imgkeep("populate", w.list(url, url)); status != 1 || !strings.Contains(errs, "the disk is too full") {
		t.Errorf("a full disk: status %d, %s", status, errs)
	}
	w.set("store.min_free", 0)
	h := w.origin.hold("/pictures/held", photo(t, 30, 30))
	s := w.start()
	done := make(chan string)
	go func() {
		out, errs, status := w.imgkeep("populate", w.list(h.url))
		done <- fmt.Sprint(status, " ", out, errs)
	}()
	<-h.arrived
	s.kill()
	if got := <-done; !strings.HasPrefix(got, "1 ") {
		t.Errorf("the server is gone: %s", got)
	}
	h.release()
}

func TestPopulateUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	file := w.list("https://example.com/")
	for want, args := range map[string][]string{
		"--sizes: 11, of 11x, is not one of the sizes": {"--sizes", "11x", file},
		`--sizes: "full" is not height x width`:        {"--sizes", "full", file},
		`--bucket: "x" is not one of i`:                {"--bucket", "x", file},
		"no such file":                                 {file + "s"},
		"accepts at most 1 arg":                        {file, file},
	} {
		if _, errs, status := w.imgkeep(append([]string{"populate"}, args...)...); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%v: status %d, %s; want %q", args, status, errs, want)
		}
	}
	if got, _ := filepath.Glob(file + ".*"); len(got) > 0 {
		t.Errorf("it has written %v", got)
	}
	// Standard input, of which nothing is kept.
	ctx, cancel := context.WithTimeout(t.Context(), patience.Of(t))
	defer cancel()
	cmd := w.command(ctx, "populate", "-")
	cmd.Stdin = strings.NewReader("nonsense\n")
	out, _ := cmd.CombinedOutput()
	if status := cmd.ProcessState.ExitCode(); status != 1 || !strings.Contains(string(out), "imgkeep: nonsense: url: not the URL of an image") {
		t.Errorf("standard input: status %d, %s", status, out)
	}
}
