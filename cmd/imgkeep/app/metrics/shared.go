package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imgkeep/bucket/blob/cache"
	"imgkeep/bucket/blob/s3"
)

// Shared is the state of a node among several.
type Shared struct {
	Applied uint64        // the last entry of the log of removals that it has applied
	Lag     time.Duration // since it last knew that there was no later one
	Cache   cache.Figures
}

var (
	sharedApplied = describe("shared_log_applied", "Number of the last entry of the log of removals that this node has applied.")
	sharedLag     = describe("shared_lag_seconds", "Time since this node last read the log of removals to its end.")
	cacheBytes    = describe("shared_cache_bytes", "Bytes of the originals in the cache, each file rounded up to 4 KB.")
	cacheFiles    = describe("shared_cache_files", "Originals in the cache.")
	cacheHits     = describe("shared_cache_hits_total", "Originals that imgkeep has found in the cache. What nginx serves by itself is not counted.")
	cacheMisses   = describe("shared_cache_misses_total", "Originals that were not in the cache.")
	cacheEvicted  = describe("shared_cache_evictions_total", "Originals that had to leave the cache for others.")
)

// sharedDescriptions are those of what Sources.Shared tells.
var sharedDescriptions = []*prometheus.Desc{sharedApplied, sharedLag, cacheBytes, cacheFiles, cacheHits, cacheMisses, cacheEvicted}

// collectShared tells of what a node shares with others.
func (s state) collectShared(out chan<- prometheus.Metric, gauge, counter func(*prometheus.Desc, float64, ...string)) {
	n, err := s.Shared()
	if err != nil {
		out <- prometheus.NewInvalidMetric(sharedApplied, err)
		return
	}
	gauge(sharedApplied, float64(n.Applied))
	gauge(sharedLag, n.Lag.Seconds())
	gauge(cacheBytes, float64(n.Cache.Bytes))
	gauge(cacheFiles, float64(n.Cache.Files))
	counter(cacheHits, float64(n.Cache.Hits))
	counter(cacheMisses, float64(n.Cache.Misses))
	counter(cacheEvicted, float64(n.Cache.Evictions))
}

// ObjectRequests adds the metrics of requests to the object store, and returns what counts
// them: see s3.Options.Observe. Call it once, and only where there is an object store.
func (m *Metrics) ObjectRequests() func(kind, outcome string, took time.Duration) {
	requests := m.counters("shared_requests_total", "Requests to the object store, by kind and by what became of them. condition and absent are answers as good as ok; unclear: a write of which it is not known whether it was done.", "kind", "outcome")
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "shared_request_duration_seconds",
		Help:    "Time that requests to the object store took; of one that streams an original, until it began.",
		Buckets: []float64{1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1, 2.5, 5, 10},
	}, []string{"kind"})
	m.registry.MustRegister(seconds)
	counts, times := map[[2]string]prometheus.Counter{}, map[string]prometheus.Observer{}
	for _, kind := range s3.Kinds() {
		times[kind] = seconds.WithLabelValues(kind)
		for _, outcome := range s3.Outcomes() {
			counts[[2]string{kind, outcome}] = requests.WithLabelValues(kind, outcome)
		}
	}
	return func(kind, outcome string, took time.Duration) {
		counts[[2]string{kind, outcome}].Inc()
		times[kind].Observe(took.Seconds())
	}
}
