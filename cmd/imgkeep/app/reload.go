package app

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
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

func newReloadCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reload",
		GroupID: groupServe,
		Short:   "Have the running server read its configuration anew",
		Long: `Reload has the server read its configuration again, from the file, environment and
flags that it was started with, as SIGHUP does: secrets, sizes, formats, what
buckets may fetch and how large, limits, hosts that are denied, the placeholder, the
level of the log. Requests under way end by the old settings, new ones go by the new
ones; no connection is dropped. It names what has changed, and what has but waits
for a restart: addresses, folders, buckets that come or go, the decoders, what the
site of nginx says.

A configuration that is wrong changes nothing: the server goes on as before, and
every problem is named here, in its log, and in what 'systemctl status' says of it.
The files of secrets are the server's to read: this command needs none of them.

Exit status: 0 if all that has changed holds; 3 if some of it waits for a restart; 1
if the server finds its configuration wrong, or none runs; 2 if this command finds
its own wrong, and has not asked.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// Not the files of secrets, which the server reads: where they come by
			// systemd's LoadCredential, nobody else can.
			c, sources, err := config.LoadPublic(a.configFile, cmd.Flags())
			if err != nil {
				return usageError{err}
			}
			for _, w := range sources.Warnings {
				a.complain("warning: " + w)
			}
			client, err := control.Dial(cmd.Context(), c.AdminSocket())
			if err != nil {
				return err
			}
			done, err := client.Reload(cmd.Context())
			if err != nil {
				return err
			}
			text := "nothing has changed"
			if len(done.Changed) > 0 {
				text = "changed: " + strings.Join(done.Changed, ", ")
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
				return err
			}
			if len(done.Restart) > 0 {
				return restartError{done.Restart}
			}
			return nil
		},
	}
	addStoreFlags(cmd)
	return cmd
}

// restartError says that settings have changed that wait for a restart.
type restartError struct{ keys []string }

func (e restartError) Error() string {
	return "waits for a restart: " + strings.Join(e.keys, ", ")
}

// reloader reads the configuration of a running server anew.
type reloader struct {
	mu    sync.Mutex // one at a time
	load  func() (config.Config, error)
	parts *parts
	level *slog.LevelVar
	log   *slog.Logger
	audit *control.Audit
}

// reload takes over what has changed. After an error nothing has.
func (r *reloader) reload() (control.Reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	done, err := r.attempt()
	r.parts.metrics.Reloaded(err)
	notify(r.log, "STATUS="+reloadStatus(done, err, r.parts.now()))
	if err != nil {
		r.log.Error("the new configuration is wrong, and the old one holds", "error", err)
		return control.Reloaded{}, fmt.Errorf("the new configuration is wrong, and the old one holds: %w", err)
	}
	r.log.Info("configuration read anew", "changed", done.Changed, "restart", done.Restart)
	return done, nil
}

// reloadStatus is a line for 'systemctl status'.
func reloadStatus(done control.Reloaded, err error, at time.Time) string {
	when := at.UTC().Format(time.RFC3339)
	switch {
	case err != nil:
		return printable(fmt.Sprintf("reload refused at %s, the old configuration holds: %s", when, strings.ReplaceAll(err.Error(), "\n", "; ")))
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
	p := r.parts
	c, changed, restart := config.Merge(p.current.Load().config, fresh)
	next, options, err := p.prepare(c)
	if err != nil {
		return control.Reloaded{}, err
	}
	if err := tryMarks(context.Background(), p.pool, c, next.presets); err != nil {
		return control.Reloaded{}, err
	}
	if err := p.complete(next); err != nil {
		return control.Reloaded{}, err
	}
	if err := p.store.Reconfigure(options); err != nil {
		return control.Reloaded{}, err
	}
	p.current.Store(next)
	r.level.Set(logLevel(c.Log))
	if p.hot != nil {
		// Last: what the old handler makes from here on it takes back itself.
		if err := p.hot.Renew(epoch(c, next.presets)); err != nil {
			r.log.Error("hot links of the old configuration may be left: restart", "error", err)
			restart = append(restart, "nginx.hot")
		}
	}
	return control.Reloaded{Changed: changed, Restart: restart}, nil
}

// onHangup reloads at each SIGHUP until ctx ends, and tells systemd.
func (r *reloader) onHangup(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
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
