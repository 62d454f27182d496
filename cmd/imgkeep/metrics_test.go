package main_test

import (
	"context"
	"io"
	"net"
	"net/http"
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
	if a := s.get("/metrics"); a.status != http.StatusBadRequest {
		t.Errorf("where links are: status %d", a.status)
	}
	s.stop()
}
