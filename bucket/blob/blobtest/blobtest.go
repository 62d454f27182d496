// Package blobtest is the suite that every blob.Store passes. It asks nothing that only
// a disk can do, but that what is opened is a file.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Buckets are those that stores under test must have.
var Buckets = []string{"f", "i"}

// Place is where one store is kept, as often as it is opened.
type Place struct {
	// Open opens the store. Its process may have been killed before.
	Open func(t testing.TB) blob.Store
	// Temp makes an empty file, on the store's disk if it has one, open for writing and
	// reading.
	Temp func(t testing.TB) *os.File
	// FailAt lets the n-th thing that Put does to the place fail, counted from now, and all
	// that follow; 0: none. It tells whether there was one since the last call.
	FailAt func(n int) (failed bool)
	// Damage gives an original other bytes behind the store's back.
	Damage func(t testing.TB, image record.Image, bytes []byte)
}

// Run tests the stores of places that newPlace makes, each a new one.
func Run(t *testing.T, newPlace func(t testing.TB) Place) {
	for name, test := range map[string]func(*suite){
		"kept and opened":     (*suite).kept,
		"again":               (*suite).again,
		"of no file":          (*suite).ofNoFile,
		"missing":             (*suite).missing,
		"damaged":             (*suite).damaged,
		"removed":             (*suite).removed,
		"listed":              (*suite).listed,
		"several at once":     (*suite).atOnce,
		"nothing by halves":   (*suite).failures,
		"whoever opens it":    (*suite).reopened,
		"contexts that ended": (*suite).ended,
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			test(&suite{t, p, p.Open(t)})
		})
	}
}

type suite struct {
	*testing.T
	Place
	blob.Store
}

// image is that of some bytes.
func image(bucket, text string) record.Image {
	return record.Image{Bucket: bucket, Digest: sha256.Sum256([]byte(text)), Info: probe.Info{Format: probe.PNG}, Bytes: int64(len(text))}
}

// temp is a finished file with these bytes.
func (s *suite) temp(text string) *os.File {
	s.Helper()
	f := s.Temp(s.T)
	if _, err := f.WriteString(text); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { f.Close() })
	return f
}

func (s *suite) put(i record.Image, text string) error {
	s.Helper()
	f := s.temp(text)
	err := s.Put(s.Context(), i, f)
	if _, err := f.Stat(); err != nil {
		s.Errorf("the file is closed: %v", err)
	}
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Error(err)
	}
	return err
}

func (s *suite) keep(bucket, text string) record.Image {
	s.Helper()
	i := image(bucket, text)
	if err := s.put(i, text); err != nil {
		s.Fatal(err)
	}
	return i
}

// has checks that an original is there with these bytes; "" that it is not.
func (s *suite) has(i record.Image, text string) {
	s.Helper()
	f, err := s.Store.Open(s.Context(), i)
	statErr := s.Stat(s.Context(), i)
	if text == "" {
		if !errors.Is(err, blob.ErrDamaged) || !errors.Is(statErr, blob.ErrDamaged) {
			s.Errorf("want ErrDamaged; Open: %v; Stat: %v", err, statErr)
		}
		if err == nil {
			f.Close()
		}
		return
	}
	if err != nil || statErr != nil {
		s.Errorf("Open: %v; Stat: %v", err, statErr)
		return
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || string(got) != text {
		s.Errorf("got %q, %v; want %q", got, err, text)
	}
}

func (s *suite) list(bucket string) (all []record.Image) {
	s.Helper()
	for i, err := range s.List(s.Context(), bucket) {
		if err != nil {
			s.Fatal(err)
		}
		all = append(all, i)
	}
	return all
}

func (s *suite) kept() {
	a, empty := s.keep("i", "the bytes of a"), record.Image{Bucket: "f", Digest: image("i", "the bytes of a").Digest, Info: probe.Info{Format: probe.PNG}, Bytes: 14}
	s.has(a, "the bytes of a")
	s.has(empty, "") // buckets are apart
	large := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	s.has(s.keep("f", large), large)
}

// The same bytes again are no error, and one original.
func (s *suite) again() {
	for range 3 {
		s.has(s.keep("i", "the same bytes"), "the same bytes")
	}
	if all := s.list("i"); len(all) != 1 {
		s.Errorf("there are %v", all)
	}
}

// What is kept need not be a file, and what lies behind it does not belong to it. Less than
// was promised is refused.
func (s *suite) ofNoFile() {
	const text = "the bytes of a"
	a := image("i", text)
	if err := s.Put(s.Context(), a, strings.NewReader(text+", and others")); err != nil {
		s.Error(err)
	}
	s.has(a, text)
	if err := s.Put(s.Context(), a, strings.NewReader(text)); err != nil {
		s.Error(err)
	}
	s.has(a, text)
	b := image("i", "the bytes of b")
	if err := s.Put(s.Context(), b, strings.NewReader("the bytes")); err == nil {
		s.Error("the bytes of b ended early, and were kept")
	}
	s.has(b, "")
	s.has(s.keep("i", "the bytes of b"), "the bytes of b")
}

func (s *suite) missing() {
	a := s.keep("i", "the bytes of a")
	s.has(image("i", "the bytes of b"), "")
	jpeg := a
	jpeg.Format = probe.JPEG
	s.has(jpeg, "")
	longer := a
	longer.Bytes++
	s.has(longer, "")
	s.has(a, "the bytes of a")
}

// What is damaged is replaced by the next Put, whatever its length.
func (s *suite) damaged() {
	for _, other := range []string{"", "the bytes", "the bytes of b"} {
		a := s.keep("i", "the bytes of a")
		s.Damage(s.T, a, []byte(other))
		if len(other) != int(a.Bytes) {
			s.has(a, "")
		}
		s.has(s.keep("i", "the bytes of a"), "the bytes of a")
	}
}

func (s *suite) removed() {
	a, b := s.keep("i", "the bytes of a"), s.keep("i", "the bytes of b")
	inF := s.keep("f", "the bytes of a")
	for range 2 {
		if err := s.Remove(s.Context(), a); err != nil {
			s.Fatal(err)
		}
		s.has(a, "")
		s.has(b, "the bytes of b")
		s.has(inF, "the bytes of a")
	}
	s.Store = s.Place.Open(s.T)
	s.has(a, "")
	s.has(s.keep("i", "the bytes of a"), "the bytes of a")
}

func (s *suite) listed() {
	if all := s.list("i"); len(all) > 0 {
		s.Errorf("a new store has %v", all)
	}
	var want []record.Digest
	for n := range 50 {
		want = append(want, s.keep("i", fmt.Sprint("the bytes of ", n)).Digest)
	}
	s.keep("f", "of another bucket")
	slices.SortFunc(want, func(a, b record.Digest) int { return bytes.Compare(a[:], b[:]) })
	var got []record.Digest
	for _, i := range s.list("i") {
		if i.Bucket != "i" || i.Format != probe.PNG {
			s.Errorf("listed: %+v", i)
		}
		got = append(got, i.Digest)
	}
	if !slices.Equal(got, want) {
		s.Errorf("listed are %d, want %d in the order of their digests", len(got), len(want))
	}
	for range s.List(s.Context(), "i") {
		break // which is nobody's fault
	}
}

// Callers that keep the same bytes at the same time get the same, and none sees half of it.
func (s *suite) atOnce() {
	const text = "the bytes of all of them"
	i := image("i", text)
	var all sync.WaitGroup
	for range 8 {
		f := s.temp(text)
		all.Go(func() {
			if err := s.Put(s.Context(), i, f); err != nil {
				s.Error(err)
			}
			s.has(i, text)
		})
	}
	all.Wait()
	if all := s.list("i"); len(all) != 1 {
		s.Errorf("there are %v", all)
	}
}

// Whatever fails, an original is there as a whole or not at all, and can be kept then.
func (s *suite) failures() {
	failures := 0
	for n := 1; ; n++ {
		text := fmt.Sprint("the bytes of ", n)
		i := image("i", text)
		f := s.temp(text)
		s.FailAt(n)
		err := s.Put(s.Context(), i, f)
		failed := s.FailAt(0)
		if !failed {
			if err != nil {
				s.Errorf("nothing failed, and Put says %v", err)
			}
			break
		}
		if err != nil {
			failures++
		}
		for range 2 {
			if s.Stat(s.Context(), i) == nil {
				s.has(i, text)
			} else if s.has(i, ""); err == nil {
				s.Errorf("failure %d: it is not there, and Put said nothing", n)
			}
			s.Store = s.Place.Open(s.T)
		}
		s.has(s.keep("i", text), text)
	}
	if failures == 0 {
		s.Error("nothing that Put does can fail")
	}
}

func (s *suite) reopened() {
	a := s.keep("i", "the bytes of a")
	s.Store = s.Place.Open(s.T)
	s.has(a, "the bytes of a")
	if all := s.list("i"); len(all) != 1 || all[0].Digest != a.Digest {
		s.Errorf("there are %v", all)
	}
}

// A context that has ended may end the work, but not by halves.
func (s *suite) ended() {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	i := image("i", "the bytes of a")
	if err := s.Put(ctx, i, s.temp("the bytes of a")); err == nil {
		s.has(i, "the bytes of a")
	} else {
		s.has(i, "")
	}
	for range s.List(ctx, "i") {
		break
	}
	s.has(s.keep("i", "the bytes of a"), "the bytes of a")
}
