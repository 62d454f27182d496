package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/lookalike"
	"imgkeep/resize"
)

// Sources are asked for the state of a server each time that somebody reads the metrics. A
// nil one has no metrics. They must be quick, and may be called concurrently.
type Sources struct {
	Decoders func() resize.Stats
	Fetches  func() fetch.Stats
	Free     func() (bytes, inodes int64, err error) // as bucket.Store.Free
	Index    func() (bucket.Figures, error)
	HotLinks func() int
	Hooks    func() map[string]int // messages that wait, by the type of hook
	Looks    func() lookalike.Figures
	BackedUp func() time.Time // when the last backup ended; the zero time: none is known
	Shared   func() (Shared, error)
}

// Watch adds the state of sources. Call it once.
func (m *Metrics) Watch(s Sources) { m.registry.MustRegister(state{s}) }

// state reads the sources.
type state struct{ Sources }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	decoders        = describe("decoders", "Decoder processes that are wanted.")
	decodersReady   = describe("decoders_ready", "Decoder processes that could start on an image at once.")
	decodersBusy    = describe("decoders_busy", "Decoder processes that work on an image.")
	decoderRestarts = describe("decoder_restarts_total", "Decoder processes that were replaced, and starts that failed, by reason. worn is in order: they had their number of images.", "reason")
	resizes         = describe("resizes_total", "Images that decoders have worked on.")
	resizesRefused  = describe("resizes_refused_total", "Images that were refused since the queue was full.")
	resizesWaiting  = describe("resizes_waiting", "Images that wait for a decoder.")
	resizeWaits     = describe("resize_wait_seconds_total", "Time that images have waited for a decoder.")
	fetchesRunning  = describe("fetches_running", "Fetches under way.")
	fetchesWaiting  = describe("fetches_waiting", "Fetches that wait for a place.")
	fetchWaits      = describe("fetch_wait_seconds_total", "Time that fetches have waited for a place.")
	freeBytes       = describe("store_free_bytes", "Free space of the store's file system.")
	freeInodes      = describe("store_free_inodes", "Free inodes of the store's file system; missing where it makes as many as fit.")
	indexBytes      = describe("index_size_bytes", "Size of the index file.")
	indexFree       = describe("index_free_bytes", "What of the index file lies in pages that are not in use.")
	hooksWaiting    = describe("hook_messages_waiting", "Messages that wait until their hook has taken them, by its type: of removals messages, of the others images.", "hook")
	backupEnded     = describe("backup_ended_timestamp_seconds", "When the last backup of the store ended, as Unix time; 0: none is known.")
	looksKnown      = describe("likeness_hashes", "Images whose hashes are known, by whether they can match: one with little to see cannot.", "matches")
	looksBlocked    = describe("likeness_blocked_hashes", "Hashes that are blocked.")
	looksRefused    = describe("likeness_refused_total", "Images that were refused since they look like a blocked one.")
	hotLinks        = describe("hot_links", "Links that nginx answers by itself.")
)

// Describe is for prometheus.Collector.
func (s state) Describe(out chan<- *prometheus.Desc) {
	var all []*prometheus.Desc
	if s.Decoders != nil {
		all = append(all, decoders, decodersReady, decodersBusy, decoderRestarts, resizes, resizesRefused, resizesWaiting, resizeWaits)
	}
	if s.Fetches != nil {
		all = append(all, fetchesRunning, fetchesWaiting, fetchWaits)
	}
	if s.Free != nil {
		all = append(all, freeBytes, freeInodes)
	}
	if s.Index != nil {
		all = append(all, indexBytes, indexFree)
	}
	if s.HotLinks != nil {
		all = append(all, hotLinks)
	}
	if s.Looks != nil {
		all = append(all, looksKnown, looksBlocked, looksRefused)
	}
	if s.Hooks != nil {
		all = append(all, hooksWaiting)
	}
	if s.BackedUp != nil {
		all = append(all, backupEnded)
	}
	if s.Shared != nil {
		all = append(all, sharedDescriptions...)
	}
	for _, d := range all {
		out <- d
	}
}

// Collect is for prometheus.Collector.
func (s state) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	if s.Decoders != nil {
		p := s.Decoders()
		gauge(decoders, float64(p.Workers))
		gauge(decodersReady, float64(p.Ready))
		gauge(decodersBusy, float64(p.Busy))
		gauge(resizesWaiting, float64(p.Waiting))
		counter(resizeWaits, p.Waited.Seconds())
		counter(resizes, float64(p.Images))
		counter(resizesRefused, float64(p.Refused))
		for reason, n := range map[string]uint64{
			"crashed": p.Crashed, "timed-out": p.TimedOut, "nonsense": p.ProtocolErrors,
			"worn": p.Recycled, "abandoned": p.Abandoned, "failed-start": p.Failed,
		} {
			counter(decoderRestarts, float64(n), reason)
		}
	}
	if s.Fetches != nil {
		f := s.Fetches()
		gauge(fetchesRunning, float64(f.Running))
		gauge(fetchesWaiting, float64(f.Waiting))
		counter(fetchWaits, f.Waited.Seconds())
	}
	if s.Free != nil {
		bytes, inodes, err := s.Free()
		if err != nil {
			out <- prometheus.NewInvalidMetric(freeBytes, err)
		} else {
			gauge(freeBytes, float64(bytes))
			if inodes >= 0 {
				gauge(freeInodes, float64(inodes))
			}
		}
	}
	if s.Index != nil {
		i, err := s.Index()
		if err != nil {
			out <- prometheus.NewInvalidMetric(indexBytes, err)
		} else {
			gauge(indexBytes, float64(i.Bytes))
			gauge(indexFree, float64(i.FreePages)*float64(i.PageSize))
		}
	}
	if s.HotLinks != nil {
		gauge(hotLinks, float64(s.HotLinks()))
	}
	if s.Looks != nil {
		s.collectLooks(gauge, counter)
	}
	if s.Hooks != nil {
		for hook, n := range s.Hooks() {
			gauge(hooksWaiting, float64(n), hook)
		}
	}
	if s.BackedUp != nil {
		gauge(backupEnded, unix(s.BackedUp()))
	}
	if s.Shared != nil {
		s.collectShared(out, gauge, counter)
	}
}

// unix is a time in seconds; 0 where there is none.
func unix(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.Unix())
}

// collectLooks tells of what is known of how images look.
func (s state) collectLooks(gauge, counter func(*prometheus.Desc, float64, ...string)) {
	f := s.Looks()
	gauge(looksKnown, float64(f.Matching), "yes")
	gauge(looksKnown, float64(f.Known-f.Matching), "no")
	gauge(looksBlocked, float64(f.Blocked))
	counter(looksRefused, float64(f.Refused))
}
