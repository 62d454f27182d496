package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"imgkeep/bucket"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

// store is a test's: it does what its fields say.
type store struct {
	Remover
	Looker
	Comparer
	scrub   func(context.Context, scrub.Options) (scrub.Report, error)
	compact error
}

func (s store) Scrub(ctx context.Context, o scrub.Options) (scrub.Report, error) {
	return s.scrub(ctx, o)
}

func (s store) Compact() (bucket.Figures, bucket.Figures, error) {
	return bucket.Figures{Bytes: 2}, bucket.Figures{Bytes: 1}, s.compact
}

func (s store) Retry(what string) (bucket.Retried, error) {
	if what == "" {
		return bucket.Retried{}, errors.New("no such image")
	}
	return bucket.Retried{Failures: len(what), Undecodable: 1}, nil
}

func (s store) Figures() (bucket.Figures, error) { return bucket.Figures{Bytes: 3, Schema: 2}, nil }

// serve starts a server, and returns its client and what stops it.
func serve(t *testing.T, s Store) (*Client, func()) {
	t.Helper()
	return serveOptions(t, Options{Store: s})
}

func serveOptions(t *testing.T, o Options) (*Client, func()) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- NewServer(New(o), nil).Serve(ctx, l) }()
	var once sync.Once
	stop := func() {
		cancel()
		once.Do(func() {
			if err := <-done; err != nil {
				t.Errorf("serve: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	c, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return c, stop
}

func TestScrub(t *testing.T) {
	want := scrub.Report{Images: 7, Bytes: 9, Files: 8, Found: map[record.Kind]int{record.Corrupt: 1}, Remain: 1, Seconds: 1.5}
	finding := record.Finding{Kind: record.Corrupt, Path: "i/a/b/c.png", URL: "https://example.com/<&>", Detail: "x\ny", Repair: "r", Repaired: true}
	c, _ := serve(t, store{scrub: func(_ context.Context, o scrub.Options) (scrub.Report, error) {
		if o.Rate != 5 || !o.Repair || o.Exclusive {
			t.Errorf("options: %+v", o)
		}
		o.Progress(record.Progress{Stage: "originals", Done: 1, Total: 2, Bytes: true})
		o.Found(finding)
		return want, nil
	}})
	var findings []record.Finding
	var progress []record.Progress
	got, err := c.Scrub(t.Context(), ScrubRequest{Rate: 5, Repair: true}, func(e Event) error {
		switch {
		case e.Finding != nil:
			findings = append(findings, *e.Finding)
		case e.Progress != nil:
			progress = append(progress, *e.Progress)
		}
		return nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if len(findings) != 1 || findings[0] != finding || len(progress) != 1 || progress[0].Total != 2 {
		t.Errorf("findings %+v, progress %+v", findings, progress)
	}
	if _, err := c.Scrub(t.Context(), ScrubRequest{Rate: 5, Repair: true}, nil); err != nil {
		t.Errorf("without listeners: %v", err)
	}
}

// keeper is a test's: what it is asked for, it tells.
type keeper struct{}

func (keeper) Populate(ctx context.Context, q PopulateRequest) Outcome {
	if string(q.URL) == "wait" {
		<-ctx.Done()
	}
	return Outcome{Kept: true, Bytes: int64(len(q.Sizes)), Detail: q.Bucket + " " + string(q.URL)}
}

func (keeper) Add(q AddRequest, image io.Reader) Outcome {
	n, err := io.Copy(io.Discard, image)
	return Outcome{Bytes: n, Code: q.Bucket, Detail: fmt.Sprint(q.URL, " ", err), Stop: true}
}

func TestKeeper(t *testing.T) {
	audit := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
	c, _ := serveOptions(t, Options{Store: store{}, Keeper: func() Keeper { return keeper{} }, Audit: audit})
	latin := "https://example.com/B\xe4r?<&>" // as it was written, whatever JSON thinks of it
	got, err := c.Populate(t.Context(), PopulateRequest{Bucket: "i", URL: []byte(latin), Sizes: []string{"150x", "x200"}})
	if want := (Outcome{Kept: true, Bytes: 2, Detail: "i " + latin}); err != nil || !strings.HasPrefix(got.Detail, "i https://example.com/B") || got.Bytes != want.Bytes || !got.Kept {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	// An image may be larger than any other request.
	got, err = c.Add(t.Context(), AddRequest{Bucket: "f", URL: latin}, strings.NewReader(strings.Repeat("x", 4*maxRequest)))
	if err != nil || got.Bytes != 4*maxRequest || got.Code != "f" || !got.Stop || !strings.HasSuffix(got.Detail, " <nil>") {
		t.Errorf("%+v, %v", got, err)
	}
	// Who has added what is noted: a line for each, and none for what is populated.
	log, err := os.ReadFile(audit.Path)
	if want := fmt.Sprintf(`"by":%q,"op":"add","what":{"bucket":"f","url":"https://example.com/B`, Who(os.Getuid())); err != nil || strings.Count(string(log), "\n") != 1 ||
		!strings.Contains(string(log), want) || !strings.Contains(string(log), `"error":"f: https://`) {
		t.Errorf("the audit log: %s, %v; want %s", log, err, want)
	}
	audit.Path = t.TempDir() // cannot be written
	if _, err := c.Add(t.Context(), AddRequest{Bucket: "f", URL: latin}, strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "audit log") {
		t.Errorf("an audit log that fails: %v", err)
	}
	if _, err := c.Populate(t.Context(), PopulateRequest{URL: make([]byte, maxRequest)}); err == nil || !strings.Contains(err.Error(), "not understood") {
		t.Errorf("a request too long: %v", err)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if _, err := c.Populate(ctx, PopulateRequest{URL: []byte("wait")}); !errors.Is(err, context.Canceled) {
		t.Errorf("who left: %v", err)
	}
	// Without a keeper there is no such request.
	c, _ = serve(t, store{})
	if _, err := c.Populate(t.Context(), PopulateRequest{}); err == nil {
		t.Error("nothing keeps, and it is done")
	}
}

// A million calls need no million connections.
func TestConnectionsAreKept(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	c, _ := serveOptions(t, Options{Store: store{}, Keeper: func() Keeper { return keeper{} }})
	transport := c.http.Transport.(*http.Transport)
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		seen[fmt.Sprint(len(seen))] = true
		return dial(ctx, network, address)
	}
	for range 50 {
		if _, err := c.Populate(t.Context(), PopulateRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) > 1 {
		t.Errorf("%d connections", len(seen))
	}
}

func TestErrorsArrive(t *testing.T) {
	c, _ := serve(t, store{
		scrub: func(context.Context, scrub.Options) (scrub.Report, error) {
			return scrub.Report{}, errors.New("the disk is on fire")
		},
		compact: errors.New("no room"),
	})
	if _, err := c.Scrub(t.Context(), ScrubRequest{}, nil); err == nil || err.Error() != "the disk is on fire" {
		t.Errorf("scrub: %v", err)
	}
	if _, err := c.Compact(t.Context()); err == nil || err.Error() != "no room" {
		t.Errorf("compact: %v", err)
	}
	if f, err := c.Figures(t.Context()); err != nil || f.Bytes != 3 || f.Schema != 2 {
		t.Errorf("status: %+v, %v", f, err)
	}
}

// One at a time; and a caller who leaves ends what they have asked for.
func TestBusyAndLeaving(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	c, stop := serve(t, store{scrub: func(ctx context.Context, _ scrub.Options) (scrub.Report, error) {
		begun <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return scrub.Report{}, ctx.Err()
	}})
	result := make(chan error)
	scrub := func(ctx context.Context) {
		go func() {
			_, err := c.Scrub(ctx, ScrubRequest{}, nil)
			for err != nil && err.Error() == errScrubbing.Error() { // the one before has not returned yet
				_, err = c.Scrub(ctx, ScrubRequest{}, nil)
			}
			result <- err
		}()
		<-begun
	}
	ctx, leave := context.WithCancel(t.Context())
	scrub(ctx)
	if _, err := c.Scrub(t.Context(), ScrubRequest{}, nil); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second scrub: %v", err)
	}
	if _, err := c.Compact(t.Context()); err != nil {
		t.Errorf("compact meanwhile: %v", err)
	}
	leave()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("the one who left: %v", err)
	}
	<-ended
	// The server stops: that ends the work too, and the client is told.
	scrub(t.Context())
	go stop()
	<-ended
	if err := <-result; err == nil {
		t.Error("a scrub that was broken off looks like success")
	}
	stop()
}

// The server's own scrub may take days. It gives way to one that is asked for, and
// finds the store busy then.
func TestOwnScrubGivesWay(t *testing.T) {
	begun := make(chan struct{})
	asked := make(chan struct{}) // closed, the scrub that is asked for may end
	s := New(Options{Store: store{scrub: func(ctx context.Context, o scrub.Options) (scrub.Report, error) {
		begun <- struct{}{}
		select {
		case <-ctx.Done():
			return scrub.Report{}, context.Cause(ctx)
		case <-asked:
			return scrub.Report{Images: 1}, nil
		}
	}}})
	own, other := make(chan error), make(chan error)
	go func() { _, err := s.ScrubOwn(t.Context(), scrub.Options{}); own <- err }()
	<-begun
	go func() { _, err := s.Scrub(t.Context(), ScrubRequest{}, nil); other <- err }()
	if err := <-own; !errors.Is(err, errGaveWay) {
		t.Errorf("its own: %v", err)
	}
	<-begun
	if _, err := s.ScrubOwn(t.Context(), scrub.Options{}); !errors.Is(err, errScrubbing) {
		t.Errorf("its own, again: %v", err)
	}
	if _, err := s.Scrub(t.Context(), ScrubRequest{}, nil); !errors.Is(err, errScrubbing) {
		t.Errorf("a second one that is asked for: %v", err)
	}
	close(asked)
	if err := <-other; err != nil {
		t.Errorf("the one that was asked for: %v", err)
	}
	go func() { <-begun }()
	if _, err := s.ScrubOwn(t.Context(), scrub.Options{}); err != nil {
		t.Errorf("its own, afterwards: %v", err)
	}
}

// A user who is neither root nor the server's user gets nothing done.
func TestPeers(t *testing.T) {
	s := NewServer(New(Options{Store: store{}}), nil)
	s.uid = 1000
	for peer, want := range map[any]int{0: http.StatusOK, 1000: http.StatusOK, 1001: http.StatusForbidden, -1: http.StatusForbidden, nil: http.StatusForbidden} {
		r := httptest.NewRequest(http.MethodGet, "/status", nil)
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, peer))
		w := httptest.NewRecorder()
		s.guard(s.routes()).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("user %v: status %d, want %d", peer, w.Code, want)
		}
	}
	// The kernel tells who connects.
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	if uid := withPeer(t.Context(), peer).Value(peerKey{}); uid != os.Getuid() {
		t.Errorf("the peer is user %v, want %d", uid, os.Getuid())
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if uid := withPeer(t.Context(), a).Value(peerKey{}); uid != -1 {
		t.Errorf("the peer of a pipe is user %v", uid)
	}
}

func TestRequestsRefused(t *testing.T) {
	s := NewServer(New(Options{Store: store{scrub: func(context.Context, scrub.Options) (scrub.Report, error) {
		t.Error("it scrubs")
		return scrub.Report{}, nil
	}}}), nil)
	for _, body := range []string{"", "{", "[]", `{"rate":"fast"}`, `{"raet":1}`, `{"rate":1,"x":"` + strings.Repeat("x", maxRequest) + `"}`} {
		r := httptest.NewRequest(http.MethodPost, "/scrub", strings.NewReader(body))
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, 0))
		w := httptest.NewRecorder()
		s.guard(s.routes()).ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest || !strings.HasPrefix(w.Body.String(), `{"error":"`) {
			t.Errorf("%.20q: status %d, %s", body, w.Code, w.Body)
		}
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoServer) {
		t.Errorf("no socket: %v", err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a second one: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as if it were killed
	l.Close()
	if _, err := Dial(t.Context(), path); !errors.Is(err, ErrNoServer) {
		t.Errorf("a socket without a server: %v", err)
	}
	if l, err = Listen(path); err != nil {
		t.Errorf("after a killed server: %v", err)
	} else {
		l.Close()
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: %v", err)
	}
}

// What was tried again is noted, by its name; one that a link names wrongly is not.
func TestRetry(t *testing.T) {
	audit := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
	c, _ := serveOptions(t, Options{Store: store{}, Audit: audit, Links: book{}})
	if got, err := c.Retry(t.Context(), RetryRequest{What: "https://e.g/"}); err != nil || got != (bucket.Retried{Failures: 12, Undecodable: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.Retry(t.Context(), RetryRequest{What: ""}); err == nil || err.Error() != "no such image" {
		t.Errorf("an error: %v", err)
	}
	if _, err := c.Retry(t.Context(), RetryRequest{What: "https://e.g/", Named: Named{Link: "/bad/link"}}); err == nil || err.Error() != "another image" {
		t.Errorf("another's link: %v", err)
	}
	log, err := os.ReadFile(audit.Path)
	if err != nil || strings.Count(string(log), "\n") != 2 || !strings.Contains(string(log), `"op":"retry","what":{"of":"https://e.g/","failures":12,"undecodable":1}}`) {
		t.Errorf("the audit log: %s, %v", log, err)
	}
}

// Who was somebody else before says so, and it is noted as that; of a run there is one
// line.
func TestClaimsAndRuns(t *testing.T) {
	t.Setenv("SUDO_USER", "al\u00efce\n\x1b[31m"+strings.Repeat("x", 100))
	t.Setenv("SUDO_UID", "1000")
	audit := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
	c, _ := serveOptions(t, Options{Store: store{}, Keeper: func() Keeper { return keeper{} }, Audit: audit})
	for range 100 {
		if _, err := c.Add(t.Context(), AddRequest{Bucket: "f", URL: "https://e.g/", Run: true}, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Ran(t.Context(), Run{Op: "import", From: "/srv/old", Bucket: "f", URLs: 100, Kept: 99, Failed: 1, Bytes: 7}); err != nil {
		t.Fatal(err)
	}
	if err := c.Ran(t.Context(), Run{Op: "burn"}); err == nil {
		t.Error("a run of nothing that is known is noted")
	}
	log, err := os.ReadFile(audit.Path)
	if err != nil || strings.Count(string(log), "\n") != 1 {
		t.Fatalf("the audit log: %s, %v", log, err)
	}
	var got struct {
		By     string
		Op     string
		Claims Claims
		What   Run
	}
	if err := json.Unmarshal(log, &got); err != nil {
		t.Fatal(err)
	}
	if got.By != Who(os.Getuid()) || got.Op != "import" || !strings.HasPrefix(got.Claims.SudoUser, "al\u00efce[31mxxx") || len(got.Claims.SudoUser) > maxClaim ||
		got.Claims.SudoUID != "1000" || got.Claims.TTY != claim(terminal()) || got.What.Kept != 99 || got.What.From != "/srv/old" {
		t.Errorf("noted %s", log)
	}
}

// Someone at a terminal is told from a job, by what the kernel says of the process.
func TestTerminal(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Fatal("script is not installed: on Debian, apt-get install bsdutils")
	}
	if os.Getenv("IMGKEEP_TEST_TERMINAL") != "" {
		fmt.Println("terminal:" + terminal() + ":")
		return
	}
	command := os.Args[0] + " -test.run=^TestTerminal$ -test.v </dev/null"
	cmd := exec.Command(script, "-qec", command, "/dev/null")
	cmd.Env = append(os.Environ(), "IMGKEEP_TEST_TERMINAL=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !regexp.MustCompile(`terminal:pts/\d+:`).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
	cmd = exec.Command(os.Args[0], "-test.run=^TestTerminal$", "-test.v")
	cmd.Env = append(os.Environ(), "IMGKEEP_TEST_TERMINAL=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, err = cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "terminal::") {
		t.Errorf("%v: %s", err, out)
	}
}
