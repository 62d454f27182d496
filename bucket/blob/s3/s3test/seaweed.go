package s3test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/ports"
)

// Cluster is a running SeaweedFS: a master, three volume servers, of which each original is on
// two, and two filers. Gateways are started before it by Start and Another.
type Cluster struct {
	dir     string
	program string
	master  string // address for others, with both ports
	filers  []string
	mu      sync.Mutex
	parts   map[string]*part
}

// part is a process of it.
type part struct {
	args    []string
	address string
	command *exec.Cmd
	ended   chan struct{}
}

var (
	theCluster  *Cluster
	makeCluster sync.Once
)

// Seaweed is the cluster of this process, which tests share and which ends with it: $WEED is the
// program. The test is skipped where that is not set.
func Seaweed(t testing.TB) *Cluster {
	t.Helper()
	program := os.Getenv("WEED")
	if program == "" {
		t.Skip("WEED does not name a program of SeaweedFS: scripts/crash shared does")
	}
	makeCluster.Do(func() {
		c := &Cluster{program: program, parts: map[string]*part{}}
		if err := c.start(t); err != nil {
			t.Fatalf("start SeaweedFS: %v", err)
		}
		theCluster = c
	})
	if theCluster == nil {
		t.Fatal("SeaweedFS did not start")
	}
	return theCluster
}

// start starts all of it, and sets the bucket as contrib/docs/several-nodes.md says.
func (c *Cluster) start(t testing.TB) (err error) {
	if c.dir, err = os.MkdirTemp("", "seaweed-"); err != nil {
		return err
	}
	identity := fmt.Sprintf(`{"identities":[{"name":"imgkeep","credentials":[{"accessKey":%q,"secretKey":%q}],"actions":["Admin","Read","Write","List"]}]}`, AccessKey, SecretKey)
	if err := os.WriteFile(filepath.Join(c.dir, "s3.json"), []byte(identity), 0o600); err != nil {
		return err
	}
	add := func(name, kind, folder string, args ...string) (string, error) {
		port := ports.Free(t, 2)
		http, rpc := strconv.Itoa(port), strconv.Itoa(port+1)
		path := filepath.Join(c.dir, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			return "", err
		}
		p := &part{address: "127.0.0.1:" + http}
		p.args = append([]string{kind, "-ip=127.0.0.1", "-port=" + http, "-port.grpc=" + rpc, folder + "=" + path}, args...)
		c.parts[name] = p
		return p.address + "." + rpc, c.Start(name)
	}
	if c.master, err = add("master", "master", "-mdir", "-volumeSizeLimitMB=64", "-defaultReplication=001"); err != nil {
		return err
	}
	for n := range 3 {
		if _, err := add(fmt.Sprint("volume", n), "volume", "-dir", "-master="+c.master, "-max=30"); err != nil {
			return err
		}
	}
	for n := range 2 {
		filer, err := add(fmt.Sprint("filer", n), "filer", "-defaultStoreDir", "-master="+c.master)
		if err != nil {
			return err
		}
		c.filers = append(c.filers, filer)
	}
	shell := exec.Command(c.program, "shell", "-master="+c.master, "-filer="+c.filers[0])
	shell.Stdin = strings.NewReader("s3.bucket.create -name " + Bucket + "\nfs.configure -locationPrefix=/buckets/" + Bucket + "/ -fsync=true -replication=001 -apply\n")
	shell.Dir = c.dir
	if out, err := shell.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(`true`)) {
		return fmt.Errorf("weed shell: %w: %s", err, out)
	}
	// The first file makes the cluster make its volumes, which takes longer than clients of it
	// wait; and one filer tells the other of the bucket.
	file := "/buckets/" + Bucket + "/first"
	return errors.Join(c.until(http.MethodPut, "filer0", file, http.StatusCreated), c.until(http.MethodGet, "filer1", file, http.StatusOK))
}

// until asks a filer until it answers so.
func (c *Cluster) until(method, filer, path string, status int) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		r, err := http.NewRequest(method, "http://"+c.parts[filer].address+path, strings.NewReader("first"))
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err == nil {
			answer.Body.Close()
			if answer.StatusCode == status {
				return nil
			}
			err = errors.New(answer.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s %s of %s: %w", method, path, filer, err)
		}
	}
}

// Start starts a part, "volume0" to "volume2", "filer0", "filer1" or "master", which does not run,
// and waits until it answers.
func (c *Cluster) Start(name string) error {
	c.mu.Lock()
	p := c.parts[name]
	c.mu.Unlock()
	p.command = exec.Command(c.program, p.args...)
	p.command.Dir = c.dir
	log, err := os.OpenFile(filepath.Join(c.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.command.Stdout, p.command.Stderr = log, log
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.command.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func(command *exec.Cmd, ended chan struct{}) { command.Wait(); close(ended) }(p.command, p.ended)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if answer, err := http.Get("http://" + p.address + "/"); err == nil {
			answer.Body.Close()
			return nil
		}
		select {
		case <-p.ended:
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s has ended: %s", name, text[max(0, len(text)-2000):])
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer", name)
}

// Kill ends a part as a crash does.
func (c *Cluster) Kill(name string) {
	c.mu.Lock()
	p := c.parts[name]
	c.mu.Unlock()
	p.command.Process.Kill()
	<-p.ended
}

// gateway is the command of a gateway that listens on a port, and on the next for RPC.
func (c *Cluster) gateway(port int) *exec.Cmd {
	command := exec.Command(c.program, "s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", fmt.Sprint("-port=", port), fmt.Sprint("-port.grpc=", port+1), "-port.iceberg=0", "-port.lance=0",
		"-iam=false", "-config="+filepath.Join(c.dir, "s3.json"), "-filer="+strings.Join(c.filers, ","))
	command.Dir = c.dir
	return command
}
