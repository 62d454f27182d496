package bucket

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// readJournal reads all lines of a bucket's journal; none may be broken.
func readJournal(t testing.TB, root, bucket string) []event {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, bucket, record.JournalDir, "*.ndjson"))
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
	want := `{"time":"2026-11-18T12:00:00Z","op":"keep","url":"https://example.com/a.png?b=1&c=2","digest":"ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs","type":"png","bytes":1,"width":3,"height":2,"sum":"e5811bd1"}` + "\n"
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

// Width and height in the journal are those that a viewer sees.
func TestJournalOfRotatedAndAnimated(t *testing.T) {
	e := keepEvent(record.Image{Info: probe.Info{Format: probe.JPEG, Width: 30, Height: 20, Orientation: 6, Frames: 1}})
	if e.Width != 20 || e.Height != 30 || e.Orientation != 6 || e.Frames != 0 {
		t.Errorf("rotated: %+v", e)
	}
	e = keepEvent(record.Image{Info: probe.Info{Format: probe.GIF, Width: 30, Height: 20, Orientation: 1, Frames: 5}})
	if e.Width != 30 || e.Height != 20 || e.Orientation != 0 || e.Frames != 5 {
		t.Errorf("animated: %+v", e)
	}
}

// A file a month, also where a month ends between two images of one group.
func TestJournalMonths(t *testing.T) {
	dir := t.TempDir()
	j := journal{disk: local.OS{}, log: slog.New(slog.DiscardHandler), dir: dir}
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

// A crash tore the last line. The next start cuts it off; the next image stands
// on a line of its own. A whole line that lacks only its end is kept.
func TestJournalTornLine(t *testing.T) {
	whole := `{"time":"2026-11-18T12:00:00Z","op":"keep","url":"https://example.com/c.png","digest":"ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs","type":"png","bytes":1,"width":3,"height":2}`
	long := `{"time":"2026-11-18T12:00:00Z","op":"keep","url":"https://example.com/` + strings.Repeat("x", 20<<10)
	for name, tt := range map[string]struct{ tail, want string }{
		"nothing":            {"", ""},
		"a torn line":        {`{"time":"2026-11-18T12:0`, ""},
		"a long torn line":   {long, ""},
		"zeros":              {strings.Repeat("\x00", 4096), ""},
		"whole, then a torn": {whole + "\n" + whole[:90], whole + "\n"},
		"whole but its end":  {whole, whole + "\n"},
		"one byte":           {"{", ""},
		"its end damaged":    {summed(whole) + "J", summed(whole) + "\n"},
		"torn in its sum":    {summed(whole)[:len(whole)+5], ""},
	} {
		t.Run(name, func(t *testing.T) {
			o, c, root := newOrigin(), newClock(), t.TempDir()
			o.set(urlA, "a")
			o.set(urlB, "b")
			s := openStore(t, Options{Root: root, Origin: o, Now: c.Now})
			keep(t, s, urlA)
			s.Close(t.Context())
			path := filepath.Join(root, "i/journal/2026-11.ndjson")
			first, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(string(first)+tt.tail), local.PrivateFile); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, Options{Root: root, Origin: o, Now: c.Now})
			if got, err := os.ReadFile(path); err != nil || string(got) != string(first)+tt.want {
				t.Errorf("after the start: %q, %v", got, err)
			}
			keep(t, s, urlB)
			s.Close(t.Context())
			if got, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(got), string(first)+tt.want+`{"time"`) {
				t.Errorf("after the next image: %q, %v", got, err)
			}
			if events := readJournal(t, root, "i"); events[len(events)-1].URL != urlB {
				t.Errorf("the last line is %+v", events[len(events)-1])
			}
		})
	}
}

// summed is a line with its checksum.
func summed(line string) string {
	line = strings.TrimSuffix(line, "}")
	return line + fmt.Sprintf(sumFormat, crc32.Checksum([]byte(line), castagnoli))
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
