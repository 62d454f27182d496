package bucket

import (
	"slices"
	"sync"

	"imgkeep/bucket/record"
)

// fetches are the images that are about to be kept: being fetched, or added. A
// removal leaves word there, so that what was on its way before it is not kept after
// it. Its zero value is ready.
type fetches struct {
	mu  sync.Mutex
	all map[*fetching]struct{}
}

// fetching is an image that is about to be kept.
type fetching struct {
	bucket, url string
	forgotten   bool            // the URL was, since it began
	purged      []record.Digest // bytes that were, since it began; what comes is not known yet
}

// begin enters an image, until the function that it returns is called.
func (f *fetches) begin(bucket, url string) (x *fetching, end func()) {
	x = &fetching{bucket: bucket, url: url}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[*fetching]struct{}{}
	}
	f.all[x] = struct{}{}
	return x, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.all, x)
	}
}

// forget leaves word that a URL was removed from these buckets; none are all. Nothing
// is kept meanwhile, as for purge.
func (f *fetches) forget(buckets []string, url string) {
	f.tell(buckets, func(x *fetching) { x.forgotten = x.forgotten || x.url == url })
}

// purge leaves word that bytes were removed from these buckets.
func (f *fetches) purge(buckets []string, d record.Digest) {
	f.tell(buckets, func(x *fetching) { x.purged = append(x.purged, d) })
}

func (f *fetches) tell(buckets []string, word func(*fetching)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for x := range f.all {
		if len(buckets) == 0 || slices.Contains(buckets, x.bucket) {
			word(x)
		}
	}
}

// removed tells whether what has come was removed since it was asked for.
func (f *fetches) removed(x *fetching, d record.Digest) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return x.forgotten || slices.Contains(x.purged, d)
}
