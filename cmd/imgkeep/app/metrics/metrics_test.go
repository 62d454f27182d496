package metrics

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"imgkeep/bucket"
	"imgkeep/bucket/blob/cache"
	"imgkeep/bucket/blob/s3"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// sources are a test's.
func sources() Sources {
	return Sources{
		Decoders: func() resize.Stats {
			return resize.Stats{Workers: 4, Ready: 2, Busy: 1, Waiting: 3, Waited: 1500 * time.Millisecond, Images: 9, Refused: 8, Crashed: 7, TimedOut: 6, ProtocolErrors: 5, Recycled: 4, Abandoned: 3, Failed: 2}
		},
		Fetches:  func() fetch.Stats { return fetch.Stats{Running: 5, Waiting: 6, Waited: 2 * time.Second} },
		Free:     func() (int64, int64, error) { return 1 << 40, 1000, nil },
		Index:    func() (bucket.Figures, error) { return bucket.Figures{Bytes: 40960, PageSize: 4096, FreePages: 2}, nil },
		HotLinks: func() int { return 11 },
		Looks:    func() lookalike.Figures { return lookalike.Figures{Known: 9, Matching: 7, Blocked: 5, Refused: 3} },
		Hooks:    func() map[string]int { return map[string]int{"removed": 3} },
		BackedUp: func() time.Time { return time.Unix(1_795_000_000, 0) },
		Shared: func() (Shared, error) {
			return Shared{Applied: 17, Lag: 1500 * time.Millisecond, Cache: cache.Figures{Bytes: 8192, Files: 2, Hits: 5, Misses: 4, Evictions: 3}}, nil
		},
	}
}

func read(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// has checks that lines stand in what Prometheus reads.
func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("there is no line %q", line)
		}
	}
	if t.Failed() {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "imgkeep") {
				t.Log(strings.TrimSpace(line))
			}
		}
	}
}

// Names keep to Prometheus' conventions, and nothing panics when all is there.
func TestNames(t *testing.T) {
	m := New("1.2.3")
	m.Watch(sources())
	m.ObjectRequests()
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestState(t *testing.T) {
	m := New("1.2.3")
	m.Watch(sources())
	has(t, read(t, m),
		`imgkeep_build_info{version="1.2.3"} 1`,
		"imgkeep_decoders 4", "imgkeep_decoders_ready 2", "imgkeep_decoders_busy 1",
		"imgkeep_resizes_waiting 3", "imgkeep_resize_wait_seconds_total 1.5", "imgkeep_resizes_total 9", "imgkeep_resizes_refused_total 8",
		`imgkeep_decoder_restarts_total{reason="crashed"} 7`, `imgkeep_decoder_restarts_total{reason="timed-out"} 6`,
		`imgkeep_decoder_restarts_total{reason="nonsense"} 5`, `imgkeep_decoder_restarts_total{reason="worn"} 4`,
		`imgkeep_decoder_restarts_total{reason="abandoned"} 3`, `imgkeep_decoder_restarts_total{reason="failed-start"} 2`,
		"imgkeep_fetches_running 5", "imgkeep_fetches_waiting 6", "imgkeep_fetch_wait_seconds_total 2",
		"imgkeep_store_free_bytes 1.099511627776e+12", "imgkeep_store_free_inodes 1000",
		"imgkeep_index_size_bytes 40960", "imgkeep_index_free_bytes 8192", "imgkeep_hot_links 11",
		`imgkeep_likeness_hashes{matches="yes"} 7`, `imgkeep_likeness_hashes{matches="no"} 2`, "imgkeep_likeness_blocked_hashes 5", "imgkeep_likeness_refused_total 3",
		"imgkeep_shared_log_applied 17", "imgkeep_shared_lag_seconds 1.5", "imgkeep_shared_cache_bytes 8192", "imgkeep_shared_cache_files 2",
		"imgkeep_shared_cache_hits_total 5", "imgkeep_shared_cache_misses_total 4", "imgkeep_shared_cache_evictions_total 3",
	)
}

// A source that fails takes its own metrics away, and no others.
func TestSourceFails(t *testing.T) {
	m := New("1.2.3")
	s := sources()
	s.Free = func() (int64, int64, error) { return 0, 0, errors.New("the disk is gone") }
	s.Index = func() (bucket.Figures, error) { return bucket.Figures{}, nil }
	s.Shared = func() (Shared, error) { return Shared{}, errors.New("the index is closed") }
	m.Watch(s)
	text := read(t, m)
	has(t, text, "imgkeep_hot_links 11", "imgkeep_index_size_bytes 0")
	if strings.Contains(text, "shared_") {
		t.Error("the state of a node is told of")
	}
	if strings.Contains(text, "store_free") {
		t.Error("free space is told of")
	}
	s.Free = func() (int64, int64, error) { return 5, -1, nil }
	m = New("1.2.3")
	m.Watch(s)
	if text = read(t, m); strings.Contains(text, "free_inodes") || !strings.Contains(text, "imgkeep_store_free_bytes 5\n") {
		t.Error("a file system without a number of inodes")
	}
}

// Every code and class is there from the start, and what is counted adds up.
func TestRequests(t *testing.T) {
	m := New("1.2.3")
	has(t, read(t, m), `imgkeep_requests_total{code="removed",temperature="cold"} 0`, `imgkeep_fetches_total{class="busy"} 0`, `imgkeep_scrub_findings{kind="corrupt"} 0`)
	m.Answered(server.CodeOK, server.Warm, 80*time.Microsecond)
	m.Answered(server.CodeOK, server.Warm, 2*time.Minute)
	m.Answered("gone", server.Cold, time.Second)
	m.Answered("a code of tomorrow", server.Cold, time.Second)
	has(t, read(t, m),
		`imgkeep_requests_total{code="ok",temperature="warm"} 2`, `imgkeep_requests_total{code="gone",temperature="cold"} 1`,
		`imgkeep_requests_total{code="other",temperature="cold"} 1`,
		`imgkeep_decision_duration_seconds_bucket{temperature="warm",le="5e-05"} 0`,
		`imgkeep_decision_duration_seconds_bucket{temperature="warm",le="0.0001"} 1`,
		`imgkeep_decision_duration_seconds_bucket{temperature="warm",le="60"} 1`,
		`imgkeep_decision_duration_seconds_count{temperature="warm"} 2`,
	)
}

// origin is a test's.
type origin struct{ err error }

func (o origin) Fetch(context.Context, fetch.Request, io.Writer) (fetch.Result, error) {
	return fetch.Result{Bytes: 7}, o.err
}

func TestFetches(t *testing.T) {
	m := New("1.2.3")
	for _, err := range []error{nil, nil, &fetch.Error{Kind: fetch.Timeout}, &fetch.Error{Kind: "new"}, errors.New("disk")} {
		r, got := m.Origin(origin{err}).Fetch(t.Context(), fetch.Request{}, io.Discard)
		if got != err || r.Bytes != 7 {
			t.Errorf("%v became %v, %+v", err, got, r)
		}
	}
	has(t, read(t, m), `imgkeep_fetches_total{class="ok"} 2`, `imgkeep_fetches_total{class="timeout"} 1`, `imgkeep_fetches_total{class="other"} 2`,
		"imgkeep_fetched_bytes_total 14", "imgkeep_fetch_duration_seconds_count 5")
}

func TestScrubbed(t *testing.T) {
	m := New("1.2.3")
	at := time.Unix(1795000000, 0)
	m.Scrubbed(scrub.Report{Found: map[record.Kind]int{record.Corrupt: 2, record.Orphan: 1}, Remain: 1}, at)
	m.Scrubbed(scrub.Report{Found: map[record.Kind]int{record.Missing: 4}, Remain: 3}, at)
	has(t, read(t, m), `imgkeep_scrub_findings{kind="corrupt"} 0`, `imgkeep_scrub_findings{kind="missing"} 4`, "imgkeep_scrub_findings_remaining 3", "imgkeep_scrub_ended_timestamp_seconds 1.795e+09")
}

func TestChanges(t *testing.T) {
	m := New("1.2.3")
	has(t, read(t, m), `imgkeep_removals_total{result="ok",verb="unblock"} 0`, `imgkeep_reloads_total{result="failed"} 0`, "imgkeep_audit_failures_total 0")
	wrong := errors.New("wrong")
	m.Removed("purge", nil)
	m.Removed("purge", wrong)
	m.Removed("purge", wrong)
	m.Removed("burn", wrong)
	m.Reloaded(nil)
	m.Reloaded(wrong)
	m.AuditFailed()
	text := read(t, m)
	has(t, text, `imgkeep_removals_total{result="ok",verb="purge"} 1`, `imgkeep_removals_total{result="failed",verb="purge"} 2`,
		`imgkeep_reloads_total{result="ok"} 1`, `imgkeep_reloads_total{result="failed"} 1`, "imgkeep_audit_failures_total 1")
	if strings.Contains(text, "burn") {
		t.Error("a verb that does not exist is counted")
	}
}

func TestOrigins(t *testing.T) {
	m := New("1.2.3")
	has(t, read(t, m), `imgkeep_origins{state="gone"} 0`, `imgkeep_origin_checks_total{state="alive"} 0`, "imgkeep_origins_ended_timestamp_seconds 0")
	m.OriginAsked(linkrot.Gone)
	m.OriginAsked(linkrot.Gone)
	m.OriginsAsked(linkrot.Pass{All: map[linkrot.State]int{linkrot.Gone: 5, linkrot.Alive: 9}, Ended: time.Unix(1795000000, 0)})
	m.OriginsAsked(linkrot.Pass{All: map[linkrot.State]int{linkrot.Gone: 6}, Ended: time.Unix(1796000000, 0)})
	has(t, read(t, m), `imgkeep_origin_checks_total{state="gone"} 2`, `imgkeep_origins{state="gone"} 6`, `imgkeep_origins{state="alive"} 0`, "imgkeep_origins_ended_timestamp_seconds 1.796e+09")
}

// Counting a request takes no memory: a warm one is microseconds.
func TestAnsweredIsCheap(t *testing.T) {
	m := New("1.2.3")
	if n := testing.AllocsPerRun(100, func() { m.Answered(server.CodeOK, server.Warm, time.Millisecond) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// Each kind of request and each outcome is there from the start where there is an object store,
// and none where there is not.
func TestObjectRequests(t *testing.T) {
	m := New("1.2.3")
	if text := read(t, m); strings.Contains(text, "imgkeep_shared") {
		t.Error("a single machine has metrics of several nodes")
	}
	count := m.ObjectRequests()
	for _, kind := range s3.Kinds() {
		for n, outcome := range s3.Outcomes() {
			for range n {
				count(kind, outcome, 3*time.Millisecond)
			}
		}
	}
	text := read(t, m)
	has(t, text, `imgkeep_shared_requests_total{kind="list",outcome="ok"} 0`, `imgkeep_shared_requests_total{kind="get",outcome="absent"} 2`,
		`imgkeep_shared_request_duration_seconds_bucket{kind="head",le="0.0025"} 0`, `imgkeep_shared_request_duration_seconds_bucket{kind="head",le="0.005"} 10`)
}
