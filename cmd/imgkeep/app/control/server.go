package control

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"imgkeep/bucket"
)

// Store is what the server works on: a *bucket.Store.
type Store interface {
	Scrub(context.Context, bucket.ScrubOptions) (bucket.ScrubReport, error)
	Compact() (before, after bucket.Figures, err error)
	Figures() (bucket.Figures, error)
	Retry(what string) (bucket.Retried, error)
	Remover
	Looker
}

// Keeper keeps images that nobody has asked for. An Outcome tells what went
// wrong.
type Keeper interface {
	Populate(context.Context, PopulateRequest) Outcome
	Add(bucket, url string, image io.Reader) Outcome
}

const (
	maxRequest = 64 << 10
	addPath    = "/add"
	// every is how often progress is told, at most.
	every = 200 * time.Millisecond
)

// Options say what a Server answers with.
type Options struct {
	Store   Store
	Keeper  Keeper       // POST /populate and /add; nil: none
	Metrics http.Handler // GET /metrics; nil: none
	// Scrubbed is told of each scrub that has ended well; nil: nobody.
	Scrubbed func(bucket.ScrubReport)
	// Removed is told of each removal that was tried, by its verb; nil: nobody.
	Removed func(verb string, err error)
	Hot     HotLinks // nil: there are none
	Links   Links    // nil: none are known
	// Reload reads the configuration anew; nil: it cannot.
	Reload func() (Reloaded, error)
	Audit  *Audit       // nil: none
	Log    *slog.Logger // nil: none
}

// Server answers requests on a store.
type Server struct {
	Options
	uid int // besides root, who is answered

	compacting sync.Mutex
	scrubbing  chan struct{} // holds one while a scrub is under way

	mu  sync.Mutex
	own context.CancelCauseFunc // ends the server's own scrub; nil: none is under way
}

// NewServer returns a server for a store.
func NewServer(o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{Options: o, uid: os.Geteuid(), scrubbing: make(chan struct{}, 1)}
}

// Serve answers until ctx ends, and then breaks off what is under way and
// returns nil. It closes the listener, which removes its socket.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /scrub", s.scrub)
	mux.HandleFunc("POST /compact", s.compact)
	mux.HandleFunc("POST /retry", s.retry)
	mux.HandleFunc("GET /status", s.status)
	mux.HandleFunc("POST /remove", s.remove)
	mux.HandleFunc("POST /show", s.show)
	mux.HandleFunc("POST /list", s.list)
	mux.HandleFunc("GET /stats", s.stats)
	mux.HandleFunc("POST /reload", s.reload)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	if s.Keeper != nil {
		mux.HandleFunc("POST /populate", s.populate)
		mux.HandleFunc("POST "+addPath, s.add)
		mux.HandleFunc("POST /ran", s.ran)
	}
	server := &http.Server{
		Handler:           s.guard(mux),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext:       withPeer,
		ErrorLog:          slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(l); ctx.Err() == nil {
		return err
	}
	return nil
}

var (
	errScrubbing  = errors.New("the server is at a scrub already that somebody has asked for: try again when that is done")
	errCompacting = errors.New("the server is compacting already: try again when that is done")
	errGaveWay    = errors.New("it gave way to a scrub that somebody has asked for")
)

// Scrub scrubs the store of the server's own accord, until it ends or somebody
// asks for a scrub.
func (s *Server) Scrub(ctx context.Context, o bucket.ScrubOptions) (bucket.ScrubReport, error) {
	select {
	case s.scrubbing <- struct{}{}:
	default:
		return bucket.ScrubReport{}, errScrubbing
	}
	defer func() { <-s.scrubbing }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.setOwn(cancel)
	defer func() { s.setOwn(nil) }()
	return s.scrubStore(ctx, o)
}

// setOwn notes what ends the server's own scrub, and returns what did before.
func (s *Server) setOwn(cancel context.CancelCauseFunc) (old context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.own = s.own, cancel
	return old
}

// scrubAsked scrubs the store for somebody, in the place of the server's own
// scrub.
func (s *Server) scrubAsked(ctx context.Context, o bucket.ScrubOptions) (bucket.ScrubReport, error) {
	if end := s.setOwn(nil); end != nil {
		end(errGaveWay)
		select {
		case s.scrubbing <- struct{}{}:
		case <-ctx.Done():
			return bucket.ScrubReport{}, context.Cause(ctx)
		}
	} else {
		select {
		case s.scrubbing <- struct{}{}:
		default:
			return bucket.ScrubReport{}, errScrubbing
		}
	}
	defer func() { <-s.scrubbing }()
	return s.scrubStore(ctx, o)
}

func (s *Server) scrubStore(ctx context.Context, o bucket.ScrubOptions) (bucket.ScrubReport, error) {
	report, err := s.Store.Scrub(ctx, o)
	if err == nil && s.Scrubbed != nil {
		s.Scrubbed(report)
	}
	return report, err
}

type peerKey struct{}

// withPeer notes who connects.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid := -1
	if u, ok := c.(*net.UnixConn); ok {
		if raw, err := u.SyscallConn(); err == nil {
			raw.Control(func(fd uintptr) {
				if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
					uid = int(cred.Uid)
				}
			})
		}
	}
	return context.WithValue(ctx, peerKey{}, uid)
}

// guard refuses everyone but root and the server's own user.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		uid, ok := r.Context().Value(peerKey{}).(int)
		if !ok || uid != 0 && uid != s.uid {
			s.Log.Warn("admin socket: refused", "uid", uid)
			fail(w, http.StatusForbidden, fmt.Errorf("user %d may not: only root and user %d", uid, s.uid))
			return
		}
		if r.URL.Path != addPath { // whose body is bounded by what an image may have
			r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
		}
		next.ServeHTTP(w, r)
	})
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(message{Error: err.Error()})
}

// answers writes messages, of which progress only now and then.
type answers struct {
	w    http.ResponseWriter
	enc  *json.Encoder
	mu   sync.Mutex
	last time.Time
}

func newAnswers(w http.ResponseWriter) *answers {
	w.Header().Set("Content-Type", "application/x-ndjson")
	return &answers{w: w, enc: json.NewEncoder(w)}
}

func (a *answers) send(m message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.Progress != nil {
		if time.Since(a.last) < every {
			return
		}
		a.last = time.Now()
	}
	// A client that has left ends the work by the request's context.
	if a.enc.Encode(m) == nil {
		http.NewResponseController(a.w).Flush()
	}
}

// write writes a message without sending it at once: one of many.
func (a *answers) write(m message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enc.Encode(m)
}

func (a *answers) end(m message, err error) {
	if err != nil {
		m.Error = err.Error()
	}
	a.send(m)
}

func (s *Server) scrub(w http.ResponseWriter, r *http.Request) {
	var q ScrubRequest
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	s.Log.Info("scrub begins", "rate", q.Rate, "repair", q.Repair)
	a := newAnswers(w)
	removed := false
	report, err := s.scrubAsked(r.Context(), bucket.ScrubOptions{
		Rate: q.Rate, Repair: q.Repair,
		Found: func(f bucket.Finding) {
			removed = removed || f.Kind == bucket.HalfRemoved && f.Repaired
			a.send(message{Finding: &f})
		},
		Progress: func(p bucket.Progress) { a.send(message{Progress: &p}) },
	})
	s.report(err, "scrub ends", "found", report.Found, "remain", report.Remain)
	if removed && s.Hot != nil { // a removal that was broken off has been finished
		_, endErr := s.endRemovals()
		err = errors.Join(err, endErr)
	}
	if q.Repair {
		err = errors.Join(err, s.Audit.Write(callerOf(r).change(Change{Op: "scrub --repair", What: report}), err))
	}
	a.end(message{Scrubbed: &report}, err)
}

// endRemovals takes all hot links away.
func (s *Server) endRemovals() (int, error) {
	unnoted := s.Hot.BeginRemoval()
	n, err := s.Hot.EndRemoval(true, nil)
	if err == nil {
		unnoted = nil // it is done
	}
	return n, errors.Join(unnoted, err)
}

func (s *Server) compact(w http.ResponseWriter, r *http.Request) {
	if !s.compacting.TryLock() {
		fail(w, http.StatusConflict, errCompacting)
		return
	}
	defer s.compacting.Unlock()
	before, after, err := s.Store.Compact()
	s.report(err, "index compacted", "before", before.Bytes, "after", after.Bytes)
	err = errors.Join(err, s.Audit.Write(callerOf(r).change(Change{Op: "compact"}), err))
	newAnswers(w).end(message{Compacted: &Compacted{before, after}}, err)
}

// Do forgets what stands against an image, and notes that. links may be nil.
func (q RetryRequest) Do(s interface {
	Retry(what string) (bucket.Retried, error)
}, links Links, audit *Audit, by Caller) (bucket.Retried, error) {
	if err := q.check(links); err != nil {
		return bucket.Retried{}, err
	}
	done, err := s.Retry(q.What)
	return done, errors.Join(err, audit.Retried(by, q.What, done, err))
}

func (s *Server) retry(w http.ResponseWriter, r *http.Request) {
	var q RetryRequest
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if err := q.check(s.Links); err != nil { // which names URLs, and this log holds none
		newAnswers(w).end(message{}, err)
		return
	}
	done, err := q.Do(s.Store, nil, s.Audit, callerOf(r))
	s.report(err, "retry", "failures", done.Failures, "undecodable", done.Undecodable)
	newAnswers(w).end(message{Retried: &done}, err)
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if s.Reload == nil {
		fail(w, http.StatusNotImplemented, errors.New("this server cannot reload"))
		return
	}
	done, err := s.Reload()
	err = errors.Join(err, s.Audit.Write(callerOf(r).change(Change{Op: "reload", What: done}), err))
	newAnswers(w).end(message{Reloaded: &done}, err)
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	f, err := s.Store.Figures()
	newAnswers(w).end(message{Status: &f}, err)
}

func (s *Server) populate(w http.ResponseWriter, r *http.Request) {
	var q PopulateRequest
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	outcome := s.Keeper.Populate(r.Context(), q)
	newAnswers(w).end(message{Outcome: &outcome}, r.Context().Err())
}

// ran notes the end of a run, whose images came one by one.
func (s *Server) ran(w http.ResponseWriter, r *http.Request) {
	var q Run
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if q.Op != "populate" && q.Op != "import" {
		fail(w, http.StatusBadRequest, fmt.Errorf("the request is not understood: %q is no run", q.Op))
		return
	}
	newAnswers(w).end(message{Noted: true}, s.Audit.Ran(callerOf(r), q))
}

func (s *Server) add(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	url, err := base64.StdEncoding.DecodeString(query.Get("url"))
	if err != nil || len(query["bucket"]) != 1 || len(query["url"]) != 1 {
		fail(w, http.StatusBadRequest, errors.New("the request is not understood: want bucket, and url in base64"))
		return
	}
	outcome := s.Keeper.Add(query.Get("bucket"), string(url), r.Body)
	io.Copy(io.Discard, r.Body) // or a client that is still sending would not get to the answer
	s.Log.Info("image added", "bucket", query.Get("bucket"), "kept", outcome.Kept, "bytes", outcome.Bytes, "code", outcome.Code)
	err = nil
	if !query.Has("run") {
		err = s.Audit.Added(callerOf(r), query.Get("bucket"), string(url), outcome)
	}
	newAnswers(w).end(message{Outcome: &outcome}, errors.Join(err, r.Context().Err()))
}

func decode(r *http.Request, v any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("the request is not understood: %w", err)
	}
	return nil
}

// report logs what was asked for and done, and the error if there was one.
func (s *Server) report(err error, what string, args ...any) {
	if err != nil {
		args = append(args, "error", err)
	}
	s.Log.Info(what, args...)
}
