package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"testing"
	"time"

	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
)

// What programs read of the log: times that something took are seconds, digests, modes and
// errors are text, and a list is a list when it is empty.
func TestJSONLog(t *testing.T) {
	var b bytes.Buffer
	log := NewLogger(&b, config.Log{Level: "info", Format: "json"})
	var none []string
	log.Error("m", "seconds", 1500*time.Millisecond, "digest", record.Digest{1}, "mode", fs.FileMode(0o750), "error", errors.New("e"),
		"changed", none, "restart", []string{"a"}, "bytes", int64(1)<<53, "last", time.Unix(1_795_000_000, 0).UTC())
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "time")
	text, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"bytes":9007199254740992,"changed":[],"digest":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","error":"e",` +
		`"last":"2026-11-18T11:06:40Z","level":"ERROR","mode":"-rwxr-x---","msg":"m","restart":["a"],"seconds":1.5}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}
