package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/approve"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// siteBytes is what the index says of the site of a URL.
func siteBytes(t *testing.T, s *Store, url string) int64 {
	t.Helper()
	n, err := s.index.SiteBytes(index.SiteOfImage(record.Image{URL: url}))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A site that is a byte below the quota gets one more image. A site at the quota gets none,
// under whatever host, and its origin is not asked. Other sites are not affected.
func TestQuota(t *testing.T) {
	const first, second = "https://img.a.example/1.png", "https://img.a.example/2.png"
	for kept, want := range map[int]error{9: nil, 10: ErrQuota, 11: ErrQuota} {
		q, root := newQuiet(), t.TempDir()
		q.set(first, strings.Repeat("x", kept))
		o := Options{Root: root, Origin: q, Reserve: q.Reserve, MaxPerSite: 10, Buckets: []Bucket{{Name: "i"}, {Name: "f"}}}
		s := openStore(t, o)
		keep(t, s, first)
		s.Close(t.Context())
		s = openStore(t, o) // which a restart does not change
		for n, url := range []string{second, "http://a.example:80/3.png", "https://b.b.a.example/4.png"} {
			q.set(url, fmt.Sprint("one more", n))
			if want == nil && n > 0 {
				break // its site is full by now
			}
			if _, err := s.Keep(t.Context(), "f", url); !errors.Is(err, want) {
				t.Errorf("%d bytes, %s: %v, want %v", kept, url, err, want)
			}
			if asked := q.count(url); (asked > 0) != (want == nil) {
				t.Errorf("%d bytes: the origin of %s was asked %d times", kept, url, asked)
			}
		}
		if want == nil {
			continue
		}
		if _, err := s.KeepBackground(t.Context(), "i", second, second); !errors.Is(err, ErrQuota) || len(q.asked) > 0 {
			t.Errorf("with patience: %v, %d places reserved", err, len(q.asked))
		}
		if _, _, err := s.Add("i", "https://a.example/dot.png", bytes.NewReader(dot)); !errors.Is(err, ErrQuota) {
			t.Errorf("added: %v", err)
		}
		file := filepath.Join(t.TempDir(), "dot.png")
		if err := os.WriteFile(file, dot, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.AddFile("i", "https://a.example/dot.png", file); !errors.Is(err, ErrQuota) {
			t.Errorf("linked: %v", err)
		}
		if _, err := s.Find("i", second); !errors.Is(err, ErrNotKept) {
			t.Errorf("something stands against it, which no raised quota ends: %v", err)
		}
		keep(t, s, first)
		for _, url := range []string{"https://b.example/1.png", "local:///1.png", "local:///2.png"} {
			q.set(url, strings.Repeat(url, 3))
			keep(t, s, url)
		}
		if p, err := s.Fetch(t.Context(), "i", second); err != nil {
			t.Errorf("/proxy: %v", err)
		} else {
			p.Close()
		}
		o.MaxPerSite = int64(kept) + 1
		if err := s.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		keep(t, s, second)
	}
}

// Hosts below a domain where anybody can have any number of them count as one site.
func TestQuotaOfManyHosts(t *testing.T) {
	for _, hosts := range [][]string{
		{"a.example.com", "example.com", "x.y.example.com"},
		{"a.dyndns.org", "b.dyndns.org", "x.c.dyndns.org"},
		{"192.0.2.1", "192.0.2.255"},
		{"[2001:db8::1]", "[2001:db8:0:ff::1]"},
	} {
		o := newOrigin()
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, MaxPerSite: 1})
		for n, host := range hosts {
			url := "https://" + host + "/a.png"
			o.set(url, fmt.Sprint("bytes", n))
			if _, err := s.Keep(t.Context(), "i", url); errors.Is(err, ErrQuota) != (n > 0) {
				t.Errorf("%s after %v: %v", host, hosts[:n], err)
			}
		}
		for _, host := range []string{"example.net", "192.0.3.1", "[2001:db8:0:100::1]"} {
			o.set("https://"+host+"/a.png", host)
			keep(t, s, "https://"+host+"/a.png")
		}
	}
}

// noted is an origin that notes with which errors its fetches were broken off.
type noted struct {
	*origin
	ended chan error
}

func (n noted) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	result, err := n.origin.Fetch(ctx, r, dst)
	n.ended <- err
	return result, err
}

// waiting is an approver that says yes when it is told to.
type waiting struct{ asked, answer chan struct{} }

func (w waiting) Ask(context.Context, approve.Question, io.ReaderAt) error {
	w.asked <- struct{}{}
	<-w.answer
	return nil
}

// Of many images that began within the quota at the same time, only one goes beyond it. Those
// that get their place later are not downloaded.
func TestQuotaUnderWay(t *testing.T) {
	const size, limit, n = 6, 11, 8
	url := func(k int) string { return fmt.Sprintf("https://h%d.a.example/a.png", k) }
	for name, late := range map[string]bool{"at once": false, "in a queue": true} {
		o := noted{newOrigin(), make(chan error, n)}
		o.arrived, o.hold = make(chan string, n), make(chan struct{})
		a := waiting{asked: make(chan struct{}, n), answer: make(chan struct{})}
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, MaxPerSite: limit, Approver: a})
		if late {
			close(a.answer)
		}
		results := make(chan error, n)
		for k := range n {
			o.set(url(k), fmt.Sprint(strings.Repeat("x", size-1), k))
			go func() {
				_, err := s.Keep(t.Context(), "i", url(k))
				results <- err
			}()
		}
		for range n {
			<-o.arrived
		}
		kept, broken := 0, 0
		note := func() {
			switch err := <-results; {
			case err == nil:
				kept++
			case !errors.Is(err, ErrQuota):
				t.Errorf("%s: %v", name, err)
			}
		}
		if late { // one after the other
			for range n {
				o.hold <- struct{}{}
				if err := <-o.ended; errors.Is(err, ErrQuota) {
					broken++
				}
				note()
			}
		} else { // all have come, and are kept at the same instant
			close(o.hold)
			for range n {
				if err := <-o.ended; err != nil {
					broken++
				}
				<-a.asked
			}
			close(a.answer)
			for range n {
				note()
			}
		}
		// 6 are less than 11, 12 are not. Of those that come at the same instant the
		// second may find the first counted twice, and is then refused.
		if kept != 2 && (late || kept != 1) || late && broken != n-2 || !late && broken != 0 {
			t.Errorf("%s: %d images are kept of %d bytes each; %d were not downloaded", name, kept, size, broken)
		}
		if got := siteBytes(t, s, url(0)); got != int64(kept)*size {
			t.Errorf("%s: %d bytes", name, got)
		}
		if n := s.quotas.Claimed(); n != 0 {
			t.Errorf("%s: still on their way: %d", name, n)
		}
	}
}

// Every kind of removal frees the image's share of the quota. Bytes under several URLs count
// once, for the site of the first, until the last URL is gone. A rebuilt index, and an older
// one that catches up, come to the same sums.
func TestQuotaSums(t *testing.T) {
	const a1, a2, b1, b2, c1 = "https://a.example/1.png", "https://a.example/2.png", "https://b.example/1.png", "https://b.example/2.png", "https://c.example/1.png"
	o, root := newOrigin(), t.TempDir()
	for url, body := range map[string]string{a1: "same bytes", b1: "same bytes", c1: "same bytes", a2: "a's own", b2: "of b"} {
		o.set(url, body)
	}
	options := Options{Root: root, Origin: o, Buckets: []Bucket{{Name: "i"}, {Name: "f"}}}
	path := filepath.Join(root, record.IndexFile)
	forget := func(s *Store, url string) error {
		_, err := s.Forget(t.Context(), url, RemoveOptions{Buckets: []string{"i"}})
		return err
	}
	get := func(s *Store, bucket, url string) error { _, err := s.Keep(t.Context(), bucket, url); return err }
	steps := []struct {
		about   string
		do      func(s *Store) error
		a, b, c int64
	}{
		{"nothing", func(*Store) error { return nil }, 0, 0, 0},
		{"first", func(s *Store) error { return get(s, "i", a1) }, 10, 0, 0},
		{"the same bytes of another site", func(s *Store) error { return get(s, "i", b1) }, 10, 0, 0},
		{"other bytes", func(s *Store) error { return errors.Join(get(s, "i", a2), get(s, "i", b2)) }, 17, 4, 0},
		{"another bucket", func(s *Store) error { return get(s, "f", b1) }, 17, 14, 0},
		{"the first URL forgotten, not the bytes", func(s *Store) error { return forget(s, a1) }, 17, 14, 0},
		{"the last one", func(s *Store) error { return forget(s, b1) }, 7, 14, 0},
		{"the other site first", func(s *Store) error { return errors.Join(get(s, "i", c1), get(s, "i", a1)) }, 7, 14, 10},
		{"purged", func(s *Store) error {
			_, err := s.Purge(t.Context(), Target{URL: c1}, RemoveOptions{Buckets: []string{"i"}})
			return err
		}, 7, 14, 0},
		{"after that the first again", func(s *Store) error { return errors.Join(get(s, "i", a1), get(s, "i", c1)) }, 17, 14, 0},
		{"blocked, and left there", func(s *Store) error {
			_, err := s.Block(t.Context(), Target{URL: a2}, RemoveOptions{KeepFiles: true})
			return err
		}, 17, 14, 0},
		{"blocked", func(s *Store) error {
			_, err := s.Block(t.Context(), Target{URL: b1}, RemoveOptions{})
			return err
		}, 7, 4, 0},
	}
	check := func(s *Store, about string, a, b, c int64) {
		t.Helper()
		if gotA, gotB, gotC := siteBytes(t, s, a1), siteBytes(t, s, b1), siteBytes(t, s, c1); gotA != a || gotB != b || gotC != c {
			t.Errorf("%s: %d, %d and %d bytes; want %d, %d and %d", about, gotA, gotB, gotC, a, b, c)
		}
		if err := s.index.Check(); err != nil {
			t.Errorf("%s: %v", about, err)
		}
	}
	var older [][]byte
	s := openStore(t, options)
	for _, step := range steps {
		if err := step.do(s); err != nil {
			t.Fatalf("%s: %v", step.about, err)
		}
		check(s, step.about, step.a, step.b, step.c)
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		older = append(older, data)
		mustReindex(t, root)
		s = openStore(t, options)
		check(s, step.about+", made anew", step.a, step.b, step.c)
	}
	last := steps[len(steps)-1]
	// Not those from before the first line of a journal: what that says was removed stays in
	// the index for scrubbing, and counts.
	const both = 4
	for n, data := range older[both:] {
		s.Close(t.Context())
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, options)
		check(s, fmt.Sprintf("the index of step %d", both+n), last.a, last.b, last.c)
	}
	if _, _, err := s.Compact(); err != nil {
		t.Fatal(err)
	}
	check(s, "compacted", last.a, last.b, last.c)
}

// After a removal, refused images are kept.
func TestQuotaRoomAgain(t *testing.T) {
	for name, remove := range map[string]func(s *Store) error{
		"forget": func(s *Store) error { _, err := s.Forget(t.Context(), urlA, RemoveOptions{}); return err },
		"purge":  func(s *Store) error { _, err := s.Purge(t.Context(), Target{URL: urlA}, RemoveOptions{}); return err },
		"block":  func(s *Store) error { _, err := s.Block(t.Context(), Target{URL: urlA}, RemoveOptions{}); return err },
	} {
		o := newOrigin()
		o.set(urlA, "a")
		o.set(urlB, "b")
		s := openStore(t, Options{Root: t.TempDir(), Origin: o, MaxPerSite: 1})
		keep(t, s, urlA)
		if _, err := s.Keep(t.Context(), "i", urlB); !errors.Is(err, ErrQuota) {
			t.Errorf("%s: before: %v", name, err)
		}
		if err := remove(s); err != nil {
			t.Fatal(err)
		}
		keep(t, s, urlB)
	}
}

// The log has one line per site and hour, not one per request.
func TestQuotaIsLogged(t *testing.T) {
	o, c := newOrigin(), newClock()
	var log bytes.Buffer
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, Now: c.Now, MaxPerSite: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	lines := func(site string) int {
		return strings.Count(log.String(), "store.max_per_site allows\" site="+site+" ")
	}
	for _, host := range []string{"a.example", "b.example"} {
		o.set("https://"+host+"/", host)
		keep(t, s, "https://"+host+"/")
	}
	for n, step := range []struct {
		wait time.Duration
		want int
	}{{0, 1}, {time.Hour - time.Second, 1}, {time.Second, 2}, {-2 * time.Hour, 3}} {
		c.add(step.wait)
		for k := range 10 {
			if _, err := s.Keep(t.Context(), "i", fmt.Sprintf("https://%d.a.example/%d", k, n)); !errors.Is(err, ErrQuota) {
				t.Fatal(err)
			}
		}
		if got := lines("a.example"); got != step.want {
			t.Errorf("step %d: %d lines, want %d: %s", n, got, step.want, &log)
		}
	}
	if _, err := s.Keep(t.Context(), "i", "https://b.example/2"); !errors.Is(err, ErrQuota) || lines("b.example") != 1 {
		t.Errorf("another site: %v, %d lines", err, lines("b.example"))
	}
}

// If the index cannot tell how much a site has, that is an error, not free space.
func TestQuotaOfABrokenIndex(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "a")
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, MaxPerSite: 1 << 40})
	s.Close(t.Context())
	if err := s.quotas.Within(record.Image{URL: urlA}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if index.SiteOf("") != (index.Site{}) || index.SiteOf("a") == index.SiteOf("b") {
		t.Error("sites are not told apart")
	}
}
