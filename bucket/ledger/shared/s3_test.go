package shared_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/record"
)

// real is a node on a real object store, which counts its requests.
type real struct {
	*shared.Ledger
	files *object.Blobs
	asked sync.Map // *atomic.Int64 by the kind of request
}

func newReal(t *testing.T, g *s3test.Gateway) *real {
	t.Helper()
	n := &real{}
	o := g.Options(t)
	o.Observe = func(kind, _ string, _ time.Duration) {
		count, _ := n.asked.LoadOrStore(kind, &atomic.Int64{})
		count.(*atomic.Int64).Add(1)
	}
	c, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	n.files = object.NewBlobs(c, t.TempDir())
	n.Ledger = shared.New(shared.Options{Objects: c, Files: n.files, State: &sharedtest.Memory{}, Buckets: []string{"i"}})
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *real) count(kind string) int64 {
	if count, ok := n.asked.Load(kind); ok {
		return count.(*atomic.Int64).Load()
	}
	return 0
}

// nodes are two on one folder, each by a gateway of its own.
func realNodes(t *testing.T) []*real {
	g := s3test.Start(t)
	return []*real{newReal(t, g), newReal(t, g.Another(t))}
}

// URLs whose origin answers other bytes each time have one digest each, on both nodes, which
// keep them at once; keeping one costs what it may.
func TestOneDigest(t *testing.T) {
	nodes, urls := realNodes(t), 1000
	if testing.Short() {
		urls = 60
	}
	digests := [2][]record.Digest{make([]record.Digest, urls), make([]record.Digest, urls)}
	var all sync.WaitGroup
	for i, n := range nodes {
		var next atomic.Int64
		for range 16 {
			all.Go(func() {
				for u := int(next.Add(1)) - 1; u < urls; u = int(next.Add(1)) - 1 {
					text := fmt.Sprintf("bytes of %d for node %d", u, i)
					img := image(fmt.Sprintf("https://a.example/%d.png", u), text)
					kept, err := n.Keep(t.Context(), img, strings.NewReader(text), *ledger.KeepEvent(img))
					if err != nil {
						t.Error(err)
						return
					}
					digests[i][u] = kept.Digest
				}
			})
		}
	}
	all.Wait()
	for u := range urls {
		url := fmt.Sprintf("https://a.example/%d.png", u)
		for _, n := range nodes {
			found, err := n.Find(t.Context(), "i", url)
			if err != nil || found.Digest != digests[0][u] || found.Digest != digests[1][u] {
				t.Errorf("%s: %v, %v; kept as %v and %v", url, found.Digest, err, digests[0][u], digests[1][u])
			}
		}
	}
	for _, n := range nodes {
		if creates, gets := n.count("create"), n.count("get"); creates > int64(2*urls) || gets > int64(2*urls)+1 || n.count("replace")+n.count("list")+n.count("head") > 0 {
			t.Errorf("%d keeps took %d PUT, %d GET, %d replaced, %d LIST, %d HEAD", urls, creates, gets, n.count("replace"), n.count("list"), n.count("head"))
		}
	}
}

// Keeping races with a block of the URL or of the bytes on the other node: when the block is
// acknowledged neither node shows the image, and no record of it is live.
func TestKeepAgainstBlock(t *testing.T) {
	nodes, races := realNodes(t), 300
	if testing.Short() {
		races = 30
	}
	for n := range races {
		text, url := fmt.Sprintf("bytes %d", n), fmt.Sprintf("https://a.example/%d.png", n)
		img := image(url, text)
		event := block(record.BlockURL, url)
		if n%2 == 1 {
			event = block(record.BlockDigest, digestOf(text))
		}
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := nodes[0].Keep(t.Context(), img, strings.NewReader(text), *ledger.KeepEvent(img)); err != nil && !errors.Is(err, shared.ErrBlocked) {
				t.Error(err)
			}
		})
		if _, err := nodes[1].Remove(t.Context(), "", *event); err != nil {
			t.Fatal(err)
		}
		all.Wait()
		for i, node := range nodes {
			if err := node.CatchUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			if found, err := node.Find(t.Context(), "i", url); err == nil {
				t.Errorf("node %d shows %s after it was blocked: %+v", i, url, found)
			}
		}
		if n%2 == 1 {
			if err := nodes[0].files.Stat(t.Context(), img); err == nil {
				t.Errorf("the bytes of %s are there after they were blocked", url)
			}
		}
	}
	for n := range races {
		if _, err := nodes[0].Remove(t.Context(), "", *unblock(record.BlockURL, fmt.Sprintf("https://a.example/%d.png", n))); err != nil {
			t.Fatal(err)
		}
		if found, err := nodes[0].Find(t.Context(), "i", fmt.Sprintf("https://a.example/%d.png", n)); err == nil {
			t.Errorf("unblocking has revived %+v", found)
		}
	}
}

// A gateway is killed under load: what was kept is found by way of the other.
func TestGatewayDies(t *testing.T) {
	g := s3test.Start(t)
	doomed := g.Another(t)
	a, b := newReal(t, doomed), newReal(t, g)
	var kept sync.Map
	var all sync.WaitGroup
	var done atomic.Int64
	for w := range 8 {
		all.Go(func() {
			for u := 0; ; u++ {
				text := fmt.Sprintf("bytes %d of %d", u, w)
				img := image(fmt.Sprintf("https://a.example/%d/%d.png", w, u), text)
				i, err := a.Keep(t.Context(), img, strings.NewReader(text), *ledger.KeepEvent(img))
				if err != nil {
					return
				}
				kept.Store(i.URL, i)
				if done.Add(1) == 50 {
					doomed.Kill()
				}
			}
		})
	}
	all.Wait()
	n := 0
	kept.Range(func(url, i any) bool {
		n++
		found, err := b.Find(t.Context(), "i", url.(string))
		if err != nil || found != i {
			t.Errorf("%s: %+v, %v", url, found, err)
			return true
		}
		if err := b.files.FetchTo(t.Context(), found, io.Discard); err != nil {
			t.Error(err)
		}
		return true
	})
	if n < 50 {
		t.Errorf("only %d were kept", n)
	}
}
