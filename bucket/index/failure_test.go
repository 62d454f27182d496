package index

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/record"
)

// The number in SECURITY.md is the one that holds without options.
func TestPromisedNumbers(t *testing.T) {
	file, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	sentence := fmt.Sprintf("a bucket has at most %d,%03d;", DefaultMaxFailures/1000, DefaultMaxFailures%1000)
	if !strings.Contains(strings.Join(strings.Fields(string(file)), " "), sentence) {
		t.Errorf("SECURITY.md does not say: %s", sentence)
	}
}

// However many URLs fail, so many are remembered, and the rest takes no room: those
// that are tried again first make it.
func TestFailuresAreBounded(t *testing.T) {
	const most = 100
	path := filepath.Join(t.TempDir(), "index.db")
	open := func() *DB {
		db, err := Open(path, []string{"i"}, Options{MaxFailures: most})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	count := func(db *DB) int {
		s, err := db.Stats("i")
		if err != nil {
			t.Fatal(err)
		}
		return s.Failures
	}
	db := open()
	now := time.Unix(1_800_000_000, 0)
	long := fmt.Sprintf("%0*d", maxDetail, 0)
	var changes []Change
	for n := range 20 * most {
		changes = append(changes, Change{Bucket: "i", URL: fmt.Sprint("http://x.example/", n), Fail: &record.Failure{
			Kind: "failed", Detail: long, Attempts: 1, First: now, Next: now.Add(time.Duration(n) * time.Minute),
		}})
		if len(changes) < most {
			continue
		}
		if err := db.Apply(changes); err != nil {
			t.Fatal(err)
		}
		changes = nil
		if got := count(db); got != most {
			t.Fatalf("after %d there are %d, want %d", n+1, got, most)
		}
	}
	// What failed last is there; the first is not.
	if _, err := db.Failure("i", fmt.Sprint("http://x.example/", 20*most-1)); err != nil {
		t.Error(err)
	}
	if _, err := db.Failure("i", "http://x.example/0"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the first one: %v", err)
	}
	// The number is right after what takes entries away, after a change that fails,
	// and at the next start.
	gone := Change{Bucket: "i", URL: fmt.Sprint("http://x.example/", 20*most-1), Fail: &record.Failure{}}
	if err := db.Apply([]Change{gone, gone, {Bucket: "nowhere", Forget: true}}); err == nil {
		t.Fatal("a bucket that does not exist was changed")
	}
	if err := db.Apply([]Change{gone, gone}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := counted(t, db); got != count(db) || got != most-1 {
			t.Errorf("counted %d, there are %d, want %d", got, count(db), most-1)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open()
	}
	defer db.Close()
}

// counted is how many failures the index says that there are.
func counted(t *testing.T, db *DB) (n int) {
	t.Helper()
	err := db.view(func(tx *bbolt.Tx) error {
		v, err := tableOf(tx, metaTable).get(totalsKey([]byte("i/failures")))
		if err == nil {
			var all totals
			all, err = decodeTotals(v)
			n = int(all.records)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// An index of an earlier release, in which failures have piled up, shrinks when it
// is opened.
func TestTooManyFailuresAreDroppedAtTheStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	db, err := Open(path, []string{"i"}, Options{MaxFailures: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var changes []Change
	for n := range 1000 {
		changes = append(changes, Change{Bucket: "i", URL: fmt.Sprint("http://x.example/", n), Fail: &record.Failure{Kind: "failed", Attempts: 1}})
	}
	if err := errors.Join(db.Apply(changes), db.Close()); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, []string{"i"}, Options{MaxFailures: 10}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if s, err := db.Stats("i"); err != nil || s.Failures != 10 {
		t.Errorf("%+v, %v", s, err)
	}
}
