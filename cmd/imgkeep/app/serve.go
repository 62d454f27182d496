package app

import (
	"context"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/sign"
)

func newServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupServe,
		Short:   "Serve signed links",
		Long: `Serve answers signed links until it is told to stop (SIGTERM, SIGINT): then it
takes no more requests, finishes those it has, and ends. A second signal ends it
at once; nothing that was answered is lost by that.

It starts the decoder processes itself. Under systemd it says when it is ready,
keeps the watchdog fed, and takes over the sockets that systemd listens on. SIGHUP
has it read its configuration anew; see reload.`,
		Example: `  imgkeep serve --config /etc/imgkeep/imgkeep.yaml
  IMGKEEP_SECRET=… imgkeep serve --listen 127.0.0.1:8091 --root ./var`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			return a.serve(cmd.Context(), c, func() (config.Config, error) {
				c, _, err := a.load(cmd)
				return c, err
			})
		},
	}
	addServerFlags(cmd)
	return cmd
}

const (
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than nginx keeps its idle connections to us, so
	// that it is always nginx that closes them.
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// serve serves until it is told to stop. load reads the configuration anew.
func (a *app) serve(ctx context.Context, c config.Config, load func() (config.Config, error)) (err error) {
	level := &slog.LevelVar{}
	level.Set(logLevel(c.Log))
	log := newLoggerAt(a.Stderr, c.Log, level)
	// net/http complains there of what origins do, whatever it is told.
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	stdlog.SetFlags(0)
	parts, err := a.build(c, log)
	if errors.Is(err, sign.ErrNoSecret) {
		return usagef("%w: set sign.secrets, sign.secret_files or IMGKEEP_SECRET (a good one: head -c 32 /dev/urandom | base64)", err)
	}
	if err != nil {
		return err
	}
	defer func() {
		// Shutdown below has drained them already, unless starting failed.
		err = errors.Join(err, parts.close(context.Background()))
	}()

	listeners, err := listen(c.Listen)
	if err != nil {
		return err
	}
	conns, limit := newConnections(), newLimit(0)
	if c.Handoff == "direct" { // otherwise nginx bounds its own
		limit = newLimit(c.MaxConnections)
	}
	server := &http.Server{
		Handler: parts,
		ConnState: func(c net.Conn, state http.ConnState) {
			limit.track(c, state)
			conns.track(c, state)
		},
		DisableGeneralOptionsHandler: true, // whose answer lacks our headers
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if parts.hot != nil {
		go parts.hot.Run(ctx)
	}
	audit := a.audit(c)
	audit.Failed = parts.metrics.AuditFailed
	reloader := &reloader{load: load, parts: parts, level: level, log: log, audit: audit}
	stopCare, err := care(ctx, c, control.Options{
		Store: parts.store, Keeper: parts, Metrics: parts.metrics.Handler(), Log: log,
		Scrubbed: func(r bucket.ScrubReport) { parts.metrics.Scrubbed(r, a.Now()) },
		Removed:  parts.metrics.Removed,
		Hot:      parts.hotLinks(), Links: parts.linkBook(), Reload: reloader.reload, Audit: audit,
	})
	if err != nil {
		return err
	}
	defer stopCare()
	stopOrigins, err := parts.watchOrigins(ctx, c)
	if err != nil {
		return err
	}
	defer stopOrigins()
	stopMetrics, err := serveMetrics(c, parts.metrics.Handler(), log)
	if err != nil {
		return err
	}
	defer stopMetrics()
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		log.Info("serving", "address", l.Addr().String(), "root", c.Root, "handoff", c.Handoff)
		go func() { served <- server.Serve(&listener{l, limit}) }()
	}
	hangups := make(chan struct{})
	go func() {
		defer close(hangups)
		reloader.onHangup(ctx)
	}()
	notify(log, daemon.SdNotifyReady)
	go feedWatchdog(ctx, log)

	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop() // a second signal ends the process
	<-hangups
	log.Info("stopping", "at most", c.ShutdownTimeout)
	stopCare()
	stopOrigins()
	notify(log, daemon.SdNotifyStopping)
	deadline, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	if err := drain(deadline, server, listeners, served, conns); err != nil {
		log.Warn("requests were cut off", "error", err)
	}
	return parts.close(deadline)
}

// listen opens the configured address, or takes over the sockets that systemd
// listens on for us, which then are the only ones.
func listen(address string) ([]net.Listener, error) {
	inherited, err := inheritedListeners()
	if err != nil || len(inherited) > 0 {
		return inherited, err
	}
	l, err := listenAt(address)
	if err != nil {
		return nil, err
	}
	return []net.Listener{l}, nil
}

// listenAt opens host:port or unix:/path.
func listenAt(address string) (net.Listener, error) {
	path, isUnix := cutUnix(address)
	if !isUnix {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
		return l, nil
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	// Whoever can enter the folder may connect, as nginx must: it is the
	// signature that opens a link, not the socket.
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, fmt.Errorf("listen: %w", err)
	}
	return l, nil
}

// serveMetrics answers /metrics at an address of its own, where one is set.
func serveMetrics(c config.Config, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if c.Metrics.Listen == "" {
		return func() {}, nil
	}
	l, err := listenAt(c.Metrics.Listen)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: readHeaderTimeout,
		WriteTimeout:      time.Minute,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	log.Info("metrics", "address", l.Addr().String())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("metrics are not served any more", "error", err)
		}
	}()
	return func() { server.Close(); <-ended }, nil
}

// removeStale removes a socket that a killed process has left. One that somebody
// listens on is an error, and so is a file that is no socket.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("listen: %s is there and is no socket", path)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		return fmt.Errorf("listen: another process listens on %s", path)
	}
	return os.Remove(path)
}

func notify(log *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd was not told", "state", state, "error", err)
	}
}

// feedWatchdog tells systemd that we live, twice in each of its intervals.
func feedWatchdog(ctx context.Context, log *slog.Logger) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	tick := time.NewTicker(interval / 2)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			notify(log, daemon.SdNotifyWatchdog)
		case <-ctx.Done():
			// Draining may take longer than an interval.
			notify(log, fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (2*time.Minute).Microseconds()))
			return
		}
	}
}
