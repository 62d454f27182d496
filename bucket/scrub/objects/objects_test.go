package objects_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/cache"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/scrub/objects"
)

// world is a node that has kept images, with all local files.
type world struct {
	*testing.T
	objects *objecttest.Memory
	node    objects.Node
	cache   *cache.Store
	now     time.Time
	age     map[string]time.Duration // of objects; a month where it is not said
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, now: time.Now(), age: map[string]time.Duration{}}
	w.objects = &objecttest.Memory{Modified: func(key string) time.Time {
		if age, ok := w.age[key]; ok {
			return w.now.Add(-age)
		}
		return w.now.Add(-30 * 24 * time.Hour)
	}}
	root := t.TempDir()
	for _, name := range []string{record.TmpDir, "i", "t"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.cache, err = cache.New(t.Context(), cache.Options{
		Under: object.NewBlobs(w.objects, root), Root: root, Buckets: []string{"i", "t"}, Bytes: 1 << 30, Disk: localtest.Sparse{Disk: local.OS{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.node = objects.Node{Root: root, Buckets: []string{"i", "t"}, Forget: local.New(local.OS{}, root, time.Now).Remove, Now: func() time.Time { return w.now }}
	w.node.Ledger = shared.New(shared.Options{Objects: w.objects, Files: w.cache, State: &sharedtest.Memory{}, Buckets: w.node.Buckets})
	return w
}

func image(bucket string, n int) (record.Image, []byte) {
	text := fmt.Appendf(nil, "the bytes of image %d", n)
	return record.Image{
		Bucket: bucket, URL: fmt.Sprintf("https://example.com/%d", n), Digest: object.Text(text, "").Digest, Bytes: int64(len(text)),
		Info: probe.Info{Format: probe.PNG, Width: 2, Height: 2}, Stored: time.Unix(1_795_000_000, 0),
	}, text
}

// keep keeps the n-th image.
func (w *world) keep(n int) record.Image {
	w.Helper()
	i, text := image([]string{"i", "t"}[n%2], n)
	kept, err := w.node.Ledger.Keep(w.Context(), i, bytes.NewReader(text), *ledger.KeepEvent(i))
	if err != nil {
		w.Fatal(err)
	}
	return kept
}

func (w *world) remove(op string, i record.Image) {
	if op == ledger.OpPurge {
		i.URL = ""
	}
	if _, err := w.node.Ledger.Remove(w.Context(), i.Bucket, *ledger.RemoveEvent(op, i, w.now, "", "")); err != nil {
		w.Error(err)
	}
}

func (w *world) put(key, text string) {
	w.Helper()
	if err := w.objects.Put(w.Context(), key, object.Text([]byte(text), "")); err != nil {
		w.Fatal(err)
	}
}

// scrub scrubs, and returns what was found: kind, path, and "!" if it remains.
func (w *world) scrub(repair bool) (found []string, _ scrub.Report) {
	w.Helper()
	r, err := objects.Run(w.Context(), w.node, scrub.Options{Repair: repair, Found: func(f record.Finding) {
		line := string(f.Kind) + " " + f.Path
		if !f.Repaired {
			line += " !"
		}
		found = append(found, line)
	}})
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(found)
	return found, r
}

// All that can be wrong is found, and what can be repaired is; what is as it should be is not told
// of.
func TestScrub(t *testing.T) {
	w := newWorld(t)
	kept := make([]record.Image, 40)
	for n := range kept {
		kept[n] = w.keep(n)
	}
	w.remove(ledger.OpPurge, kept[30])
	kept[30] = w.keep(30) // by another name
	if found, r := w.scrub(false); len(found) > 0 || r.Images != 40 || r.Remain != 0 {
		t.Errorf("nothing is wrong, and it finds %q in %+v", found, r)
	}

	var want, left []string // with a repair, and by the one after it
	expect := func(kind record.Kind, path string, repaired bool) {
		line := string(kind) + " " + path
		if !repaired {
			line += " !"
			left = append(left, line)
		}
		want = append(want, line)
	}
	key := object.Key
	drop := func(i record.Image) { w.objects.Remove(t.Context(), key(i)) }
	forgetLocal := func(i record.Image) {
		if err := w.node.Forget(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	drop(kept[0])
	expect(record.Missing, key(kept[0]), true)
	w.put(key(kept[1]), strings.Repeat("x", int(kept[1].Bytes)))
	expect(record.Corrupt, key(kept[1]), true)
	w.put(key(kept[2]), "short")
	expect(record.Corrupt, key(kept[2]), true)
	drop(kept[3])
	forgetLocal(kept[3])
	expect(record.Missing, key(kept[3]), false)
	w.put(key(kept[4]), "short")
	forgetLocal(kept[4])
	expect(record.Corrupt, key(kept[4]), false)

	garbage, whole := image("i", 30)
	w.put(key(garbage), string(whole)) // a request that came late
	expect(record.HalfRemoved, key(garbage), true)

	w.remove(ledger.OpForget, kept[5]) // nobody knows whether another URL has the bytes
	expect(record.Orphan, key(kept[5]), false)
	for n, age := range map[int]time.Duration{100: objects.Fresh, 101: objects.Fresh - time.Second} {
		orphan, text := image("i", n)
		w.put(key(orphan), string(text))
		if w.age[key(orphan)] = age; age >= objects.Fresh {
			expect(record.Orphan, key(orphan), false)
		}
	}

	broken := ""
	for _, k := range w.objects.Keys() {
		if strings.HasPrefix(k, "t/u/") {
			broken = k
		}
	}
	text, _, err := w.objects.Read(t.Context(), broken, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	w.put(broken, strings.Replace(string(text), "keep", "peek", 1))
	expect(record.BrokenLine, broken+":1", false)
	var e ledger.Entry
	e.ParseShared(text)
	expect(record.Orphan, key(e.Image), false)

	path := filepath.Join(w.node.Root, kept[6].File())
	if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("damaged"), 0o444)); err != nil {
		t.Fatal(err)
	}
	expect(record.Corrupt, kept[6].File(), true)

	slices.Sort(want)
	slices.Sort(left)
	before := w.objects.Keys()
	found, r := w.scrub(false)
	for n, line := range want {
		if n >= len(found) || strings.TrimSuffix(found[n], " !") != strings.TrimSuffix(line, " !") {
			t.Fatalf("found %q, want %q", found, want)
		}
	}
	if r.Remain != len(want) || len(found) != len(want) || !slices.Equal(before, w.objects.Keys()) {
		t.Errorf("without a repair: %+v", r)
	}
	if found, r = w.scrub(true); !slices.Equal(found, want) || r.Remain != len(left) {
		t.Errorf("repaired %q, want %q; %+v", found, want, r)
	}
	if found, _ = w.scrub(true); !slices.Equal(found, left) {
		t.Errorf("afterwards there is %q, want %q", found, left)
	}
	if file, err := w.cache.Open(t.Context(), kept[6]); err != nil {
		t.Errorf("a damaged local file does not come again: %v", err)
	} else {
		file.Close()
	}
}

// with is the same store with a hook.
func (w *world) with(hook func(r objecttest.Request, do func() error) error) *objecttest.Memory {
	m := w.objects.With(hook)
	m.Modified = w.objects.Modified
	return m
}

// What is kept and removed while it runs is no finding, whenever that is.
func TestScrubUnderLoad(t *testing.T) {
	w := newWorld(t)
	kept := make([]record.Image, 12)
	for n := range kept {
		kept[n] = w.keep(n)
	}
	step := 7
	if testing.Short() {
		step = 41
	}
	old := w.objects.Keys()
	w.objects.Modified = func(key string) time.Time {
		if slices.Contains(old, key) {
			return w.now.Add(-30 * 24 * time.Hour)
		}
		return w.now
	}
	other := *w // by another node
	other.node.Ledger = shared.New(shared.Options{Objects: w.objects, Files: object.NewBlobs(w.objects, w.node.Root), State: &sharedtest.Memory{}, Buckets: w.node.Buckets})
	for at := int64(1); ; at += int64(step) {
		var n atomic.Int64
		w.node.Ledger.Objects = w.with(func(r objecttest.Request, do func() error) error {
			if n.Add(1) == at {
				i := int(at) % len(kept)
				other.remove(ledger.OpPurge, kept[i])
				other.keep(i)
				other.keep(1000 + int(at))
			}
			return do()
		})
		found, _ := w.scrub(false)
		if len(found) > 0 {
			t.Errorf("at request %d: found %q", at, found)
		}
		if n.Load() < at {
			break
		}
	}
}
