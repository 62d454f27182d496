package bucket

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/probe"
)

// readJournal reads all lines of a bucket's journal; none may be broken.
func readJournal(t testing.TB, root, bucket string) []event {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, bucket, journalDir, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var events []event
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var e event
			if err := json.Unmarshal([]byte(line), &e); err != nil || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s: broken line %q: %v", path, line, err)
			}
			events = append(events, e)
		}
	}
	return events
}

func TestJournalLine(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	o.set("https://example.com/a.png?b=1&c=2", "a")
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	keep(t, s, "https://example.com/a.png?b=1&c=2")
	got, err := os.ReadFile(filepath.Join(root, "i/journal/2026-11.ndjson"))
	want := `{"time":"2026-11-18T12:00:00Z","op":"keep","url":"https://example.com/a.png?b=1&c=2","digest":"ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs","type":"png","bytes":1,"width":3,"height":2}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// Width and height in the journal are those that a viewer sees.
func TestJournalOfRotatedAndAnimated(t *testing.T) {
	e := keepEvent(Image{Info: probe.Info{Format: probe.JPEG, Width: 30, Height: 20, Orientation: 6, Frames: 1}})
	if e.Width != 20 || e.Height != 30 || e.Orientation != 6 || e.Frames != 0 {
		t.Errorf("rotated: %+v", e)
	}
	e = keepEvent(Image{Info: probe.Info{Format: probe.GIF, Width: 30, Height: 20, Orientation: 1, Frames: 5}})
	if e.Width != 30 || e.Height != 20 || e.Orientation != 0 || e.Frames != 5 {
		t.Errorf("animated: %+v", e)
	}
}

// A file a month, also where a month ends between two images of one group.
func TestJournalMonths(t *testing.T) {
	dir := t.TempDir()
	j := journal{dir: dir}
	at := func(s string) *event {
		tm, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return &event{Time: tm, URL: s}
	}
	if err := j.append([]*event{at("2026-11-30T23:59:59Z"), at("2026-12-01T00:00:00Z"), at("2026-12-01T00:00:01Z")}); err != nil {
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

// A crash tore the last line. The next one stands on a line of its own.
func TestJournalTornLine(t *testing.T) {
	o, c, root := newOrigin(), newClock(), t.TempDir()
	o.set(urlA, "a")
	o.set(urlB, "b")
	s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	keep(t, s, urlA)
	s.Close(t.Context())
	path := filepath.Join(root, "i/journal/2026-11.ndjson")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(data, `{"time":"2026-11-18T12:0`...), privateFile); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, Options{Root: root, Origin: o, Now: c.Now})
	keep(t, s, urlB)
	s.Close(t.Context())
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(got), "\n"), "\n")
	if len(lines) != 3 || !strings.Contains(lines[2], urlB) || !json.Valid([]byte(lines[2])) {
		t.Errorf("got %q", lines)
	}
	if err := os.WriteFile(path, []byte(lines[0]+"\n"+lines[2]+"\n"), privateFile); err != nil { // for checkTree
		t.Fatal(err)
	}
}
