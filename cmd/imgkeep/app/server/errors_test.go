package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/approve"
	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// minute is the Retry-After of a first failure that passes by itself.
const minute = "60"

// response is what a viewer is told.
type response struct {
	status      int
	code, retry string
}

// classes are the responses to what a fetch can say.
var classes = map[fetch.ErrorKind]response{
	fetch.Refused:       {403, "refused", ""},
	fetch.Denied:        {451, "removed", ""},
	fetch.Gone:          {404, "gone", ""},
	fetch.Blocked:       {502, "blocked", "300"},
	fetch.Failed:        {502, "origin", minute},
	fetch.Timeout:       {504, "origin-timeout", minute},
	fetch.TooLarge:      {413, "too-large", ""},
	fetch.TooManyPixels: {413, "too-many-pixels", ""},
	fetch.TooManyFrames: {413, "too-many-frames", ""},
	fetch.NotImage:      {415, "type", ""},
	fetch.Broken:        {422, "broken", ""},
	fetch.Busy:          {503, "busy", "5"},
	fetch.Paused:        {503, "paused", minute},
}

func TestStatusOfFetches(t *testing.T) {
	s := newSite(t, nil)
	for class, want := range classes {
		err := &fetch.Error{Kind: class, Status: 418, Host: private, Head: []byte(private), Err: errors.New(private)}
		url := s.origin.put(string(class), err)
		for about, path := range map[string]string{
			"full":      s.link("full", url),
			"again":     s.link("full", url), // remembered or not, it is told the same
			"size":      s.link("10x10", url),
			"info":      s.link("info", url),
			"not kept":  s.proxyLink("full", url),
			"not kept2": s.proxyLink("full", s.origin.put(string(class)+"2", err)),
		} {
			w := s.get(path)
			checkError(t, string(class)+", "+about, w, want.status, want.code)
			if got := w.Header().Get("Retry-After"); got != want.retry {
				t.Errorf("%s, %s: Retry-After is %q, want %q", class, about, got, want.retry)
			}
		}
	}
}

// A kind of error that somebody adds must have a response.
func TestEveryErrorKindHasAStatus(t *testing.T) {
	for _, class := range fetch.ErrorKinds() {
		if _, ok := classes[class]; !ok {
			t.Errorf("class %q is not in the table of this test", class)
		}
	}
}

// Retry-After is the time until the next attempt, by the clock.
func TestRetryAfter(t *testing.T) {
	s := newSite(t, nil)
	url := s.origin.put("cat", &fetch.Error{Kind: fetch.Failed, Err: errors.New(private)})
	slow := s.origin.put("slow", &fetch.Error{Kind: fetch.Blocked, RetryAfter: time.Hour, Err: errors.New(private)})
	for _, test := range []struct {
		after time.Duration
		url   string
		want  string
	}{
		{0, url, "60"},
		{0, slow, "3600"},
		{15*time.Second + 500*time.Millisecond, url, "45"}, // rounded up: not too early
		{44 * time.Second, url, "1"},
		{time.Second, url, "120"}, // it was tried again, and the pause doubles
	} {
		s.clock.add(test.after)
		if got := s.get(s.link("full", test.url)).Header().Get("Retry-After"); got != test.want {
			t.Errorf("after %v: %s, want %s", test.after, got, test.want)
		}
	}
}

// check is an operator's check with one answer.
type check struct{ err error }

func (c check) Ask(context.Context, approve.Question, io.ReaderAt) error { return c.err }

func TestStatusOfTheCheck(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want response
	}{
		"no":        {fmt.Errorf("%w: %s", approve.ErrRejected, private), response{451, "rejected", ""}},
		"no answer": {fmt.Errorf("%w: %s", approve.ErrNoAnswer, private), response{503, "unchecked", "30"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(o *bucket.Options, _ *server.Options) { o.Approver = check{test.err} })
			everywhere(t, s, test.want)
		})
	}
}

// everywhere checks that every kind of request for a new image gets this response.
func everywhere(t *testing.T, s *site, want response) {
	t.Helper()
	url := s.origin.put("cat", toJPEG(t, 30, 30))
	for _, path := range []string{
		s.link("full", url), s.link("full", url), s.link("10x10", url), s.link("info", url), s.proxyLink("full", url),
		s.proxyLink("full", s.origin.put("dog", toJPEG(t, 30, 30))),
	} {
		w := s.get(path)
		checkError(t, path, w, want.status, want.code)
		if got := w.Header().Get("Retry-After"); got != want.retry {
			t.Errorf("Retry-After is %q, want %q", got, want.retry)
		}
	}
}

// What a link is unwrapped to is what is kept, and a refusal is the viewer's.
func TestUnwrap(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) {
		o.Unwrap = func(url string) (string, error) {
			if strings.Contains(url, "forged") {
				return "", &fetch.Error{Kind: fetch.Refused, Err: errors.New(private)}
			}
			return strings.Replace(url, "outer.example/", "origin.example/", 1), nil
		}
	})
	url := s.origin.put("cat", toJPEG(t, 30, 30))
	outer := strings.Replace(url, "origin.example/", "outer.example/", 1)
	for _, path := range []string{s.link("full", outer), s.link("full", url), s.link("info", outer), s.proxyLink("full", outer)} {
		if w := s.get(path); w.Code != 200 {
			t.Errorf("%s: status %d", path, w.Code)
		}
	}
	if s.origin.fetches[url] != 1 || len(s.origin.fetches) != 1 {
		t.Errorf("fetched %v", s.origin.fetches)
	}
	checkError(t, "forged", s.get(s.link("full", "http://outer.example/forged")), 403, "refused")
}

func TestStatusOfDecoders(t *testing.T) {
	s := newSite(t, nil)
	for name, test := range map[string]struct {
		err  error
		want response
	}{
		"busy":      {resize.ErrBusy, response{503, "busy", "5"}},
		"timeout":   {fmt.Errorf("%w: %s", resize.ErrTimeout, private), response{503, "resize-timeout", "60"}},
		"crashed":   {fmt.Errorf("%w: %s", resize.ErrCrashed, private), response{503, "resize-crashed", "60"}},
		"broken":    {&resize.ImageError{Detail: private}, response{422, "broken", ""}},
		"too large": {&resize.ImageError{TooLarge: true, Detail: private}, response{413, "too-many-pixels", ""}},
		"closed":    {resize.ErrClosed, response{503, "stopping", "5"}},
		"unknown":   {errors.New(private), response{500, "internal", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return nil, test.err }
			url := s.origin.put(name, append(toJPEG(t, 30, 30), name...)) // of its own bytes
			w := s.get(s.link("10x10", url))
			checkError(t, name, w, test.want.status, test.want.code)
			if got := w.Header().Get("Retry-After"); got != test.want.retry {
				t.Errorf("Retry-After is %q, want %q", got, test.want.retry)
			}
			// The image itself is served all the same.
			if w := s.get(s.link("full", url)); w.Code != 200 {
				t.Errorf("full: status %d", w.Code)
			}
		})
	}
}

// What the store says by itself.
func TestStatusOfTheStore(t *testing.T) {
	t.Run("denied", func(t *testing.T) {
		s := newSite(t, nil)
		checkError(t, "denied", s.get(s.link("full", "http://denied.example/cat")), 451, "removed")
	})
	t.Run("no bucket", func(t *testing.T) {
		s := newSite(t, nil)
		l := s.signer.Sign("zz", "full", host, false, s.clock.Now()).String()
		checkError(t, "no bucket", s.get(l), 404, "bucket")
	})
	t.Run("no URL", func(t *testing.T) {
		s := newSite(t, nil)
		for _, url := range []string{"x", "ftp://x/", "http://", "http://u:p@x/", "\n", "http://x/\x00", "local://x/y", "data:image/png;base64,AA"} {
			checkError(t, url, s.get(s.link("full", url)), 400, "url")
		}
	})
	t.Run("quota", func(t *testing.T) {
		s := newSite(t, func(o *bucket.Options, _ *server.Options) { o.MaxPerSite = 1 })
		first, second := s.origin.put("first", toJPEG(t, 30, 30)), s.origin.put("second", toJPEG(t, 31, 30))
		if w := s.get(s.link("full", first)); w.Code != 200 {
			t.Errorf("first: %d", w.Code)
		}
		checkError(t, "quota", s.get(s.link("full", second)), 403, "quota")
		checkError(t, "a size", s.get(s.link("11x11", second)), 400, "size")
		if strings.Contains(s.log.String(), "level=ERROR") {
			t.Errorf("it is taken for a fault: %s", s.log)
		}
		for _, path := range []string{s.link("full", first), s.proxyLink("full", second)} {
			if w := s.get(path); w.Code != 200 {
				t.Errorf("%s: %d", path, w.Code)
			}
		}
	})
	t.Run("full", func(t *testing.T) {
		s := newSite(t, func(o *bucket.Options, _ *server.Options) { o.MinFree = 1 << 62 })
		url := s.origin.put("cat", toJPEG(t, 30, 30))
		for _, path := range []string{s.link("full", url), s.proxyLink("full", url)} {
			w := s.get(path)
			checkError(t, "full", w, 503, "full")
			if got := w.Header().Get("Retry-After"); got != "60" {
				t.Errorf("Retry-After is %q", got)
			}
		}
		if !strings.Contains(s.log.String(), "level=ERROR") {
			t.Errorf("the operator is not told: %s", s.log)
		}
		if w := s.get("/readyz"); w.Code != 503 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("readyz: %d %v", w.Code, w.Header())
		}
		if w := s.get("/healthz"); w.Code != 200 {
			t.Errorf("healthz: %d", w.Code)
		}
	})
	t.Run("stopping", func(t *testing.T) {
		s := newSite(t, nil)
		l := s.link("full", s.origin.put("cat", toJPEG(t, 30, 30)))
		kept := s.link("full", s.origin.put("kept", toJPEG(t, 30, 30)))
		s.get(kept)
		s.close()
		for _, path := range []string{l, kept, s.proxyLink("full", host+"cat")} {
			w := s.get(path)
			checkError(t, "stopping", w, 503, "stopping")
			if got := w.Header().Get("Retry-After"); got != "5" {
				t.Errorf("Retry-After is %q", got)
			}
		}
		if w := s.get("/readyz"); w.Code != 503 {
			t.Errorf("readyz: %d", w.Code)
		}
	})
	t.Run("lost", func(t *testing.T) {
		s := newSite(t, nil)
		url := s.origin.put("cat", toJPEG(t, 30, 30))
		s.get(s.link("full", url))
		image, err := s.store.Find("i", url)
		if err == nil {
			err = os.Remove(s.store.Path(image.File()))
		}
		if err != nil {
			t.Fatal(err)
		}
		s.origin.put("cat", toJPEG(t, 31, 31))
		for range 2 {
			checkError(t, "lost", s.get(s.link("full", url)), 502, "lost")
			checkError(t, "lost", s.get(s.link("10x10", url)), 502, "lost")
		}
		if n := s.origin.fetches[url]; n != 2 {
			t.Errorf("%d fetches, want 2", n)
		}
	})
	t.Run("disk", func(t *testing.T) {
		s := newSite(t, nil)
		url := s.origin.put("cat", fmt.Errorf("write tmp: %s", private)) // no *fetch.Error: ours
		checkError(t, "disk", s.get(s.link("full", url)), 500, "internal")
		if !strings.Contains(s.log.String(), private) {
			t.Errorf("the operator is not told: %s", s.log)
		}
	})
}
