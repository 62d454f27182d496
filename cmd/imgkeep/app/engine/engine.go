// Package engine turns a configuration into work: a running server, with its reload,
// its timers and its end; or a store that is open for one command.
//
// What it promises: all that can be wrong with a configuration is found before anything
// in use is touched, and is a config.Error; a reload takes over all that can change or
// nothing; a stop loses no answer that is due. A process has one server.
//
// What it does not do: it reads no configuration and prints nothing but the log; it
// decides no request (see server) and does nothing that an operator asks for (see
// control).
package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/node"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/tags"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/metrics"
	"imgkeep/cmd/imgkeep/app/nodes"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// Process is what the engine gets from the process that it runs in.
type Process struct {
	Version string // for the metrics
	Now     func() time.Time
	Stderr  io.Writer      // of the log
	Warn    func(string)   // tells the operator something, in a line
	Caller  control.Caller // who has begun it: see BecomeOwner
}

// audit is the audit log of a store.
func (p Process) audit(c config.Config) *control.Audit {
	return &control.Audit{Path: AuditPath(c), Now: p.Now}
}

// AuditPath is the path of the audit log of a store.
func AuditPath(c config.Config) string { return filepath.Join(c.Root, "audit.ndjson") }

// engine is what a server is made of, wired by hand.
type engine struct {
	store   *bucket.Store
	pool    *resize.Pool
	hot     *nginx.Hot                // nil: not handing off
	links   atomic.Pointer[nginx.Hot] // the same, for the store, which is open before it
	hooks   *hooks
	tags    *tags.Book
	metrics *metrics.Metrics
	log     *slog.Logger
	now     func() time.Time
	pauses  *fetch.Pauses // that hosts have asked for; they outlive a reload
	closed  bool

	// What a reload replaces, as one.
	current atomic.Pointer[current]
}

// current is what the configuration in force has made. It is never changed.
type current struct {
	config  config.Config
	presets map[string]*resize.Preset
	options server.Options // as far as the configuration says
	server  *server.Server
	keeper  *control.StoreKeeper
	fetcher *fetch.Fetcher
}

// ServeHTTP answers by the configuration in force when a request comes.
func (e *engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.current.Load().server.ServeHTTP(w, r)
}

// newEngine makes the parts. What is cheap to check comes first, and the store last
// but one, since opening it changes the disk.
func newEngine(c config.Config, p Process, log *slog.Logger) (_ *engine, err error) {
	e := &engine{metrics: metrics.New(p.Version), log: log, now: p.Now, pauses: fetch.NewPauses()}
	next, options, err := e.prepare(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			e.close(context.Background())
		}
	}()
	if e.pool, err = NewPool(c, log); err != nil {
		return nil, err
	}
	if err := tryMarks(context.Background(), e.pool, c, next.presets); err != nil {
		return nil, err
	}
	if e.hooks, err = newHooks(c.Hooks, log, p.Now, e.metrics.HookSent, e.metrics.HookMissed); err != nil {
		return nil, err
	}
	e.hooks.watch(&options)
	options.TookIn = e.dropLinks
	options.Look = newLook(c, func() (*resize.Pool, error) { return e.pool, nil })
	if options.Node, err = e.nodeOptions(c); err != nil {
		return nil, err
	}
	if e.store, err = openStore(options); err != nil {
		return nil, err
	}
	e.tags = tags.Open(c.Root, p.Now, log)
	if err := e.hooks.open(c.Root, log, p.Now); err != nil {
		return nil, fmt.Errorf("open the outbox of hooks: %w", err)
	}
	if err := e.openHot(c, next.presets); err != nil {
		return nil, err
	}
	if err := e.complete(next); err != nil {
		return nil, err
	}
	e.current.Store(next)
	sources := metrics.Sources{
		Decoders: e.pool.Stats, Free: e.store.Free, Index: e.store.Figures,
		Fetches:  func() fetch.Stats { return e.current.Load().fetcher.Stats() },
		BackedUp: func() time.Time { return backedUp(c.Root) },
		Hooks:    e.hooks.waiting,
	}
	if looks := e.store.Looks(); looks != nil {
		sources.Looks = looks.Figures
	}
	if e.hot != nil {
		sources.HotLinks = e.hot.Len
	}
	if n := e.store.Node(); n != nil {
		sources.Shared = func() (metrics.Shared, error) {
			applied, err := n.Applied()
			return metrics.Shared{Applied: applied, Lag: n.Lag(), Cache: n.Cache.Figures()}, err
		}
	}
	e.metrics.Watch(sources)
	return e, nil
}

// openHot opens the tree of hot links, if there is to be one.
func (e *engine) openHot(c config.Config, presets map[string]*resize.Preset) (err error) {
	if c.Handoff != "nginx" {
		return nil
	}
	if e.hot, err = newHot(c, presets, e.log, e.now); err != nil {
		return err
	}
	e.links.Store(e.hot)
	// The start has taken in removals or blocks that no process has dropped the links
	// of.
	if e.store.Removals() > 0 {
		if _, err := e.hot.Drop(); err != nil {
			return fmt.Errorf("drop the hot links: %w", err)
		}
	}
	return nil
}

// nodeOptions are those of one of several nodes; nil: it is the only one.
func (e *engine) nodeOptions(c config.Config) (*node.Options, error) {
	var observe func(kind, outcome string, took time.Duration)
	if c.Shared.IsSet() {
		observe = e.metrics.ObjectRequests()
	}
	o, err := nodes.Options(context.Background(), c, observe)
	if o != nil {
		o.Removing, o.OutOfTouch = e.removing, e.dropLinks
	}
	return o, err
}

// openStore is what an operator's commands work on.
func (e *engine) openStore() control.Store {
	if e.store.Node() == nil {
		return control.OpenStore{Store: e.store}
	}
	return nodes.NewStore(e.store, e.now)
}

// removing takes away the hot links of what an entry of the shared log removes, as a removal
// on one machine does.
func (e *engine) removing(entry ledger.Entry) (end func()) {
	hot := e.links.Load()
	if hot == nil || entry.Op == ledger.OpUnblock { // there is none, or openHot looks for itself
		return func() {}
	}
	digests, all := map[string]bool{}, false
	switch {
	case entry.Op != ledger.OpBlock:
		digests[entry.Image.Digest.String()] = true
	case entry.Block.Kind == record.BlockDigest:
		digests[entry.Block.Subject] = true
	case entry.Block.Kind == record.BlockURL:
		known, err := e.store.Maintenance().DigestsOf(entry.Block.Subject)
		for _, d := range known {
			digests[d.String()] = true
		}
		all = err != nil || len(known) == 0 // it may be entered just now
	default:
		all = true
	}
	unnoted := hot.BeginRemoval()
	return func() {
		_, err := hot.EndRemoval(all || unnoted != nil, func(target string) bool {
			digest, _, _ := strings.Cut(filepath.Base(target), ".")
			return digests[digest]
		})
		if err != nil {
			e.log.Error("hot links of what was removed may be left: stop the server and remove the tree", "error", err)
		}
	}
}

// dropLinks drops all hot links: some may stand for what has been removed.
func (e *engine) dropLinks() {
	hot := e.links.Load()
	if hot == nil {
		return // openHot looks for itself
	}
	if _, err := hot.Drop(); err != nil {
		e.log.Error("hot links of what was removed may be left: stop the server and remove the tree", "error", err)
	}
}

// prepare makes what a configuration says without touching anything in use: all
// that can be wrong with one is found here. The server is not made yet.
func (e *engine) prepare(c config.Config) (*current, bucket.Options, error) {
	var store bucket.Options
	signer, err := NewSigner(c.Sign)
	if err != nil {
		return nil, store, err
	}
	presets, err := Presets(c)
	if err != nil {
		return nil, store, err
	}
	self := NewSelfLinks(c, signer, e.now)
	options := sizeOptions(c, presets)
	options.Signer, options.Unwrap, options.Loop = signer, self.Unwrap, loop{c.Sign.Secrets}.own
	options.Page, options.Tokens, options.Handoff = pageOf(c), Tokens(c), c.Handoff == "nginx"
	options.HandoffValid = c.Nginx.Valid
	options.Observer, options.Now, options.Log = e.metrics, e.now, e.log
	if options.Placeholder, options.Placeholders, err = newPlaceholders(c); err != nil {
		return nil, store, err
	}
	if err := c.CheckS3Keys(); err != nil {
		return nil, store, err
	}
	fetcher, err := NewFetcher(c, self, e.pauses, e.log, e.now)
	if err != nil {
		return nil, store, err
	}
	if store, err = storeOptions(c, e.metrics.Origin(fetcher), fetcher.Reserve, e.log, e.now); err != nil {
		return nil, store, err
	}
	return &current{config: c, presets: presets, fetcher: fetcher, options: options}, store, nil
}

// complete makes what needs the store and the decoders.
func (e *engine) complete(next *current) (err error) {
	if err := checkFormats(next.config, e.pool); err != nil {
		return err
	}
	if next.server, err = e.newServer(next.options); err != nil {
		return err
	}
	next.keeper, err = newKeeper(next.config, next.presets, e.store, e.pool, e.now)
	return err
}

// newServer makes the handler, once all it needs is there.
func (e *engine) newServer(o server.Options) (s *server.Server, err error) {
	o.Store, o.Resizer, o.Tagged = e.store, e.pool, e.tags.Note
	if e.hot != nil {
		o.Hot = e.hot
	}
	o.Current = func() bool {
		c := e.current.Load()
		return c == nil || c.server == s
	}
	s, err = server.New(o)
	return s, err
}

// newKeeper returns what keeps images that no viewer has asked for. pool may be nil:
// then it makes no sizes.
func newKeeper(c config.Config, presets map[string]*resize.Preset, store *bucket.Store, pool *resize.Pool, now func() time.Time) (*control.StoreKeeper, error) {
	o := sizeOptions(c, presets)
	o.Store, o.Now = store, now
	decoders := 0
	if pool != nil {
		o.Resizer = pool
		decoders = pool.Stats().Workers
	}
	populator, err := server.NewPopulator(o, decoders)
	return &control.StoreKeeper{Store: store, Populator: populator, Key: o.Key, BaseURL: o.BaseURL}, err
}

// service is what the admin socket answers with.
func (e *engine) service(reload func() (control.Reloaded, error), audit *control.Audit) *control.Local {
	o := control.Options{
		Store: e.openStore(), Keeper: func() control.Keeper { return e.current.Load().keeper },
		Links:    linkBook{func() config.Config { return e.current.Load().config }, e.store, e.tags, e.now, nil},
		Reload:   reload,
		Scrubbed: func(r scrub.Report) { e.metrics.Scrubbed(r, e.now()) },
		Removed:  e.metrics.Removed,
		Outbox:   outboxOf(e.hooks.outbox),
		Tags:     e.tags,
		Audit:    audit, Log: e.log,
	}
	if e.hot != nil {
		o.Hot = e.hot
	}
	return control.New(o)
}

// close ends what was made; the store waits for running work until ctx ends.
func (e *engine) close(ctx context.Context) error {
	if e.closed {
		return nil
	}
	e.closed = true
	var errs []error
	if e.store != nil {
		errs = append(errs, e.store.Close(ctx)) // its flights use the pool
	}
	if e.pool != nil {
		errs = append(errs, e.pool.Close())
	}
	if e.tags != nil {
		errs = append(errs, e.tags.Close())
	}
	return errors.Join(errs...)
}
