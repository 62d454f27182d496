package index

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"imgkeep/bucket/record"
)

// What was looked up before is answered from memory, until the URL has another image or none,
// or the file is another one or closed: also if a look-up that began before ends only then.
func TestPopular(t *testing.T) {
	a, b := imageOf("a"), imageOf("b")
	keepA := Change{Bucket: "i", URL: "1", Keep: &a}
	change := func(c Change) func(*testing.T, *DB) { return func(t *testing.T, db *DB) { apply(t, db, c) } }
	shared := func(write func(*SharedTx) error) func(*testing.T, *DB) {
		return func(t *testing.T, db *DB) {
			if err := db.UpdateShared(write); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(*testing.T, *DB)
		want   *Image // nil: none
		stays  bool   // in memory
	}{
		"nothing":                  {func(*testing.T, *DB) {}, &a, true},
		"another URL":              {change(Change{Bucket: "i", URL: "2", Keep: &a}), &a, true},
		"a failure of another URL": {change(Change{Bucket: "i", URL: "2", Fail: &record.Failure{Attempts: 1}}), &a, true},
		"the same again":           {change(keepA), &a, true},
		"another image":            {change(Change{Bucket: "i", URL: "1", Keep: &b}), &b, false},
		"forgotten":                {change(Change{Bucket: "i", URL: "1", Forget: true}), nil, false},
		"forgotten, but its files": {change(Change{Bucket: "i", URL: "1", Forget: true, Spare: true}), nil, false},
		"purged":                   {change(Change{Bucket: "i", Purge: &Removing{a.Digest, a.Format}}), nil, false},
		"purged, but its files":    {change(Change{Bucket: "i", Purge: &Removing{a.Digest, a.Format}, Spare: true}), nil, false},
		"hit by another node, as a URL": {shared(func(tx *SharedTx) error {
			return tx.SetHit(record.Subject{Kind: record.BlockURL, Bucket: "i", Name: "1"}, 1)
		}), nil, false},
		"hit by another node, as bytes": {shared(func(tx *SharedTx) error {
			return tx.SetHit(record.Subject{Kind: record.BlockDigest, Bucket: "i", Name: record.Digest(a.Digest).String()}, 1)
		}), nil, false},
		"compacted": {func(t *testing.T, db *DB) {
			if _, _, err := db.Compact(db.path + ".new"); err != nil {
				t.Fatal(err)
			}
		}, &a, false},
		"another file": {func(t *testing.T, db *DB) {
			r, err := Rebuild(db.path + ".new")
			if err != nil {
				t.Fatal(err)
			}
			contents := []Content{{Bucket: "i"}, {Bucket: "f"}}
			if err := errors.Join(r.Replace(db.path+".newer", contents, nil, record.Position{}), r.Close(), db.Adopt(db.path+".new")); err != nil {
				t.Fatal(err)
			}
		}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t, filepath.Join(t.TempDir(), "index.db"))
			apply(t, db, keepA)
			if got, err := db.Image("i", "1"); err != nil || got != a {
				t.Fatalf("%+v, %v", got, err)
			}
			if _, ok := db.popular.find("i", KeyOf("1")); !ok {
				t.Error("it is not in memory")
			}
			if _, err := db.Image("f", "1"); !errors.Is(err, ErrNotFound) {
				t.Errorf("in another bucket: %v", err)
			}
			generation := db.popular.generation.Load()
			tt.change(t, db)
			db.popular.add(generation, "i", KeyOf("1"), a) // by a look-up that has taken this long
			if _, ok := db.popular.find("i", KeyOf("1")); ok != tt.stays {
				t.Errorf("in memory: %v", ok)
			}
			got, err := db.Image("i", "1")
			if tt.want == nil && !errors.Is(err, ErrNotFound) || tt.want != nil && (err != nil || got != *tt.want) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	apply(t, db, keepA)
	for _, broken := range []error{ErrFailed, ErrDamaged, nil} {
		if got, err := db.Image("i", "1"); err != nil || got != a {
			t.Fatalf("%+v, %v", got, err)
		}
		switch broken {
		case ErrFailed:
			db.failed.Store(true)
		case ErrDamaged:
			db.health.setDamaged(ErrDamaged)
		default:
			db.Close()
		}
		if got, err := db.Image("i", "1"); err == nil || broken != nil && !errors.Is(err, broken) {
			t.Errorf("%v: %+v, %v", broken, got, err)
		}
		db.failed.Store(false)
		db.health.err = nil
	}
}

// An image that was removed, or replaced, is not found once that was acknowledged, however many
// look it up meanwhile; and what is kept is found all the time.
func TestPopularDuringChanges(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	db.bolt.NoSync = true
	a, b := imageOf("a"), imageOf("b")
	apply(t, db, Change{Bucket: "i", URL: "stays", Keep: &a})
	done := make(chan struct{})
	var viewers sync.WaitGroup
	for range 4 {
		viewers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if got, err := db.Image("i", "stays"); err != nil || got != a {
					t.Errorf("%+v, %v", got, err)
					return
				}
				if _, err := db.Image("i", "changes"); err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
			}
		})
	}
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for n := range rounds {
		for _, step := range []struct {
			change Change
			want   *Image
		}{
			{Change{Keep: &a}, &a}, {Change{Keep: &b}, &b}, {Change{Forget: true}, nil},
			{Change{Keep: &b}, &b}, {Change{Purge: &Removing{b.Digest, b.Format}}, nil},
		} {
			step.change.Bucket, step.change.URL = "i", "changes"
			apply(t, db, step.change)
			for range 3 {
				got, err := db.Image("i", "changes")
				if step.want == nil && !errors.Is(err, ErrNotFound) || step.want != nil && (err != nil || got.Digest != step.want.Digest) {
					t.Fatal(fmt.Errorf("round %d: %x, %v", n, got.Digest, err))
				}
			}
		}
	}
	close(done)
	viewers.Wait()
}
