package main_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// An operator removes by any link, while the server runs and while it does not:
// what is blocked answers 451 at once, in every size and bucket, through /proxy and
// under another URL, also after a restart and when the index was lost.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{
		"buckets": []map[string]any{{"name": "i"}, {"name": "f"}},
		"presets": []map[string]any{{"name": "tiny-one", "width": 16}},
	})
	image, other := photo(t, 80, 60), photo(t, 40, 30)
	url := w.origin.serve("/pictures/cat", image)
	same := w.origin.serve("/pictures/same", image)
	dog := w.origin.serve("/pictures/dog", other)
	s := w.start()
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	s.get(link("i", "20x20", url)).isImage("image/jpeg")
	s.get(link("i", "tiny-one", url)).isImage("image/jpeg")
	s.get(link("f", "full", url)).isBytes("image/jpeg", image)
	s.get(link("i", "full", dog)).isBytes("image/jpeg", other)

	ext := base64.RawURLEncoding.EncodeToString([]byte(url))
	expired := "https://img.example" + signed(secret, "f", "50x50", ext, "", time.Now().Add(-60*24*time.Hour))
	out, errs, status := w.imgkeep("block", "--dry-run", expired)
	if status != 0 || !strings.Contains(out, "would be blocked: url "+url) {
		t.Errorf("dry run: status %d, %s%s", status, out, errs)
	}
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	out, errs, status = w.imgkeep("block", "--why", "ticket 7", expired)
	if status != 0 {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	for _, want := range []string{"blocked: url " + url + "\n", "  " + link("i", "20x20", url) + "\n", "  " + link("i", "tiny-one", url) + "\n", "  " + link("f", "full", url) + "\n", "  " + proxyLink("i", "full", url) + "\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %q: %s", want, out)
		}
	}
	blocked := func(s *server) {
		t.Helper()
		for _, path := range []string{link("i", "full", url), link("i", "20x20", url), link("i", "info", url), link("f", "full", url), proxyLink("i", "full", url), link("i", "full", same), proxyLink("f", "full", same)} {
			s.get(path).isError(http.StatusUnavailableForLegalReasons, "removed")
		}
		s.get(link("i", "full", dog)).isBytes("image/jpeg", other)
	}
	blocked(s)
	if len(w.originals("i")) != 1 || len(w.originals("f")) != 0 {
		t.Errorf("on disk: %v", append(w.originals("i"), w.originals("f")...))
	}
	s.stop()

	// The rest without a server.
	if err := os.Remove(filepath.Join(w.root(), "index.db")); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := w.imgkeep("purge", link("i", "info", dog)); status != 0 || !strings.Contains(out, "1 files removed") {
		t.Errorf("purge: status %d, %s%s", status, out, errs)
	}
	if out, errs, status := w.imgkeep("forget", dog, url); status != 1 || strings.Count(errs, "not kept") != 2 {
		t.Errorf("forget what is not there: status %d, %s%s", status, out, errs)
	}
	if out, _, status := w.imgkeep("list", "--blocked"); status != 0 || strings.Count(out, "\n") != 2 || !strings.Contains(out, "ticket 7") {
		t.Errorf("list --blocked: status %d, %s", status, out)
	}
	s = w.start()
	blocked(s) // and the dog is fetched again
	if out, errs, status := w.imgkeep("unblock", url); status != 0 || strings.Count(out, "unblocked: ") != 2 {
		t.Errorf("unblock: status %d, %s%s", status, out, errs)
	}
	s.get(link("i", "full", same)).isBytes("image/jpeg", image)
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	s.stop()

	f, err := os.Open(filepath.Join(w.root(), "audit.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var ops []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var c struct{ Op, By, Why, Error string }
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil || !strings.HasPrefix(c.By, "uid ") {
			t.Errorf("%s: %v", lines.Text(), err)
		}
		ops = append(ops, c.Op+" "+c.Why+c.Error)
	}
	if got, want := strings.Join(ops, ", "), "block ticket 7, purge , forget not kept, forget not kept, unblock "; got != want {
		t.Errorf("the audit log: %s; want %s", got, want)
	}
}

// A process dies between the line of a block in the journal and all that follows: the
// next one takes the block in, and drops the hot links, by which nginx would go on
// serving. Without such a line they stay.
func TestStartDropsLinksOfRemoved(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	s := w.start()
	ng := w.front(site)
	ng.see(http.MethodGet, link("i", "full", url), nil)
	s.stop()
	// What that process leaves: the index and the tree from before.
	keep := func(from, to string) {
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v %s", err, out)
		}
	}
	index, hot := filepath.Join(w.root(), "index.db"), filepath.Join(w.dir, "hot")
	keep(index, index+".before")
	keep(hot, hot+".before")
	w.start().stop()
	if n := len(w.links()); n != 1 {
		t.Fatalf("%d links after a start without a block", n)
	}
	if _, errs, status := w.imgkeep("block", url); status != 0 {
		t.Fatalf("block: status %d, %s", status, errs)
	}
	for _, path := range []string{index, hot} {
		if err := errors.Join(os.RemoveAll(path), os.Rename(path+".before", path)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.links()); n != 1 {
		t.Fatalf("%d links before the start", n)
	}
	s = w.start()
	if links := w.links(); len(links) != 0 {
		t.Errorf("links of what is blocked: %v", links)
	}
	s.get(link("i", "full", url)).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.stop()
}

// A host is put in quarantine and comes back; what is in the air when its host is
// blocked is not kept, nor is what a redirect leads to there.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	held := w.origin.hold("/pictures/held", image)
	s := w.start()
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	done := make(chan answer)
	go func() { done <- s.get(link("i", "full", held.url)) }()
	<-held.arrived
	if out, errs, status := w.imgkeep("block", "127.0.0.1"); status != 0 {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	held.release()
	a := <-done
	a.isError(http.StatusUnavailableForLegalReasons, "removed")
	for _, path := range []string{link("i", "full", url), link("i", "full", held.url), proxyLink("i", "full", held.url)} {
		s.get(path).isError(http.StatusUnavailableForLegalReasons, "removed")
	}
	if n := w.origin.count("/pictures/held"); n != 1 {
		t.Errorf("%d fetches", n)
	}
	if len(w.originals("i")) != 1 {
		t.Errorf("on disk: %v", w.originals("i"))
	}
	if out, errs, status := w.imgkeep("unblock", "127.0.0.1"); status != 0 {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	if n := w.origin.count("/pictures/cat"); n != 1 {
		t.Errorf("%d fetches", n)
	}
	s.stop()
}

// Behind nginx a removal takes the hot links along that would outlive it: nginx
// asks again within nginx.valid.
func TestRemoveBehindNginx(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	image := photo(t, 80, 60)
	cat, same := w.origin.serve("/pictures/cat", image), w.origin.serve("/pictures/same", image)
	s := w.start()
	ng := w.front(site)
	view := func(url string, status int) {
		t.Helper()
		w.within(site, url, func() bool { return ng.see("GET", link("i", "full", url), nil).status == status })
	}
	view(cat, 200)
	view(same, 200)
	if got := w.links(); len(got) != 2 {
		t.Fatalf("hot links: %v", got)
	}
	w.origin.refuse("/pictures/cat", http.StatusNotFound)
	if out, errs, status := w.imgkeep("forget", cat); status != 0 || !strings.Contains(out, "1 other URLs still have it") {
		t.Errorf("forget: status %d, %s%s", status, out, errs)
	}
	view(cat, 404)
	view(same, 200)
	if out, errs, status := w.imgkeep("block", "127.0.0.1"); status != 0 {
		t.Errorf("block: status %d, %s%s", status, out, errs)
	}
	if got := w.links(); len(got) != 0 {
		t.Errorf("hot links: %v", got)
	}
	view(same, 451)
	w.imgkeep("unblock", "127.0.0.1")
	view(same, 200)
	s.stop()
	// And without the server, whose place nginx takes.
	if out, errs, status := w.imgkeep("block", "--keep", same); status != 0 || len(w.links()) != 0 {
		t.Errorf("block: status %d, %s%s; links %v", status, out, errs, w.links())
	}
}
