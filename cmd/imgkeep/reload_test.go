package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// Settings are changed while requests are answered: none is lost, and what is
// wrong changes nothing.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := photo(t, 80, 60)
	url := w.origin.serve("/pictures/cat", image)
	s := w.start()
	old := link("i", "full", url)
	s.get(old).isBytes("image/jpeg", image)
	s.get(link("i", "40x40", url)).isError(http.StatusBadRequest, "size")

	stop := make(chan struct{})
	var viewers sync.WaitGroup
	for range 3 {
		viewers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.get(old).isBytes("image/jpeg", image)
				}
			}
		})
	}
	// A secret is rotated: the new one is put first, and no link breaks.
	const fresh = "the secret of the weeks to come"
	w.set("sign.secrets", []string{fresh, secret})
	w.set("sizes", []int{40})
	w.set("listen", "127.0.0.1:1")
	out, errs, status := w.imgkeep("reload")
	if status != 3 || out != "changed: sign.secrets, sizes\n" || !strings.Contains(errs, "waits for a restart: listen") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	ext := extURL(old)
	rotated := "/i/full/" + signature(fresh, "i/"+ext, time.Now()) + "/" + ext
	s.get(rotated).isBytes("image/jpeg", image)
	s.get(link("i", "40x40", url)).isImage("image/jpeg")
	s.get(link("i", "20x20", url)).isError(http.StatusBadRequest, "size")

	// A wrong file keeps the old settings and says so.
	w.set("sizes", []int{0})
	if out, errs, status := w.imgkeep("reload"); status != 2 || !strings.Contains(errs, "sizes[0]") {
		t.Errorf("a wrong file: status %d, %s%s", status, out, errs)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(s.logged("the new configuration is wrong, and the old one holds")["error"]); !strings.Contains(text, "sizes[0]") {
		t.Errorf("logged %s", text)
	}
	s.get(link("i", "40x40", url)).isImage("image/jpeg")
	close(stop)
	viewers.Wait()

	// SIGHUP does the same: the old secret goes, and a host is denied.
	w.set("sizes", []int{40})
	w.set("sign.secrets", []string{fresh})
	w.set("fetch.deny_hosts", []string{"127.0.0.1"})
	w.command(t.Context())                        // writes the file
	changed := s.logged("configuration reloaded") // the first
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); s.get(rotated).status != http.StatusUnavailableForLegalReasons; {
		if time.Since(begin) > patience.Of(t) {
			t.Fatal("SIGHUP changes nothing")
		}
	}
	s.get(old).isError(http.StatusForbidden, "signature")
	if fmt.Sprint(changed["changed"]) != "[sign.secrets sizes]" {
		t.Errorf("logged %v", changed)
	}
	s.stop()
	text, err := os.ReadFile(filepath.Join(w.root(), "audit.ndjson"))
	if err != nil || strings.Count(string(text), `"op":"reload"`) != 3 || strings.Count(string(text), `"by":"SIGHUP","op":"reload"`) != 2 ||
		!strings.Contains(string(text), `"error":"the new configuration is wrong`) || strings.Contains(string(text), fresh) {
		t.Errorf("the audit log: %s, %v", text, err)
	}
}

// A server that serves is not ended by SIGHUP, however early that comes.
func TestReloadAtOnce(t *testing.T) {
	t.Parallel()
	s := newWorld(t, nil).start()
	s.signal(syscall.SIGHUP)
	s.logged("configuration reloaded")
	s.stop()
}

// Behind nginx a reload ends the hot links that hang on what is gone.
func TestReloadEndsHotLinks(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	s := w.start()
	ng := w.front(site)
	path := link("i", "full", url)
	ng.see("GET", path, nil)
	w.set("sign.secrets", []string{"another secret for new links", secret})
	if _, errs, status := w.imgkeep("reload"); status != 0 || len(w.links()) != 1 {
		t.Errorf("one more secret: status %d, %s, links %v", status, errs, w.links())
	}
	w.set("sign.secrets", []string{"another secret for new links"})
	if _, errs, status := w.imgkeep("reload"); status != 0 || len(w.links()) != 0 {
		t.Errorf("one secret fewer: status %d, %s, links %v", status, errs, w.links())
	}
	w.within(site, "the secret is gone", func() bool { return ng.see("GET", path, nil).status == 403 })
	s.stop()
}
