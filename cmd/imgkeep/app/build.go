package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// parts are what a server is made of, wired by hand.
type parts struct {
	store  *bucket.Store
	pool   *resize.Pool
	hot    *nginx.Hot // nil: not handing off
	server *server.Server
	keeper localKeeper
	closed bool
}

// build makes the parts. What is cheap to check comes first, and the store last
// but one, since opening it changes the disk.
func build(c config.Config, log *slog.Logger, now func() time.Time) (_ *parts, err error) {
	signer, err := newSigner(c.Sign)
	if err != nil {
		return nil, err
	}
	limits, err := newLimits(c)
	if err != nil {
		return nil, err
	}
	fetcher, err := newFetcher(c.Fetch, log, now)
	if err != nil {
		return nil, err
	}
	var placeholder *server.Placeholder
	if c.Placeholder != "" {
		if placeholder, err = server.LoadPlaceholder(c.Placeholder); err != nil {
			return nil, usagef("placeholder: %w", err)
		}
	}
	p := &parts{}
	defer func() {
		if err != nil {
			p.close(context.Background())
		}
	}()
	if p.pool, err = newPool(c, log); err != nil {
		return nil, err
	}
	if p.store, err = newStore(c, fetcher, fetcher.Reserve, limits, log, now); err != nil {
		return nil, err
	}
	options := server.Options{
		Store: p.store, Signer: signer, Resizer: p.pool,
		Sizes: c.Sizes, Quality: c.Resize.Quality,
		Handoff:     c.Handoff == "nginx",
		Placeholder: placeholder, Now: now, Log: log,
	}
	if options.Handoff {
		if p.hot, err = newHot(c, log, now); err != nil {
			return nil, err
		}
		options.Hot = p.hot
	}
	if p.server, err = server.New(options); err != nil {
		return nil, err
	}
	if p.keeper, err = newKeeper(c, p.store, p.pool, now); err != nil {
		return nil, err
	}
	return p, nil
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
	l := probe.Limits{MaxPixels: c.Fetch.MaxPixels, MaxSide: c.Fetch.MaxSide}
	for _, name := range c.Formats {
		f, err := probe.ParseFormat(name)
		if err != nil {
			return l, usagef("formats: %w", err)
		}
		l.Formats = append(l.Formats, f)
	}
	return l, nil
}

func newFetcher(c config.Fetch, log *slog.Logger, now func() time.Time) (*fetch.Fetcher, error) {
	f, err := fetch.New(fetch.Options{
		Timeout: c.Timeout, HeaderTimeout: c.HeaderTimeout, MaxRedirects: c.MaxRedirects,
		Ports: c.Ports, Networks: c.Networks, DenyHosts: c.DenyHosts,
		UserAgent: c.UserAgent, Proxy: c.Proxy, LocalRoot: c.LocalRoot,
		Concurrency: c.Concurrency, PerHost: c.PerHost, Queue: c.Queue,
		Now: now, Logger: log,
	})
	if err != nil {
		return nil, usagef("%w", err)
	}
	return f, nil
}

// reserve is how a store finds a quiet moment: see bucket.Options.
type reserve func(context.Context, string) (*fetch.Place, error)

func newStore(c config.Config, origin bucket.Origin, quiet reserve, limits probe.Limits, log *slog.Logger, now func() time.Time) (*bucket.Store, error) {
	o := bucket.Options{
		Root: c.Root, Origin: origin, Reserve: quiet, MaxBytes: int64(c.Fetch.MaxBytes), Limits: limits,
		DenyHosts: c.Fetch.DenyHosts,
		MinFree:   int64(c.Store.MinFree), MinFreeInodes: c.Store.MinFreeInodes,
		Now: now, Log: log,
	}
	for _, b := range c.Buckets {
		o.Buckets = append(o.Buckets, bucket.Bucket{Name: b.Name, Hosts: b.Hosts, MaxBytes: int64(b.MaxBytes)})
	}
	if err := ready(context.Background(), c.Root, log); err != nil {
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
	return resize.NewPool(resize.Options{
		Command: []string{command}, Workers: c.Resize.Workers, Queue: c.Resize.Queue,
		Timeout: c.Resize.Timeout, MaxImages: c.Resize.MaxImages,
		MaxPixels: c.Fetch.MaxPixels, AnimationPixels: c.Resize.AnimationPixels,
		Logger: log,
	})
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

func newHot(c config.Config, log *slog.Logger, now func() time.Time) (*nginx.Hot, error) {
	// Only its own folder is the tree's to make; what leads there is ours.
	if err := os.MkdirAll(filepath.Dir(c.Nginx.Hot), 0o755); err != nil {
		return nil, fmt.Errorf("nginx.hot: %w", err)
	}
	return nginx.OpenHot(nginx.HotOptions{
		Dir: c.Nginx.Hot, MaxLinks: c.Nginx.MaxLinks, Epoch: epoch(c), Now: now, Logger: log,
	})
}

// epoch is what hot links hang on: if one of these is gone at the next start, all
// of them are dropped. For each secret that is itself and all else that decides
// which links it makes good, and for how long; then what links may ask for; and
// the hosts that are denied, since an image of one more of them must not be served.
func epoch(c config.Config) []string {
	all := []string{fmt.Sprintf("denied %q", c.Fetch.DenyHosts)}
	for _, secret := range c.Sign.Secrets {
		all = append(all, fmt.Sprintf("secret %q %d %q %q", string(secret), c.Sign.Weeks, c.Sign.Timezone, c.Sign.Bucketless))
	}
	for _, b := range c.Buckets {
		all = append(all, "bucket "+b.Name)
	}
	for _, side := range c.Sizes {
		all = append(all, fmt.Sprint("side ", side))
	}
	return all
}

func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config has checked it
	}
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
