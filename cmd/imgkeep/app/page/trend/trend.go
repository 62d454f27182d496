// Package trend remembers how a server did over the last week: what was asked for, hot links,
// waits. Metrics do that better where there is a Prometheus; this is for the moderators'
// page, where there may be none.
//
// What it promises: a sample every five minutes, a week of them at most, about 150 KB in
// memory and in one file, which a crash leaves whole. What happened since the file was last
// written, an hour at most, a crash loses.
package trend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// File is the name of the file, in the store's root.
const File = "trend.json"

const (
	// Every is the time between two samples.
	Every = 5 * time.Minute
	// Most is how many samples are remembered: a week of them.
	Most    = 7 * 24 * 12
	perFile = 12      // samples until the file is written
	maxFile = 4 << 20 // bytes
)

// Counts are what a server has counted since it began, and what holds now.
type Counts struct {
	Warm, Cold, Failed uint64        // answers: from what is kept, fetched or made, errors
	Hot                int           // hot links now; negative: nginx serves by none
	FetchWait          time.Duration // for a place of a download, in all
	ResizeWait         time.Duration // for a decoder, in all
}

// Sample is what happened in an interval.
type Sample struct {
	At         time.Time `json:"at"` // its end
	Warm       uint64    `json:"warm"`
	Cold       uint64    `json:"cold"`
	Failed     uint64    `json:"failed"`
	Hot        int       `json:"hot"`
	FetchWait  float64   `json:"fetch_wait"` // in seconds, of all who waited together
	ResizeWait float64   `json:"resize_wait"`
}

// Trend are the samples of a server. It may be used concurrently.
type Trend struct {
	root   string
	counts func() Counts
	now    func() time.Time

	mu     sync.Mutex
	last   Counts
	all    []Sample
	unsent int // samples that are not in the file
}

// Open reads what was remembered in the root of a store. A file that cannot be read is an
// error beside a trend that begins again.
func Open(root string, counts func() Counts, now func() time.Time) (*Trend, error) {
	t := &Trend{root: root, counts: counts, now: now, last: counts()}
	path := filepath.Join(root, File)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	var text []byte
	if err == nil && info.Size() <= maxFile {
		text, err = os.ReadFile(path)
	}
	if err == nil {
		err = json.Unmarshal(text, &t.all)
	}
	if err != nil {
		t.all = nil
		return t, fmt.Errorf("cannot read %s, and start over: %w", path, err)
	}
	t.all = t.all[max(0, len(t.all)-Most):]
	return t, nil
}

// Run samples until ctx ends, and writes the file from time to time and at the end.
func (t *Trend) Run(ctx context.Context, failed func(error)) {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.sample()
			if t.due() {
				if err := t.write(); err != nil {
					failed(err)
				}
			}
		case <-ctx.Done():
			t.sample()
			if err := t.write(); err != nil {
				failed(err)
			}
			return
		}
	}
}

func (t *Trend) sample() {
	t.mu.Lock()
	defer t.mu.Unlock()
	is, was := t.counts(), t.last
	t.last = is
	t.all = append(t.all, Sample{
		At: t.now().UTC().Truncate(time.Second), Hot: is.Hot,
		Warm: is.Warm - was.Warm, Cold: is.Cold - was.Cold, Failed: is.Failed - was.Failed,
		FetchWait: max(0, (is.FetchWait - was.FetchWait).Seconds()), ResizeWait: max(0, (is.ResizeWait - was.ResizeWait).Seconds()),
	})
	t.all = t.all[max(0, len(t.all)-Most):]
	t.unsent++
}

func (t *Trend) due() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unsent >= perFile
}

func (t *Trend) write() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	text, err := json.Marshal(t.all)
	if err != nil {
		return err
	}
	if err := local.WriteFile(local.OS{}, filepath.Join(t.root, record.TmpDir), filepath.Join(t.root, File), text); err != nil {
		return fmt.Errorf("remember how the server does: %w", err)
	}
	t.unsent = 0
	return nil
}

// Samples are those that are remembered, the oldest first.
func (t *Trend) Samples() []Sample {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.all)
}
