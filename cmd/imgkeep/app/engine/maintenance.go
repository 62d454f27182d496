package engine

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

// runMaintenance answers on the admin socket, drops what is over of the hot links,
// scrubs the store and asks origins from time to time, until ctx ends or stop is
// called, which returns when all have ended.
func (e *engine) runMaintenance(ctx context.Context, c config.Config, service *control.Local) (stop func(), err error) {
	rot, err := linkrot.Read(e.store.Root(), e.log)
	if err != nil {
		return nil, err
	}
	if rot != nil && rot.Last != nil {
		e.metrics.OriginsAsked(*rot.Last)
	}
	l, err := control.Listen(c.AdminSocket())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := control.NewServer(service, e.metrics.Handler()).Serve(ctx, l); err != nil {
			e.log.Error("the admin socket does not answer any more", "error", err)
		}
	})
	if e.hot != nil {
		wg.Go(func() { e.hot.Run(ctx) })
	}
	if c.Store.ScrubInterval > 0 {
		wg.Go(func() { e.scrubTimer(c, service).run(ctx) })
	}
	e.hooks.run(ctx, &wg)
	wg.Go(func() {
		if err := e.tags.Load(ctx); err != nil && ctx.Err() == nil {
			e.log.Warn("for whom links were signed is noted again where it is noted already", "error", err)
		}
	})
	if looks := e.store.Looks(); looks != nil {
		wg.Go(func() { (&lookTimer{index: looks.Index, wait: pace.Sleep, log: e.log}).run(ctx) })
	}
	if c.LinkRot.Interval > 0 {
		wg.Go(func() { e.linkRotTimer(c).run(ctx) })
	}
	return func() { cancel(); wg.Wait() }, nil
}

// every does something again and again: first after a pause, and then an interval after it
// has ended, or sooner if it failed, which is logged as failed. It ends with ctx.
func every(ctx context.Context, first, interval time.Duration, wait func(context.Context, time.Duration) error, log *slog.Logger, failed string, once func(context.Context) error) {
	for pause := first; wait(ctx, pause) == nil; {
		pause = interval
		if err := once(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			log.Error(failed, "error", err)
			pause = min(interval, retryFailed)
		}
	}
}

// retryFailed is the pause after what could not be done, as on a full disk.
const retryFailed = time.Hour

func (e *engine) scrubTimer(c config.Config, service *control.Local) *scrubTimer {
	return &scrubTimer{
		interval: c.Store.ScrubInterval, last: filepath.Join(c.Root, "scrub.last"), log: e.log, now: time.Now, wait: pace.Sleep,
		scrub: func(ctx context.Context, found func(record.Finding)) (scrub.Report, error) {
			if err := e.sweep(ctx); err != nil {
				return scrub.Report{}, err
			}
			return service.ScrubOwn(ctx, scrub.Options{Rate: int64(c.Store.ScrubRate), Found: found})
		},
	}
}

// sweep deletes what removals have left of originals in the object store, if there is one: that
// they are gone was promised.
func (e *engine) sweep(ctx context.Context) error {
	if e.store.Node() == nil {
		return nil
	}
	for _, bucket := range e.store.Maintenance().Buckets() {
		deleted, err := e.store.Node().Sweep(ctx, bucket)
		if err != nil {
			return err
		}
		e.log.Info("swept the object store", "bucket", bucket, "removed", deleted)
	}
	return nil
}

// scrubTimer scrubs when the last scrub is an interval ago. When that ended is
// the modification time of a file, so that a restart does not begin again.
type scrubTimer struct {
	interval time.Duration
	last     string
	log      *slog.Logger
	scrub    func(context.Context, func(record.Finding)) (scrub.Report, error)
	now      func() time.Time
	wait     func(context.Context, time.Duration) error
}

func (s *scrubTimer) run(ctx context.Context) {
	every(ctx, s.first(), s.interval, s.wait, s.log, "scrub failed", s.once)
}

// first is the time until the first scrub. A new store has nothing to look at.
func (s *scrubTimer) first() time.Duration {
	info, err := os.Stat(s.last)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.mark(); err != nil {
			s.log.Error("cannot store the time of the last scrub", "error", err)
		}
		return s.interval
	}
	if err != nil {
		return s.interval
	}
	return max(s.interval-s.now().Sub(info.ModTime()), 0)
}

// mark notes that a scrub has ended.
func (s *scrubTimer) mark() error {
	f, err := os.OpenFile(s.last, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	return os.Chtimes(s.last, s.now(), s.now())
}

func (s *scrubTimer) once(ctx context.Context) error {
	s.log.Info("scrub begins")
	report, err := s.scrub(ctx, func(f record.Finding) {
		// Who links what is nobody's business.
		s.log.Error("scrub found", "kind", f.Kind, "path", f.Path, "host", imageurl.URL(f.URL).Host(), "detail", f.Detail)
		s.log.Debug("scrub found", "path", f.Path, "url", f.URL)
	})
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if report.Remain > 0 {
		level = slog.LevelError
	}
	s.log.Log(ctx, level, "scrub ended", "images", report.Images, "bytes", report.Bytes, "found", report.Found, "seconds", report.Seconds)
	return s.mark()
}

// backupMark is a file in the root of a store whose modification time is when its last
// backup ended. Operators who back up by other tools touch it.
const backupMark = "backup.last"

// NoteBackup notes that a backup of a store has ended, now.
func NoteBackup(root string) error {
	path := filepath.Join(root, backupMark)
	// A file of another user's, who has backed up before, cannot be given a time. And root
	// follows no link that the server's user may have put there.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// backedUp is when the last backup of a store ended; the zero time where none is known.
func backedUp(root string) time.Time {
	info, err := os.Stat(filepath.Join(root, backupMark))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

const (
	// lookFirst is how long after the start the server looks at images whose hashes are not
	// known, and lookInterval how long after that it does again: images that were kept
	// without being decoded, as populate and import do.
	lookFirst, lookInterval = 10 * time.Minute, 24 * time.Hour
	// lookRate is at how many of them in a second: a fraction of a core.
	lookRate = 4
)

// lookTimer has decoders look at images whose hashes are not known.
type lookTimer struct {
	index func(context.Context, lookalike.IndexOptions) (lookalike.IndexReport, error)
	wait  func(context.Context, time.Duration) error
	log   *slog.Logger
}

func (t *lookTimer) run(ctx context.Context) {
	every(ctx, lookFirst, lookInterval, t.wait, t.log, "images cannot be looked at", func(ctx context.Context) error {
		r, err := t.index(ctx, lookalike.IndexOptions{Rate: lookRate})
		if err == nil && r.Added+r.Failed+r.Dropped > 0 {
			t.log.Info("images looked at", "images", r.Images, "added", r.Added, "failed", r.Failed, "dropped", r.Dropped, "seconds", r.Seconds)
		}
		return err
	})
}

func (e *engine) linkRotTimer(c config.Config) *linkRotTimer {
	return &linkRotTimer{
		last:     func() (*linkrot.Report, error) { return linkrot.Read(e.store.Root(), e.log) },
		interval: c.LinkRot.Interval, now: e.now, wait: pace.Sleep, log: e.log,
		pass: func(ctx context.Context) (linkrot.Pass, error) {
			return linkrot.Check(ctx, e.store.Maintenance(), linkrot.Options{
				Rate: int64(c.LinkRot.Rate), Asked: e.metrics.OriginAsked,
				// By the rules that hold when it asks.
				Alive: func(ctx context.Context, r fetch.Request) error { return e.current.Load().alive(ctx, r) },
			})
		},
		ended: e.metrics.OriginsAsked,
	}
}

// alive asks an origin, unless the URL lacks what its origin would want to see.
func (c *current) alive(ctx context.Context, r fetch.Request) error {
	if newSameImage(c.config).ignores(r.URL) {
		return &fetch.Error{Kind: fetch.Refused, Err: errors.New("its URL is kept without the parameters that fetch.same_image names")}
	}
	return c.fetcher.Alive(ctx, r)
}

// linkRotTimer begins a pass when the last one has ended an interval ago, so that no
// URL is asked more often. One that was broken off it goes on with at once.
type linkRotTimer struct {
	interval time.Duration
	last     func() (*linkrot.Report, error)
	pass     func(context.Context) (linkrot.Pass, error)
	ended    func(linkrot.Pass)
	log      *slog.Logger
	now      func() time.Time
	wait     func(context.Context, time.Duration) error
}

func (t *linkRotTimer) run(ctx context.Context) {
	every(ctx, t.first(), t.interval, t.wait, t.log, "asking origins failed", t.once)
}

func (t *linkRotTimer) once(ctx context.Context) error {
	t.log.Info("asking origins begins")
	pass, err := t.pass(ctx)
	if err != nil {
		return err
	}
	t.ended(pass)
	args := []any{"began", pass.Began}
	for _, state := range linkrot.States() {
		args = append(args, string(state), pass.All[state])
	}
	t.log.Info("asking origins ended", args...)
	return nil
}

// first is the time until the first pass.
func (t *linkRotTimer) first() time.Duration {
	rot, err := t.last()
	if err != nil || rot == nil || rot.Now != nil || rot.Last == nil {
		return 0
	}
	return max(t.interval-t.now().Sub(rot.Last.Ended), 0)
}
