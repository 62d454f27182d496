package flight

import (
	"slices"
	"sync"

	"imgkeep/bucket/record"
)

// Coming are the images that are about to be kept: being fetched, or added. A removal
// leaves a note here, so that an image that was requested before it is not kept after it.
// The zero value is ready.
type Coming struct {
	mu  sync.Mutex
	all map[*Arrival]struct{}
}

// Arrival is an image that is about to be kept.
type Arrival struct {
	bucket, url string
	forgotten   bool            // the URL was, since it began
	purged      []record.Digest // bytes that were, since it began; the digest of the image is not known yet
}

// Begin registers an image, until the returned function is called.
func (f *Coming) Begin(bucket, url string) (x *Arrival, end func()) {
	x = &Arrival{bucket: bucket, url: url}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[*Arrival]struct{}{}
	}
	f.all[x] = struct{}{}
	return x, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, x)
	}
}

// Forget notes that a URL was removed from these buckets; none are all. Nothing is kept
// meanwhile, as for Purge.
func (f *Coming) Forget(buckets []string, url string) {
	f.tell(buckets, func(x *Arrival) { x.forgotten = x.forgotten || x.url == url })
}

// Purge notes that bytes were removed from these buckets.
func (f *Coming) Purge(buckets []string, d record.Digest) {
	f.tell(buckets, func(x *Arrival) { x.purged = append(x.purged, d) })
}

func (f *Coming) tell(buckets []string, word func(*Arrival)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x := range f.all {
		if len(buckets) == 0 || slices.Contains(buckets, x.bucket) {
			word(x)
		}
	}
}

// Removed tells whether the image was removed since it was requested.
func (f *Coming) Removed(x *Arrival, d record.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return x.forgotten || slices.Contains(x.purged, d)
}
