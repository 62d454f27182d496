package sharedtest

import (
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Run tests a kind of state. newPlace makes a place for one, and returns what opens it, as
// often as it is called: then the one before has been closed. It must have bucket "i".
func Run(t *testing.T, newPlace func(t *testing.T) (open func() shared.State)) {
	for name, test := range map[string]func(*suite){
		"empty": (*suite).empty, "what was set": (*suite).set, "all or nothing": (*suite).allOrNothing,
		"subjects are apart": (*suite).subjects, "records": (*suite).records, "snapshots": (*suite).snapshots,
		"many at once": (*suite).atOnce,
	} {
		t.Run(name, func(t *testing.T) {
			open := newPlace(t)
			test(&suite{t, open, open()})
		})
	}
}

type suite struct {
	*testing.T
	open  func() shared.State
	state shared.State
}

func (s *suite) update(write func(tx shared.Tx) error) {
	s.Helper()
	if err := s.state.Update(write); err != nil {
		s.Fatal(err)
	}
}

func (s *suite) view(read func(tx shared.Tx) error) {
	s.Helper()
	if err := s.state.View(read); err != nil {
		s.Fatal(err)
	}
}

func some(n int) record.Image {
	return record.Image{
		Bucket: "i", URL: fmt.Sprintf("https://example.com/%d", n), Digest: record.Digest{1, byte(n)}, Bytes: int64(n + 1),
		Info:   probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1},
		Stored: time.Date(2026, 11, 18, 12, 0, n, 0, time.UTC),
	}
}

// all is all that can be read, of a few subjects.
func all(tx shared.Tx) (map[string]any, error) {
	m := map[string]any{}
	var errs []error
	note := func(name string, value any, err error) {
		if err != nil {
			errs = append(errs, err)
		}
		if !reflect.ValueOf(value).IsZero() && fmt.Sprint(value) != "map[]" {
			m[name] = value
		}
	}
	mark, err := tx.Applied()
	note("applied", mark, err)
	pending, err := tx.Pending()
	note("pending", pending, err)
	hosts, err := tx.Hit(record.Subject{Kind: record.BlockHost, Name: "*.example.org"})
	note("host", hosts, err)
	for n := range 3 {
		i, at, ok, err := tx.Record("i", some(n).URL)
		if ok {
			m[fmt.Sprint("record ", n)] = fmt.Sprintf("%+v at %d", i, at)
		}
		note("", "", err)
		delete(m, "")
		for kind, name := range map[string]string{record.BlockURL: some(n).URL, record.BlockDigest: some(n).Digest.String()} {
			is, err := tx.Blocked(kind, name)
			note(fmt.Sprint("blocked ", kind, n), is, err)
			for _, bucket := range []string{"", "i", "f"} {
				hit, err := tx.Hit(record.Subject{Bucket: bucket, Kind: kind, Name: name})
				note(fmt.Sprint("hit ", bucket, kind, n), hit, err)
			}
		}
	}
	return m, errors.Join(errs...)
}

// has checks what can be read.
func (s *suite) has(want map[string]any) {
	s.Helper()
	s.view(func(tx shared.Tx) error {
		got, err := all(tx)
		if !reflect.DeepEqual(got, want) {
			s.Errorf("there is\n%v\nwant\n%v", got, want)
		}
		return err
	})
}

func (s *suite) empty() { s.has(map[string]any{}) }

func killed(number uint64, n int) record.Pending {
	return record.Pending{Number: number, Originals: []record.Image{
		{Bucket: "i", Digest: some(n).Digest, Info: probe.Info{Format: probe.JPEG}, Generation: number - 1},
		{Bucket: "f", Digest: some(n).Digest, Info: probe.Info{Format: probe.WebP}},
	}}
}

// fill sets one of each.
func fill(tx shared.Tx) error {
	i := some(1)
	i.Generation = 7 // which is not remembered
	return errors.Join(
		tx.SetApplied(record.Mark{Number: 300, ID: "the id"}),
		tx.Enter(i, 299),
		tx.SetHit(record.Subject{Bucket: "i", Kind: record.BlockURL, Name: some(0).URL}, 3),
		tx.SetHit(record.Subject{Kind: record.BlockHost, Name: "*.example.org"}, 256),
		tx.Block(record.Block{Kind: record.BlockURL, Subject: some(2).URL, Since: some(1).Stored}),
		tx.SetPending(killed(256, 1)), tx.SetPending(killed(3, 2)),
	)
}

func filled() map[string]any {
	return map[string]any{
		"applied": record.Mark{Number: 300, ID: "the id"}, "record 1": fmt.Sprintf("%+v at 299", some(1)), "hit iurl0": uint64(3),
		"host": uint64(256), "blocked url2": true, "pending": []record.Pending{killed(3, 2), killed(256, 1)},
	}
}

// What was set is there, also when the state is opened again.
func (s *suite) set() {
	s.update(fill)
	s.has(filled())
	s.state = s.open()
	s.has(filled())
	s.update(func(tx shared.Tx) error {
		return errors.Join(tx.ClearPending(3), tx.ClearPending(9), tx.Unblock(record.BlockURL, some(2).URL), tx.Unblock(record.BlockURL, "none"))
	})
	want := filled()
	want["pending"] = []record.Pending{killed(256, 1)}
	delete(want, "blocked url2")
	s.state = s.open()
	s.has(want)
}

// An update that returns an error has changed nothing, and what it has set it has seen.
func (s *suite) allOrNothing() {
	no := errors.New("no")
	err := s.state.Update(func(tx shared.Tx) error {
		if err := fill(tx); err != nil {
			return err
		}
		if got, err := all(tx); err != nil || !reflect.DeepEqual(got, filled()) {
			s.Errorf("in its own transaction there is %v, %v", got, err)
		}
		return no
	})
	if !errors.Is(err, no) {
		s.Error(err)
	}
	s.has(map[string]any{})
}

// Buckets, kinds and names are apart.
func (s *suite) subjects() {
	number, want := uint64(0), map[string]any{}
	s.update(func(tx shared.Tx) error {
		for _, bucket := range []string{"", "i", "f"} {
			for kind, name := range map[string]string{record.BlockURL: some(0).URL, record.BlockDigest: some(0).Digest.String()} {
				number++
				if err := tx.SetHit(record.Subject{Bucket: bucket, Kind: kind, Name: name}, number); err != nil {
					return err
				}
				want[fmt.Sprint("hit ", bucket, kind, 0)] = number
			}
		}
		return nil
	})
	s.has(want)
}

// A record takes the place of the one before.
func (s *suite) records() {
	s.update(func(tx shared.Tx) error { return errors.Join(tx.Enter(some(0), 1), tx.Enter(some(1), 0)) })
	other := some(0)
	other.Digest = some(1).Digest
	other.Bytes, other.Stored = some(1).Bytes, some(1).Stored
	s.update(func(tx shared.Tx) error { return tx.Enter(other, 5) })
	s.has(map[string]any{"record 0": fmt.Sprintf("%+v at 5", other), "record 1": fmt.Sprintf("%+v at 0", some(1))})
}

// Of many at once each is done as a whole or not at all, and is told which.
func (s *suite) atOnce() {
	const many = 60
	no := errors.New("no")
	name := func(n int) record.Subject {
		return record.Subject{Bucket: "i", Kind: record.BlockURL, Name: fmt.Sprint(n)}
	}
	var all sync.WaitGroup
	for n := range many {
		all.Go(func() {
			err := s.state.Update(func(tx shared.Tx) error {
				mark, err := tx.Applied()
				if err != nil {
					return err
				}
				mark.Number++
				if err := errors.Join(tx.SetApplied(mark), tx.SetHit(name(n), uint64(n+1))); err != nil || n%3 > 0 {
					return err
				}
				return no
			})
			if errors.Is(err, no) != (n%3 == 0) || err != nil && n%3 > 0 {
				s.Errorf("update %d: %v", n, err)
			}
		})
	}
	all.Wait()
	s.state = s.open()
	s.view(func(tx shared.Tx) error {
		for n := range many {
			want := uint64(n + 1)
			if n%3 == 0 {
				want = 0
			}
			if got, err := tx.Hit(name(n)); err != nil || got != want {
				s.Errorf("of update %d there is %d, %v, want %d", n, got, err, want)
			}
		}
		mark, err := tx.Applied()
		if mark.Number != many*2/3 {
			s.Errorf("%d were done, want %d", mark.Number, many*2/3)
		}
		return err
	})
}

// A view sees one moment, whatever is changed meanwhile. The change may have to wait for it.
func (s *suite) snapshots() {
	s.update(fill)
	done := make(chan error, 1)
	s.view(func(tx shared.Tx) error {
		started := make(chan struct{})
		go func() {
			close(started)
			done <- s.state.Update(func(tx shared.Tx) error { return tx.SetApplied(record.Mark{Number: 301}) })
		}()
		<-started
		for range 100 {
			runtime.Gosched()
			if mark, err := tx.Applied(); err != nil || mark.Number != 300 {
				s.Errorf("it sees %d, %v", mark.Number, err)
			}
		}
		return nil
	})
	if err := <-done; err != nil {
		s.Error(err)
	}
	s.view(func(tx shared.Tx) error {
		mark, err := tx.Applied()
		if mark.Number != 301 {
			s.Errorf("then there is %d", mark.Number)
		}
		return err
	})
}
