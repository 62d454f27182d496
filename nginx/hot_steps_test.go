package nginx

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// These tests stop Hot between two of its steps, or kill the process there.

const testSignature = "gnjO6SJxYbeT9VBz"

var testPath = filepath.Join("i", "full", "gn", "jO6SJxYbeT9VBz.jpg")

func mustOpen(t *testing.T, o HotOptions) *Hot {
	t.Helper()
	h, err := OpenHot(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *Hot) addTest(t *testing.T, expires time.Time) {
	t.Helper()
	if err := h.Add("i", "full", testSignature, ".jpg", "/a.jpg", expires); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// The week ends while a link is being made: at every step of Add, the sweep of
// the week's end passes. The link is not there afterwards.
func TestAddAcrossExpiry(t *testing.T) {
	for _, step := range []string{"linked", "dated", "foldered", "named"} {
		dir := filepath.Join(t.TempDir(), "hot")
		now := time.Unix(1_800_000_000, 0)
		o := HotOptions{Dir: dir, Now: func() time.Time { return now }}
		h, sweeper := mustOpen(t, o), mustOpen(t, o)
		expires := now.Add(time.Second)
		passed := false
		h.step = func(s string) {
			if s == step && !passed {
				passed = true
				now = expires
				if _, err := sweeper.Sweep(); err != nil {
					t.Error(err)
				}
			}
		}
		h.addTest(t, expires)
		if !passed {
			t.Errorf("%s: no such step", step)
		}
		if exists(filepath.Join(dir, testPath)) || h.Len() != 0 {
			t.Errorf("swept when %s: the link is there, Len %d", step, h.Len())
		}
	}
}

// A sweep that passes while a link is being made removes its undated temporary
// link, or its empty folders. The link is made all the same.
func TestAddDuringSweep(t *testing.T) {
	for _, step := range []string{"linked", "dated", "foldered", "named"} {
		dir := filepath.Join(t.TempDir(), "hot")
		h, sweeper := mustOpen(t, HotOptions{Dir: dir}), mustOpen(t, HotOptions{Dir: dir})
		passed := 0
		h.step = func(s string) {
			if s == step && passed < 5 {
				passed++
				if _, err := sweeper.Sweep(); err != nil {
					t.Error(err)
				}
			}
		}
		h.addTest(t, time.Now().Add(time.Hour))
		if !exists(filepath.Join(dir, testPath)) || h.Len() != 1 || passed == 0 {
			t.Errorf("swept %d times when %s: Len %d, want the link", passed, step, h.Len())
		}
		if left, _ := os.ReadDir(filepath.Join(dir, tmpDir)); len(left) > 0 {
			t.Errorf("swept when %s: temporary links are left: %v", step, left)
		}
	}
}

// A newer process with another secret opens the tree while a link of the earlier
// secret is being made: that link is not there afterwards, nor any later one.
func TestAddAcrossFingerprints(t *testing.T) {
	for _, step := range []string{"linked", "dated", "foldered", "named"} {
		dir := filepath.Join(t.TempDir(), "hot")
		h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"old"}})
		h.step = func(s string) {
			if s == step {
				h.step = nil
				mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"new"}})
			}
		}
		for range 2 {
			h.addTest(t, time.Now().Add(time.Hour))
			if exists(filepath.Join(dir, testPath)) || h.Len() != 0 {
				t.Errorf("opened when %s: the link is there, Len %d", step, h.Len())
			}
		}
	}
}

// The same with the newer process in the middle of its work: it has removed the
// fingerprint, or dropped the links, and the earlier process adds one.
func TestAddDuringOpen(t *testing.T) {
	for _, step := range []string{"fingerprint removed", "dropped"} {
		dir := filepath.Join(t.TempDir(), "hot")
		earlier := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"old"}})
		earlier.addTest(t, time.Now().Add(time.Hour))
		added := make(chan error)
		newer := &Hot{dir: dir, fingerprint: newFingerprint([]string{"new"}), now: time.Now, log: earlier.log, id: "newer"}
		passed := false
		newer.step = func(s string) {
			if s == step {
				passed = true
				named := make(chan bool)
				earlier.step = func(s string) {
					if s == "named" {
						close(named)
					}
				}
				go func() {
					added <- earlier.Add("i", "150x", testSignature, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
				}()
				<-named
			}
		}
		if err := newer.establish(true); err != nil || !passed {
			t.Fatal(err, passed)
		}
		if err := <-added; err != nil {
			t.Error(err)
		}
		for _, size := range []string{"full", "150x"} {
			if exists(filepath.Join(dir, strings.Replace(testPath, "full", size, 1))) {
				t.Errorf("added when %s: the link in %s is there", step, size)
			}
		}
	}
}

// A process that only knows fewer secrets than a newer one goes on.
func TestAddWithAnOlderFingerprint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"one"}})
	h.addTest(t, time.Now().Add(time.Hour))
	mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"two", "one"}})
	if !exists(filepath.Join(dir, testPath)) {
		t.Error("a secret more has dropped the links")
	}
	h.addTest(t, time.Now().Add(2*time.Hour))
	if !exists(filepath.Join(dir, testPath)) {
		t.Error("the earlier process makes no links any more, though its secret is still good")
	}
}

func TestFingerprints(t *testing.T) {
	for _, c := range []struct {
		what       string
		before     []string
		between    func(dir string) error
		after      []string
		linksGoOff bool
	}{
		{"the same", []string{"a", "b"}, nil, []string{"a", "b"}, false},
		{"another order", []string{"a", "b"}, nil, []string{"b", "a"}, false},
		{"one more", []string{"a"}, nil, []string{"b", "a"}, false},
		{"one fewer", []string{"a", "b"}, nil, []string{"b"}, true},
		{"another", []string{"a"}, nil, []string{"b"}, true},
		{"none and none", nil, nil, nil, false},
		{"none any more", []string{"a"}, nil, nil, true},
		{"the file is gone", []string{"a"}, func(dir string) error { return os.Remove(filepath.Join(dir, fingerprintFile)) }, []string{"a"}, true},
		{"the file is empty", []string{"a"}, func(dir string) error { return os.Truncate(filepath.Join(dir, fingerprintFile), 0) }, []string{"a"}, true},
		{"the file is of a later release", []string{"a"}, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, fingerprintFile), []byte("imgkeep hot links 3\n"), 0o600)
		}, []string{"a"}, true},
		{"the tree has the layout of an earlier release", []string{"a"}, func(dir string) error {
			path := filepath.Join(dir, fingerprintFile)
			text, err := os.ReadFile(path)
			return errors.Join(err, os.WriteFile(path, bytes.Replace(text, []byte("links 2"), []byte("links 1"), 1), 0o600))
		}, []string{"a"}, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hot")
			mustOpen(t, HotOptions{Dir: dir, Fingerprint: c.before}).addTest(t, time.Now().Add(time.Hour))
			if c.between != nil {
				if err := c.between(dir); err != nil {
					t.Fatal(err)
				}
			}
			h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: c.after})
			if got := !exists(filepath.Join(dir, testPath)); got != c.linksGoOff {
				t.Errorf("links dropped: %v, want %v", got, c.linksGoOff)
			}
			if _, err := h.Sweep(); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(filepath.Join(dir, droppedDir)); len(left) > 0 {
				t.Errorf("the sweep has left %v", left)
			}
			h.addTest(t, time.Now().Add(time.Hour))
			if !exists(filepath.Join(dir, testPath)) {
				t.Error("no link can be made afterwards")
			}
		})
	}
}

func TestFingerprintFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"the very secret"}})
	info, err := os.Stat(filepath.Join(dir, fingerprintFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	b, _ := os.ReadFile(filepath.Join(dir, fingerprintFile))
	// The header, and 12 bytes of SHA-256 in hexadecimal.
	if len(b) != len(fingerprintHeader)+24+1 || strings.Contains(string(b), "secret") {
		t.Errorf("it holds %q", b)
	}
}

// Somebody removes the whole tree under a running process.
func TestTreeRemoved(t *testing.T) {
	for _, what := range []string{"", tmpDir, fingerprintFile, "i"} {
		dir := filepath.Join(t.TempDir(), "hot")
		h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"a"}})
		h.addTest(t, time.Now().Add(time.Hour))
		if err := os.RemoveAll(filepath.Join(dir, what)); err != nil {
			t.Fatal(err)
		}
		// Without its folder or its fingerprint file the first Add may only find out.
		if err := h.Add("i", "full", testSignature, ".jpg", "/b.jpg", time.Now().Add(time.Hour)); err != nil {
			if what != "" {
				t.Errorf("without %q: %v", what, err)
			}
		}
		h.addTest(t, time.Now().Add(time.Hour))
		if !exists(filepath.Join(dir, testPath)) {
			t.Errorf("after %q was removed, no link is made any more", what)
		}
	}
}

// child tells what the test binary is to do when a test has started it again.
const child = "IMGKEEP_NGINX_TEST_CHILD"

func TestMain(m *testing.M) {
	switch what, arg, _ := strings.Cut(os.Getenv(child), " "); what {
	case "":
		os.Exit(m.Run())
	case "die":
		childDie(arg)
	case "work":
		childWork(arg)
	case "fill":
		childFill(arg)
	}
}

func again(t *testing.T, what, arg string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), child+"="+what+" "+arg)
	cmd.Stderr = os.Stderr
	return cmd
}

// childDie is killed as by kill -9 at a step of Add or OpenHot.
func childDie(arg string) {
	dir, step, _ := strings.Cut(arg, " ")
	die := func(s string) {
		if s == step {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	h := &Hot{dir: dir, fingerprint: newFingerprint([]string{"new"}), now: time.Now, id: "child", wake: make(chan struct{}, 1), step: die}
	if err := h.establish(true); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	h.Add("i", "full", testSignature, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
	fmt.Fprintln(os.Stderr, "alive")
	os.Exit(1)
}

// A process that is killed between two steps leaves no undated link where nginx
// finds it, no link that hangs on a lost secret, and nothing that stays.
func TestKilled(t *testing.T) {
	for _, c := range []struct {
		step  string
		named bool // the link that was being made is there
	}{
		{"fingerprint removed", false},
		{"dropped", false},
		{"linked", false},
		{"dated", false},
		{"foldered", false},
		{"named", true},
	} {
		t.Run(c.step, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hot")
			old := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"old"}})
			if err := old.Add("i", "150x", testSignature, ".jpg", "/a.jpg", time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			err := again(t, "die", dir+" "+c.step).Run()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %v", err)
			}
			if got := exists(filepath.Join(dir, testPath)); got != c.named {
				t.Errorf("the link is there: %v, want %v", got, c.named)
			}
			if c.named {
				if info, _ := os.Lstat(filepath.Join(dir, testPath)); time.Until(info.ModTime()) < 50*time.Minute {
					t.Errorf("its expiry is %v", info.ModTime())
				}
			}

			now := time.Now()
			h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"new"}, Now: func() time.Time { return now }})
			if exists(filepath.Join(dir, strings.Replace(testPath, "full", "150x", 1))) {
				t.Error("a link of the lost secret is there after the next start")
			}
			h.addTest(t, now.Add(time.Hour))
			if !exists(filepath.Join(dir, testPath)) {
				t.Error("no link can be made after the next start")
			}
			now = now.Add(2 * time.Hour)
			if _, err := h.Sweep(); err != nil {
				t.Error(err)
			}
			filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
				if path != dir && d.Name() != fingerprintFile {
					t.Errorf("left for ever: %s", path)
				}
				return err
			})
		})
	}
}

// childWork makes and sweeps links of a range as fast as it can, and says so.
func childWork(arg string) {
	part := strings.Fields(arg)
	h, err := OpenHot(HotOptions{Dir: part[0], Fingerprint: []string{"a"}, MaxLinks: 1000})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	rounds, _ := strconv.Atoi(part[1])
	for n := range rounds {
		// Some expire at once, some live; the names are those of the other process.
		life := []time.Duration{time.Microsecond, time.Millisecond, time.Hour, 2 * time.Hour}[n%4]
		if err := h.Add("i", "full", testSignature[:13]+fmt.Sprintf("%03d", n%500), []string{".jpg", ".png"}[n%2], "/a.jpg", time.Now().Add(life)); err != nil {
			fmt.Fprintln(os.Stderr, "Add:", err)
			os.Exit(1)
		}
		if n%50 == 0 {
			if _, err := h.Sweep(); err != nil {
				fmt.Fprintln(os.Stderr, "Sweep:", err)
				os.Exit(1)
			}
			fmt.Println(n)
		}
	}
	os.Exit(0)
}

// Two processes on one tree, as during a restart, do not disturb each other: no
// call fails, nothing expired is left, and both count alike.
func TestTwoProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"a"}})
	one, two := again(t, "work", dir+" 1000"), again(t, "work", dir+" 1000")
	if err := one.Start(); err != nil {
		t.Fatal(err)
	}
	if err := two.Run(); err != nil {
		t.Error(err)
	}
	if err := one.Wait(); err != nil {
		t.Error(err)
	}
	h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"a"}})
	if _, err := h.Sweep(); err != nil {
		t.Fatal(err)
	}
	there := 0
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d.Type()&fs.ModeSymlink != 0 {
			there++
			if info, err := d.Info(); err != nil || time.Until(info.ModTime()) < 50*time.Minute {
				t.Errorf("%s: %v, %v: it is undated or has expired", path, info.ModTime(), err)
			}
		}
		return err
	})
	// Of 500 names, those whose last maker gave them an hour or two.
	if there != h.Len() || there == 0 || there > 500 {
		t.Errorf("%d links, Len %d", there, h.Len())
	}
}

// A process killed at any moment leaves only links that are dated.
func TestKilledAnywhere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	for lines := range 5 {
		cmd := again(t, "work", dir+" 1000000")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewScanner(out)
		for range 1 + lines {
			said.Scan()
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		cmd.Wait()
	}
	undated := time.Now().Add(-time.Minute)
	h := mustOpen(t, HotOptions{Dir: dir, Fingerprint: []string{"a"}})
	filepath.WalkDir(filepath.Join(dir, "i"), func(path string, d fs.DirEntry, err error) error {
		if d.Type()&fs.ModeSymlink != 0 {
			// Undated, it would be as old as the symbolic link itself; the shortest
			// life is a microsecond longer than its maker's clock.
			var st syscall.Stat_t
			syscall.Lstat(path, &st)
			if st.Mtim == st.Atim && time.Unix(st.Mtim.Unix()).Before(undated) {
				t.Errorf("%s is undated", path)
			}
		}
		return err
	})
	if _, err := h.Sweep(); err != nil {
		t.Error(err)
	}
	h.addTest(t, time.Now().Add(time.Hour))
	if !exists(filepath.Join(dir, testPath)) {
		t.Error("no link can be made afterwards")
	}
}

// To follow a link changes nothing of it: the kernel would note each use of one that was last
// used before it was changed, see relatime in mount(8).
func TestFollowingWritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := mustOpen(t, HotOptions{Dir: dir})
	target := filepath.Join(t.TempDir(), "a.jpg")
	if err := os.WriteFile(target, []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.Add("i", "full", testSignature, ".jpg", target, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	used := func() syscall.Timespec {
		var st syscall.Stat_t
		if err := syscall.Lstat(filepath.Join(dir, testPath), &st); err != nil {
			t.Fatal(err)
		}
		return st.Atim
	}
	before := used()
	if _, err := os.ReadFile(filepath.Join(dir, testPath)); err != nil {
		t.Fatal(err)
	}
	if after := used(); after != before {
		t.Errorf("used at %v, then at %v", before, after)
	}
}

// childFill makes links in a tmpfs that has few inodes.
func childFill(dir string) {
	fail := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
		os.Exit(1)
	}
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		fail("private mounts: %v", err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "nr_inodes=100,size=1m"); err != nil {
		fail("tmpfs: %v", err)
	}
	h, err := OpenHot(HotOptions{Dir: dir + "/hot"})
	if err != nil {
		fail("%v", err)
	}
	for n := range 500 {
		s := fmt.Sprintf("%c%c%014d", 'a'+n%26, 'a'+n/26%26, n)
		if err := h.Add("i", "full", s, ".jpg", "/a.jpg", time.Now().Add(time.Hour)); err != nil {
			fail("link %d: %v", n, err)
		}
		if !exists(filepath.Join(dir, "hot", "i", "full", s[:2], s[2:]+".jpg")) {
			fail("link %d is not there", n)
		}
	}
	if n := h.Len(); n < 10 || n > 100 {
		fail("%d links are left", n)
	}
	os.Exit(0)
}

// The tmpfs is full before the limit is reached: links are still made, in the
// place of others.
func TestNoInodesLeft(t *testing.T) {
	cmd := again(t, "fill", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
	}
	if out, err := cmd.Output(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Whatever is accepted names a file exactly three folders below the tree.
func FuzzCheckLink(f *testing.F) {
	f.Add("i", "full", testSignature, ".jpg", "/a.jpg")
	f.Add("..", "..", "..............//", ".jpg", "/../a.jpg")
	f.Add(".tmp", "info", "a/b\x00............", ".jpg/", "/")
	f.Fuzz(func(t *testing.T, bucket, size, signature, ext, target string) {
		if checkLink(bucket, size, signature, ext, target) != nil {
			return
		}
		path := "/hot/" + bucket + "/" + size + "/" + signature[:2] + "/" + signature[2:] + ext
		if filepath.Clean(path) != path || strings.Count(path, "/") != 5 || strings.ContainsAny(path, " \x00\n%") || strings.HasPrefix(bucket, ".") {
			t.Errorf("accepted: %q", path)
		}
		if filepath.Clean(target) != target || target[0] != '/' {
			t.Errorf("accepted: target %q", target)
		}
	})
}

// A removal passes while a link is being made, at every step: its decision was asked
// for before, so that the link is made, and the removal takes it away. A decision
// that is out of date makes none.
func TestAddDuringRemoval(t *testing.T) {
	for _, step := range []string{"asked", "linked", "dated", "foldered", "named"} {
		dir := filepath.Join(t.TempDir(), "hot")
		h := mustOpen(t, HotOptions{Dir: dir})
		var removed atomic.Bool
		ended := make(chan error, 1)
		passed := false
		pass := func(s string) {
			if s != step || passed {
				return
			}
			passed = true
			removed.Store(true)
			go func() { // it waits for the link, as it must
				_, err := h.EndRemoval(false, func(target string) bool { return target == "/a.jpg" })
				ended <- err
			}()
		}
		h.step = pass
		if err := h.BeginRemoval(); err != nil {
			t.Fatal(err)
		}
		add := func() {
			t.Helper()
			err := h.AddWhile("i", "full", testSignature, ".jpg", "/a.jpg", time.Now().Add(time.Hour), func() bool {
				still := !removed.Load()
				pass("asked")
				return still
			})
			if err != nil {
				t.Error(err)
			}
		}
		add()
		if !passed {
			t.Fatalf("%s: no such step", step)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		add()
		if exists(filepath.Join(dir, testPath)) || h.Len() != 0 {
			t.Errorf("removed when %s: the link is there, Len %d", step, h.Len())
		}
		if exists(filepath.Join(dir, removingFile)) {
			t.Errorf("removed when %s: the removal is still noted", step)
		}
	}
}

// A process that dies between a removal and the end of its links leaves word for the
// next, which drops all; so does one whose links could not be taken away.
func TestRemovalBrokenOff(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	expires := time.Now().Add(time.Hour)
	h := mustOpen(t, HotOptions{Dir: dir})
	h.addTest(t, expires)
	if err := h.BeginRemoval(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(dir, removingFile)); err != nil || info.ModTime().Before(expires) {
		t.Errorf("whoever removes what has expired takes the note along: %v", err)
	}
	h = mustOpen(t, HotOptions{Dir: dir}) // the other has died
	if exists(filepath.Join(dir, testPath)) || exists(filepath.Join(dir, removingFile)) {
		t.Error("a removal that was broken off has left its links, or its note")
	}

	h.addTest(t, expires)
	if err := h.BeginRemoval(); err != nil {
		t.Fatal(err)
	}
	h.unfinished = true // as the failure of an earlier one leaves it
	if n, err := h.EndRemoval(false, func(string) bool { return false }); n != 1 || err != nil {
		t.Errorf("%d links went, %v: after a failure all must", n, err)
	}
	if exists(filepath.Join(dir, removingFile)) {
		t.Error("the removal is still noted")
	}
	// Of two at once the first to end leaves the note to the other.
	for range 2 {
		if err := h.BeginRemoval(); err != nil {
			t.Fatal(err)
		}
	}
	for _, left := range []bool{true, false} {
		if _, err := h.EndRemoval(false, func(string) bool { return false }); err != nil || exists(filepath.Join(dir, removingFile)) != left {
			t.Errorf("noted: %v, %v", !left, err)
		}
	}
	// And somebody may have removed the tree.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := h.BeginRemoval(); err != nil || !exists(filepath.Join(dir, removingFile)) {
		t.Errorf("without a tree: %v", err)
	}
}
