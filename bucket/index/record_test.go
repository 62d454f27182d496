package index

import (
	"encoding/hex"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/record"
)

// oldFailure is an entry as it was written before entries had a host and first
// bytes: 404 "gone", 3 in a row.
const oldFailure = "940303c0a6f6d706c0d2f8d70604676f6e651c746865206f726967696e2073617973203430342c2061732065766572"

// An entry of an earlier version is read, is there still after a new one was
// written beside it, and is continued by a new one.
func TestOldFailureIsRead(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	value, err := hex.DecodeString(oldFailure)
	if err != nil {
		t.Fatal(err)
	}
	const url = "https://example.com/gone"
	k := KeyOf(url)
	if err := db.update(func(w *writing) error { return w.table([]byte("i/failures")).put(k[:], value) }); err != nil {
		t.Fatal(err)
	}
	want := record.Failure{
		Kind: "gone", Status: 404, Detail: "the origin says 404, as ever", Attempts: 3,
		First: time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC), Next: time.Date(2026, 11, 18, 22, 40, 0, 0, time.UTC),
	}
	if got, err := db.Failure("i", url); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	want.Host, want.Head, want.Attempts = "final.example", "<html>\x00\xff", 4
	apply(t, db, Change{Bucket: "i", URL: url, Fail: &want})
	if got, err := db.Failure("i", url); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

// What an entry holds is bounded, whatever an origin sends; and an entry that is
// cut anywhere but between its parts is an error, not a guess.
func TestFailureEntry(t *testing.T) {
	at := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	long := strings.Repeat("x", 1000)
	f := record.Failure{Kind: long, Detail: long, Host: long, Head: long, URL: strings.Repeat("x", maxFailedURL), Attempts: 1, First: at, Next: at}
	got, err := decodeFailure(encodeFailure(f))
	if err != nil || len(got.Kind) != maxClass || len(got.Detail) != maxDetail || len(got.Host) != maxHost || len(got.Head) != maxHead || got.URL != f.URL {
		t.Errorf("%d, %d, %d, %d and %d bytes, %v", len(got.Kind), len(got.Detail), len(got.Host), len(got.Head), len(got.URL), err)
	}
	// Half a URL would be another.
	f.URL += "x"
	if got, err := decodeFailure(encodeFailure(f)); err != nil || got.URL != "" {
		t.Errorf("a URL of %d bytes is remembered as one of %d, %v", len(f.URL), len(got.URL), err)
	}
	f = record.Failure{Kind: "gone", Detail: "no", Host: "h.example", Head: "<html>", URL: "https://h.example/a", Attempts: 1, First: at, Next: at}
	whole := encodeFailure(f)
	between := map[int]bool{len(whole): true, len(whole) - 20: true, len(whole) - 27: true, len(whole) - 37: true}
	for n := range len(whole) + 1 {
		got, err := decodeFailure(whole[:n])
		if between[n] != (err == nil) || err != nil && !errors.Is(err, errRecord) {
			t.Errorf("%d of %d bytes: %+v, %v", n, len(whole), got, err)
		}
	}
}

// FuzzFailure: no entry makes the reader panic or take more than is there, and what
// is read is written so that it is read alike.
func FuzzFailure(f *testing.F) {
	old, _ := hex.DecodeString(oldFailure)
	f.Add(old)
	f.Add(encodeFailure(record.Failure{Kind: "gone", Detail: "no", Host: "h.example", Head: "<html>", URL: "https://h.example/a", Attempts: 1}))
	f.Fuzz(func(t *testing.T, entry []byte) {
		got, err := decodeFailure(entry)
		if err != nil {
			return
		}
		if n := len(got.Kind) + len(got.Detail) + len(got.Host) + len(got.Head) + len(got.URL); n > len(entry) {
			t.Fatalf("%d bytes of text in an entry of %d", n, len(entry))
		}
		again, err := decodeFailure(encodeFailure(got))
		got.Kind, got.Detail = got.Kind[:min(len(got.Kind), maxClass)], got.Detail[:min(len(got.Detail), maxDetail)]
		got.Host, got.Head = got.Host[:min(len(got.Host), maxHost)], got.Head[:min(len(got.Head), maxHead)]
		if len(got.URL) > maxFailedURL {
			got.URL = ""
		}
		if err != nil || again != got {
			t.Fatalf("%+v is read again as %+v, %v", got, again, err)
		}
	})
}
