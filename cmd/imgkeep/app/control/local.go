package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"

	"imgkeep/bucket"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/tags"
)

// Store is what a Local works on: an OpenStore.
type Store interface {
	Scrub(context.Context, scrub.Options) (scrub.Report, error)
	Compact() (before, after bucket.Figures, err error)
	Figures() (bucket.Figures, error)
	Retry(what string) (bucket.Retried, error)
	Remover
	Looker
	Comparer
}

// Looker looks into a store.
type Looker interface {
	Show(context.Context, bucket.Target) (query.Details, error)
	Stats(context.Context) (Stats, error)
	List(context.Context, query.Filter) iter.Seq2[query.Entry, error]
	// ListOf lists only these images.
	ListOf(context.Context, query.Filter, map[tags.Image]bool) iter.Seq2[query.Entry, error]
	ListFailures(context.Context, query.Filter, []bucket.ErrorKind) iter.Seq2[query.FailureDetails, error]
	Blocks() iter.Seq2[record.Block, error]
	Latest(context.Context, query.RecentFilter) (query.Recent, error)
	LatestFailed(context.Context, query.RecentFilter, []bucket.ErrorKind) (query.RecentFailures, error)
	Hosts(context.Context) (query.Hosts, error)
}

// Links know links of a server.
type Links interface {
	// Check tells whether a link, by its path, is of the image that its URL says. The
	// error names both.
	Check(path string) error
	// Good are the paths of the links that are good now for what was removed.
	Good(record.Removal) ([]string, error)
	// Life tells of a link, by its path, until when it is good or that it has expired.
	Life(path string) *query.LinkDetails
}

// Outbox notes removals for the receivers of hooks.
type Outbox interface {
	// Begin notes that a removal begins, and returns what is called when it has ended,
	// with what was done and the error. Neither fails, and neither waits for anybody.
	Begin(q RemoveRequest, by string) (end func(Removal, error))
}

// Options say what New works on.
type Options struct {
	Store     Store
	Exclusive bool          // nobody else uses the store: see scrub.Options
	Keeper    func() Keeper // returns who keeps images now; nil: nobody does
	Hot       HotLinks      // nil: there are none
	Links     Links         // nil: none are known
	// Reload reads the configuration again; nil: it cannot.
	Reload func() (Reloaded, error)
	// Scrubbed is told of each scrub that has ended well; nil: nobody.
	Scrubbed func(scrub.Report)
	// Removed is told of each removal that was tried, by its verb; nil: nobody.
	Removed func(verb string, err error)
	// Tags tells for which members links were signed; nil: nobody knows.
	Tags *tags.Book
	// Outbox notes removals for a program of the operator's; nil: nobody is told.
	Outbox Outbox
	Audit  *Audit       // nil: none
	Log    *slog.Logger // nil: none
}

// Local is a Service on a store that this process has open.
type Local struct {
	opts Options
	by   Caller
	jobs *jobs
}

var _ Service = (*Local)(nil)

// jobs are what runs once at a time, for all callers.
type jobs struct {
	compacting sync.Mutex
	looking    sync.Mutex
	scrubbing  chan struct{} // holds one while a scrub is under way

	mu  sync.Mutex
	own context.CancelCauseFunc // ends the server's own scrub; nil: none is under way
}

// New returns a Service on a store, for the user of this process.
func New(o Options) *Local {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Local{opts: o, by: Self(), jobs: &jobs{scrubbing: make(chan struct{}, 1)}}
}

// As is the same Service for somebody else.
func (l *Local) As(by Caller) *Local { return &Local{l.opts, by, l.jobs} }

// audit adds a line of what the caller has done to the audit log.
func (l *Local) audit(c Change, err error) error { return l.opts.Audit.Write(l.by.change(c), err) }

// check is the error of a link whose signature stands for something else than its URL.
func (l *Local) check(n Named) error {
	if n.Link == "" || n.Unverified || l.opts.Links == nil {
		return nil
	}
	return l.opts.Links.Check(n.Link)
}

// Show implements Service.
func (l *Local) Show(ctx context.Context, q ShowRequest) (query.Details, error) {
	if err := l.check(q.Named); err != nil {
		return query.Details{}, err
	}
	t := bucket.Target{URL: q.URL}
	if q.URL == "" {
		var err error
		if t.Digest, err = record.ParseDigest(q.Digest); err != nil {
			return query.Details{}, err
		}
	}
	details, err := l.opts.Store.Show(ctx, t)
	if err == nil && q.Source != "" && q.Source != q.URL {
		var more query.Details
		more, err = l.opts.Store.Show(ctx, bucket.Target{URL: q.Source})
		details.Images, details.Failures = append(details.Images, more.Images...), append(details.Failures, more.Failures...)
	}
	if q.Link != "" && l.opts.Links != nil {
		details.Link = l.opts.Links.Life(q.Link)
	}
	return details, err
}

// List implements Service.
func (l *Local) List(ctx context.Context, q ListRequest, each Each) (int, error) {
	switch q.What {
	case "images":
		images := l.opts.Store.List(ctx, q.Filter)
		if len(q.By) > 0 {
			if l.opts.Tags == nil {
				return 0, errNoTags
			}
			of, err := l.opts.Tags.Of(ctx, q.By)
			if err != nil {
				return 0, err
			}
			images = l.opts.Store.ListOf(ctx, q.Filter, of)
		}
		return sendAll(images, each, func(x query.Entry) Item { return Item{Image: &x} })
	case "failures":
		return sendAll(l.opts.Store.ListFailures(ctx, q.Filter, classesOf(q.Classes)), each, func(x query.FailureDetails) Item { return Item{Failure: &x} })
	case "blocks":
		return sendAll(l.opts.Store.Blocks(), each, func(x record.Block) Item { return Item{Block: &x} })
	case "similar":
		return sendAll(l.opts.Store.Looks().Refused(), each, func(x lookalike.Refusal) Item { return Item{Refusal: &x} })
	}
	return 0, fmt.Errorf("%q cannot be listed: want images, failures, blocks or similar", q.What)
}

func classesOf(names []string) (classes []bucket.ErrorKind) {
	for _, c := range names {
		classes = append(classes, bucket.ErrorKind(c))
	}
	return classes
}

// Latest implements Service.
func (l *Local) Latest(ctx context.Context, q query.RecentFilter) (query.Recent, error) {
	return l.opts.Store.Latest(ctx, q)
}

// Failed implements Service.
func (l *Local) Failed(ctx context.Context, q FailedRequest) (query.RecentFailures, error) {
	return l.opts.Store.LatestFailed(ctx, q.RecentFilter, classesOf(q.Classes))
}

// Hosts implements Service.
func (l *Local) Hosts(ctx context.Context) (query.Hosts, error) { return l.opts.Store.Hosts(ctx) }

// History implements Service.
func (l *Local) History(_ context.Context, q HistoryRequest) (History, error) {
	return l.opts.Audit.Read(q)
}

var errNoTags = errors.New("this process does not know for whom links were signed")

func sendAll[T any](all iter.Seq2[T, error], each Each, item func(T) Item) (n int, err error) {
	for v, err := range all {
		if err != nil {
			return n, err
		}
		n++
		if each == nil {
			continue
		}
		i := item(v)
		if err := each(Event{Item: &i}); err != nil {
			return n, err
		}
	}
	return n, nil
}

// Stats implements Service.
func (l *Local) Stats(ctx context.Context) (Stats, error) { return l.opts.Store.Stats(ctx) }

// Figures implements Service.
func (l *Local) Figures(context.Context) (bucket.Figures, error) { return l.opts.Store.Figures() }

// Retry implements Service.
func (l *Local) Retry(_ context.Context, q RetryRequest) (bucket.Retried, error) {
	if err := l.check(q.Named); err != nil { // which names URLs, and the log holds none
		return bucket.Retried{}, err
	}
	done, err := l.opts.Store.Retry(q.What)
	err = errors.Join(err, l.audit(Change{Op: "retry", What: struct {
		Of string `json:"of"`
		bucket.Retried
	}{q.What, done}}, err))
	l.log(err, "retry", "failures", done.Failures, "undecodable", done.Undecodable)
	return done, err
}

var errCompacting = errors.New("the index is being compacted already: try again later")

// Compact implements Service.
func (l *Local) Compact(context.Context) (done Compacted, err error) {
	if !l.jobs.compacting.TryLock() {
		return done, errCompacting
	}
	defer l.jobs.compacting.Unlock()
	done.Before, done.After, err = l.opts.Store.Compact()
	l.log(err, "index compacted", "before", done.Before.Bytes, "after", done.After.Bytes)
	return done, errors.Join(err, l.audit(Change{Op: "compact"}, err))
}

var errNoReload = errors.New("this process cannot reload: no server runs")

// Reload implements Service.
func (l *Local) Reload(context.Context) (Reloaded, error) {
	if l.opts.Reload == nil {
		return Reloaded{}, errNoReload
	}
	done, err := l.opts.Reload()
	return done, errors.Join(err, l.audit(Change{Op: "reload", What: done}, err))
}

var (
	errNoKeeper = errors.New("this process keeps no images")
	errNoRun    = errors.New("want a run of populate or import")
)

// Populate implements Service.
func (l *Local) Populate(ctx context.Context, q PopulateRequest) (Outcome, error) {
	if l.opts.Keeper == nil {
		return Outcome{}, errNoKeeper
	}
	o := l.opts.Keeper().Populate(ctx, q)
	return o, ctx.Err()
}

// Add implements Service.
func (l *Local) Add(ctx context.Context, q AddRequest, image io.Reader) (Outcome, error) {
	if l.opts.Keeper == nil {
		return Outcome{}, errNoKeeper
	}
	return l.added(ctx, q, l.opts.Keeper().Add(q, image))
}

// added notes what became of something that was to be kept, unless it is of a run.
func (l *Local) added(ctx context.Context, q AddRequest, o Outcome) (Outcome, error) {
	l.log(nil, "image added", "bucket", q.Bucket, "kept", o.Kept, "bytes", o.Bytes, "code", o.Code)
	if q.Run {
		return o, ctx.Err()
	}
	var failed error
	if o.Code != "" {
		failed = fmt.Errorf("%s: %s", o.Code, o.Detail)
	}
	return o, errors.Join(ctx.Err(), l.audit(Change{Op: "add", What: struct {
		Bucket string `json:"bucket"`
		URL    string `json:"url"`
		Kept   bool   `json:"kept"` // now; otherwise it was there, or failed
		Bytes  int64  `json:"bytes,omitempty"`
	}{q.Bucket, q.URL, o.Kept, o.Bytes}}, failed))
}

// Ran implements Service.
func (l *Local) Ran(_ context.Context, run Run) error {
	if run.Op != "populate" && run.Op != "import" {
		return fmt.Errorf("%w: %q is none", errNoRun, run.Op)
	}
	var stopped error
	if run.Stopped != "" {
		stopped = errors.New(run.Stopped)
	}
	op := run.Op
	run.Op, run.Stopped = "", ""
	return l.audit(Change{Op: op, What: run}, stopped)
}

// log logs what was asked for and done, and the error if there was one.
func (l *Local) log(err error, what string, args ...any) {
	if err != nil {
		args = append(args, "error", err)
	}
	l.opts.Log.Info(what, args...)
}
