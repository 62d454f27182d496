package bucket

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// readJournal reads all lines of a bucket's journal; none may be broken.
func readJournal(t testing.TB, root, bucket string) []ledger.Event {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, bucket, record.JournalDir, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var events []ledger.Event
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var e ledger.Event
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

// A crash has cut the last line off. The next start removes it, and the next image gets a line
// of its own. A complete line without its line end is kept.
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
	return string(ledger.EndLine([]byte(strings.TrimSuffix(line, "}"))))
}

// addTo adds events to the ledger, and not to the index.
func addTo(s *Store, bucket string, events []*ledger.Event) error {
	_, err := s.ledger.Add(bucket, events)
	return err
}
