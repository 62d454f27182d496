package hook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
)

const (
	// Folder is the folder of an Outbox, in the root of a store.
	Folder = "hooks"
	// MaxMessages is how many messages an Outbox holds. One more, and they all become one
	// that says All.
	MaxMessages = 10_000
	// maxLinks and maxLinkBytes bound the links of one message; a removal that has more
	// is told in parts.
	maxLinks     = 1000
	maxLinkBytes = 256 << 10

	messageExt = ".json"
	begunExt   = ".begun" // a removal that was begun, and has not ended
)

// Removal is the message of a removal.
type Removal struct {
	ID   string    `json:"id"`
	Type string    `json:"type"`
	Time time.Time `json:"time"`
	// Op is forget, purge or block; empty: All stands for several.
	Op string `json:"op,omitempty"`
	// What was named: one of URL, Digest and Host, which may be a pattern.
	URL    string `json:"url,omitempty"`
	Digest string `json:"digest,omitempty"`
	Host   string `json:"host,omitempty"`
	By     string `json:"by,omitempty"`
	Why    string `json:"why,omitempty"`

	Images []RemovedImage `json:"images"`
	// Links are the paths of all links that were good.
	Links []string `json:"links"`
	// All: not all links are known, so that receivers with copies drop all that came from
	// this server.
	All bool `json:"all"`
	// Part of Parts, from 1: the links of one removal may be several messages.
	Part  int `json:"part"`
	Parts int `json:"parts"`
}

// RemovedImage is an image that is gone from a bucket.
type RemovedImage struct {
	Bucket string   `json:"bucket"`
	Digest string   `json:"digest"`
	URLs   []string `json:"urls"`
}

// Outbox holds messages of removals in files until they are taken. It may be used
// concurrently, and its folder by one process at a time.
type Outbox struct {
	dir  string
	most int
	disk local.Disk
	log  *slog.Logger
	now  func() time.Time

	mu      sync.Mutex
	waiting []uint64 // numbers of messages, the oldest first
	next    uint64
	sending uint64 // of waiting; 0: none
	lost    int    // removals that could not be written
	wake    chan struct{}
}

// OpenOutbox opens the outbox of a store, and makes it where there is none. A removal of
// which only the beginning is known, since the process was killed in it, becomes a message
// that says All.
func OpenOutbox(root string, log *slog.Logger, now func() time.Time) (*Outbox, error) {
	return openOutbox(local.OS{}, root, log, now)
}

func openOutbox(disk local.Disk, root string, log *slog.Logger, now func() time.Time) (*Outbox, error) {
	o := &Outbox{dir: filepath.Join(root, Folder), most: MaxMessages, disk: disk, log: log, now: now, next: 1, wake: make(chan struct{}, 1)}
	if err := os.Mkdir(o.dir, 0o700); err == nil {
		if err := disk.SyncDir(root); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	entries, err := os.ReadDir(o.dir)
	if err != nil {
		return nil, err
	}
	var begun []string
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		n, err := strconv.ParseUint(strings.TrimSuffix(e.Name(), ext), 10, 64)
		switch {
		case err == nil && ext == messageExt:
			o.waiting = append(o.waiting, n)
		case err == nil && ext == begunExt:
			begun = append(begun, e.Name())
		default: // half of a file that never had its name
			if err := os.RemoveAll(filepath.Join(o.dir, e.Name())); err != nil {
				return nil, err
			}
			continue
		}
		o.next = max(o.next, n+1)
	}
	slices.Sort(o.waiting)
	for _, name := range begun {
		if err := o.add(Removal{All: true}); err != nil {
			return nil, err
		}
		if err := os.Remove(filepath.Join(o.dir, name)); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// Begin notes that something is about to be removed, so that it is told of whatever happens
// to the process, and returns what is to be called when that has ended: with what was done,
// or with nil if nothing was. It never fails: what the disk does not take is told of from
// memory, by a message that says All.
func (o *Outbox) Begin() (end func(*Removal)) {
	o.mu.Lock()
	path := filepath.Join(o.dir, fmt.Sprintf("%020d%s", o.next, begunExt))
	o.next++
	o.mu.Unlock()
	if err := local.WriteFile(o.disk, o.dir, path, nil); err != nil {
		o.log.Error("a removal is not told of if this process ends before it has ended", "error", err)
	}
	return func(done *Removal) {
		if done != nil {
			if err := o.tell(*done); err != nil {
				o.log.Error("cannot store the hook's message of a removal: it is sent from memory, and lost if this process ends first", "error", err)
				o.mu.Lock()
				o.lost++
				o.mu.Unlock()
			}
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			o.log.Error("a removal is told of twice after a restart", "error", err)
		}
		wakeUp(o.wake)
	}
}

// tell writes a removal, in parts if it has many links.
func (o *Outbox) tell(r Removal) error {
	parts := partsOf(r.Links)
	for i, links := range parts {
		p := r
		p.Links, p.Part, p.Parts = links, i+1, len(parts)
		if i > 0 { // said once
			p.Images = []RemovedImage{}
		}
		if err := o.add(p); err != nil {
			return err
		}
	}
	return nil
}

// partsOf cuts links into what fits into a message: at least one part.
func partsOf(links []string) (parts [][]string) {
	part, size := []string{}, 0
	for _, l := range links {
		if len(part) == maxLinks || size+len(l) > maxLinkBytes && len(part) > 0 {
			parts = append(parts, part)
			part, size = []string{}, 0
		}
		part, size = append(part, l), size+len(l)
	}
	return append(parts, part)
}

// add adds a message. Where there are too many, one that says All takes the place of all
// that are not just being sent.
func (o *Outbox) add(r Removal) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var replaced []uint64
	if len(o.waiting) >= o.most {
		r = Removal{All: true}
		replaced = slices.DeleteFunc(slices.Clone(o.waiting), func(n uint64) bool { return n == o.sending })
	}
	r.ID, r.Type, r.Time = newID(), Removed, o.now().UTC()
	r.Part, r.Parts = max(r.Part, 1), max(r.Parts, 1)
	r.Images, r.Links = append([]RemovedImage{}, r.Images...), append([]string{}, r.Links...)
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	number := o.next
	if err := local.WriteFile(o.disk, o.dir, o.path(number), text); err != nil {
		return err
	}
	o.next++
	o.waiting = append(o.waiting, number)
	if len(replaced) > 0 {
		o.log.Warn("too many removals wait for their hook: they become one message, to drop all", "messages", len(replaced))
	}
	for _, n := range replaced {
		o.remove(n)
	}
	return nil
}

func (o *Outbox) path(number uint64) string {
	return filepath.Join(o.dir, fmt.Sprintf("%020d%s", number, messageExt))
}

// remove removes a message. One that cannot be removed is sent again after a restart.
func (o *Outbox) remove(number uint64) {
	if err := os.Remove(o.path(number)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		o.log.Error("a message of a hook is sent again after a restart", "error", err)
	}
	o.waiting = slices.DeleteFunc(o.waiting, func(n uint64) bool { return n == number })
}

// Len is how many messages wait.
func (o *Outbox) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) + min(o.lost, 1)
}

// Run sends messages, one after the other, until ctx ends. It may run once.
func (o *Outbox) Run(ctx context.Context, c *Client) {
	for {
		id, body, taken, ok := o.first()
		if !ok {
			select {
			case <-o.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if c.deliver(ctx, Removed, id, body) != nil {
			return
		}
		taken()
	}
}

// first is the message to be sent next, and what is to be called when it was taken.
func (o *Outbox) first() (id string, body []byte, taken func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.waiting) == 0 {
		if o.lost == 0 {
			return "", nil, nil, false
		}
		lost := o.lost
		r := o.all()
		body, _ := json.Marshal(r) // of plain fields
		return r.ID, body, func() {
			o.mu.Lock()
			o.lost -= lost
			o.mu.Unlock()
		}, true
	}
	number := o.waiting[0]
	o.sending = number
	body, err := os.ReadFile(o.path(number))
	var r Removal
	if err == nil {
		err = json.Unmarshal(body, &r)
	}
	if err != nil || r.ID == "" {
		o.log.Error("a message of a hook is damaged: all is told to be dropped instead", "error", err)
		r = o.all()
		body, _ = json.Marshal(r)
	}
	return r.ID, body, func() {
		o.mu.Lock()
		o.sending = 0
		o.remove(number)
		o.mu.Unlock()
	}, true
}

// all is the message that says that anything may have been removed.
func (o *Outbox) all() Removal {
	return Removal{ID: newID(), Type: Removed, Time: o.now().UTC(), Images: []RemovedImage{}, Links: []string{}, All: true, Part: 1, Parts: 1}
}

// Drop removes the outbox of a store with what waits in it, where nobody is told any more.
func Drop(root string) error { return os.RemoveAll(filepath.Join(root, Folder)) }

// Exists tells whether a store has an outbox.
func Exists(root string) bool {
	info, err := os.Stat(filepath.Join(root, Folder))
	return err == nil && info.IsDir()
}
