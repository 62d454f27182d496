package nginx_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
)

// Without imgkeep hot links are served, and everything else is one line that says
// to try again.
func TestImgkeepDown(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	w.stop()
	url := w.URL + "/i/full/" + sigA + "/" + extURL
	for range 3 {
		if a := ask(t, w.client, "GET", url, nil); a.Status != 200 || len(a.Body) != 100 {
			t.Errorf("hot: %d, want 200", a.Status)
		}
		a := ask(t, w.client, "GET", w.URL+"/i/150x/"+sigA+"/"+extURL, nil)
		if a.Status != 502 || a.Header["X-Imgkeep-Error"] != "unavailable" || a.Header["Retry-After"] == "" || a.Header["Cache-Control"] != "no-store" ||
			strings.Count(string(a.Body), "\n") != 1 || strings.Contains(string(a.Body), "<") {
			t.Errorf("not hot: %d %v %q", a.Status, a.Header, a.Body)
		}
	}
	if a := ask(t, w.client, "GET", url, http.Header{"Range": {"bytes=100-"}}); a.Status != 416 || a.Header["X-Imgkeep-Error"] != "range" || a.Header["Content-Range"] != "bytes */100" {
		t.Errorf("range: %d %v", a.Status, a.Header)
	}
	// A file that has vanished now cannot be explained.
	if err := os.Remove(filepath.Join(w.app.root, "i/a/b/d.jpg")); err != nil {
		t.Fatal(err)
	}
	w.within(t, "a vanished file is 502", func() bool { return ask(t, w.client, "GET", url, nil).Status == 502 })
}

// imgkeep is too slow: nginx says so.
func TestImgkeepHangs(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) { s.Timeout = time.Second })
	w.stop()
	socket := strings.TrimPrefix(w.site.Upstream, "unix:")
	os.Remove(socket)
	silent, err := net.Listen("unix", socket) // accepts, in its backlog, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	a := ask(t, w.client, "GET", w.URL+"/x", nil)
	if a.Status != 504 || a.Header["X-Imgkeep-Error"] != "timeout" || a.Header["Retry-After"] == "" || strings.Contains(string(a.Body), "<") {
		t.Errorf("%d %v %q", a.Status, a.Header, a.Body)
	}
}

// A limit of the rate refuses as everything here is refused.
func TestRateLimit(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) { s.RateLimit, s.RateBurst = 1, 1 }, func(conf string) string {
		return strings.Replace(conf, "rate=1r/s", "rate=1r/m", 1) // whatever the test takes
	})
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	url := w.URL + "/i/full/" + sigA + "/" + extURL
	for range 2 { // one, and the burst
		if a := ask(t, w.client, "GET", url, nil); a.Status != 200 {
			t.Errorf("within the limit: %d", a.Status)
		}
	}
	a := ask(t, w.client, "GET", url, nil)
	if a.Status != 429 || a.Header["X-Imgkeep-Error"] != "rate" || a.Header["Retry-After"] == "" || strings.Contains(string(a.Body), "<") {
		t.Errorf("beyond it: %d %v %q", a.Status, a.Header, a.Body)
	}
	w.client.CloseIdleConnections()
	w.Stop()
	if log := w.AccessLog(); !strings.Contains(log, "GET /i/full 429 ") {
		t.Errorf("the log does not say what was refused:\n%s", log)
	}
}

// Whoever has one address of a /64 has all of it, however nginx writes that.
func TestRateLimitOfNetworks(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) { s.RateLimit = 1 }, func(conf string) string {
		conf = strings.Replace(conf, "rate=1r/s", "rate=1r/m", 1) // whatever the test takes
		return strings.Replace(conf, "limit_req_zone", "set_real_ip_from 127.0.0.1;\nreal_ip_header X-From;\nlimit_req_zone", 1)
	})
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	for i, network := range [][]string{
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::", "2001:db8:1:2::6", "2001:db8:1:2:3::"},
		{"2001:db8:1:3:3:4:5:6"},
		{"2001:db8:1::6", "2001:db8:1::", "2001:db8:1:0:3:4:5:6", "2001:db8:1:0:3::"},
		{"2001:db8::6", "2001:db8::3:4:5:6", "2001:db8:0:0:3::"},
		{"2001:db8:0:1::", "2001:db8:0:1::6", "2001:db8:0:1:3:4:5:6"},
		{"2001::6", "2001::", "2001::3:4:5:6", "2001:0:0:0:1:0:0:0"},
		{"2001:0:0:2:3:4:5:6", "2001:0:0:2::", "2001::2:0:0:5:6"},
		{"2001:0:0:3:3:4:5:6"},
		{"192.0.2.1"},
		{"192.0.2.2"},
		{"::1"},
		{"::2"},
	} {
		for n, address := range network {
			want := 200
			if n > 0 {
				want = 429
			}
			if a := ask(t, w.client, "GET", w.URL+"/i/full/"+sigA+"/"+extURL, http.Header{"X-From": {address}}); a.Status != want {
				t.Errorf("network %d, %s: %d, want %d", i, address, a.Status, want)
			}
		}
	}
}

// Other local users find no signature: they may follow a link whose name they
// know, and not list a folder.
func TestUnlistable(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, nil)
	w.app.set("i", sigA, image{expires: time.Now().Add(time.Hour), files: map[string]string{"full": w.store(t, "i", "d.jpg", 100)}})
	w.heat(t, "i", "full", sigA)
	for folder := filepath.Join(w.site.Hot, "i/full/gn"); folder != filepath.Dir(w.site.Hot); folder = filepath.Dir(folder) {
		if info, err := os.Stat(folder); err != nil || info.Mode().Perm()&0o066 != 0 {
			t.Errorf("%s: %v, %v", folder, info.Mode(), err)
		}
	}
	// Started by root, nginx' workers are nobody, and served that link.
	if a := ask(t, w.client, "GET", w.URL+"/i/full/"+sigA+"/"+extURL, nil); a.Status != 200 || len(w.app.take()) > 0 {
		t.Errorf("%d, want 200 from nginx alone", a.Status)
	}
}
