package ledger

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Width and height in the journal are those that a viewer sees.
func TestJournalOfRotatedAndAnimated(t *testing.T) {
	e := KeepEvent(record.Image{Info: probe.Info{Format: probe.JPEG, Width: 30, Height: 20, Orientation: 6, Frames: 1}})
	if e.Width != 20 || e.Height != 30 || e.Orientation != 6 || e.Frames != 0 {
		t.Errorf("rotated: %+v", e)
	}
	e = KeepEvent(record.Image{Info: probe.Info{Format: probe.GIF, Width: 30, Height: 20, Orientation: 1, Frames: 5}})
	if e.Width != 30 || e.Height != 20 || e.Orientation != 0 || e.Frames != 5 {
		t.Errorf("animated: %+v", e)
	}
}

// parseLine reads a line of a bucket's journal.
func parseLine(bucket string, text []byte) (record.Image, error) {
	var l Entry
	l.Parse(bucket, text)
	if l.Op != OpKeep && l.Broken == nil {
		return record.Image{}, ErrOperation
	}
	return l.Image, l.Broken
}

func TestParseTurnedAndAnimated(t *testing.T) {
	for _, info := range []probe.Info{
		{Format: probe.JPEG, Width: 30, Height: 20, Orientation: 6, Frames: 1},
		{Format: probe.JPEG, Width: 30, Height: 20, Orientation: 3, Frames: 1},
		{Format: probe.GIF, Width: 30, Height: 20, Orientation: 1, Frames: 12},
	} {
		want := record.Image{Bucket: "i", URL: "https://example.com/a.png", Digest: record.Digest{1}, Info: info, Bytes: 7, Stored: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)}
		text, err := json.Marshal(KeepEvent(want))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseLine("i", text); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func FuzzParseLine(f *testing.F) {
	image := record.Image{Bucket: "i", URL: "https://example.com/a.png", Digest: record.Digest{1}, Info: probe.Info{Format: probe.JPEG, Width: 30, Height: 20, Orientation: 6, Frames: 1}, Bytes: 7, Stored: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)}
	text, _ := json.Marshal(KeepEvent(image))
	f.Add(text)
	f.Add([]byte(`{"op":"keep"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		image, err := parseLine("i", text)
		if err != nil {
			return
		}
		again, err := json.Marshal(KeepEvent(image))
		if err != nil {
			return // a year that JSON has no room for
		}
		if got, err := parseLine("i", again); err != nil || got.File() != image.File() || got.Info != image.Info {
			t.Errorf("%+v became %+v, %v", image, got, err)
		}
	})
}

// Lines of the store's own journal that name nothing, or too much, are broken.
func TestBlockLines(t *testing.T) {
	hash := strings.Repeat("f0", 32)
	for text, want := range map[string]record.Block{
		`{"op":"block","host":"a.example","why":"w","by":"b"}`:   {Kind: record.BlockHost, Subject: "a.example", Why: "w", By: "b"},
		`{"op":"unblock","url":"https://a.example/"}`:            {Kind: record.BlockURL, Subject: "https://a.example/"},
		`{"op":"block","digest":"d","for":"https://a.example/"}`: {Kind: record.BlockDigest, Subject: "d", For: "https://a.example/"},
		`{"op":"block","similar":"` + hash + `","within":31}`:    {Kind: record.BlockSimilar, Subject: hash, Within: 31},
		`{"op":"unblock","similar":"` + hash + `"}`:              {Kind: record.BlockSimilar, Subject: hash},
		`{"op":"block","except":"d","why":"w"}`:                  {Kind: record.BlockExcept, Subject: "d", Why: "w"},
		`{"op":"block","similar":"` + hash + `","within":49}`:    {},
		`{"op":"block","similar":"` + hash + `","within":-1}`:    {},
		`{"op":"block","similar":"f0"}`:                          {},
		`{"op":"block","similar":"` + hash + `","digest":"d"}`:   {},
		`{"op":"block"}`:                           {},
		`{"op":"block","host":"a","url":"b"}`:      {},
		`{"op":"keep","url":"b"}`:                  {},
		`{"op":"purge","digest":"d","type":"png"}`: {},
		`{"op":"block","host":"a"}{"op":"block"}`:  {},
		`{"op":"burn","host":"a"}`:                 {},
	} {
		var l Entry
		l.Parse("", []byte(text))
		want.Since = l.Block.Since
		if l.Block != want || (l.Broken == nil) != (want.Kind != "") {
			t.Errorf("%s: got %+v, %v", text, l.Block, l.Broken)
		}
	}
	var l Entry
	for _, text := range []string{`{"op":"forget","digest":"d"}`, `{"op":"block","host":"a"}`, `{"op":"purge","url":"u"}`} {
		if l.Parse("i", []byte(text)); l.Broken == nil {
			t.Errorf("%s is read as %+v", text, l)
		}
	}
}
