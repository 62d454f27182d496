package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/scripts/patience"
)

// disk fails to name files while it is told to.
type disk struct {
	local.OS
	full *atomic.Bool
}

func (d disk) CreateTemp(dir, pattern string) (*os.File, error) {
	if d.full.Load() {
		return nil, errors.New("no space left on device")
	}
	return d.OS.CreateTemp(dir, pattern)
}

func outbox(t *testing.T, root string) *Outbox {
	t.Helper()
	o, err := OpenOutbox(root, slog.New(slog.DiscardHandler), func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// told are the messages that a receiver has taken, as "url links" or "all".
func told(t *testing.T, r *receiver) (all []string) {
	t.Helper()
	for _, body := range r.bodies() {
		var m Removal
		if err := json.Unmarshal([]byte(body), &m); err != nil || m.Type != Removed || m.ID == "" || m.Links == nil || m.Images == nil || m.Part < 1 || m.Part > m.Parts {
			t.Fatalf("%v: %s", err, body)
		}
		if m.All {
			all = append(all, "all")
		} else {
			all = append(all, strings.TrimSpace(m.URL+" "+strings.Join(m.Links, " ")))
		}
	}
	return all
}

func remove(o *Outbox, url string, links ...string) {
	o.Begin()(&Removal{Op: "purge", URL: url, Links: links})
}

// Removals are told in order, over restarts, and none before it has ended or twice.
func TestOutbox(t *testing.T) {
	root := t.TempDir()
	o := outbox(t, root)
	remove(o, "1", "/i/full/x/y")
	first, second := o.Begin(), o.Begin()
	second(&Removal{Op: "block", URL: "2"})
	first(&Removal{Op: "forget", URL: "3"})
	o.Begin()(nil) // there was nothing to remove
	if o.Len() != 3 {
		t.Errorf("%d wait", o.Len())
	}

	o = outbox(t, root) // killed and started anew
	remove(o, "4")
	fails := true
	r := newReceiver(t, func(int) int {
		if fails {
			fails = false
			return 500
		}
		return 200
	})
	stop := running(t, func(ctx context.Context) { o.Run(ctx, client(t, r.URL, nil, Options{})) })
	r.wait(t, 4)
	remove(o, "5")
	r.wait(t, 1)
	for late := time.Now().Add(patience.Of(t)); o.Len() > 0; runtime.Gosched() { // the answer is on its way
		if time.Now().After(late) {
			t.Fatal("what was taken waits")
		}
	}
	stop()
	if got := fmt.Sprint(told(t, r)); got != "[1 /i/full/x/y 2 3 4 5]" {
		t.Errorf("told %s", got)
	}
	if entries, err := os.ReadDir(filepath.Join(root, Folder)); err != nil || len(entries) > 0 || o.Len() != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

// Of a removal that a crash has broken off nobody knows how far it came: all is told to be
// dropped, at its place in the order.
func TestKilledInRemoval(t *testing.T) {
	root := t.TempDir()
	o := outbox(t, root)
	remove(o, "1")
	o.Begin() // and killed
	for _, half := range []string{"00000000000000000009.json-123", "x"} {
		if err := os.WriteFile(filepath.Join(root, Folder, half), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(root, Folder)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	for range 2 { // once, however often it starts
		o = outbox(t, root)
	}
	remove(o, "2")
	r := newReceiver(t, nil)
	running(t, func(ctx context.Context) { o.Run(ctx, client(t, r.URL, nil, Options{})) })
	r.wait(t, 3)
	if got := fmt.Sprint(told(t, r)); got != "[1 all 2]" {
		t.Errorf("told %s", got)
	}
}

// An outbox is bounded: with one message more than it may hold, all become one that says
// so, and nothing that was removed is left out.
func TestOutboxIsBounded(t *testing.T) {
	o := outbox(t, t.TempDir())
	o.most = 3
	for n := range 3 {
		remove(o, fmt.Sprint(n))
	}
	if o.Len() != 3 {
		t.Errorf("%d wait", o.Len())
	}
	// The oldest is being sent: it stays.
	id, _, taken, ok := o.first()
	if !ok {
		t.Fatal("nothing waits")
	}
	remove(o, "3")
	if again, _, _, _ := o.first(); o.Len() != 2 || again != id {
		t.Errorf("%d wait, %s before %s", o.Len(), again, id)
	}
	taken()
	remove(o, "4")
	r := newReceiver(t, nil)
	running(t, func(ctx context.Context) { o.Run(ctx, client(t, r.URL, nil, Options{})) })
	r.wait(t, 2)
	if got := fmt.Sprint(told(t, r)); got != "[all 4]" {
		t.Errorf("told %s", got)
	}
}

// Many links are told in several messages, none of them too long.
func TestParts(t *testing.T) {
	long := strings.Repeat("x", maxLinkBytes/2)
	for name, tt := range map[string]struct {
		links []string
		parts []int
	}{
		"none":         {nil, []int{0}},
		"as many":      {make([]string, maxLinks), []int{maxLinks}},
		"one more":     {make([]string, maxLinks+1), []int{maxLinks, 1}},
		"as long":      {[]string{long, long}, []int{2}},
		"longer":       {[]string{long, long, "x"}, []int{2, 1}},
		"one too long": {[]string{long + long + "x", "x"}, []int{1, 1}},
	} {
		var got []int
		for _, part := range partsOf(tt.links) {
			got = append(got, len(part))
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.parts) {
			t.Errorf("%s: %v, want %v", name, got, tt.parts)
		}
	}
	o := outbox(t, t.TempDir())
	o.Begin()(&Removal{URL: "1", Links: make([]string, maxLinks+1), Images: []RemovedImage{{Bucket: "i"}}})
	r := newReceiver(t, nil)
	running(t, func(ctx context.Context) { o.Run(ctx, client(t, r.URL, nil, Options{})) })
	r.wait(t, 2)
	for i, body := range r.bodies() {
		var m Removal
		if err := json.Unmarshal([]byte(body), &m); err != nil || m.Part != i+1 || m.Parts != 2 || len(m.Links) != []int{maxLinks, 1}[i] || len(m.Images) != []int{1, 0}[i] {
			t.Errorf("part %d of %d, %d links, %d images, %v", m.Part, m.Parts, len(m.Links), len(m.Images), err)
		}
	}
}

// A disk that takes nothing does not hold up removals, and they are told all the same, by a
// message to drop all; so is one whose message is damaged.
func TestDiskFails(t *testing.T) {
	root := t.TempDir()
	d := disk{full: &atomic.Bool{}}
	o, err := openOutbox(d, root, slog.New(slog.DiscardHandler), func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	remove(o, "1")
	remove(o, "2")
	if err := os.WriteFile(o.path(o.waiting[1]), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.full.Store(true)
	remove(o, "3")
	remove(o, "4")
	if o.Len() != 3 {
		t.Errorf("%d wait", o.Len())
	}
	r := newReceiver(t, nil)
	running(t, func(ctx context.Context) { o.Run(ctx, client(t, r.URL, nil, Options{})) })
	r.wait(t, 3)
	d.full.Store(false)
	remove(o, "5")
	r.wait(t, 1)
	if got := fmt.Sprint(told(t, r)); got != "[1 all all 5]" {
		t.Errorf("told %s", got)
	}
}

func TestDrop(t *testing.T) {
	root := t.TempDir()
	if Exists(root) {
		t.Error("an outbox where there is none")
	}
	remove(outbox(t, root), "1")
	if !Exists(root) {
		t.Error("no outbox")
	}
	if err := Drop(root); err != nil || Exists(root) {
		t.Errorf("dropped: %v", err)
	}
}
