package journal

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/ledger"
)

// A group whose lines did not all reach the disk: none of it counts, and none of
// it is left to spoil the lines that follow. A flush that failed is not asked
// again: the file is opened anew and what it may have lost is written again.
func TestJournalFaults(t *testing.T) {
	at := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	group := func(urls ...string) (g []*ledger.Event) {
		for _, u := range urls {
			g = append(g, &ledger.Event{Time: at, URL: u})
		}
		return g
	}
	for _, tt := range []struct {
		op     string
		errors int // calls that fail
	}{
		{"Write", 1}, {"Sync", 1}, {"Truncate", 2},
	} {
		t.Run(tt.op, func(t *testing.T) {
			var trace []string
			failing := false
			dir := t.TempDir()
			j := journal{dir: dir, log: slog.New(slog.DiscardHandler), whole: unknown}
			j.disk = localtest.New(func(s localtest.Step, do func() error) error {
				trace = append(trace, s.Op)
				if failing && (s.Op == tt.op || tt.op == "Truncate" && s.Op == "Sync") {
					return syscall.EIO
				}
				return do()
			})
			if err := j.append(group("1", "2")); err != nil {
				t.Fatal(err)
			}
			failing = true
			for i := range tt.errors {
				if err := j.append(group("3", "4", "5")); !errors.Is(err, syscall.EIO) {
					t.Errorf("failure %d: %v", i, err)
				}
			}
			failing, trace = false, nil
			if err := j.append(group("6")); err != nil {
				t.Fatal(err)
			}
			if want := []string{"OpenAppend", "SyncDir", "Truncate", "Write", "Sync"}; !slices.Equal(trace, want) {
				t.Errorf("afterwards: %v, want %v", trace, want)
			}
			if err := j.append(group("7")); err != nil {
				t.Fatal(err)
			}
			j.close()
			data, err := os.ReadFile(filepath.Join(dir, "2026-11.ndjson"))
			if err != nil {
				t.Fatal(err)
			}
			var urls []string
			for line := range strings.Lines(string(data)) {
				_, rest, _ := strings.Cut(line, `"url":"`)
				urls = append(urls, rest[:1])
			}
			if got := strings.Join(urls, ""); got != "1267" {
				t.Errorf("the journal has the lines %s: %s", got, data)
			}
		})
	}
}

// A file a month, also where a month ends between two images of one group.
func TestJournalMonths(t *testing.T) {
	dir := t.TempDir()
	j := journal{disk: local.OS{}, log: slog.New(slog.DiscardHandler), dir: dir}
	at := func(s string) *ledger.Event {
		tm, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return &ledger.Event{Time: tm, URL: s}
	}
	if err := j.append([]*ledger.Event{at("2026-11-30T23:59:59Z"), at("2026-12-01T00:00:00Z"), at("2026-12-01T00:00:01Z")}); err != nil {
		t.Fatal(err)
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"2026-11.ndjson": 1, "2026-12.ndjson": 2} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if got := strings.Count(string(data), "\n"); err != nil || got != want {
			t.Errorf("%s: %d lines, %v; want %d", name, got, err, want)
		}
	}
}

// A journal without a single whole line is emptied.
func TestJournalOnlyTornLine(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "2026-11.ndjson")
	if err := os.WriteFile(path, []byte(`{"time":`), local.PrivateFile); err != nil {
		t.Fatal(err)
	}
	j := journal{disk: local.OS{}, log: slog.New(slog.DiscardHandler), dir: dir}
	j.recover()
	defer j.close()
	if got, err := os.ReadFile(path); err != nil || len(got) != 0 {
		t.Errorf("left: %q, %v", got, err)
	}
}
