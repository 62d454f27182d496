package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"imgkeep/bucket"
	"imgkeep/bucket/approve"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/metrics"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// parts are what a server is made of, wired by hand.
type parts struct {
	store   *bucket.Store
	pool    *resize.Pool
	hot     *nginx.Hot // nil: not handing off
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
	keeper  localKeeper
	fetcher *fetch.Fetcher
}

// ServeHTTP answers by the configuration in force when a request comes.
func (p *parts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.current.Load().server.ServeHTTP(w, r)
}

// Populate and Add keep images by the configuration in force when they are asked
// for.
func (p *parts) Populate(ctx context.Context, q control.PopulateRequest) control.Outcome {
	return p.current.Load().keeper.Populate(ctx, q)
}

// Add is like Populate.
func (p *parts) Add(bucket, url string, image io.Reader) control.Outcome {
	return p.current.Load().keeper.Add(bucket, url, image)
}

// build makes the parts. What is cheap to check comes first, and the store last
// but one, since opening it changes the disk.
func (a *app) build(c config.Config, log *slog.Logger) (_ *parts, err error) {
	p := &parts{metrics: metrics.New(a.version()), log: log, now: a.Now, pauses: fetch.NewPauses()}
	next, options, err := p.prepare(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.close(context.Background())
		}
	}()
	if p.pool, err = newPool(c, log); err != nil {
		return nil, err
	}
	if err := tryMarks(context.Background(), p.pool, c, next.presets); err != nil {
		return nil, err
	}
	if p.store, err = openStore(c, options); err != nil {
		return nil, err
	}
	sources := metrics.Sources{
		Decoders: p.pool.Stats, Free: p.store.Free, Index: p.store.Figures,
		Fetches: func() fetch.Stats { return p.current.Load().fetcher.Stats() },
	}
	if c.Handoff == "nginx" {
		if p.hot, err = newHot(c, next.presets, log, a.Now); err != nil {
			return nil, err
		}
		// The start has taken in removals or blocks that no process has dropped
		// the links of.
		if p.store.Removals() > 0 {
			if _, err := p.hot.Drop(); err != nil {
				return nil, fmt.Errorf("drop the hot links: %w", err)
			}
		}
		sources.HotLinks = p.hot.Len
	}
	if err := p.complete(next); err != nil {
		return nil, err
	}
	p.current.Store(next)
	p.metrics.Watch(sources)
	return p, nil
}

// prepare makes what a configuration says without touching anything in use: all
// that can be wrong with one is found here. The server is not made yet.
func (p *parts) prepare(c config.Config) (*current, bucket.Options, error) {
	var o bucket.Options
	signer, err := newSigner(c.Sign)
	if err != nil {
		return nil, o, err
	}
	limits, err := newLimits(c)
	if err != nil {
		return nil, o, err
	}
	placeholder, placeholders, err := newPlaceholders(c)
	if err != nil {
		return nil, o, err
	}
	mine := newOwn(c, signer, p.now)
	fetcher, err := newFetcher(c, mine, p.pauses, p.log, p.now)
	if err != nil {
		return nil, o, err
	}
	if o, err = storeOptions(c, p.metrics.Origin(fetcher), fetcher.Reserve, limits, p.log, p.now); err != nil {
		return nil, o, err
	}
	presets, err := newPresets(c)
	if err != nil {
		return nil, o, err
	}
	next := &current{config: c, presets: presets, fetcher: fetcher, options: sizeOptions(c, presets)}
	next.options.Signer, next.options.Unwrap, next.options.Placeholder = signer, mine.unwrap, placeholder
	next.options.Placeholders = placeholders
	next.options.Page, next.options.Tokens = pageOf(c), tokensOf(c)
	next.options.Loop = loop{c.Sign.Secrets}.own
	next.options.Handoff = c.Handoff == "nginx"
	next.options.Observer, next.options.Now, next.options.Log = p.metrics, p.now, p.log
	return next, o, nil
}

// newPlaceholders reads the image of all errors, which may be nil, and those of some, by
// their codes.
func newPlaceholders(c config.Config) (all *server.Placeholder, some map[string]*server.Placeholder, err error) {
	if c.Placeholder != "" {
		if all, err = server.LoadPlaceholder(c.Placeholder); err != nil {
			return nil, nil, usagef("placeholder: %w", err)
		}
	}
	some = map[string]*server.Placeholder{}
	for i, p := range c.Placeholders {
		image, err := server.LoadPlaceholder(p.Image)
		if err != nil {
			return nil, nil, usagef("placeholders[%d].image: %w", i, err)
		}
		for j, code := range p.Errors {
			if codes := server.ErrorCodes(); !slices.Contains(codes, code) {
				return nil, nil, usagef("placeholders[%d].errors[%d]: %q is not one of %s", i, j, code, strings.Join(codes, ", "))
			}
			some[code] = image
		}
	}
	return all, some, nil
}

func pageOf(c config.Config) nginx.Page {
	return nginx.Page{ResourcePolicy: c.Headers.ResourcePolicy, Robots: c.Headers.Robots, Origins: c.CORS.Origins}
}

func tokensOf(c config.Config) []string {
	var tokens []string
	for _, t := range c.Access.Tokens {
		tokens = append(tokens, string(t))
	}
	return tokens
}

// complete makes what needs the store and the decoders.
func (p *parts) complete(next *current) (err error) {
	if err := p.checkFormats(next.config); err != nil {
		return err
	}
	if next.server, err = p.newServer(next.options); err != nil {
		return err
	}
	next.keeper, err = newKeeper(next.config, next.presets, p.store, p.pool, p.now)
	return err
}

// newServer makes the handler, once all it needs is there.
func (p *parts) newServer(o server.Options) (s *server.Server, err error) {
	o.Store, o.Resizer = p.store, p.pool
	if p.hot != nil {
		o.Hot = p.hot
	}
	o.Current = func() bool {
		c := p.current.Load()
		return c == nil || c.server == s
	}
	s, err = server.New(o)
	return s, err
}

// sizeOptions are what a configuration says of sizes.
func sizeOptions(c config.Config, presets map[string]*resize.Preset) server.Options {
	o := server.Options{
		Sizes: c.Sizes, Presets: presets, Quality: c.Resize.Quality, AVIFQuality: c.Resize.AVIFQuality, Negotiate: negotiated(c),
		BaseURL: c.Fetch.BaseURL, Key: newSameImage(c).key, Eager: c.Resize.Eager, WholeAnimations: c.Resize.AnimationExcess == "original",
	}
	for _, b := range c.Buckets {
		if b.StripMetadata {
			o.Stripped = append(o.Stripped, b.Name)
		}
	}
	return o
}

// hotLinks are what removals take away; nil where there are none.
func (p *parts) hotLinks() control.HotLinks {
	if p.hot == nil {
		return nil
	}
	return p.hot
}

// linkBook knows the links of the configuration in force.
func (p *parts) linkBook() linkBook {
	return linkBook{func() config.Config { return p.current.Load().config }, p.store, p.now, nil}
}

// close ends what was made; the store waits for running work until ctx ends.
func (p *parts) close(ctx context.Context) error {
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	if p.store != nil {
		errs = append(errs, p.store.Close(ctx)) // its flights use the pool
	}
	if p.pool != nil {
		errs = append(errs, p.pool.Close())
	}
	return errors.Join(errs...)
}

func newLimits(c config.Config) (probe.Limits, error) {
	l := probe.Limits{
		MaxPixels: c.Fetch.MaxPixels, MaxSide: c.Fetch.MaxSide,
		MaxFrames: c.Fetch.MaxFrames, MaxAnimationPixels: c.Fetch.MaxAnimationPixels,
	}
	for _, name := range c.Formats {
		f, err := probe.ParseFormat(name)
		if err != nil {
			return l, usagef("formats: %w", err)
		}
		l.Formats = append(l.Formats, f)
	}
	return l, nil
}

func newFetcher(all config.Config, mine *own, pauses *fetch.Pauses, log *slog.Logger, now func() time.Time) (*fetch.Fetcher, error) {
	c := all.Fetch
	o := fetch.Options{
		Timeout: c.Timeout, HeaderTimeout: c.HeaderTimeout, MaxRedirects: c.MaxRedirects,
		Ports: c.Ports, Networks: c.Networks, DenyHosts: c.DenyHosts,
		UserAgent: userAgent(all), Proxy: c.Proxy, LocalRoot: c.LocalRoot,
		Concurrency: c.Concurrency, PerHost: c.PerHost, Queue: c.Queue,
		Own: mine.is, Loop: loop{all.Sign.Secrets}.mark, Pauses: pauses,
		Now: now, Logger: log,
	}
	for _, name := range c.Accept {
		f, err := probe.ParseFormat(name)
		if err != nil {
			return nil, usagef("fetch.accept: %w", err)
		}
		o.Accept = append(o.Accept, f)
	}
	for _, p := range c.Profiles {
		o.Profiles = append(o.Profiles, fetch.Profile(p))
	}
	for _, r := range c.Removed {
		o.Removed = append(o.Removed, fetch.Removed(r))
	}
	f, err := fetch.New(o)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return f, nil
}

// userAgent is the one that is configured. The default names whom to write to, where
// base_url tells.
func userAgent(c config.Config) string {
	foreign := func(r rune) bool { return r <= ' ' || r > '~' } // which no header has
	if c.Fetch.UserAgent != fetch.DefaultUserAgent || c.BaseURL == "" || strings.ContainsFunc(c.BaseURL, foreign) {
		return c.Fetch.UserAgent
	}
	return strings.TrimSuffix(fetch.DefaultUserAgent, ")") + "; +" + c.BaseURL + ")"
}

// reserve is how a store finds a quiet moment: see bucket.Options.
type reserve func(context.Context, string) (*fetch.Place, error)

func newStore(c config.Config, origin bucket.Origin, quiet reserve, limits probe.Limits, log *slog.Logger, now func() time.Time) (*bucket.Store, error) {
	o, err := storeOptions(c, origin, quiet, limits, log, now)
	if err != nil {
		return nil, err
	}
	return openStore(c, o)
}

func storeOptions(c config.Config, origin bucket.Origin, quiet reserve, limits probe.Limits, log *slog.Logger, now func() time.Time) (bucket.Options, error) {
	o := bucket.Options{
		Root: c.Root, Origin: origin, Reserve: quiet, MaxBytes: int64(c.Fetch.MaxBytes), Limits: limits,
		DenyHosts: c.Fetch.DenyHosts, Fallbacks: c.Fetch.Fallbacks, FallbackAfter: c.Fetch.FallbackAfter.ByReason(),
		MinFree: int64(c.Store.MinFree), MinFreeInodes: c.Store.MinFreeInodes, Reserved: bucket.DefaultReserve,
		MaxPerSite: int64(c.Store.MaxPerSite),
		Now:        now, Log: log,
	}
	if c.Approve.URL != "" {
		client, err := approve.New(approve.Options{URL: c.Approve.URL, Timeout: c.Approve.Timeout, Concurrency: c.Approve.Concurrency})
		if err != nil {
			return o, usagef("%w", err)
		}
		o.Approver, o.ApproveOpen = client, c.Approve.Fail == "open"
	}
	for _, b := range c.Buckets {
		o.Buckets = append(o.Buckets, bucket.Bucket{Name: b.Name, Hosts: b.Hosts, MaxBytes: int64(b.MaxBytes)})
	}
	return o, nil
}

func openStore(c config.Config, o bucket.Options) (*bucket.Store, error) {
	if err := ready(c.Root); err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", c.Root, err)
	}
	s, err := bucket.Open(o)
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", c.Root, err)
	}
	return s, nil
}

func newPool(c config.Config, log *slog.Logger) (*resize.Pool, error) {
	command, err := decoder(c.Resize.Command)
	if err != nil {
		return nil, err
	}
	pool, err := resize.NewPool(resize.Options{
		Command: []string{command}, Workers: c.Resize.Workers, Spares: 1, Queue: c.Resize.Queue,
		Timeout: c.Resize.Timeout, MaxImages: c.Resize.MaxImages,
		MaxPixels: c.Fetch.MaxPixels, AnimationPixels: c.Resize.AnimationPixels, Outputs: c.Outputs(),
		Sandbox: resize.Sandbox(c.Resize.Sandbox), MaxMemory: int64(c.Resize.MaxMemory),
		Sources: c.Besides(), Logger: log,
	})
	if err != nil {
		return nil, err
	}
	switch l := pool.Layers(); {
	case len(l.Missing) > 0:
		log.Warn("decoders are not wholly confined", "held", l.Held, "missing", l.Missing)
	case len(l.Held) > 0:
		log.Info("decoders are confined", "held", l.Held)
	default:
		log.Warn("decoders are not confined: resize.command is a program that does not say so")
	}
	return pool, nil
}

const decoderName = "imgkeep-resize"

// decoder finds the decoder's program: the one configured, or the one that lies
// beside ours, or the one in PATH.
func decoder(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), decoderName)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(decoderName)
	if err != nil {
		return "", usagef("%s is neither beside imgkeep nor in PATH: build it, or set resize.command", decoderName)
	}
	return path, nil
}

func newHot(c config.Config, presets map[string]*resize.Preset, log *slog.Logger, now func() time.Time) (*nginx.Hot, error) {
	// Only its own folder is the tree's to make; what leads there is ours.
	if err := os.MkdirAll(filepath.Dir(c.Nginx.Hot), 0o755); err != nil {
		return nil, fmt.Errorf("nginx.hot: %w", err)
	}
	return nginx.OpenHot(nginx.HotOptions{
		Dir: c.Nginx.Hot, MaxLinks: c.Nginx.MaxLinks, Epoch: epoch(c, presets), Now: now, Logger: log,
	})
}

// checkFormats tells whether the decoders write what is to be made. They are told at
// their start what that is.
func (p *parts) checkFormats(c config.Config) error {
	for _, f := range c.Outputs() {
		if !slices.Contains(p.pool.Outputs(), f) {
			return usagef("presets: decoders that write %s are started with the server: restart it", f)
		}
	}
	for size, formats := range negotiated(c) {
		for _, f := range formats {
			if !slices.Contains(p.pool.Outputs(), f) && !slices.Contains(p.pool.Formats(), f) {
				return usagef("negotiate, of %s: libvips %s here has no %s", size, p.pool.Version(), f)
			}
		}
	}
	return nil
}

// negotiated are the formats that are negotiated, by size: see server.Options.
func negotiated(c config.Config) map[string][]string {
	all := map[string][]string{}
	if n := c.Resize.Negotiate; len(n) > 0 {
		all[nginx.AnySize] = n
	}
	for _, p := range c.Presets {
		if len(p.Negotiate) > 0 {
			all[p.Name] = p.Negotiate
		}
	}
	return all
}

// epoch is what hot links hang on: if one of these is gone at the next start, all
// of them are dropped. For each secret that is itself and all else that decides
// which links it makes good, and for how long; then what links may ask for, and how
// it is defined; and the hosts that are denied, since an image of one more of them
// must not be served.
func epoch(c config.Config, presets map[string]*resize.Preset) []string {
	all := []string{fmt.Sprintf("denied %q", c.Fetch.DenyHosts)}
	for _, secret := range c.Sign.Secrets {
		all = append(all, fmt.Sprintf("secret %q %d %q %q", string(secret), c.Sign.Weeks, c.Sign.Timezone, c.Sign.Bucketless))
	}
	for _, b := range c.Buckets {
		all = append(all, fmt.Sprint("bucket ", b.Name, " stripped ", b.StripMetadata))
	}
	for _, side := range c.Sizes {
		all = append(all, fmt.Sprint("side ", side))
	}
	for name, p := range presets {
		all = append(all, "preset "+name+" "+p.Digest())
	}
	for size, formats := range negotiated(c) {
		all = append(all, fmt.Sprint("negotiate ", size, formats))
	}
	return all
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	return newLoggerAt(w, c, logLevel(c))
}

func logLevel(c config.Log) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config has checked it
	}
	return level
}

func newLoggerAt(w io.Writer, c config.Log, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func cutUnix(address string) (path string, ok bool) {
	return strings.CutPrefix(address, "unix:")
}

// inheritedListeners are the sockets that systemd hands over.
func inheritedListeners() ([]net.Listener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, fmt.Errorf("sockets of systemd: %w", err)
	}
	var listeners []net.Listener
	for _, l := range all {
		if l == nil {
			return nil, errors.New("sockets of systemd: one is no stream socket")
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}
