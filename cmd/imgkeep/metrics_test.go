package main_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What Prometheus reads is at an address of its own, where one is set, and on the
// admin socket; never where links are.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"metrics.listen": "127.0.0.1:0"})
	s := w.start()
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	for range 2 {
		s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	}
	read := func(client *http.Client, url string) string {
		t.Helper()
		r, err := client.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 {
			t.Errorf("%s: %s, %v", url, r.Status, err)
		}
		return string(body)
	}
	socket := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(w.root(), "admin.sock"))
	}}}
	defer socket.CloseIdleConnections()
	defer http.DefaultClient.CloseIdleConnections()
	for name, text := range map[string]string{
		"metrics.listen": read(http.DefaultClient, "http://"+s.logged("metrics")["address"].(string)+"/metrics"),
		"admin socket":   read(socket, "http://imgkeep/metrics"),
	} {
		for _, line := range []string{
			`imgkeep_requests_total{code="ok",temperature="cold"} 1`, `imgkeep_requests_total{code="ok",temperature="warm"} 1`,
			`imgkeep_fetches_total{class="ok"} 1`, "imgkeep_decoders 1", "imgkeep_fetches_running 0",
		} {
			if !strings.Contains(text, line+"\n") {
				t.Errorf("%s: there is no line %q", name, line)
			}
		}
		if strings.Contains(text, "/pictures/cat") || strings.Contains(text, "127.0.0.1") {
			t.Errorf("%s: a URL or an address is in it", name)
		}
	}
	// What somebody changes is counted, and so is what cannot be noted.
	audit := filepath.Join(w.root(), "audit.ndjson")
	for _, c := range []struct {
		args   []string
		status int
	}{{[]string{"forget", "--dry-run", url}, 0}, {[]string{"purge", url}, 0}, {[]string{"unblock", url}, 1}, {[]string{"reload"}, 0}} {
		if _, errs, status := w.imgkeep(c.args...); status != c.status {
			t.Errorf("%v: status %d: %s", c.args, status, errs)
		}
	}
	if err := os.Remove(audit); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(audit, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, errs, status := w.imgkeep("block", url); status != 1 || !strings.Contains(errs, "audit log") {
		t.Errorf("without an audit log: status %d: %s", status, errs)
	}
	hasLine(t, read(socket, "http://imgkeep/metrics"),
		`imgkeep_removals_total{result="ok",verb="purge"} 1`, `imgkeep_removals_total{result="ok",verb="forget"} 0`,
		`imgkeep_removals_total{result="failed",verb="unblock"} 1`, `imgkeep_removals_total{result="failed",verb="block"} 1`,
		`imgkeep_reloads_total{result="ok"} 1`, `imgkeep_audit_failures_total 1`)
	if a := s.get("/metrics"); a.status != http.StatusBadRequest {
		t.Errorf("where links are: status %d", a.status)
	}
	s.stop()
}
