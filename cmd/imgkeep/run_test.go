package main_test

import (
	"bufio"
	"fmt"
	"image/jpeg"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/scripts/patience"
	"imgkeep/scripts/ports"
	"imgkeep/scripts/tempdir"
)

// scripts/run prints links that work, with and without nginx, and takes up again
// what it had.
func TestScriptsRun(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, listen string
		args         []string
		hot          bool // a folder is named for the hot links
		links        int
	}{
		{"direct", "IMGKEEP_LISTEN", nil, true, 4},
		{"nginx", "IMGKEEP_NGINX_LISTEN", []string{"--nginx"}, true, 4},
		{"nginx in shared memory", "IMGKEEP_NGINX_LISTEN", []string{"--nginx"}, false, 4},
		{"nodes", "IMGKEEP_NGINX_LISTEN", []string{"--nodes", "2"}, true, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.name == "nodes" {
				s3test.Program(t) // which the script would build
			}
			dir, err := os.MkdirTemp("", "run") // nginx' workers may be somebody else
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { tempdir.Remove(dir) })
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			env := []string{"IMGKEEP_VAR=" + filepath.Join(dir, "var"), test.listen + "=" + fmt.Sprintf("127.0.0.1:%d", ports.Free(t, 4))}
			if test.hot {
				env = append(env, "IMGKEEP_NGINX_HOT="+filepath.Join(dir, "hot"))
			}
			first := runScript(t, env, test.args)
			if len(first) != test.links {
				t.Fatalf("links printed: %q", first)
			}
			again := runScript(t, env, test.args)
			if test.name == "nodes" { // whose ports are the next free ones
				again = slices.Collect(maps.Keys(paths(again)))
				first = slices.Collect(maps.Keys(paths(first)))
				slices.Sort(first)
				slices.Sort(again)
			}
			if strings.Join(again, " ") != strings.Join(first, " ") {
				t.Errorf("the second start printed %q, the first %q", again, first)
			}
			if !test.hot {
				checkNoSharedName(t, filepath.Join(dir, "var", "env"))
			}
		})
	}
}

// paths are those of links.
func paths(links []string) map[string]bool {
	all := map[string]bool{}
	for _, link := range links {
		_, path, _ := strings.Cut(strings.TrimPrefix(link, "http://"), "/")
		all[path] = true
	}
	return all
}

// checkNoSharedName checks that hot links were in a folder whose name nobody could
// have taken before, and that it is gone.
func checkNoSharedName(t *testing.T, env string) {
	t.Helper()
	text, err := os.ReadFile(env)
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`IMGKEEP_NGINX_HOT="(/dev/shm/imgkeep-[A-Za-z0-9]{10})/hot"`).FindSubmatch(text)
	if name == nil {
		t.Fatalf("hot links had no folder of a new name in shared memory:\n%s", text)
	}
	if _, err := os.Lstat(string(name[1])); err == nil {
		t.Errorf("%s is left behind", name[1])
	}
}

// scriptCommand is scripts/run of a checkout. Where the tests run in the background of a script,
// SIGINT is ignored, and would be by all that they start.
func scriptCommand(checkout string, args []string) *exec.Cmd {
	return exec.Command("env", append([]string{"--default-signal=INT", filepath.Join(checkout, "scripts", "run")}, args...)...)
}

// runScript starts scripts/run, looks at the links that it prints, in full, at 250,
// 150 high and as facts, and stops it as Ctrl-C does.
func runScript(t *testing.T, env, args []string) (links []string) {
	t.Helper()
	cmd := scriptCommand("../..", args)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var errs strings.Builder
	cmd.Stderr = &errs
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	hang := time.AfterFunc(patience.Of(t), func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	defer hang.Stop()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		if i := strings.Index(lines.Text(), "http://127.0.0.1:"); i >= 0 && strings.Contains(lines.Text(), "/i/") {
			links = append(links, lines.Text()[i:])
		}
	}
	heights := map[string]int{"250x250": 156, "150x": 150, "full": 0}
	for _, link := range links {
		resp, err := http.Get(link)
		if err != nil {
			t.Fatalf("%v\n%s", err, &errs)
		}
		defer resp.Body.Close()
		height, isImage := heights[strings.Split(link, "/")[4]]
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", link, resp.StatusCode)
		}
		if !isImage {
			continue
		}
		if image, err := jpeg.DecodeConfig(resp.Body); err != nil || height != 0 && image.Height != height {
			t.Errorf("%s: %v, %v", link, image, err)
		}
	}
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT)
	for lines.Scan() {
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("after Ctrl-C: %v\n%s", err, &errs)
	}
	return links
}
