package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

// reloader reads the configuration of a running server again.
type reloader struct {
	mu     sync.Mutex // one at a time
	load   func() (config.Config, error)
	engine *engine
	level  *slog.LevelVar
	log    *slog.Logger
	audit  *control.Audit
}

// reload takes over what has changed. After an error nothing has.
func (r *reloader) reload() (control.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done, err := r.attempt()
	r.engine.metrics.Reloaded(err)
	notify(r.log, "STATUS="+reloadStatus(done, err, r.engine.now()))
	if err != nil {
		r.log.Error("the new configuration is wrong, and the old one holds", "error", err)
		return control.Reloaded{}, fmt.Errorf("the new configuration is wrong, and the old one holds: %w", err)
	}
	r.log.Info("configuration reloaded", "changed", done.Changed, "restart", done.Restart)
	return done, nil
}

// reloadStatus is a line for 'systemctl status'.
func reloadStatus(done control.Reloaded, err error, at time.Time) string {
	when := at.UTC().Format(time.RFC3339)
	switch {
	case err != nil:
		return control.Printable(fmt.Sprintf("reload refused at %s, the old configuration holds: %s", when, strings.ReplaceAll(err.Error(), "\n", "; ")))
	case len(done.Restart) > 0:
		return fmt.Sprintf("reloaded at %s; waits for a restart: %s", when, strings.Join(done.Restart, ", "))
	}
	return "reloaded at " + when
}

func (r *reloader) attempt() (control.Reloaded, error) {
	fresh, err := r.load()
	if err != nil {
		return control.Reloaded{}, err
	}
	e := r.engine
	c, changed, restart := config.Merge(e.current.Load().config, fresh)
	next, options, err := e.prepare(c)
	if err != nil {
		return control.Reloaded{}, err
	}
	if err := tryMarks(context.Background(), e.pool, c, next.presets); err != nil {
		return control.Reloaded{}, err
	}
	if err := e.complete(next); err != nil {
		return control.Reloaded{}, err
	}
	if err := e.store.Reconfigure(options); err != nil {
		return control.Reloaded{}, err
	}
	e.current.Store(next)
	r.level.Set(logLevel(c.Log))
	if e.hot != nil {
		// Last: what the old handler makes from here on it takes back itself.
		if err := e.hot.Renew(fingerprint(c, next.presets)); err != nil {
			r.log.Error("hot links of the old configuration may be left: restart", "error", err)
			restart = append(restart, "nginx.hot")
		}
	}
	return control.Reloaded{Changed: changed, Restart: restart}, nil
}

// onHangup reloads at each SIGHUP, which would end the process before the call, until ctx ends,
// and tells systemd. wait returns when that has ended.
func (r *reloader) onHangup(ctx context.Context) (wait func()) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	var work sync.WaitGroup
	work.Go(func() { r.await(ctx, hangups) })
	return work.Wait
}

func (r *reloader) await(ctx context.Context, hangups chan os.Signal) {
	defer signal.Stop(hangups)
	for {
		select {
		case <-hangups:
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
				notify(r.log, fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
			}
			done, err := r.reload() // it logs what is wrong
			// The kernel knows who has sent it, and Go does not tell.
			if err := r.audit.Write(control.Change{By: "SIGHUP", Op: "reload", What: done}, err); err != nil {
				r.log.Error("a reload was not noted", "error", err)
			}
			notify(r.log, daemon.SdNotifyReady)
		case <-ctx.Done():
			return
		}
	}
}
