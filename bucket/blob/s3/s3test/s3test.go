// Package s3test runs a real object store for tests: versitygw, whose objects are files, or
// SeaweedFS, where WEED names its program.
package s3test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob/s3"
	"imgkeep/scripts/patience"
	"imgkeep/scripts/ports"
)

// Keys of the gateways.
const (
	AccessKey = "imgkeep-test"
	SecretKey = "a secret key of tests"
	Bucket    = "images"
)

// Gateway is a running object store.
type Gateway struct {
	URL      string
	folder   string   // of versitygw
	versions string   // of versitygw: the folder of earlier versions; empty: it keeps none
	cluster  *Cluster // of SeaweedFS; nil: it is versitygw
	command  *exec.Cmd
	ended    chan struct{}
}

// Program is the path of versitygw: $VERSITYGW, or where scripts/test has built it. A test
// that needs it is skipped where there is none.
func Program(t testing.TB) string {
	t.Helper()
	path := os.Getenv("VERSITYGW")
	if path == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Skip(err)
		}
		path = filepath.Join(cache, "imgkeep", "versitygw-1.8.0")
	}
	if _, err := os.Stat(path); err != nil {
		t.Skipf("there is no versitygw at %s: scripts/test builds it", path)
	}
	return path
}

// Start starts a gateway, with one bucket, on a new folder.
func Start(t testing.TB) *Gateway {
	t.Helper()
	if os.Getenv("WEED") != "" {
		return Seaweed(t).Gateway(t)
	}
	program := Program(t)
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, Bucket), 0o755); err != nil {
		t.Fatal(err)
	}
	g := &Gateway{folder: folder}
	g.run(t, program)
	return g
}

// Another starts one more gateway to the objects of g.
func (g *Gateway) Another(t testing.TB) *Gateway {
	t.Helper()
	if g.cluster != nil {
		return g.cluster.Gateway(t)
	}
	other := &Gateway{folder: g.folder, versions: g.versions}
	other.run(t, Program(t))
	return other
}

// Gateway starts a gateway of the cluster.
func (c *Cluster) Gateway(t testing.TB) *Gateway {
	t.Helper()
	g := &Gateway{cluster: c}
	g.run(t, c.program)
	return g
}

func (g *Gateway) run(t testing.TB, program string) {
	t.Helper()
	port := ports.Free(t, 2) // the second is for the RPC of SeaweedFS
	address := fmt.Sprintf("127.0.0.1:%d", port)
	g.URL = "http://" + address
	if g.cluster != nil {
		g.command = g.cluster.gateway(port)
	} else {
		g.command = exec.Command(program, "--port", address, "--access", AccessKey, "--secret", SecretKey, "--health", "/health", "--keep-alive", "--quiet", "posix", "--versioning-dir", g.versions, g.folder)
	}
	var said bytes.Buffer
	g.command.Stdout, g.command.Stderr = &said, &said
	g.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	g.command.Env = append(os.Environ(), "GOMAXPROCS=2")
	if err := g.command.Start(); err != nil {
		t.Fatal(err)
	}
	g.ended = make(chan struct{})
	go func() { g.command.Wait(); close(g.ended) }()
	t.Cleanup(g.Kill)
	if !g.answers(patience.Of(t)) {
		g.Kill()
		t.Fatalf("%s does not start: %s", program, said.String())
	}
}

// answers waits until the gateway does, or has ended.
func (g *Gateway) answers(patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.URL+"/health", nil)
		if err == nil {
			var answer *http.Response
			if answer, err = http.DefaultClient.Do(r); err == nil {
				answer.Body.Close()
			}
		}
		if err == nil {
			return true
		}
		select {
		case <-g.ended:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Kill ends the gateway as a crash does.
func (g *Gateway) Kill() {
	g.command.Process.Kill()
	<-g.ended
}

// Options are those of a client of the gateway, below a prefix of the test.
func (g *Gateway) Options(t testing.TB) s3.Options {
	return s3.Options{
		Endpoint: g.URL, Bucket: Bucket, PathStyle: true, Prefix: fmt.Sprintf("%x/", []byte(t.Name())),
		Credentials: s3.Credentials{AccessKey: AccessKey, SecretKey: SecretKey},
	}
}

// Client is a client of it.
func (g *Gateway) Client(t testing.TB) *s3.Client {
	t.Helper()
	c, err := s3.New(g.Options(t))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
