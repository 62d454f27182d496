package s3_test

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
	"imgkeep/bucket/blob/s3/s3test"
)

// A real store passes the probe, asked by way of two gateways in turns.
func TestProbe(t *testing.T) {
	one := s3test.Start(t)
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	r := object.Probe(t.Context(), rounds, one.Client(t), one.Another(t).Client(t))
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	for _, c := range r {
		t.Logf("%-50s %3d times in %s", c.Name, c.Tried, c.Took)
	}
	for name, err := range one.Client(t).List(t.Context(), "probe/") {
		if strings.HasSuffix(name, "/") {
			for left := range one.Client(t).List(t.Context(), name) {
				t.Errorf("left is %s, %v", left, err)
			}
		}
	}
}

// A proxy before the store that ignores conditions, or lets two of eight win, is named.
func TestProbeProxy(t *testing.T) {
	gateway := s3test.Start(t)
	for name, tt := range map[string]struct {
		wins int // so many writers of a key are passed on without their condition
		says []string
	}{
		"conditions are ignored": {1 << 30, []string{"the store ignores If-None-Match", "the store ignores If-Match", "8 of 8 were told"}},
		"two of eight win":       {2, []string{"2 of 8 were told that they had won"}},
	} {
		t.Run(name, func(t *testing.T) {
			direct, pass := gateway.Client(t), passOn(t, gateway.URL)
			prefix := "/" + s3test.Bucket + "/" + gateway.Options(t).Prefix
			var mu sync.Mutex
			won := map[string]int{}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				conditional := r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != ""
				if r.Method != http.MethodPut || !conditional || tt.wins == 2 && !strings.HasPrefix(string(body), "writer") {
					pass.ServeHTTP(w, r)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if won[r.URL.Path]++; won[r.URL.Path] > tt.wins {
					w.Header().Set("Content-Type", "application/xml")
					w.WriteHeader(http.StatusPreconditionFailed)
					io.WriteString(w, "<Error><Code>PreconditionFailed</Code></Error>")
					return
				}
				if err := direct.Put(r.Context(), strings.TrimPrefix(r.URL.Path, prefix), object.Text(body, "")); err != nil {
					t.Error(err)
				}
			}))
			defer proxy.Close()
			o := gateway.Options(t)
			o.Endpoint = proxy.URL
			c, err := s3.New(o)
			if err != nil {
				t.Fatal(err)
			}
			got := object.Probe(t.Context(), 1, c).Err()
			if got == nil {
				t.Fatal("it passes")
			}
			for _, want := range tt.says {
				if !strings.Contains(got.Error(), want) {
					t.Errorf("it says %v, want %q", got, want)
				}
			}
		})
	}
}

// passOn is a proxy that changes nothing, not even the host that is signed.
func passOn(t testing.TB, target string) *httputil.ReverseProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // of the connections that a test breaks
	}
}
