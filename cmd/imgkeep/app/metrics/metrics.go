// Package metrics reports the state of a server to Prometheus.
//
// Events are counted when they happen, in counters that exist from the start: a warm
// request costs a few additions and no memory. States, such as the length of a queue, are
// read when somebody asks.
//
// Names and labels are stable. No label contains anything of a viewer, an origin or an
// image: each has a few values that are known from the start, so that a series without
// events is there as 0. Links that nginx answers by itself are not counted here.
package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/cmd/imgkeep/app/server"
)

const (
	namespace = "imgkeep"
	// ok is the class of a fetch that went well, and the result of what did.
	ok     = "ok"
	failed = "failed"
	// other stands for codes and classes that this package does not know.
	other = "other"
)

var cacheStatuses = [...]string{server.Warm: "warm", server.Cold: "cold"}

// Metrics are the metrics of one server. They may be used concurrently.
type Metrics struct {
	registry *prometheus.Registry

	requests  map[string]*[len(cacheStatuses)]prometheus.Counter // by code
	decisions [len(cacheStatuses)]prometheus.Observer

	fetches      map[string]prometheus.Counter // by class
	fetchSeconds prometheus.Observer
	fetchedBytes prometheus.Counter

	findings   *prometheus.GaugeVec
	remaining  prometheus.Gauge
	scrubEnded prometheus.Gauge

	removals      map[[2]string]prometheus.Counter // by verb and result
	reloads       map[string]prometheus.Counter    // by result
	auditFailures prometheus.Counter

	// answered are the same as requests, in sum: warm, cold, and errors.
	answered [3]atomic.Uint64

	hooks  map[[2]string]prometheus.Counter // by type and result
	missed map[string]prometheus.Counter    // by type

	originChecks map[linkrot.State]prometheus.Counter
	origins      *prometheus.GaugeVec
	originsEnded prometheus.Gauge
}

// New returns metrics of a program of this version.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: map[string]*[len(cacheStatuses)]prometheus.Counter{},
		fetches:  map[string]prometheus.Counter{},
	}
	m.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	m.gauge("build_info", "The program that runs: always 1.", "version").WithLabelValues(version).Set(1)

	m.watchRequests()
	m.watchFetches()
	m.findings = m.gauge("scrub_findings", "Findings of the last scrub that ended, by kind, repaired ones included.", "kind")
	for _, kind := range record.Kinds() {
		m.findings.WithLabelValues(string(kind))
	}
	m.remaining = m.gauge("scrub_findings_remaining", "Findings of the last scrub that ended which were not repaired.").WithLabelValues()
	m.scrubEnded = m.gauge("scrub_ended_timestamp_seconds", "When the last scrub of this process ended, as Unix time; 0: none has.").WithLabelValues()

	removals := m.counters("removals_total", "Removals that somebody has asked the server for, by what and how it ended.", "verb", "result")
	m.removals = map[[2]string]prometheus.Counter{}
	reloads := m.counters("reloads_total", "Reloads of the configuration. After one that failed the old one holds.", "result")
	m.reloads = map[string]prometheus.Counter{}
	for _, result := range []string{ok, failed} {
		m.reloads[result] = reloads.WithLabelValues(result)
		for _, verb := range []string{"forget", "purge", "block", "unblock"} {
			m.removals[[2]string{verb, result}] = removals.WithLabelValues(verb, result)
		}
	}
	m.auditFailures = m.counters("audit_failures_total", "Lines that could not be written to the audit log.").WithLabelValues()

	m.watchHooks()
	checks := m.counters("origin_checks_total", "URLs whose origins were asked whether they still have the image, by what they said.", "state")
	m.origins = m.gauge("origins", "URLs that are kept, by what their origins said in the last pass that ended.", "state")
	m.originChecks = map[linkrot.State]prometheus.Counter{}
	for _, state := range linkrot.States() {
		m.originChecks[state] = checks.WithLabelValues(string(state))
		m.origins.WithLabelValues(string(state))
	}
	m.originsEnded = m.gauge("origins_ended_timestamp_seconds", "When the last pass through all origins ended, as Unix time; 0: none has.").WithLabelValues()
	return m
}

// watchRequests makes what Answered counts.
func (m *Metrics) watchRequests() {
	requests := m.counters("requests_total", "Requests of links, by the code of the error (ok: none; left: the viewer was gone before), and warm, or cold where an image was fetched or a size made. What nginx answers by itself is not counted.", "code", "temperature")
	for _, code := range append(server.Codes(), other) {
		m.requests[code] = new([len(cacheStatuses)]prometheus.Counter)
		for t, name := range cacheStatuses {
			m.requests[code][t] = requests.WithLabelValues(code, name)
		}
	}
	decisions := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Name: "decision_duration_seconds",
		Help:    "Time from a request to the decision what its viewer gets, fetching and making included, sending not.",
		Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 10e-3, 50e-3, 250e-3, 1, 5, 15, 60},
	}, []string{"temperature"})
	m.registry.MustRegister(decisions)
	for t, name := range cacheStatuses {
		m.decisions[t] = decisions.WithLabelValues(name)
	}
}

// watchFetches makes what Origin counts.
func (m *Metrics) watchFetches() {
	fetches := m.counters("fetches_total", "Fetches from origins, by the class of the failure (ok: none).", "class")
	for _, class := range append(fetch.ErrorKinds(), ok, other) {
		m.fetches[string(class)] = fetches.WithLabelValues(string(class))
	}
	fetchSeconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "fetch_duration_seconds",
		Help:    "Time that fetches took, the wait for a place included.",
		Buckets: []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40},
	})
	m.registry.MustRegister(fetchSeconds)
	m.fetchSeconds = fetchSeconds
	m.fetchedBytes = m.counters("fetched_bytes_total", "Bytes of images that were fetched.").WithLabelValues()
}

// hookTypes are those of package hook.
var hookTypes = []string{"removed", "kept", "failed"}

// watchHooks makes what HookSent and HookMissed count.
func (m *Metrics) watchHooks() {
	sent := m.counters("hook_requests_total", "Requests to hooks, by the type of hook and how they ended. One that failed is sent again.", "hook", "result")
	missed := m.counters("hook_missed_total", "What a hook was not told of, since too much waited for it.", "hook")
	m.hooks, m.missed = map[[2]string]prometheus.Counter{}, map[string]prometheus.Counter{}
	for _, hook := range hookTypes {
		for _, result := range []string{ok, failed} {
			m.hooks[[2]string{hook, result}] = sent.WithLabelValues(hook, result)
		}
		m.missed[hook] = missed.WithLabelValues(hook)
	}
}

// HookSent counts a request to a hook of a type that package hook knows.
func (m *Metrics) HookSent(hook string, err error) { m.hooks[[2]string{hook, result(err)}].Inc() }

// HookMissed counts messages that a hook did not get.
func (m *Metrics) HookMissed(hook string) { m.missed[hook].Inc() }

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

// Handler answers Prometheus.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		// A source that fails, such as a disk that is gone, must not hide the others.
		ErrorHandling: promhttp.ContinueOnError, Registry: m.registry,
		MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
}

// Answered is for server.Options.Observer.
func (m *Metrics) Answered(code string, c server.CacheStatus, took time.Duration) {
	counters, known := m.requests[code]
	if !known {
		counters = m.requests[other]
	}
	counters[c].Inc()
	m.decisions[c].Observe(took.Seconds())
	kind := 2
	if code == server.CodeOK {
		kind = int(c)
	}
	m.answered[kind].Add(1)
}

// Requests are how many were answered since the process began: from what is kept, by
// fetching or making, and by errors.
func (m *Metrics) Requests() (warm, cold, failed uint64) {
	return m.answered[server.Warm].Load(), m.answered[server.Cold].Load(), m.answered[2].Load()
}

// Scrubbed notes the findings of a finished scrub.
func (m *Metrics) Scrubbed(r scrub.Report, at time.Time) {
	for _, kind := range record.Kinds() {
		m.findings.WithLabelValues(string(kind)).Set(float64(r.Found[kind]))
	}
	m.remaining.Set(float64(r.Remain))
	m.scrubEnded.Set(float64(at.Unix()))
}

// Removed counts a removal, by the verb that asked for it. It ignores unknown verbs.
func (m *Metrics) Removed(verb string, err error) {
	if c := m.removals[[2]string{verb, result(err)}]; c != nil {
		c.Inc()
	}
}

// Reloaded counts a reload of the configuration.
func (m *Metrics) Reloaded(err error) { m.reloads[result(err)].Inc() }

// AuditFailed counts a line that could not be written to the audit log.
func (m *Metrics) AuditFailed() { m.auditFailures.Inc() }

func result(err error) string {
	if err != nil {
		return failed
	}
	return ok
}

// OriginAsked counts a URL whose origin was asked.
func (m *Metrics) OriginAsked(state linkrot.State) { m.originChecks[state].Inc() }

// OriginsAsked notes the findings of a finished pass.
func (m *Metrics) OriginsAsked(p linkrot.Pass) {
	for _, state := range linkrot.States() {
		m.origins.WithLabelValues(string(state)).Set(float64(p.All[state]))
	}
	m.originsEnded.Set(float64(p.Ended.Unix()))
}

// Origin returns an origin whose fetches are counted.
func (m *Metrics) Origin(next bucket.Origin) bucket.Origin { return counted{m, next} }

type counted struct {
	*Metrics
	next bucket.Origin
}

func (c counted) Fetch(ctx context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	began := time.Now()
	result, err := c.next.Fetch(ctx, r, dst)
	c.fetchSeconds.Observe(time.Since(began).Seconds())
	class := ok
	var e *fetch.Error
	switch {
	case err == nil:
		c.fetchedBytes.Add(float64(result.Bytes))
	case errors.As(err, &e) && c.fetches[string(e.Kind)] != nil:
		class = string(e.Kind)
	default:
		class = other // a fault of the disk, or the end of the process
	}
	c.fetches[class].Inc()
	return result, err
}
