package engine

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/gctuner"
	"imgkeep/cmd/imgkeep/app/listen"
	"imgkeep/cmd/imgkeep/app/page"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/page/trend"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

const (
	readHeaderTimeout = 10 * time.Second
	// idleTimeout is longer than nginx keeps its idle connections to us, so
	// that it is always nginx that closes them.
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
)

// Serve serves until it is told to stop, by a signal or the end of ctx. load reads the
// configuration again.
func Serve(ctx context.Context, c config.Config, p Process, load func() (config.Config, error)) (err error) {
	level := &slog.LevelVar{}
	level.Set(logLevel(c.Log))
	log := newLoggerAt(p.Stderr, c.Log, level)
	// net/http complains there of what origins do, whatever it is told.
	stdlog.SetOutput(slog.NewLogLogger(log.Handler(), slog.LevelDebug).Writer())
	stdlog.SetFlags(0)
	if err := refuseRoot(c.Root); err != nil {
		return err
	}
	gctuner.Start()
	e, err := newEngine(c, p, log)
	if errors.Is(err, sign.ErrNoSecret) {
		return config.Errorf("%w: set sign.secrets, sign.secret_files or IMGKEEP_SECRET (a good one: head -c 32 /dev/urandom | base64)", err)
	}
	if err != nil {
		return err
	}
	defer func() {
		// stop below has drained it already, unless starting failed.
		err = errors.Join(err, e.close(context.Background()))
	}()
	if err := e.store.Ready(); err != nil {
		log.Warn("nothing new is kept until this is repaired; kept images are served", "error", err)
	}
	listeners, err := listen.All(c.Listen)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	audit := p.audit(c)
	audit.Failed = e.metrics.AuditFailed
	r := &reloader{load: load, engine: e, level: level, log: log, audit: audit}
	service := e.service(r.reload, audit)
	stopMaintenance, err := e.runMaintenance(ctx, c, service)
	if err != nil {
		return err
	}
	defer stopMaintenance()
	stopPages, err := e.servePages(c, service, audit)
	if err != nil {
		return err
	}
	defer stopPages()
	waitForReload := r.onHangup(ctx)
	site := newSiteServer(e, c, listeners)
	notify(log, daemon.SdNotifyReady)
	go feedWatchdog(ctx, log)

	select {
	case err := <-site.served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	stop() // a second signal ends the process
	waitForReload()
	log.Info("stopping", "at_most_seconds", c.ShutdownTimeout)
	stopPages()
	stopMaintenance()
	notify(log, daemon.SdNotifyStopping)
	deadline, cancel := context.WithTimeout(context.Background(), c.ShutdownTimeout)
	defer cancel()
	if err := listen.Drain(deadline, site.server, listeners, site.served, site.conns); err != nil {
		log.Warn("requests were cut off", "error", err)
	}
	return e.close(deadline)
}

// siteServer serves viewers.
type siteServer struct {
	server *http.Server
	conns  *listen.Connections
	served chan error // gets a value for each listener that ends
}

// newSiteServer begins to serve.
func newSiteServer(e *engine, c config.Config, listeners []net.Listener) siteServer {
	most := 0
	if c.Handoff == "direct" { // otherwise nginx bounds its own
		most = c.MaxConnections
	}
	s := siteServer{conns: listen.NewConnections(most), served: make(chan error, len(listeners))}
	s.server = &http.Server{
		Handler:                      e,
		ConnState:                    s.conns.Track,
		ConnContext:                  server.ConnContext,
		DisableGeneralOptionsHandler: true, // whose answer lacks our headers
		ReadHeaderTimeout:            readHeaderTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ErrorLog:                     server.ErrorLog(e.log),
	}
	for _, l := range listeners {
		e.log.Info("serving", "address", l.Addr().String(), "root", c.Root, "handoff", c.Handoff)
		go func() { s.served <- s.server.Serve(s.conns.Listener(l)) }()
	}
	releaseCode()
	return s
}

// releaseCode gives back the pages of the program's own file, of which starting reads many more
// than serving: those that are needed come back from the file. It does so on Linux, for a
// program that is not moved when it is loaded, whose segments then are as in the file if
// nobody can write to them.
func releaseCode() {
	file, err := elf.Open("/proc/self/exe")
	if err != nil {
		return
	}
	defer file.Close()
	page := uint64(os.Getpagesize())
	for _, s := range file.Progs {
		if file.Type == elf.ET_EXEC && s.Type == elf.PT_LOAD && s.Flags&elf.PF_W == 0 {
			from := s.Vaddr / page * page
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(from), uintptr(s.Vaddr+s.Filesz-from), syscall.MADV_DONTNEED)
		}
	}
}

// serveMetrics answers /metrics at an address of its own, where one is set.
func serveMetrics(c config.Config, metrics http.Handler, log *slog.Logger) (stop func(), err error) {
	if c.Metrics.Listen == "" {
		return func() {}, nil
	}
	l, err := listen.At(c.Metrics.Listen)
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
		ErrorLog:          server.ErrorLog(log),
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

// servePages serves what is not for viewers: metrics, and the moderators' page.
func (e *engine) servePages(c config.Config, service *control.Local, audit *control.Audit) (stop func(), err error) {
	stopMetrics, err := serveMetrics(c, e.metrics.Handler(), e.log)
	if err != nil {
		return nil, err
	}
	stopPage, err := e.servePage(c, service, audit)
	if err != nil {
		stopMetrics()
		return nil, err
	}
	return sync.OnceFunc(func() { stopPage(); stopMetrics() }), nil
}

// Limits of the moderators' page: forms are small, and what takes long is done in the
// background.
const (
	pageConnections  = 256
	pageReadTimeout  = 30 * time.Second
	pageWriteTimeout = 2 * time.Minute
	pageStopTimeout  = 5 * time.Second
)

// Accounts are those of the moderators' page, with the audit log that their changes stand
// in. Root goes on as the owner of the store: see BecomeOwner.
func Accounts(c config.Config, p Process) (*account.Book, *control.Audit, error) {
	if err := IsStore(c.Root); err != nil {
		return nil, nil, err
	}
	if err := BecomeOwner(c.Root); err != nil {
		return nil, nil, err
	}
	return account.Open(c.Root, p.Now), p.audit(c), nil
}

// servePage serves the moderators' page, where one is set, and remembers how the server
// does.
func (e *engine) servePage(c config.Config, service *control.Local, audit *control.Audit) (stop func(), err error) {
	if c.Page.Listen == "" {
		return func() {}, nil
	}
	history, err := trend.Open(c.Root, e.counts, e.now)
	if err != nil {
		e.log.Warn("page", "error", err)
	}
	l, err := listen.At(c.Page.Listen)
	if err != nil {
		return nil, fmt.Errorf("page.listen: %w", err)
	}
	url := c.PageURL()
	if c.Page.URL == "" && strings.HasSuffix(c.Page.Listen, ":0") { // any port that is free
		url = "http://" + l.Addr().String()
	}
	p, err := e.newPage(c, url, service, audit, history)
	if err != nil {
		l.Close()
		return nil, err
	}
	e.log.Info("serving the moderators' page", "address", l.Addr().String(), "url", url)
	conns := listen.NewConnections(pageConnections)
	server := &http.Server{
		Handler: p, ConnState: conns.Track, DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: pageReadTimeout, WriteTimeout: pageWriteTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: 2 * maxHeaderBytes, // a URL of images may stand in that of a page, encoded
		ErrorLog:       server.ErrorLog(e.log),
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := server.Serve(conns.Listener(l)); !errors.Is(err, http.ErrServerClosed) {
			e.log.Error("the moderators' page is not served any more", "error", err)
		}
	})
	work.Go(func() {
		history.Run(ctx, func(err error) { e.log.Warn("page", "error", err) })
	})
	return sync.OnceFunc(func() {
		ended, stopped := context.WithTimeout(context.Background(), pageStopTimeout)
		defer stopped()
		if server.Shutdown(ended) != nil {
			server.Close()
		}
		cancel()
		p.Close()
		work.Wait()
	}), nil
}

// newPage makes the page. What a reload may change it asks for each time.
func (e *engine) newPage(c config.Config, url string, service *control.Local, audit *control.Audit, history *trend.Trend) (*page.Server, error) {
	now := func() config.Config { return e.current.Load().config }
	var buckets []string
	for _, b := range c.Buckets {
		buckets = append(buckets, b.Name)
	}
	return page.New(page.Options{
		URL: url, Accounts: account.Open(c.Root, e.now),
		As:    func(by control.Caller) control.Service { return service.As(by) },
		Audit: audit.Write,
		Picture: func(ctx context.Context, bucket, url, size string) (*os.File, string, error) {
			f, format, err := e.current.Load().server.Picture(ctx, bucket, url, size)
			return f, format.ContentType(), err
		},
		Read: func(text string, hosts bool) (target.Target, error) {
			return target.Reader{Self: NewSelfLinks(now(), nil, e.now)}.Read(text, hosts)
		},
		Code: server.Code, Buckets: buckets, Likeness: c.Likeness == "on", MaxUpload: int64(c.Fetch.MaxBytes),
		Sizes:         func() []int { return now().Sizes },
		Reasons:       func() []string { return now().Page.Reasons },
		AddressHeader: c.Page.AddressHeader, UserHeader: c.Page.UserHeader, TwoPersons: c.Page.TwoPersons,
		Trend: history.Samples, Now: e.now, Log: e.log,
	})
}

// counts are what trend samples.
func (e *engine) counts() (n trend.Counts) {
	n.Warm, n.Cold, n.Failed = e.metrics.Requests()
	if n.Hot = -1; e.hot != nil {
		n.Hot = e.hot.Len()
	}
	n.FetchWait = e.current.Load().fetcher.Stats().Waited
	n.ResizeWait = e.pool.Stats().Waited
	return n
}
