package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

const hookSecret = "the secret of these hooks"

// told is a message of a hook, of any type.
type told struct {
	Type, Op, URL, By, Why string
	Links                  []string
	All                    bool
	Images                 []struct{ Bucket, Digest string }
	Items                  []struct{ Bucket, URL, Digest, Class string }
}

// hooked is a receiver of hooks, which checks their signatures.
type hooked struct {
	t    *testing.T
	base string
	down atomic.Bool
	mu   sync.Mutex
	all  []told
	more chan struct{}
}

func newHooked(t *testing.T) *hooked {
	t.Helper()
	h := &hooked{t: t, more: make(chan struct{}, 1000)}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(hookSecret))
		mac.Write([]byte(r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + string(body)))
		if r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
			t.Errorf("the signature is wrong: %v", r.Header)
		}
		var m told
		if err := json.Unmarshal(body, &m); err != nil || m.Type != strings.TrimPrefix(r.URL.Path, "/") {
			t.Errorf("%s: %v: %s", r.URL.Path, err, body)
		}
		h.mu.Lock()
		h.all = append(h.all, m)
		h.mu.Unlock()
		h.more <- struct{}{}
	}))
	t.Cleanup(s.Close)
	h.base = s.URL
	return h
}

// wait waits until the receiver was told so often of a type, and returns that.
func (h *hooked) wait(kind string, n int) (of []told) {
	h.t.Helper()
	for late := time.After(patience.Of(h.t)); ; {
		h.mu.Lock()
		of = slices.DeleteFunc(slices.Clone(h.all), func(m told) bool { return m.Type != kind })
		h.mu.Unlock()
		if len(of) >= n {
			return of
		}
		select {
		case <-h.more:
		case <-late:
			h.t.Fatalf("told %d times of what is %s, want %d", len(of), kind, n)
		}
	}
}

// Programs of the operator's are told what is kept, what fails and what is removed, with
// the links that a CDN has to drop. A receiver that is down holds up no removal, and none is
// lost with the server: not those that it made before it was killed, and not those that
// were made without it.
func TestHooks(t *testing.T) {
	t.Parallel()
	h := newHooked(t)
	w := newWorld(t, settings{
		"hooks.removed": settings{"url": h.base + "/removed"}, "hooks.kept": settings{"url": h.base + "/kept"}, "hooks.failed": settings{"url": h.base + "/failed"},
		"hooks.secrets": []string{hookSecret},
	})
	s := w.start()
	var urls []string
	for _, name := range []string{"1", "2", "3"} {
		urls = append(urls, w.origin.serve("/pictures/"+name, photo(t, 30, 30+len(urls))))
		s.get(link("i", "10x10", urls[len(urls)-1])).isImage("image/jpeg")
	}
	missing := w.origin.url("/pictures/missing")
	s.get(link("i", "full", missing)).isError(http.StatusNotFound, "gone")
	var kept []string
	for _, m := range h.wait("kept", 1) {
		for _, i := range m.Items {
			kept = append(kept, i.URL)
		}
	}
	if len(kept) == 0 || !slices.Equal(kept, urls[:len(kept)]) {
		t.Errorf("kept: %q", kept)
	}
	if f := h.wait("failed", 1)[0].Items[0]; f.URL != missing || f.Class != "gone" || f.Bucket != "i" {
		t.Errorf("failed: %+v", f)
	}

	block := func(name string) {
		t.Helper()
		if out, errs, status := w.imgkeep("block", "--why", "ticket 4711", name); status != 0 {
			t.Fatalf("block: status %d: %s%s", status, out, errs)
		}
	}
	block(link("i", "full", urls[0]))
	m := h.wait("removed", 1)[0]
	if m.Op != "block" || m.URL != urls[0] || m.Why != "ticket 4711" || m.By == "" || m.All || len(m.Images) != 1 ||
		!slices.Contains(m.Links, link("i", "full", urls[0])) || !slices.Contains(m.Links, link("i", "10x10", urls[0])) {
		t.Errorf("removed: %+v", m)
	}
	w.waitFor(`imgkeep_hook_messages_waiting{hook="removed"}`, 0) // else it would be told of again
	h.down.Store(true)
	block(urls[1]) // nobody waits for the receiver
	s.get(link("i", "full", urls[1])).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.kill()
	block("*.quarantined.example") // without a server
	block(urls[2])
	h.down.Store(false)
	s = w.start()
	defer s.stop()
	got := h.wait("removed", 4)[1:]
	if got[0].URL != urls[1] || got[0].All || !got[1].All || got[1].Op != "block" || got[2].URL != urls[2] || !slices.Contains(got[2].Links, link("i", "full", urls[2])) {
		t.Errorf("after the restart: %+v", got)
	}
	w.waitFor(`imgkeep_hook_messages_waiting{hook="removed"}`, 0)
	if left := w.files(filepath.Join("hooks", "*")); len(left) > 0 {
		t.Errorf("left in the outbox: %v", left)
	}
}
