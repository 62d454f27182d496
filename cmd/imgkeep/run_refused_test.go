package main_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"imgkeep/scripts/ports"
	"imgkeep/scripts/tempdir"
)

// scripts/run prints no links of a server that is not its own.
func TestScriptsRunPortTaken(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) // as ready as an imgkeep
	defer other.Close()
	address := other.Listener.Addr().String()
	for name, listen := range map[string]string{"": "IMGKEEP_LISTEN", "--nginx": "IMGKEEP_NGINX_LISTEN"} {
		t.Run("scripts/run "+name, func(t *testing.T) {
			dir := filepath.Join(tempdir.New(t), "var")
			args := strings.Fields(name)
			out := refusedScript(t, "../..", []string{"IMGKEEP_VAR=" + dir, listen + "=" + address}, args)
			wants(t, out, "another program listens on "+address, listen+"=127.0.0.1:8095 scripts/run")
			if _, err := os.Lstat(filepath.Join(dir, "env")); err == nil {
				t.Error("commands would take the other server for theirs: there is a var/env")
			}
		})
	}
}

// A second scripts/run leaves the first and its var/env alone.
func TestScriptsRunTwice(t *testing.T) {
	t.Parallel()
	dir := tempdir.New(t)
	file := filepath.Join(dir, "env")
	whileRunning(t, "../..", []string{"IMGKEEP_VAR=" + dir, "IMGKEEP_LISTEN=" + ports.Address(t)}, nil, func(links, _ string) {
		before, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out := refusedScript(t, "../..", []string{"IMGKEEP_VAR=" + dir, "IMGKEEP_LISTEN=" + ports.Address(t)}, nil)
		wants(t, out, "scripts/run is running already with "+dir, "IMGKEEP_VAR=/tmp/imgkeep")
		if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
			t.Errorf("var/env has changed: %v\n%s", err, after)
		}
		if status := statusOfLink(t, links); status != http.StatusOK {
			t.Errorf("the first server answers %d", status)
		}
	})
}

// nginx' configuration can hold no path with spaces: scripts/run says so.
func TestScriptsRunNginxSpaces(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempdir.New(t), "a b")
	out := refusedScript(t, "../..", []string{"IMGKEEP_VAR=" + dir, "IMGKEEP_NGINX_LISTEN=" + ports.Address(t)}, []string{"--nginx"})
	wants(t, out, "nginx cannot have links in "+dir, "IMGKEEP_VAR=/tmp/imgkeep scripts/run --nginx")
}

// A checkout may lie at a path with spaces; while it is compiled for the first time one
// sees that something happens; and what cannot be written, or is another user's, is said.
func TestScriptsRunCheckout(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "run") // somebody else is to see it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tempdir.Remove(dir) })
	checkout := newCheckout(t, filepath.Join(dir, "a folder's"))
	path := "PATH=" + filepath.Join(checkout, "stub") + ":" + os.Getenv("PATH")

	t.Run("spaces", func(t *testing.T) {
		whileRunning(t, checkout, []string{path, "IMGKEEP_LISTEN=" + ports.Address(t)}, nil, func(links, errs string) {
			wants(t, errs, "== building in "+checkout+"/bin (a minute or two the first time)\n", "   100 packages compiled\n", "   120 packages compiled\n", "a warning: of the compiler\n")
			// What it says to type works as it stands.
			typed := regexp.MustCompile(`(?m)^  (cd .*)\n  bin/imgkeep sign.*\n  (bin/imgkeep stats)$`).FindStringSubmatch(links)
			if typed == nil {
				t.Fatalf("nothing to type in\n%s", links)
			}
			if out, err := exec.Command("bash", "-ec", typed[1]+"\n"+typed[2]).CombinedOutput(); err != nil || !strings.Contains(string(out), "images") {
				t.Errorf("%s: %v\n%s", typed[1], err, out)
			}
		})
	})

	// From here on the checkout is somebody else's.
	readOnly(t, checkout)
	stranger := strangerOf(t)
	t.Run("read-only", func(t *testing.T) {
		out := refusedScript(t, checkout, []string{path, "IMGKEEP_LISTEN=" + ports.Address(t)}, nil, stranger)
		wants(t, out, checkout+"/var cannot be written", "IMGKEEP_VAR=~/imgkeep scripts/run")
	})
	t.Run("read-only, state elsewhere", func(t *testing.T) {
		state := filepath.Join(dir, "its state")
		if err := os.Mkdir(state, 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(state, 0o777); err != nil {
			t.Fatal(err)
		}
		whileRunning(t, checkout, []string{path, "IMGKEEP_VAR=" + state, "IMGKEEP_LISTEN=" + ports.Address(t)}, stranger, func(links, errs string) {
			wants(t, errs, "== building in "+state+"/bin ")
			if stranger != nil {
				wants(t, errs, "git does not trust this checkout", "without -buildvcs" /* said by the stub where that is missing */)
			}
			wants(t, links, "  '"+state+"/bin'/imgkeep stats\n")
			if status := statusOfLink(t, links); status != http.StatusOK {
				t.Errorf("a link is answered with %d", status)
			}
		})
	})
}

// Without root no other Debian can be made: that is said, and is a failure, unless who asks has
// agreed that its tests are left out.
func TestScriptsOtherDebianWithoutRoot(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "debian")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tempdir.Remove(dir) })
	checkout := newCheckout(t, filepath.Join(dir, "checkout"))
	readOnly(t, checkout)
	stranger := strangerOf(t)
	for line, want := range map[string]int{
		"scripts/debian --check trixie":                  1,
		"scripts/debian trixie true":                     1,
		"scripts/test --in trixie ./sign":                1,
		"scripts/test --in trixie --or-skip ./sign":      0,
		"scripts/debian --check ../trixie":               1,
		"scripts/debian --arch amd64 --check not-a-name": 1,
	} {
		args := strings.Fields(line)
		cmd := exec.Command(filepath.Join(checkout, args[0]), args[1:]...)
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(checkout, "stub")+":"+os.Getenv("PATH"), "VERSITYGW=/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{}
		if stranger != nil {
			stranger(cmd)
		}
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Errorf("%s: exit status %d, want %d: %s", line, got, want, out)
		}
		if strings.Contains(line, "../") || strings.Contains(line, "not-a-name") {
			wants(t, string(out), "is no name of a Debian, such as trixie")
		} else {
			wants(t, string(out), "error: no Debian trixie can be made here: it needs root")
		}
	}
}

// newCheckout is as much of this checkout as scripts/run needs, with a go that compiles
// nothing: it copies what is compiled, and tells of packages as go build -v does.
func newCheckout(t *testing.T, dir string) string {
	t.Helper()
	stub := filepath.Join(dir, "stub")
	if err := os.MkdirAll(stub, 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "cp", "-r", "../../scripts", dir)
	command(t, "mkdir", filepath.Join(dir, "contrib"))
	command(t, "cp", "-r", "../../contrib/sample", filepath.Join(dir, "contrib"))
	for _, name := range []string{"imgkeep", "imgkeep-resize"} {
		command(t, "cp", filepath.Join(programs, name), stub)
	}
	text := `#!/bin/bash
[ "$1" = build ] || exit 2
[[ " $* " != *" -buildvcs=false "* ]] || echo "compiled without -buildvcs" >&2
while [ $# -gt 1 ]; do [ "$1" != -o ] || out=$2; shift; done
for i in {1..60}; do echo "package/$i" >&2; done
echo "a warning: of the compiler" >&2
cp "${0%/*}/${1##*/}" "$out"
`
	if err := os.WriteFile(filepath.Join(stub, "go"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	command(t, "git", "-C", dir, "init", "-q")
	command(t, "git", "-C", dir, "-c", "user.name=a", "-c", "user.email=a@a.example", "commit", "-q", "--allow-empty", "-m", "a")
	return dir
}

// readOnly takes from everybody but root the right to write to a folder.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	command(t, "rm", "-rf", filepath.Join(dir, "bin"), filepath.Join(dir, "var"))
	command(t, "chmod", "-R", "a-w,a+rX", dir)
	t.Cleanup(func() { command(t, "chmod", "-R", "u+w", dir) })
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
}

// strangerOf is another user than root, whom nothing is forbidden to; nil: we are one
// already.
func strangerOf(t *testing.T) func(*exec.Cmd) {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	return func(cmd *exec.Cmd) {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
}

func command(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("it does not say %q:\n%s", part, text)
		}
	}
}

// statusOfLink is the status of the first link that scripts/run has printed.
func statusOfLink(t *testing.T, printed string) int {
	t.Helper()
	link := regexp.MustCompile(`http://\S+/i/full/\S+`).FindString(printed)
	resp, err := http.Get(link)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// refusedScript runs scripts/run of a checkout, which must not come to print links, and
// returns what it says.
func refusedScript(t *testing.T, checkout string, env, args []string, as ...func(*exec.Cmd)) string {
	t.Helper()
	cmd, stdout, errs := startScript(t, checkout, env, args, as...)
	printed, _ := io.ReadAll(stdout)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v, want exit status 1", err)
	}
	if strings.Contains(string(printed), "http://") {
		t.Errorf("it prints links:\n%s", printed)
	}
	return errs.String()
}

// whileRunning calls do with what scripts/run has printed once it is ready, and stops it.
func whileRunning(t *testing.T, checkout string, env []string, as func(*exec.Cmd), do func(printed, errs string)) {
	t.Helper()
	cmd, stdout, errs := startScript(t, checkout, env, nil, as)
	var printed strings.Builder
	for b := make([]byte, 4096); !strings.Contains(printed.String(), "Ctrl-C"); {
		n, err := stdout.Read(b)
		printed.Write(b[:n])
		if err != nil {
			_ = cmd.Wait()
			t.Fatalf("it has ended: %v\n%s%s", err, &printed, errs)
		}
	}
	do(printed.String(), errs.String())
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("after Ctrl-C: %v\n%s", err, errs)
	}
}

// startScript starts scripts/run of a checkout, in a group of its own.
func startScript(t *testing.T, checkout string, env, args []string, as ...func(*exec.Cmd)) (*exec.Cmd, io.Reader, fmt.Stringer) {
	t.Helper()
	cmd := scriptCommand(checkout, args)
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GIT_CONFIG_") }) // by which scripts/debian trusts all checkouts
	cmd.Env = append(own, env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, set := range as {
		if set != nil {
			set(cmd)
		}
	}
	errs := newLogbook()
	cmd.Stderr = errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	return cmd, stdout, errs
}
