package lookalike

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
)

func TestBlocklist(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	var b Blocklist
	p := random(r)
	set := func(h likeness.Hash, within int) {
		t.Helper()
		if err := b.Set(h, within); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		set(random(r).Hash(), 31)
	}
	if _, ok := b.Match(p); ok {
		t.Error("it looks like what it does not")
	}
	close, far := near(r, p.Hash(), 10).Hash(), near(r, p.Hash(), 31).Hash()
	set(far, 31)
	if got, ok := b.Match(p); !ok || got.Hash != far || got.Distance != 31 || got.Turned {
		t.Errorf("within its distance: %+v, %v", got, ok)
	}
	set(far, 30)
	if got, ok := b.Match(p); ok {
		t.Errorf("beyond its distance: %+v", got)
	}
	set(far, 31)
	set(close, 10)
	if got, ok := b.Match(p); !ok || got.Hash != close || got.Distance != 10 {
		t.Errorf("of two: %+v, %v", got, ok)
	}
	b.Remove(close)
	b.Remove(close)
	b.Remove(far)
	if _, ok := b.Match(p); ok || b.Len() != 100 {
		t.Errorf("%d are blocked", b.Len())
	}
	set(near(r, p.Hashes[5], 7).Hash(), 31)
	if got, ok := b.Match(p); !ok || got.Distance != 7 || !got.Turned {
		t.Errorf("turned: %+v, %v", got, ok)
	}
	p.Quality = likeness.MinQuality - 1
	if _, ok := b.Match(p); ok {
		t.Error("what is blank matches")
	}
	if n := b.Len(); n != 101 {
		t.Errorf("%d in all", n)
	}
}

func TestBlocklistLimits(t *testing.T) {
	var b Blocklist
	for within, want := range map[int]bool{-1: false, 0: true, likeness.MaxWithin: true, likeness.MaxWithin + 1: false} {
		if err := b.Set(likeness.Hash{byte(within)}, within); (err == nil) != want {
			t.Errorf("within %d: %v", within, err)
		}
	}
	n := b.Len()
	if err := b.Room(maxBlocked - n); err != nil {
		t.Error(err)
	}
	if err := b.Room(maxBlocked - n + 1); !errors.Is(err, ErrTooMany) {
		t.Errorf("one too many: %v", err)
	}
	// As if there were so many.
	b.hashes = append(b.hashes, make([]likeness.Hash, maxBlocked-n)...)
	if err := b.Set(likeness.Hash{9, 9}, 1); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if err := b.Set(likeness.Hash{0}, 1); err != nil {
		t.Errorf("one that is blocked: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	root := t.TempDir()
	r, err := openRefusals(root)
	if err != nil {
		t.Fatal(err)
	}
	add := func(n int) {
		t.Helper()
		url := fmt.Sprint("https://a.example/", n)
		if err := r.Add(Refusal{Time: time.Unix(int64(n), 0).UTC(), Bucket: "i", URL: url, Digest: digest(n).String(), Like: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 10 {
		add(n)
	}
	add(3)
	if err := r.Allow(digest(4), true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		all := r.All()
		if len(all) != 10 || !strings.HasSuffix(all[0].URL, "/3") && !strings.HasSuffix(all[0].URL, "/4") {
			t.Fatalf("%d: %+v", len(all), all)
		}
		for _, x := range all {
			want := 1
			if strings.HasSuffix(x.URL, "/3") {
				want = 2
			}
			if x.Attempts != want || x.Allowed != strings.HasSuffix(x.URL, "/4") {
				t.Errorf("%+v", x)
			}
		}
		if got := r.Under("https://a.example/3"); len(got) != 1 || got[0] != digest(3) {
			t.Errorf("under a URL: %v", got)
		}
		if r, err = openRefusals(root); err != nil { // and all is as it was
			t.Fatal(err)
		}
	}
	// A line that is torn is passed over.
	path := filepath.Join(root, RefusalsFile)
	text, _ := os.ReadFile(path)
	os.WriteFile(path, text[:len(text)-5], 0o600)
	if r, err = openRefusals(root); err != nil || len(r.All()) != 10 {
		t.Errorf("torn: %d, %v", len(r.All()), err)
	}
}

// The latest are remembered, and the file does not grow for ever.
func TestRefusalsAreBounded(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, record.TmpDir), 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := openRefusals(root)
	if err != nil {
		t.Fatal(err)
	}
	for n := range MaxRefusals {
		r.enter(Refusal{Digest: fmt.Sprint(n)})
	}
	r.lines = 2*MaxRefusals - 1
	for n := range 2 {
		if err := r.Add(Refusal{Digest: fmt.Sprint(MaxRefusals + n)}); err != nil {
			t.Fatal(err)
		}
	}
	if all := r.All(); len(all) != MaxRefusals || all[0].Digest != fmt.Sprint(MaxRefusals+1) || all[len(all)-1].Digest != "2" {
		t.Errorf("%d are remembered", len(all))
	}
	if r.lines != MaxRefusals {
		t.Errorf("the file has %d lines", r.lines)
	}
	if again, err := openRefusals(root); err != nil || len(again.All()) != MaxRefusals {
		t.Errorf("read again: %v", err)
	}
}
