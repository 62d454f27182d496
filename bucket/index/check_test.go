package index

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"imgkeep/bucket/record"
)

// meanwhile has Open check every table of some size after it has returned.
var meanwhile = Options{CheckFirst: 1}

// What a file is checked for while it is used, small or large: whatever is damaged, an image
// is found as it was or is ErrDamaged, never missing; a block is found or Open refuses; and
// when the check has ended, all is ErrDamaged unless the whole file is as it was written.
func TestCheckMeanwhile(t *testing.T) {
	good := small(t)
	page := os.Getpagesize()
	pages := len(good) / page
	random := rand.New(rand.NewPCG(3, 4))
	path := filepath.Join(t.TempDir(), "index.db")
	opened, found := 0, 0
	try := func(what string, damage func([]byte) []byte) {
		t.Helper()
		if err := os.WriteFile(path, damage(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		wrong := verify(f, false, func() bool { return false })
		f.Close()
		db, err := Open(path, []string{"i", "f"}, meanwhile)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: %v", what, err)
			}
			return
		}
		defer db.Close()
		opened++
		for range 20 {
			n := random.IntN(1000)
			got, err := db.Image("i", fmt.Sprint(n))
			if err != nil && !errors.Is(err, ErrDamaged) || err == nil && got.Digest != imageOf(fmt.Sprint(n)).Digest {
				t.Errorf("%s: %d is %x, %v", what, n, got.Digest[:4], err)
			}
		}
		if _, err := db.Block(record.BlockHost, "bad.example"); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: the block: %v", what, err)
		}
		image := imageOf("new")
		if err := db.Apply([]Change{{Bucket: "i", URL: "new", Keep: &image}}); err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: apply: %v", what, err)
		}
		db.waitChecked()
		_, err = db.Image("i", "1")
		if wrong != nil && !errors.Is(err, ErrDamaged) || wrong == nil && err != nil {
			t.Errorf("%s: it is %v, and once checked: %v", what, wrong, err)
		}
		select {
		case <-db.Damaged():
			found++
			if _, err := db.Figures(); !errors.Is(err, ErrDamaged) || !db.Failed() {
				t.Errorf("%s: figures: %v", what, err)
			}
		default:
			if wrong != nil {
				t.Errorf("%s: nobody is told of %v", what, wrong)
			}
		}
	}
	try("nothing", func(b []byte) []byte { return b })
	for n := range pages {
		try(fmt.Sprintf("page %d is zeros", n), func(b []byte) []byte { clear(b[n*page:][:page]); return b })
		try(fmt.Sprintf("page %d is its neighbour", n), func(b []byte) []byte {
			copy(b[n*page:][:page], good[(n+1)%pages*page:])
			return b
		})
		if n > 0 {
			try(fmt.Sprintf("cut off in page %d", n), func(b []byte) []byte { return b[:n*page+random.IntN(page)] })
		}
	}
	bits := 300
	if testing.Short() {
		bits = 80
	}
	for range bits {
		at, bit := random.IntN(pages)*page+random.IntN(200), byte(1)<<random.IntN(8)
		try(fmt.Sprintf("bit %d of byte %d", bit, at), func(b []byte) []byte { b[at] ^= bit; return b })
	}
	if opened < 50 || found < 50 {
		t.Errorf("opened %d times, and damage was found later %d times", opened, found)
	}
}

// While the check goes on, what is there is found at once, and of what is not nobody is told
// before it has ended.
func TestNotFoundWaits(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "index.db"), []string{"i"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	image := imageOf("a")
	apply(t, db, Change{Bucket: "i", URL: "a", Keep: &image})
	for name, lookUp := range map[string]func() error{
		"image":   func() error { _, err := db.Image("i", "b"); return err },
		"failure": func() error { _, err := db.Failure("i", "b"); return err },
		"entry":   func() error { _, err := db.Entry("i", [32]byte{}); return err },
		"ref":     func() error { _, err := db.RefOf("i", KeyOf("b")); return err },
	} {
		for _, damage := range []error{nil, ErrDamaged} {
			synctest.Test(t, func(t *testing.T) {
				db.health = newHealth()
				answer := make(chan error, 1)
				go func() { answer <- lookUp() }()
				synctest.Wait()
				select {
				case err := <-answer:
					t.Fatalf("%s: answered before the check has ended: %v", name, err)
				default:
				}
				if _, err := db.Image("i", "a"); err != nil {
					t.Errorf("%s: what is there: %v", name, err)
				}
				want := ErrNotFound
				if damage != nil {
					want = damage
					db.health.setDamaged(damage)
				}
				close(db.health.checked)
				if err := <-answer; !errors.Is(err, want) {
					t.Errorf("%s: %v, want %v", name, err, want)
				}
			})
		}
	}
	db.health = soundHealth()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A file that is cut off while it is in use would end the process by a signal: it is damaged,
// and another one takes its place.
func TestCutOffInUse(t *testing.T) {
	dir := t.TempDir()
	path, aside := filepath.Join(dir, "index.db"), filepath.Join(dir, "aside.db")
	if err := os.WriteFile(path, small(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, change := range []bool{false, true} {
		db, err := Open(path, []string{"i", "f"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, int64(2*os.Getpagesize())); err != nil {
			t.Fatal(err)
		}
		image := imageOf("new")
		if change {
			err = db.Apply([]Change{{Bucket: "i", URL: "new", Keep: &image}})
		} else {
			_, err = db.Image("i", "1")
		}
		if !errors.Is(err, ErrDamaged) {
			t.Errorf("cut off: %v", err)
		}
		<-db.Damaged()
		r, err := Rebuild(aside)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.Replace(aside+".new", contents(1000), nil, record.Position{}), r.Close()); err != nil {
			t.Fatal(err)
		}
		if err := db.Adopt(aside); err != nil {
			t.Fatal(err)
		}
		if got, err := db.Image("i", number(7)); err != nil || db.Failed() || got.Digest != imageOf("7").Digest {
			t.Errorf("adopted: %v", err)
		}
		apply(t, db, Change{Bucket: "i", URL: "new", Keep: &image})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// unusedOf is how many pages of a file a full check finds unused, and the pages there are.
func unusedOf(t *testing.T, path string) (unused int, pages uint64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	m, ok := newestMeta(f)
	if err != nil || !ok {
		t.Fatal(err)
	}
	if unused, err = verifyAt(f, m, info.Size(), false, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	return unused, m.pages
}

// A start that knows no free page loses them only until they are a quarter of the file. It
// survives a crash at each of its steps, and an earlier version reads what it leaves.
func TestStartWithoutFreePages(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "index.db")
	if err := os.WriteFile(path, small(t), 0o600); err != nil {
		t.Fatal(err)
	}
	o := meanwhile
	o.Aside = filepath.Join(dir, "aside.db")
	most := 0.0
	for n := range 60 {
		db, err := Open(path, []string{"i", "f"}, o)
		if err != nil {
			t.Fatal(err)
		}
		image := imageOf(fmt.Sprint("new", n))
		apply(t, db, Change{Bucket: "i", URL: fmt.Sprint("new", n), Keep: &image})
		for i := range n {
			if _, err := db.Image("i", fmt.Sprint("new", i)); err != nil {
				t.Fatalf("start %d: %d: %v", n, i, err)
			}
		}
		db.waitChecked()
		figures, err := db.Figures()
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
		unused, pages := unusedOf(t, path)
		if difference := unused - figures.FreePages; unused > 10 && (difference < -20 || difference > 20) {
			// it was not written anew in between; the last commits have freed some
			t.Errorf("start %d: %d pages are said to be free, and are %d", n, figures.FreePages, unused)
		}
		most = max(most, float64(unused)/float64(pages))
	}
	t.Logf("at most %.2f of the file was unused", most)
	if most < 0.1 || most > 0.4 {
		t.Errorf("at most %.2f of the file was unused", most)
	}
	whole, err := Open(path, []string{"i", "f"}, Options{}) // as earlier versions do, by a scan
	if err != nil || whole.Check() != nil {
		t.Fatalf("by a scan: %v", err)
	}
	whole.Close()
}

// A start that dies after any of the bytes that it writes leaves an index.
func TestStartDies(t *testing.T) {
	good := small(t)
	path := filepath.Join(t.TempDir(), "index.db")
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := forgetFree(f); err != nil {
		t.Fatal(err)
	}
	f.Close()
	after, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	page := os.Getpagesize()
	for cut := range 200 { // of the meta; the list is flushed before
		torn := bytes.Clone(after)
		for slot := range 2 {
			at := slot * page
			if !bytes.Equal(after[at:at+page], good[at:at+page]) {
				copy(torn[at+cut:at+page], good[at+cut:at+page])
			}
		}
		if err := os.WriteFile(path, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, o := range []Options{{}, meanwhile} {
			db, err := Open(path, []string{"i", "f"}, o)
			if err != nil {
				t.Fatalf("cut after %d bytes: %v", cut, err)
			}
			db.waitChecked()
			if _, err := db.Image("i", "7"); err != nil {
				t.Errorf("cut after %d bytes: %v", cut, err)
			}
			db.Close()
		}
	}
}
