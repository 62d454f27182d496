package object_test

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/blobtest"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// place is a store in memory that can fail before and after it has done what it was asked.
func place(before bool) func(t testing.TB) blobtest.Place {
	return func(t testing.TB) blobtest.Place {
		var at, done atomic.Int64
		var failed atomic.Bool
		m := &objecttest.Memory{Hook: func(r objecttest.Request, do func() error) error {
			if n := at.Load(); n == 0 || done.Add(1) < n {
				return do()
			}
			failed.Store(true)
			if !before {
				do()
			}
			return object.ErrUnclear
		}}
		dir := t.TempDir()
		return blobtest.Place{
			Open: func(testing.TB) blob.Store { return object.NewBlobs(m, dir) },
			Temp: func(t testing.TB) *os.File {
				f, err := os.CreateTemp(dir, "image-*")
				if err != nil {
					t.Fatal(err)
				}
				return f
			},
			FailAt: func(n int) bool {
				at.Store(int64(n))
				done.Store(0)
				return failed.Swap(false)
			},
			Damage: func(t testing.TB, image record.Image, bytes []byte) {
				if err := m.Put(t.Context(), object.Key(image), object.Text(bytes, "")); err != nil {
					t.Fatal(err)
				}
			},
		}
	}
}

func TestBlobs(t *testing.T) {
	t.Run("requests get lost", func(t *testing.T) { blobtest.Run(t, place(true)) })
	t.Run("answers get lost", func(t *testing.T) { blobtest.Run(t, place(false)) })
}

// An original that is new costs one request; one that is there, another.
func TestRequestsOfPut(t *testing.T) {
	var asked []string
	m := &objecttest.Memory{Hook: func(r objecttest.Request, do func() error) error {
		asked = append(asked, r.Op)
		return do()
	}}
	b := object.NewBlobs(m, t.TempDir())
	text := []byte("the bytes")
	image := record.Image{Bucket: "i", Digest: object.Text(text, "").Digest, Info: probe.Info{Format: probe.PNG}, Bytes: int64(len(text))}
	for n, want := range []int{1, 2} {
		asked = nil
		if err := b.Put(t.Context(), image, object.Text(text, "").From); err != nil || len(asked) != want {
			t.Errorf("time %d: %v, asked %v", n, err, asked)
		}
	}
}

// The generations of a digest are objects of their own, and the names of all are what they
// have always been.
func TestKeys(t *testing.T) {
	m := &objecttest.Memory{}
	b := object.NewBlobs(m, t.TempDir())
	text := []byte("the bytes")
	image := record.Image{Bucket: "i", Digest: object.Text(text, "").Digest, Info: probe.Info{Format: probe.JPEG}, Bytes: int64(len(text))}
	old, again := image, image
	again.Generation = 17
	for _, i := range []record.Image{old, again} {
		if err := b.Put(t.Context(), i, object.Text(text, "").From); err != nil {
			t.Fatal(err)
		}
	}
	const name = "i/o/7/V/7ViTQcn9Xalqr_TF76AIImKCpxYYZgjVoDKsdYlanC8"
	if got := object.Key(old); got != name+".jpg" {
		t.Errorf("the name is %s", got)
	}
	if got := object.Key(again); got != name+".17.jpg" {
		t.Errorf("the name of the generation is %s", got)
	}
	if err := b.Remove(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := b.Stat(t.Context(), old); !errors.Is(err, blob.ErrDamaged) {
		t.Errorf("the removed one: %v", err)
	}
	if err := b.Stat(t.Context(), again); err != nil {
		t.Errorf("the other one: %v", err)
	}
	for _, foreign := range []string{"i/o/x", "i/o/Z/Z/x.jpg", name + ".jpg.jpg", name + ".017.jpg", name + ".0.jpg", name + ".18446744073709551616.jpg", name + ".svg"} {
		if err := m.Put(t.Context(), foreign, object.Text(text, "")); err != nil {
			t.Fatal(err)
		}
	}
	var got []record.Image
	for i, err := range b.List(t.Context(), "i") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, i)
	}
	if len(got) != 1 || got[0].Generation != 17 || got[0].Digest != image.Digest {
		t.Errorf("listed: %+v", got)
	}
}

// A store that knows no versions deletes none, and says so.
func TestStoreWithoutVersions(t *testing.T) {
	m := &objecttest.Memory{}
	if err := object.CheckVersions(t.Context(), m); !errors.Is(err, object.ErrNoVersions) {
		t.Errorf("it has versions: %v", err)
	}
	if n, err := object.RemoveVersions(t.Context(), m, "i", record.Digest{}, 1); n != 0 || !errors.Is(err, object.ErrNoVersions) {
		t.Errorf("%d are deleted, %v", n, err)
	}
}
