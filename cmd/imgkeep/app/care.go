package app

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

// care answers on the admin socket and scrubs the store from time to time, until
// ctx ends or stop is called, which returns when both have ended.
func care(ctx context.Context, c config.Config, o control.Options) (stop func(), err error) {
	log := o.Log
	l, err := control.Listen(c.AdminSocket())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	server := control.NewServer(o)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(ctx, l); err != nil {
			log.Error("the admin socket does not answer any more", "error", err)
		}
	})
	if c.Store.ScrubInterval > 0 {
		wg.Go(func() {
			s := scrubTimer{
				interval: c.Store.ScrubInterval, last: filepath.Join(c.Root, "scrub.last"), log: log,
				scrub: func(ctx context.Context, found func(bucket.Finding)) (bucket.ScrubReport, error) {
					return server.Scrub(ctx, bucket.ScrubOptions{Rate: int64(c.Store.ScrubRate), Found: found})
				},
				now: time.Now, wait: wait,
			}
			s.run(ctx)
		})
	}
	return func() { cancel(); wg.Wait() }, nil
}

// scrubTimer scrubs when the last scrub is an interval ago. When that ended is
// the modification time of a file, so that a restart does not begin anew.
type scrubTimer struct {
	interval time.Duration
	last     string
	log      *slog.Logger
	scrub    func(context.Context, func(bucket.Finding)) (bucket.ScrubReport, error)
	now      func() time.Time
	wait     func(context.Context, time.Duration) error
}

// retry is the pause after a scrub that could not be done.
const retryScrub = time.Hour

func (s *scrubTimer) run(ctx context.Context) {
	pause := s.first()
	for s.wait(ctx, pause) == nil {
		pause = s.interval
		if err := s.once(ctx); err != nil {
			if ctx.Err() != nil {
				return
			}
			s.log.Error("scrub failed", "error", err)
			pause = min(s.interval, retryScrub)
		}
	}
}

// first is the time until the first scrub. A new store has nothing to look at.
func (s *scrubTimer) first() time.Duration {
	info, err := os.Stat(s.last)
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.mark(); err != nil {
			s.log.Error("the time of the last scrub cannot be noted", "error", err)
		}
		return s.interval
	}
	if err != nil {
		return s.interval
	}
	return max(s.interval-s.now().Sub(info.ModTime()), 0)
}

// hostOf is what the log tells of a URL: who links what is nobody's business.
func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
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
	report, err := s.scrub(ctx, func(f bucket.Finding) {
		s.log.Error("scrub found", "kind", f.Kind, "path", f.Path, "host", hostOf(f.URL), "detail", f.Detail)
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

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
