package journal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// What is read from the end is what is read from the beginning, the other way round: over
// months, blocks, lines that are broken or too long, and from any place of it.
func TestReadBack(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "i", record.JournalDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	n := 0
	for _, month := range []string{"2026-09", "2026-10", "2026-11"} {
		at, _ := time.Parse("2006-01", month)
		var text bytes.Buffer
		for range 700 {
			n++
			if n%100 == 0 {
				text.WriteString(strings.Repeat("x", []int{0, 5, MaxLine, 2 * MaxLine, 2 * backBlock}[n/100%5]) + "\n")
			}
			line, err := ledger.KeepEvent(record.Image{
				URL: fmt.Sprintf("https://a.example/%d?%s", n, strings.Repeat("y", random.IntN(2000))), Digest: record.Digest{1}, Bytes: 1,
				Info: probe.Info{Format: probe.PNG, Width: 1, Height: 1}, Stored: at.Add(time.Duration(n) * time.Second),
			}).Line()
			if err != nil {
				t.Fatal(err)
			}
			text.Write(line)
		}
		if month == "2026-11" {
			text.WriteString(`{"time":"2026-11-01T00:00:00Z","op":"ke`) // being written
		}
		if err := os.WriteFile(filepath.Join(dir, month+record.JournalExt), text.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for e, err := range Read(root, "i") {
		if err != nil {
			t.Fatal(err)
		}
		if e.Broken == nil {
			want = append(want, e.Image.URL)
		}
	}
	slices.Reverse(want)
	read := func(at record.Position, w ledger.Wanted) (urls []string, places []record.Position) {
		for e, err := range readBack(root, "i", at, w) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Op != "" {
				urls, places = append(urls, e.Image.URL), append(places, e.At)
			}
		}
		return urls, places
	}
	all, places := read(record.Position{}, ledger.Wanted{})
	if len(want) != n || !slices.Equal(all, want) {
		t.Fatalf("%d lines of %d come back", len(all), n)
	}
	for _, i := range []int{0, 1, 99, 699, 700, 701, n - 2, n - 1} {
		if rest, _ := read(places[i], ledger.Wanted{}); !slices.Equal(rest, want[i+1:]) {
			t.Errorf("from behind line %d: %d lines, want %d", i, len(rest), len(want)-i-1)
		}
	}
	some := func(w ledger.Wanted, fits func(string) bool) {
		t.Helper()
		got, _ := read(record.Position{}, w)
		if chosen := slices.DeleteFunc(slices.Clone(want), func(u string) bool { return !fits(u) }); !slices.Equal(got, chosen) || len(got) == 0 {
			t.Errorf("%d lines, want %d", len(got), len(chosen))
		}
	}
	some(ledger.Wanted{Any: [][]byte{[]byte("/777?"), []byte("/2099?")}}, func(u string) bool {
		return strings.Contains(u, "/777?") || strings.Contains(u, "/2099?")
	})
	some(ledger.Wanted{Line: func(line []byte) bool { return bytes.Contains(line, []byte("/88")) }}, func(u string) bool {
		return strings.Contains(u, "/88")
	})
	// Where nothing is wanted, a caller hears how far it is.
	marks := 0
	for e, err := range readBack(root, "i", record.Position{}, ledger.Wanted{Any: [][]byte{[]byte("nothing")}}) {
		if err != nil || e.Op != "" || e.At.File == "" {
			t.Fatalf("%+v, %v", e, err)
		}
		if !e.Image.Stored.IsZero() {
			marks++
		}
	}
	if marks < 4 {
		t.Errorf("%d times", marks)
	}
}
