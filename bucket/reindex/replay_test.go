package reindex

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// model is Replay in maps, line by line.
type model struct {
	images map[record.Digest]*modelImage
	urls   map[string]record.Digest
}

type modelImage struct {
	first record.Image // since no URL had it; Digest zero: nothing is known
	urls  map[string]bool
	gone  bool
}

func (m *model) image(d record.Digest) *modelImage {
	if m.images[d] == nil {
		m.images[d] = &modelImage{urls: map[string]bool{}}
	}
	return m.images[d]
}

func (m *model) add(op string, i record.Image) {
	x := m.image(i.Digest)
	old, has := m.urls[i.URL]
	switch op {
	case ledger.OpPurge:
		for url := range x.urls {
			delete(m.urls, url)
		}
		x.urls, x.first, x.gone = map[string]bool{}, record.Image{}, true
	case ledger.OpForget:
		x.gone = true
		if has {
			was := m.image(old)
			delete(was.urls, i.URL)
			delete(m.urls, i.URL)
			was.gone = true
			if len(was.urls) == 0 {
				was.first = record.Image{}
			}
		}
	case ledger.OpKeep:
		x.gone = false
		if x.first.Digest == (record.Digest{}) {
			x.first = i
		}
		if has && old != i.Digest {
			delete(m.image(old).urls, i.URL)
		}
		x.urls[i.URL] = true
		m.urls[i.URL] = i.Digest
	}
}

// Whatever lines a journal has, sorting them on the disk leaves what applying one after the
// other does.
func TestReplay(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		urls, images := 1+random.IntN(8), 1+random.IntN(6)
		m := model{map[record.Digest]*modelImage{}, map[string]record.Digest{}}
		memory := []int{1, 0}[seed%2]
		j := NewReplay(t.TempDir(), memory)
		for n := range 1 + random.IntN(300) {
			op := []string{ledger.OpKeep, ledger.OpKeep, ledger.OpKeep, ledger.OpForget, ledger.OpPurge}[random.IntN(5)]
			image := record.Image{
				Bucket: "i", URL: fmt.Sprintf("https://site%d.example/%d", random.IntN(3), random.IntN(urls)),
				Digest: sha256.Sum256([]byte{byte(random.IntN(images))}), Info: probe.Info{Format: probe.PNG},
			}
			if op == ledger.OpKeep {
				image.Width, image.Height, image.Frames, image.Orientation = 1+random.IntN(9999), 2, 3, 1+random.IntN(8)
				image.Bytes, image.Stored = 1<<40+int64(n), time.Unix(int64(1e9+n), 0)
			}
			if op == ledger.OpPurge {
				image.URL = ""
			}
			m.add(op, image)
			if err := j.Add(op, image); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Sort(true); err != nil {
			t.Fatal(err)
		}
		for range 2 { // it may be asked again
			compareReplay(t, seed, m, j)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func compareReplay(t *testing.T, seed uint64, m model, j *Replay) {
	t.Helper()
	got, urls := map[record.Digest]Replayed{}, map[index.Key]index.Ref{}
	err := j.Images(func(i Replayed) (bool, error) {
		got[i.Digest] = i
		return i.Refs > 0, nil
	}, func(l index.Link) error {
		urls[l.Key] = l.Ref
		return nil
	}, func(d record.Digest) { t.Errorf("%v collides", d) })
	if err != nil {
		t.Fatal(err)
	}
	wantURLs := map[index.Key]index.Ref{}
	for url, d := range m.urls {
		wantURLs[index.KeyOf(url)] = index.RefTo(d)
	}
	if !maps.Equal(urls, wantURLs) {
		t.Errorf("seed %d: URLs %x, want %x", seed, urls, wantURLs)
	}
	if len(got) != len(m.images) {
		t.Errorf("seed %d: %d images, want %d", seed, len(got), len(m.images))
	}
	for d, x := range m.images {
		g := got[d]
		if want := uint64(len(x.urls)); g.Refs != want || g.Gone != (x.gone && want == 0) {
			t.Errorf("seed %d: %+v, want %d URLs, gone %v", seed, g, want, x.gone)
		}
		if want := index.ImageOf(x.first); len(x.urls) > 0 && !reflect.DeepEqual(g.Image, *want) {
			t.Errorf("seed %d: got %+v, want %+v", seed, g.Image, *want)
		}
	}
}

// Of two digests that begin alike, the one that came first is indexed, and the other is
// reported.
func TestReplayCollision(t *testing.T) {
	a, b := record.Digest{0: 7, 31: 2}, record.Digest{0: 7, 31: 1}
	j := NewReplay(t.TempDir(), 0)
	defer j.Close()
	for n, d := range []record.Digest{a, b, a} {
		image := record.Image{URL: fmt.Sprintf("https://example.com/%d", n), Digest: d, Info: probe.Info{Format: probe.PNG}}
		if err := j.Add(ledger.OpKeep, image); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Sort(true); err != nil {
		t.Fatal(err)
	}
	var images, collided []record.Digest
	links := 0
	err := j.Images(func(i Replayed) (bool, error) {
		images = append(images, i.Digest)
		return true, nil
	}, func(index.Link) error { links++; return nil }, func(d record.Digest) { collided = append(collided, d) })
	if err != nil || !reflect.DeepEqual(images, []record.Digest{a}) || !reflect.DeepEqual(collided, []record.Digest{b}) || links != 2 {
		t.Errorf("%v, %d URLs, %v collided, %v", images, links, collided, err)
	}
}
