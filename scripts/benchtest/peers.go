package benchtest

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/ports"
)

// Peer is another image server, running.
type Peer struct {
	Name string

	cmd  *exec.Cmd
	base string // http://127.0.0.1:port
	path func(source, format string, height int) string
}

// startPatience is how long a peer may take to start.
const startPatience = time.Minute

// Peers starts those of imgproxy (3 and 4) and imagor that are on PATH, and stops
// them when the benchmark ends. They are set to what imgkeep does: two images at a
// time, quality 80, no metadata. All else is as they come, but for the limits on
// pixels and for memory, for which imgproxy has what its own image for containers
// says.
func Peers(tb testing.TB) (peers []*Peer) {
	tb.Helper()
	for _, start := range []func(testing.TB, string, string) *Peer{imgproxy, imagor} {
		port := strconv.Itoa(ports.Free(tb, 1))
		if p := start(tb, tb.TempDir(), port); p != nil {
			p.base = "http://127.0.0.1:" + port
			p.run(tb)
			peers = append(peers, p)
		}
	}
	return peers
}

func imgproxy(tb testing.TB, dir, port string) *Peer {
	p := newPeer(tb, "imgproxy", dir)
	if p == nil {
		return nil
	}
	p.cmd.Env = append(p.cmd.Env, "IMGPROXY_BIND=127.0.0.1:"+port,
		"IMGPROXY_WORKERS=2", "IMGPROXY_QUALITY=80", "IMGPROXY_FORMAT_QUALITY=jpeg=80,webp=80", "IMGPROXY_KEEP_COPYRIGHT=false",
		"IMGPROXY_ALLOW_LOOPBACK_SOURCE_ADDRESSES=true", "IMGPROXY_MAX_SRC_RESOLUTION=1000", "IMGPROXY_TIMEOUT=300",
		"IMGPROXY_LOG_LEVEL=error", "MALLOC_ARENA_MAX=2", "VIPS_WARNING=0")
	p.path = func(source, format string, height int) string {
		return fmt.Sprintf("/unsafe/rs:fit:0:%d/f:%s/plain/%s", height, strings.Replace(format, "jpeg", "jpg", 1), url.PathEscape(source))
	}
	return p
}

func imagor(tb testing.TB, dir, port string) *Peer {
	p := newPeer(tb, "imagor", dir)
	if p == nil {
		return nil
	}
	p.cmd.Env = append(p.cmd.Env, "SERVER_ADDRESS=127.0.0.1", "BIND=127.0.0.1:"+port,
		"IMAGOR_UNSAFE=1", "IMAGOR_PROCESS_CONCURRENCY=2", "IMAGOR_PROCESS_QUEUE_SIZE=100", "VIPS_STRIP_METADATA=1", "HTTP_LOADER_DEFAULT_SCHEME=http",
		"IMAGOR_REQUEST_TIMEOUT=5m", "IMAGOR_LOAD_TIMEOUT=5m", "IMAGOR_PROCESS_TIMEOUT=5m")
	p.path = func(source, format string, height int) string {
		return fmt.Sprintf("/unsafe/0x%d/filters:quality(80):format(%s):strip_icc():strip_exif()/%s", height, format, url.PathEscape(source))
	}
	return p
}

// newPeer is a program on PATH, or nil.
func newPeer(tb testing.TB, name, dir string) *Peer {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is not on PATH, and is left out\n", name)
		return nil
	}
	p := &Peer{Name: name, cmd: exec.Command(path)}
	p.cmd.Dir = dir // where there is no .env
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Env = []string{"HOME=" + dir, "TMPDIR=" + dir}
	return p
}

// run starts the program, and waits until it answers.
func (p *Peer) run(tb testing.TB) {
	tb.Helper()
	log := filepath.Join(p.cmd.Dir, "log")
	out, err := os.Create(log)
	if err != nil {
		tb.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.cmd.Wait()
	}()
	tb.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-ended
	})
	ready := time.NewTicker(50 * time.Millisecond)
	defer ready.Stop()
	late := time.After(startPatience)
	for {
		resp, err := http.Get(p.base + "/health")
		if err == nil {
			resp.Body.Close()
			return // whatever it thinks of the path
		}
		select {
		case <-ready.C:
			continue
		case <-ended:
		case <-late:
		}
		text, _ := os.ReadFile(log)
		tb.Fatalf("%s does not answer: %v\n%s", p.Name, err, text)
	}
}

// Pid is the number of its process.
func (p *Peer) Pid() int { return p.cmd.Process.Pid }

// Link is where an image is to be had so high, in the same ratio.
func (p *Peer) Link(source, format string, height int) string {
	return p.base + p.path(source, format, height)
}

// Resize has an image made so high, in the same ratio.
func (p *Peer) Resize(ctx context.Context, source, format string, height int) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.Link(source, format, height), nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", r.URL.Path, resp.Status, body)
	}
	if got := resp.Header.Get("Content-Type"); got != "image/"+format {
		return nil, fmt.Errorf("%s: it is %s", r.URL.Path, got)
	}
	return body, nil
}
