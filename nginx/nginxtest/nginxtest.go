// Package nginxtest runs a real nginx for tests: a private one, in a temporary
// folder, on an unprivileged port, gone when the test ends.
//
// The test opens the port and nginx inherits it, as in an upgrade of its binary.
// So no other process can take the port in between, and connections wait in the
// backlog until nginx is ready: nothing polls and nothing sleeps.
package nginxtest

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/nginx"
	"imgkeep/scripts/patience"
)

// Server is a running nginx.
type Server struct {
	// URL is "http://127.0.0.1:port", Addr the part after the scheme.
	URL, Addr string
	// TLSAddr is where HTTPS is answered, if the site has that; its certificate is
	// the site's.
	TLSAddr string
	// Dir is nginx' prefix: nginx.conf, error.log and, where the site keeps one,
	// access.log are in it.
	Dir string

	t   testing.TB
	cmd *exec.Cmd
}

// Binary returns the path of nginx, or fails the test.
func Binary(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("nginx is not installed: on Debian, apt-get install nginx")
	return ""
}

// Start runs nginx with the site until the test ends. The site's Listen and
// AccessLog are replaced: nginx listens on a free port of 127.0.0.1 and logs to
// Dir/access.log. Started by root, its workers run as nobody, so that they have
// no more rights than elsewhere. edit, if given, changes the text of nginx.conf.
func Start(t testing.TB, site nginx.Site, edit ...func(conf string) string) *Server {
	t.Helper()
	// Not t.TempDir: that one ends up below a folder that only its owner may
	// enter when the umask is strict, and the workers are somebody else.
	dir, err := os.MkdirTemp("", "nginxtest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}

	listener, file := listen(t)
	defer listener.Close()
	defer file.Close()

	s := &Server{Addr: listener.Addr().String(), Dir: dir, t: t}
	s.URL = "http://" + s.Addr
	site.Listen = []string{s.Addr}
	listeners, files, inherit := []*net.TCPListener{listener}, []*os.File{file}, "NGINX=3;"
	if len(site.ListenTLS) > 0 {
		listener, file := listen(t)
		defer listener.Close()
		defer file.Close()
		s.TLSAddr = listener.Addr().String()
		site.ListenTLS = []string{s.TLSAddr}
		listeners, files, inherit = append(listeners, listener), append(files, file), "NGINX=3;4;"
	}
	site.AccessLog = filepath.Join(dir, "access.log")
	text := Text(t, nginx.Main{Site: site, Prefix: dir, Workers: 1, Connections: 512, User: worker(t)})
	for _, e := range edit {
		text = e(text)
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}

	s.cmd = exec.Command(Binary(t), "-p", dir, "-c", conf)
	s.cmd.ExtraFiles = files
	s.cmd.Env = append(os.Environ(), inherit)
	var stderr bytes.Buffer
	s.cmd.Stderr = &stderr
	// A crashed test must leave no nginx behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Starting it has made the socket blocking, for nginx as well.
	for _, l := range listeners {
		raw, err := l.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := raw.Control(func(fd uintptr) { err = syscall.SetNonblock(int(fd), true) }); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("nginx: %s%s", &stderr, s.ErrorLog())
		}
	})
	return s
}

// listen opens a port, for nginx to inherit: of plain TCP, since nginx 1.29 and later
// close one of Multipath TCP, which is Go's default, and open another.
func listen(t testing.TB) (*net.TCPListener, *os.File) {
	t.Helper()
	var plain net.ListenConfig
	plain.SetMultipathTCP(false)
	l, err := plain.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		l.Close()
		t.Fatal(err)
	}
	return l.(*net.TCPListener), file
}

// Text is the rendering of a configuration.
func Text(t testing.TB, main nginx.Main) string {
	t.Helper()
	var b strings.Builder
	if err := main.Render(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Check runs nginx -t on the text of an nginx.conf whose prefix is dir, and fails the test
// with its output.
func Check(t testing.TB, dir, text string) {
	t.Helper()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(Binary(t), "-t", "-p", dir, "-c", conf).CombinedOutput()
	if err != nil || strings.Contains(string(out), "[warn]") {
		t.Errorf("nginx -t: %v\n%s", err, out)
	}
}

// KnowsHTTP2 tells whether nginx has the directive http2, as it does from 1.25.1 on.
// Otherwise HTTP/2 is asked for by a word after the address in listen.
func KnowsHTTP2(t testing.TB) bool {
	t.Helper()
	dir := t.TempDir()
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, []byte("pid pid; events {} http { access_log off; http2 on; }"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(Binary(t), "-t", "-p", dir, "-e", filepath.Join(dir, "error.log"), "-c", conf).CombinedOutput()
	if err != nil && !strings.Contains(string(out), `unknown directive "http2"`) {
		t.Fatalf("nginx -t: %v\n%s", err, out)
	}
	return err == nil
}

// worker is the user directive's value: nobody for root, else nothing, since
// only root can change users.
func worker(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		return ""
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return u.Username + " " + g.Name
}

// Stop ends nginx once it has answered what it was asked, and waits for it.
// After it, the access log is complete.
func (s *Server) Stop() {
	s.t.Helper()
	if s.cmd.ProcessState != nil {
		return
	}
	if err := s.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		s.t.Errorf("nginx: %v", err)
	}
	// A connection that a test left open would keep nginx running for ever.
	hang := time.AfterFunc(patience.Of(s.t), func() { s.cmd.Process.Kill() })
	defer hang.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("nginx: %v", err)
	}
}

// ErrorLog is what nginx has written into its error log.
func (s *Server) ErrorLog() string { return s.read("error.log") }

// AccessLog is what nginx has written into its access log: everything after
// Stop, before it only some.
func (s *Server) AccessLog() string { return s.read("access.log") }

func (s *Server) read(name string) string {
	b, err := os.ReadFile(filepath.Join(s.Dir, name))
	if err != nil {
		return fmt.Sprintf("(%v)", err)
	}
	return string(b)
}

// Client is an HTTP client that follows no redirect, asks for no compression and
// shares no connection with another Client.
func (s *Server) Client() *http.Client {
	transport := &http.Transport{DisableCompression: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// PID is the process number of the master, whose children are the workers.
func (s *Server) PID() int { return s.cmd.Process.Pid }
