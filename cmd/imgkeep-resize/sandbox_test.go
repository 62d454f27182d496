package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"imgkeep/resize"
	"imgkeep/scripts/patience"
)

var allLayers = []string{"descriptors", "folder", "landlock", "limits", "seccomp"}

// hostile is a pool of one decoder that does what images say, with only these
// layers of the sandbox.
func hostile(t *testing.T, layers []string, o resize.Options) *resize.Pool {
	t.Helper()
	var without []string
	for _, l := range allLayers {
		if !slices.Contains(layers, l) {
			without = append(without, l)
		}
	}
	o.Command = []string{attacker}
	o.Env = append(o.Env, "ATTACKER_WITHOUT="+strings.Join(without, ","))
	o.Workers = 1
	o.Timeout, o.StartTimeout = patience.Of(t), patience.Of(t)
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	p, err := resize.NewPool(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	if held := p.Layers().Held; !slices.Equal(held, layers) {
		t.Fatalf("held are %q, want %q", held, layers)
	}
	return p
}

// attack returns what an attack has met: the name of an error, "done", or
// "crashed", where the decoder is gone.
func attack(t *testing.T, p *resize.Pool, what string) string {
	t.Helper()
	src := "attack " + what
	_, err := p.Resize(t.Context(), strings.NewReader(src), int64(len(src)),
		resize.Job{Format: "jpeg", Targets: []resize.Target{{Size: size(t, "20x20")}}})
	if refusal, ok := errors.AsType[*resize.ImageError](err); ok {
		return refusal.Detail
	}
	if errors.Is(err, resize.ErrCrashed) {
		return "crashed"
	}
	t.Errorf("%s: got %v, want an answer", what, err)
	return ""
}

// What an attacker who has taken over a decoder would do next, each refused by every
// layer that is against it: alone, and all together. Without layers it works,
// so that it is the layer that refuses, and not a mistake in the attack.
func TestAttacks(t *testing.T) {
	const memory = 256 << 20
	const yes, burn = "done", "burn 1800ms"
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	inTree := func(name string) string { return filepath.Join(t.TempDir(), name) }
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	path := inTree("s")
	abstract := fmt.Sprintf("@imgkeep-resize-test-%d", os.Getpid())
	for _, name := range []string{path, abstract} {
		l, err := net.Listen("unix", name)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
	}
	// Of a layer: what it answers; empty: it is not against this.
	attacks := []struct {
		what                      string
		none                      string
		seccomp, landlock, limits string
	}{
		{"open /etc/passwd", yes, "EPERM", "EACCES", "EMFILE"},
		{"open " + secret, yes, "EPERM", "EACCES", "EMFILE"},
		{"c-open /etc/passwd", yes, "EPERM", "EACCES", "EMFILE"},
		{"c-thread-open /etc/passwd", yes, "EPERM", "EACCES", "EMFILE"},
		{"list /etc", yes, "EPERM", "EACCES", "EMFILE"},
		{"list /proc/self/task", yes, "EPERM", "", "EMFILE"}, // see sandbox.restrictPaths
		{"write " + inTree("new"), yes, "EPERM", "EACCES", "EMFILE"},
		{"write-open", yes, "", "", "EFBIG"},

		{"tcp " + tcp.Addr().String(), yes, "EPERM", "EACCES", "EMFILE"},
		{"udp 127.0.0.1:53", yes, "EPERM", "", "EMFILE"},
		{"unix " + path, yes, "EPERM", "", "EMFILE"},
		{"unix " + abstract, yes, "EPERM", "EPERM", "EMFILE"},

		{"start /bin/true", yes, "EPERM", "EACCES", "EMFILE"},
		{"exec /bin/true", "crashed", "EPERM", "EACCES", ""},
		{"c-spawn /bin/true", yes, "EPERM", "EACCES", ""},
		{"c-fork", yes, "EPERM", "", ""},
		{"c-vfork", yes, "EPERM", "", ""},

		{"signal", yes, "EPERM", "EPERM", ""},
		{"peek", "ESRCH", "EPERM", "", ""},
		{"read-memory", "EFAULT", "EPERM", "EPERM", ""},
		{"run-memory", yes, "EPERM", "", ""},
		{"make-runnable", yes, "EPERM", "", ""},
		{"memfd", yes, "EPERM", "", "EMFILE"},
		{"pipe", yes, "EPERM", "", "EMFILE"},
		{"duplicate", yes, "EPERM", "", "EMFILE"},
		{"pidfd", yes, "EPERM", "", "EMFILE"},
		{"io_uring", "EFAULT", "EPERM", "", ""},
		{"unshare", yes, "EPERM", "", ""},

		{fmt.Sprint("c-allocate ", memory+1<<20), yes, "", "", "ENOMEM"},
		{fmt.Sprint("c-allocate ", memory/2), yes, "", "", ""},
		{fmt.Sprint("allocate ", memory+1<<20), yes, "", "", "crashed"},
		{fmt.Sprint("allocate ", memory/4), yes, "", "", ""},
		{burn, yes, "", "", "crashed"},
		{"burn 10ms", yes, "", "", ""},

		// What decoding needs.
		{"c-threads 8", yes, "", "", ""},
	}
	options := resize.Options{MaxMemory: memory, Env: []string{"ATTACKER_FILE=" + secret, "ATTACKER_CPU=1s"}}
	for _, only := range []string{"", "seccomp", "landlock", "limits"} {
		t.Run("only "+only, func(t *testing.T) {
			layers := []string{only}
			if only == "" {
				layers = nil
			}
			p := hostile(t, layers, options)
			for _, a := range attacks {
				if a.what == burn && testing.Short() && (only == "seccomp" || only == "landlock") {
					continue // it takes the seconds that it burns
				}
				want := a.none
				if by := map[string]string{"seccomp": a.seccomp, "landlock": a.landlock, "limits": a.limits}[only]; by != "" {
					want = by
				}
				if got := attack(t, p, a.what); got != want {
					t.Errorf("%s: %s, want %s", a.what, got, want)
				}
			}
		})
	}
	t.Run("all", func(t *testing.T) {
		p := hostile(t, allLayers, options)
		for _, a := range attacks {
			// seccomp is asked first, then the limits of descriptors, then paths.
			want := a.none
			for _, by := range []string{a.landlock, a.limits, a.seccomp} {
				if by != "" {
					want = by
				}
			}
			if a.what == "write-open" {
				want = "EBADF" // it was closed
			}
			if got := attack(t, p, a.what); got != want {
				t.Errorf("%s: %s, want %s", a.what, got, want)
			}
		}
	})
}

// Another ABI of the kernel has another table of calls, in which the numbers
// of allowed ones stand for others: none of it may pass, whatever the kernel
// makes of it otherwise.
func TestOtherABI(t *testing.T) {
	for _, layers := range [][]string{{"seccomp"}, allLayers} {
		if got := attack(t, hostile(t, layers, resize.Options{}), "c-other-abi"); got != "EPERM" {
			t.Errorf("with %q: %s", layers, got)
		}
	}
}

// What the kernel says of a decoder: every thread of it is confined, also those
// that libvips and the runtime had made before; it has three pipes and no
// folder; and its limits cannot be raised.
func TestConfined(t *testing.T) {
	type view struct {
		threads     int
		seccomp     string // of all threads, the same
		privileges  string
		folder      string
		secret      bool // a file that was open before is so
		descriptors int
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	look := func(t *testing.T, p *resize.Pool, pid int) (v view) {
		t.Helper()
		proc := fmt.Sprintf("/proc/%d/", pid)
		gone := func(err error) bool { return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) }
		tasks, err := os.ReadDir(proc + "task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			text, err := os.ReadFile(proc + "task/" + task.Name() + "/status")
			if gone(err) {
				continue // a thread that has ended
			}
			if err != nil {
				t.Fatal(err)
			}
			v.threads++
			status := string(text)
			same := func(to *string, field string) {
				_, rest, _ := strings.Cut(status, "\n"+field+":\t")
				value, _, _ := strings.Cut(rest, "\n")
				if *to != "" && *to != value {
					value = "differs"
				}
				*to = value
			}
			same(&v.seccomp, "Seccomp")
			same(&v.privileges, "NoNewPrivs")
		}
		if v.folder, err = os.Readlink(proc + "cwd"); err != nil {
			t.Fatal(err)
		}
		fds, err := os.ReadDir(proc + "fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			to, err := os.Readlink(proc + "fd/" + fd.Name())
			if gone(err) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			v.descriptors++
			v.secret = v.secret || to == secret
		}
		return v
	}
	for _, c := range []struct {
		layers []string
		want   view
	}{
		{nil, view{seccomp: "0", privileges: "0", folder: "/", secret: true}},
		{[]string{"descriptors"}, view{seccomp: "0", privileges: "0", folder: "/"}},
		{[]string{"folder"}, view{seccomp: "0", privileges: "0", folder: "(deleted)", secret: true}},
		{[]string{"landlock"}, view{seccomp: "0", privileges: "1", folder: "/", secret: true}},
		{[]string{"seccomp"}, view{seccomp: "2", privileges: "1", folder: "/", secret: true}},
		{allLayers, view{seccomp: "2", privileges: "1", folder: "(deleted)"}},
	} {
		p := hostile(t, c.layers, resize.Options{Env: []string{"ATTACKER_FILE=" + secret}})
		// Threads of both kinds, made since.
		attack(t, p, "c-threads 4")
		v := look(t, p, child(t))
		if strings.HasSuffix(v.folder, "(deleted)") {
			v.folder = "(deleted)"
		}
		if v.threads < 3 {
			t.Errorf("%q: %d threads: none besides the first was looked at", c.layers, v.threads)
		}
		if len(c.layers) == len(allLayers) && v.descriptors > 5 { // two are the runtime's
			t.Errorf("%d descriptors are open", v.descriptors)
		}
		v.threads, v.descriptors = 0, 0
		if v != c.want {
			t.Errorf("%q: %+v, want %+v", c.layers, v, c.want)
		}
		_ = p.Close()
	}
}

// child is the process of the one pool that is open.
func child(t testing.TB) int {
	t.Helper()
	all := children(t)
	if len(all) != 1 {
		t.Fatalf("children %v", all)
	}
	return all[0]
}

// children are the processes that this one has started.
func children(t testing.TB) (pids []int) {
	t.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range lists {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}

// With as many threads as libvips cares to start, and all layers, every kind of
// image is decoded.
func TestThreadsWithin(t *testing.T) {
	p := hostile(t, allLayers, resize.Options{MaxMemory: 1 << 30, Sandbox: resize.SandboxRequire, Sources: extraFormats})
	if got := attack(t, p, "c-concurrency 8"); got != "done" {
		t.Fatal(got)
	}
	for name, src := range sources(t, newPool(t, resize.Options{})) {
		format, _, _ := strings.Cut(name, " ")
		for _, r := range many(t, p, format, src, resize.Target{Size: size(t, "20x20")}, resize.Target{Size: size(t, "x30"), Format: "webp"}) {
			if r.Width < 1 || len(r.Data) == 0 {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
}

// A kernel that lacks a layer: the pool says which, and uses the decoder only
// where the sandbox is not required.
func TestLackingKernel(t *testing.T) {
	for call, layer := range map[string]string{
		"landlock_create_ruleset": "landlock: the kernel has none (it needs Linux 5.13), or the container runtime hides it",
		// As the filters of containers answer.
		"landlock_create_ruleset EPERM": "landlock: the container runtime forbids its system calls",
		"seccomp":                       "seccomp: ",
		"prlimit64":                     "limits: RLIMIT_CORE",
		"chdir":                         "folder: ",
	} {
		command := []string{attacker, "lacking", call, decoder}
		p, err := resize.NewPool(resize.Options{Command: command, Workers: 1})
		if err != nil {
			t.Fatalf("without %s: %v", call, err)
		}
		l := p.Layers()
		if len(l.Missing) != 1 || !strings.HasPrefix(l.Missing[0], layer) || len(l.Held) != len(allLayers)-1 {
			t.Errorf("without %s: %+v", call, l)
		}
		one(t, p, "png", plain(t, p, "png", 9, 9), resize.Target{Size: size(t, "5x5")})
		_ = p.Close()
		p, err = resize.NewPool(resize.Options{Command: command, Workers: 1, Sandbox: resize.SandboxRequire})
		if err == nil {
			_ = p.Close()
		}
		if !errors.Is(err, resize.ErrSandbox) || !strings.Contains(err.Error(), "required and incomplete: "+layer) {
			t.Errorf("required without %s: %v", call, err)
		}
	}
}

// The sandbox can be switched off, and a setting that is misspelt does not
// switch it off.
func TestSandboxSetting(t *testing.T) {
	p := newPool(t, resize.Options{Sandbox: resize.SandboxOff})
	if l := p.Layers(); len(l.Held) != 0 || !slices.Equal(l.Missing, []string{"all: the sandbox is off"}) {
		t.Errorf("off: %+v", l)
	}
	for _, env := range []string{"IMGKEEP_DECODER_SANDBOX=of", "IMGKEEP_DECODER_MEMORY=1g", "IMGKEEP_DECODER_CPU=-1s"} {
		cmd := exec.Command(decoder)
		cmd.Env = []string{env}
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 1 || !bytes.Contains(out, []byte(strings.SplitN(env, "=", 2)[0])) {
			t.Errorf("%s: %v, %q", env, err, out)
		}
	}
}
