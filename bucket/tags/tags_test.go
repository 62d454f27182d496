package tags

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var november = time.Date(2026, 11, 30, 23, 59, 59, 0, time.UTC)

type test struct {
	*testing.T
	root string
	now  time.Time
	log  bytes.Buffer
}

func (t *test) open() *Book {
	b := Open(t.root, func() time.Time { return t.now }, slog.New(slog.NewTextHandler(&t.log, nil)))
	t.Cleanup(func() { b.Close() })
	return b
}

// lines are how many there are in all files.
func (t *test) lines() (n int) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(t.root, folder, "*"))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n += strings.Count(string(text), "\n")
	}
	return n
}

func (t *test) of(b *Book, members ...string) string {
	t.Helper()
	images, err := b.Of(t.Context(), members)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(images)
}

// What was noted is found, over months and restarts; it is written once, and again only if
// the program does not know.
func TestBook(tt *testing.T) {
	t := &test{T: tt, root: tt.TempDir(), now: november}
	b := t.open()
	if got := t.of(b, "1"); got != "map[]" || Exists(t) {
		t.Errorf("before anything: %s", got)
	}
	for range 3 {
		b.Note("1", "i", "https://a.example/")
		b.Note("2", "i", "https://a.example/")
		b.Note("1", "f", "https://a.example/")
		b.Note("1", "i", "https://b.example/?x&y")
	}
	t.now = november.Add(time.Second)
	b.Note("1", "i", "https://december.example/")
	check := func(b *Book) {
		t.Helper()
		if got := t.of(b, "1"); got != "map[{f https://a.example/}:true {i https://a.example/}:true {i https://b.example/?x&y}:true {i https://december.example/}:true]" {
			t.Errorf("of 1: %s", got)
		}
		if got := t.of(b, "2", "3"); got != "map[{i https://a.example/}:true]" {
			t.Errorf("of 2 and 3: %s", got)
		}
		members, err := b.Members(t.Context(), []Image{{"i", "https://a.example/"}, {"i", "https://december.example/"}, {"i", "https://none.example/"}})
		if got := fmt.Sprint(members); err != nil || got != "map[{i https://a.example/}:[1 2] {i https://december.example/}:[1]]" {
			t.Errorf("members: %s, %v", got, err)
		}
	}
	check(b)
	files, err := os.ReadDir(filepath.Join(t.root, folder))
	if err != nil || len(files) != 2 || files[0].Name() != "2026-11.ndjson" || t.lines() != 5 {
		t.Errorf("%v, %v, %d lines", files, err, t.lines())
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// Killed, and started anew.
	b = t.open()
	if err := b.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Note("1", "i", "https://a.example/")
	check(b)
	if t.lines() != 5 {
		t.Errorf("%d lines after a restart", t.lines())
	}
	b = t.open() // which has not loaded
	b.Note("1", "i", "https://a.example/")
	check(b)
	if t.lines() != 6 {
		t.Errorf("%d lines of a program that has not loaded", t.lines())
	}
}

// Exists tells whether a store has a log.
func Exists(t *test) bool {
	_, err := os.Stat(filepath.Join(t.root, folder))
	return err == nil
}

// A line that was cut off costs itself alone, and one that is too long, or no entry, too.
func TestBroken(tt *testing.T) {
	t := &test{T: tt, root: tt.TempDir(), now: november}
	dir := filepath.Join(t.root, folder)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := `{"by":"1","bucket":"i","url":"https://a.example/"}` + "\n" + "{}\n\nx\n" + `{"by":"1","bucket":"i","url":"` + strings.Repeat("x", maxLine) + `"}` + "\n" +
		`{"by":"1","bucket":"i","url":"https://b.example/"}` + "\n" + `{"by":"1","bucket":"i","ur`
	if err := os.WriteFile(filepath.Join(dir, "2026-11.ndjson"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b := t.open()
	b.Note("1", "i", "https://c.example/")
	if got := t.of(b, "1"); got != "map[{i https://a.example/}:true {i https://b.example/}:true {i https://c.example/}:true]" {
		t.Errorf("%s", got)
	}
}

// A disk that takes nothing is one line of the log; what could not be noted is noted at the
// next view.
func TestDiskFails(tt *testing.T) {
	t := &test{T: tt, root: tt.TempDir(), now: november}
	dir := filepath.Join(t.root, folder)
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // where the folder is to be
		t.Fatal(err)
	}
	b := t.open()
	for range 3 {
		b.Note("1", "i", "https://a.example/")
	}
	if n := strings.Count(t.log.String(), "\n"); n != 1 {
		t.Errorf("%d lines:\n%s", n, &t.log)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	b.Note("1", "i", "https://a.example/")
	if got := t.of(b, "1"); got != "map[{i https://a.example/}:true]" {
		t.Errorf("afterwards: %s", got)
	}
}

// Memory is bounded: beyond that some lines come twice, and all are found.
func TestBounded(tt *testing.T) {
	t := &test{T: tt, root: tt.TempDir(), now: november}
	b := t.open()
	b.most = 10
	for n := range 25 {
		b.Note("1", "i", fmt.Sprint(n))
		if len(b.seen) > b.most {
			t.Fatalf("%d are remembered", len(b.seen))
		}
	}
	b.Note("1", "i", "0")
	if images, err := b.Of(t.Context(), []string{"1"}); err != nil || len(images) != 25 || t.lines() != 26 {
		t.Errorf("%d images in %d lines, %v", len(images), t.lines(), err)
	}
}

// A caller who leaves is not waited for.
func TestStopped(tt *testing.T) {
	t := &test{T: tt, root: tt.TempDir(), now: november}
	b := t.open()
	for n := range 5000 {
		b.Note("1", "i", fmt.Sprint(n))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Of(ctx, []string{"1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
