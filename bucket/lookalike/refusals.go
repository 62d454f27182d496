package lookalike

import (
	"bufio"
	"bytes"
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

const (
	// RefusalsFile is that of the refusals, in the root of the store.
	RefusalsFile = "similar.ndjson"
	// MaxRefusals is how many are remembered: the latest.
	MaxRefusals = 4096
)

// Refusal is an image that was not kept, since it looks like a blocked one. Its bytes are
// not there.
type Refusal struct {
	Time     time.Time `json:"time"` // of the last attempt, to the second
	Bucket   string    `json:"bucket"`
	URL      string    `json:"url"`
	Digest   string    `json:"digest"`
	Hash     string    `json:"hash"`     // its own
	Quality  int       `json:"quality"`  // of that
	Like     string    `json:"like"`     // the blocked hash
	Distance int       `json:"distance"` // from that, in bits
	Turned   bool      `json:"turned,omitempty"`
	Attempts int       `json:"attempts"` // how often it came
	// Allowed: it has been let through since, and comes when it is next asked for.
	Allowed bool `json:"allowed,omitempty"`
	// Of is what the blocked hash was made of, where it was blocked with an image; Why is
	// the reason of that block. They are filled in when refusals are listed.
	Of  string `json:"of,omitempty"`
	Why string `json:"why,omitempty"`
}

// Refusals remember the latest images that were refused, in a file. It may be used
// concurrently.
type Refusals struct {
	path  string
	mu    sync.Mutex
	all   []Refusal // the oldest first
	lines int       // of the file
}

// key is what is one image for the list: the same bytes under another URL are another.
type key struct{ bucket, url, digest string }

func (r Refusal) key() key { return key{r.Bucket, r.URL, r.Digest} }

// openRefusals reads those of the store in a root. Lines that cannot be read are passed
// over.
func openRefusals(root string) (*Refusals, error) {
	r := &Refusals{path: filepath.Join(root, RefusalsFile)}
	text, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, len(text)+1)
	for lines.Scan() {
		r.lines++
		var one Refusal
		if json.Unmarshal(lines.Bytes(), &one) == nil && one.Digest != "" {
			r.enter(one)
		}
	}
	return r, lines.Err()
}

// enter puts a refusal at the end, in the place of an earlier one of the same image.
func (r *Refusals) enter(one Refusal) {
	k := one.key()
	if i := slices.IndexFunc(r.all, func(x Refusal) bool { return x.key() == k }); i >= 0 {
		r.all = slices.Delete(r.all, i, i+1)
	}
	if r.all = append(r.all, one); len(r.all) > MaxRefusals {
		r.all = slices.Delete(r.all, 0, len(r.all)-MaxRefusals)
	}
}

// Add notes a refusal. It is not flushed.
func (r *Refusals) Add(one Refusal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.Attempts = 1
	k := one.key()
	for _, x := range r.all {
		if x.key() == k {
			one.Attempts = x.Attempts + 1
		}
	}
	r.enter(one)
	return r.write(one)
}

// Allow notes that bytes have been let through, or are not any more.
func (r *Refusals) Allow(d record.Digest, allowed bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for i := range r.all {
		if r.all[i].Digest == d.String() && r.all[i].Allowed != allowed {
			r.all[i].Allowed = allowed
			errs = append(errs, r.write(r.all[i]))
		}
	}
	return errors.Join(errs...)
}

// write adds a line to the file, or writes all of it again where most lines are of old.
func (r *Refusals) write(one Refusal) error {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if r.lines >= 2*MaxRefusals {
		for _, x := range r.all {
			if err := enc.Encode(x); err != nil {
				return err
			}
		}
		err := local.WriteFile(local.OS{}, filepath.Join(filepath.Dir(r.path), record.TmpDir), r.path, text.Bytes())
		if err == nil {
			r.lines = len(r.all)
		}
		return err
	}
	if err := enc.Encode(one); err != nil {
		return err
	}
	f, err := os.OpenFile(r.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("note what was refused: %w", err)
	}
	_, err = f.Write(text.Bytes())
	r.lines++
	return errors.Join(err, f.Close())
}

// Under are the digests of what was refused under a URL.
func (r *Refusals) Under(url string) (all []record.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.all {
		if d, err := record.ParseDigest(x.Digest); err == nil && x.URL == url && !slices.Contains(all, d) {
			all = append(all, d)
		}
	}
	return all
}

// All returns the refusals, the latest first.
func (r *Refusals) All() []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.all)
	slices.Reverse(all)
	return all
}
