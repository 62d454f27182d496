package nginx_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/nginx"
)

const (
	sigA = "gnjO6SJxYbeT9VBz"
	sigB = "4f3OT_te_O37pMOZ"
	sigC = "-u21SyNepGvwmqYg"
)

// weekEnd is a moment at which links expire: Monday 00:00 UTC.
var weekEnd = time.Date(2027, 1, 4, 0, 0, 0, 0, time.UTC)

func openHot(t *testing.T, o nginx.HotOptions) *nginx.Hot {
	t.Helper()
	if o.Dir == "" {
		o.Dir = filepath.Join(t.TempDir(), "hot")
	}
	h, err := nginx.OpenHot(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func add(t *testing.T, h *nginx.Hot, bucket, size, signature, ext, target string, expires time.Time) {
	t.Helper()
	if err := h.Add(bucket, size, signature, ext, target, expires); err != nil {
		t.Fatalf("Add %s/%s: %v", bucket, size, err)
	}
}

// links are the links that nginx can find: their paths below the tree, sorted.
func links(t *testing.T, dir string) []string {
	t.Helper()
	all := []string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir
		}
		if d.Type()&fs.ModeSymlink != 0 {
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func wantLinks(t *testing.T, dir string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if got := links(t, dir); !slices.Equal(got, want) {
		t.Errorf("links:\n  got  %q\n  want %q", got, want)
	}
}

func TestAdd(t *testing.T) {
	// The umask of a hardened unit must not keep nginx out.
	defer syscall.Umask(syscall.Umask(0o077))
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	expires := time.Now().Add(time.Hour).Truncate(time.Second)
	for _, l := range []struct{ bucket, size, signature, ext, path string }{
		{"i", "full", sigA, ".jpg", "i/full/gn/jO6SJxYbeT9VBz.jpg"},
		{"i", "250x250", sigA, ".png", "i/250x250/gn/jO6SJxYbeT9VBz.png"},
		{"i", "150x", sigA, ".webp", "i/150x/gn/jO6SJxYbeT9VBz.webp"},
		{"avatars", "x200", sigB, ".gif", "avatars/x200/4f/3OT_te_O37pMOZ.gif"},
		{"_-", "-", sigC, ".jpg", "_-/-/-u/21SyNepGvwmqYg.jpg"},
	} {
		target := "/var/lib/imgkeep/" + l.bucket + "/a/b/digest" + l.ext
		add(t, h, l.bucket, l.size, l.signature, l.ext, target, expires)
		path := filepath.Join(dir, l.path)
		if got, err := os.Readlink(path); err != nil || got != target {
			t.Errorf("%s points at %q, %v; want %q", l.path, got, err, target)
		}
		if info, err := os.Lstat(path); err != nil || !info.ModTime().Equal(expires) {
			t.Errorf("%s: modification time %v, %v; want %v", l.path, info.ModTime(), err, expires)
		}
		for folder := filepath.Dir(path); folder != filepath.Dir(dir); folder = filepath.Dir(folder) {
			if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o711 {
				t.Errorf("%s: mode %v, %v; want 0711", folder, info.Mode(), err)
			}
		}
	}
	// The names that nginx tries before these are there as well.
	wantLinks(t, dir, "i/full/gn/jO6SJxYbeT9VBz.jpg",
		"i/250x250/gn/jO6SJxYbeT9VBz.jpg", "i/250x250/gn/jO6SJxYbeT9VBz.png",
		"i/150x/gn/jO6SJxYbeT9VBz.jpg", "i/150x/gn/jO6SJxYbeT9VBz.png", "i/150x/gn/jO6SJxYbeT9VBz.webp",
		"avatars/x200/4f/3OT_te_O37pMOZ.jpg", "avatars/x200/4f/3OT_te_O37pMOZ.png", "avatars/x200/4f/3OT_te_O37pMOZ.webp", "avatars/x200/4f/3OT_te_O37pMOZ.gif",
		"_-/-/-u/21SyNepGvwmqYg.jpg")
	if h.Len() != 11 {
		t.Errorf("Len is %d, want 11", h.Len())
	}
}

func TestAddRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	const target = "/var/lib/imgkeep/i/a/b/d.jpg"
	for _, l := range []struct{ what, bucket, size, signature, ext, target string }{
		{"no bucket", "", "full", sigA, ".jpg", target},
		{"bucket that leads out", "..", "full", sigA, ".jpg", target},
		{"bucket that is a hidden folder", ".tmp", "full", sigA, ".jpg", target},
		{"bucket with a slash", "i/full", "full", sigA, ".jpg", target},
		{"bucket of the hand-off", "_imgkeep", "full", sigA, ".jpg", target},
		{"bucket in capitals", "I", "full", sigA, ".jpg", target},
		{"bucket of 33 characters", strings.Repeat("b", 33), "full", sigA, ".jpg", target},
		{"size that leads out", "i", "..", sigA, ".jpg", target},
		{"no size", "i", "", sigA, ".jpg", target},
		{"info, which is no image", "i", "info", sigA, ".jpg", target},
		{"signature of 15", "i", "full", sigA[:15], ".jpg", target},
		{"signature of 17", "i", "full", sigA + "A", ".jpg", target},
		{"signature with a slash", "i", "full", "/" + sigA[1:], ".jpg", target},
		{"signature with dots", "i", "full", ".." + sigA[2:], ".jpg", target},
		{"signature with a NUL", "i", "full", "\x00" + sigA[1:], ".jpg", target},
		{"no extension", "i", "full", sigA, "", target},
		{"another extension", "i", "full", sigA, ".html", target},
		{"relative target", "i", "full", sigA, ".jpg", "i/a/b/d.jpg"},
		{"target that leads out", "i", "full", sigA, ".jpg", "/var/lib/imgkeep/../x"},
		{"target with a NUL", "i", "full", sigA, ".jpg", "/var/lib\x00/x"},
	} {
		if err := h.Add(l.bucket, l.size, l.signature, l.ext, l.target, time.Now().Add(time.Hour)); err == nil {
			t.Errorf("%s: accepted", l.what)
		}
	}
	wantLinks(t, dir)
	add(t, h, strings.Repeat("b", 32), strings.Repeat("s", 32), sigA, ".jpg", target, time.Now().Add(time.Hour))
}

func TestAddAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	expires := time.Now().Add(time.Hour)
	add(t, h, "i", "full", sigA, ".jpg", "/one.jpg", expires)
	add(t, h, "i", "full", sigA, ".jpg", "/one.jpg", expires)
	if h.Len() != 1 {
		t.Errorf("made twice: Len is %d, want 1", h.Len())
	}
	add(t, h, "i", "full", sigA, ".jpg", "/two.jpg", expires.Add(time.Hour))
	path := filepath.Join(dir, "i/full/gn/jO6SJxYbeT9VBz")
	if got, _ := os.Readlink(path + ".jpg"); got != "/two.jpg" {
		t.Errorf("made anew: it points at %q, want /two.jpg", got)
	}
	if h.Len() != 1 {
		t.Errorf("made anew: Len is %d, want 1", h.Len())
	}
}

// At its expiry a link is over; a nanosecond earlier it is not.
func TestBoundary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	now := weekEnd.Add(-time.Second)
	h := openHot(t, nginx.HotOptions{Dir: dir, Now: func() time.Time { return now }})
	add(t, h, "i", "full", sigA, ".jpg", "/a.jpg", now)
	add(t, h, "i", "full", sigB, ".jpg", "/b.jpg", now.Add(1))
	wantLinks(t, dir, "i/full/4f/3OT_te_O37pMOZ.jpg")

	for _, step := range []struct {
		at            time.Time
		removed, left int
	}{
		{weekEnd.Add(-time.Second), 0, 1},
		{weekEnd.Add(-time.Second + 1), 1, 0},
		{weekEnd, 0, 0},
	} {
		now = step.at
		if n, err := h.Sweep(); n != step.removed || err != nil || h.Len() != step.left {
			t.Errorf("at %v: removed %d, left %d, %v; want %d, %d", step.at, n, h.Len(), err, step.removed, step.left)
		}
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "i")); len(entries) > 0 {
		t.Errorf("empty folders are left: %v", entries)
	}
}

// Run removes links when they expire and not before: also those that an earlier
// process made, and those added while it waits.
func TestRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		before := openHot(t, nginx.HotOptions{Dir: dir})
		add(t, before, "i", "full", sigA, ".jpg", "/a.jpg", start.Add(time.Hour))
		add(t, before, "i", "150x", sigA, ".jpg", "/a.jpg", start.Add(3*time.Hour))
		<-time.After(time.Minute)

		h := openHot(t, nginx.HotOptions{Dir: dir})
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		go h.Run(ctx)
		synctest.Wait()
		if h.Len() != 2 {
			t.Errorf("after its start Run knows %d links, want 2", h.Len())
		}
		add(t, h, "i", "full", sigB, ".jpg", "/b.jpg", start.Add(2*time.Hour))
		add(t, h, "i", "full", sigC, ".jpg", "/c.jpg", start.Add(61*time.Second))
		for _, step := range []struct {
			at   time.Duration
			left int
		}{
			{61*time.Second - 1, 4}, {61 * time.Second, 3},
			{time.Hour - 1, 3}, {time.Hour, 2},
			{2*time.Hour - 1, 2}, {2 * time.Hour, 1},
			{3*time.Hour - 1, 1}, {3 * time.Hour, 0},
		} {
			<-time.After(time.Until(start.Add(step.at)))
			synctest.Wait()
			if got := len(links(t, dir)); got != step.left || h.Len() != step.left {
				t.Errorf("after %v: %d links, Len %d; want %d", step.at, got, h.Len(), step.left)
			}
		}
	})
}

func TestRunAfterExpiry(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	synctest.Test(t, func(t *testing.T) {
		add(t, openHot(t, nginx.HotOptions{Dir: dir}), "i", "full", sigA, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
		<-time.After(time.Hour)
		h := openHot(t, nginx.HotOptions{Dir: dir})
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		synctest.Wait()
		wantLinks(t, dir)
		cancel()
		synctest.Wait()
	})
}

// While a machine sleeps its timers stand still; the wall clock jumps. The same
// happens when somebody sets the clock.
func TestRunAfterSleep(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	synctest.Test(t, func(t *testing.T) {
		var slept atomic.Int64
		now := func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
		h := openHot(t, nginx.HotOptions{Dir: dir, Now: now})
		add(t, h, "i", "full", sigA, ".jpg", "/a.jpg", now().Add(7*24*time.Hour))
		add(t, h, "i", "full", sigB, ".jpg", "/b.jpg", now().Add(21*24*time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		synctest.Wait()
		for _, jump := range []struct {
			by   time.Duration
			left int
		}{{-time.Hour, 2}, {8 * 24 * time.Hour, 1}, {-30 * 24 * time.Hour, 1}, {60 * 24 * time.Hour, 0}} {
			slept.Add(int64(jump.by))
			<-time.After(5 * time.Second) // the bound that is promised
			synctest.Wait()
			if got := len(links(t, dir)); got != jump.left {
				t.Errorf("after a jump of %v: %d links, want %d", jump.by, got, jump.left)
			}
		}
		cancel()
		synctest.Wait()
	})
}

// What another process has made is found within ten minutes, whatever it is.
func TestRunFindsOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	synctest.Test(t, func(t *testing.T) {
		h := openHot(t, nginx.HotOptions{Dir: dir})
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		synctest.Wait()
		other := openHot(t, nginx.HotOptions{Dir: dir})
		add(t, other, "i", "full", sigA, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
		<-time.After(10 * time.Minute)
		synctest.Wait()
		if h.Len() != 1 {
			t.Errorf("after ten minutes Len is %d, want 1", h.Len())
		}
		<-time.After(50 * time.Minute)
		synctest.Wait()
		wantLinks(t, dir)
		cancel()
		synctest.Wait()
	})
}

func TestMaxLinks(t *testing.T) {
	for _, max := range []int{1, 2, 10, 40} {
		t.Run(fmt.Sprint(max), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hot")
			h := openHot(t, nginx.HotOptions{Dir: dir, MaxLinks: max})
			expires := time.Now().Add(time.Hour)
			for n := range 3 * max {
				add(t, h, "i", []string{"full", "150x"}[n%2], signature(n), ".jpg", "/a.jpg", expires)
				got := len(links(t, dir))
				if n < max && got != n+1 {
					t.Fatalf("%d of at most %d links: %d are there", n+1, max, got)
				}
				if n >= max && (got > max || got == 0) || got != h.Len() {
					t.Fatalf("%d links added: %d are there, Len %d; want at most %d", n+1, got, h.Len(), max)
				}
				if _, err := os.Lstat(filepath.Join(dir, "i", []string{"full", "150x"}[n%2], signature(n)[:2], signature(n)[2:]+".jpg")); err != nil {
					t.Fatalf("the newest of %d links is missing", n+1)
				}
			}
		})
	}
}

// A lower limit, or links of another process, are made to fit when Run looks.
func TestMaxLinksLowered(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	for n := range 200 {
		add(t, h, "i", "full", signature(n), ".jpg", "/a.jpg", time.Now().Add(time.Hour))
	}
	h = openHot(t, nginx.HotOptions{Dir: dir, MaxLinks: 50})
	if _, err := h.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got := len(links(t, dir)); got > 50 || got < 25 || got != h.Len() {
		t.Errorf("%d links, Len %d; want at most 50, and not many fewer", got, h.Len())
	}
}

// Somebody else has emptied a full tree: it is not full for ever.
func TestMaxLinksEmptied(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	synctest.Test(t, func(t *testing.T) {
		h := openHot(t, nginx.HotOptions{Dir: dir, MaxLinks: 5})
		ctx, cancel := context.WithCancel(t.Context())
		go h.Run(ctx)
		for n := range 5 {
			add(t, h, "i", "full", signature(n), ".jpg", "/a.jpg", time.Now().Add(time.Hour))
		}
		synctest.Wait()
		if err := os.RemoveAll(filepath.Join(dir, "i")); err != nil {
			t.Fatal(err)
		}
		add(t, h, "i", "full", sigA, ".jpg", "/a.jpg", time.Now().Add(time.Hour)) // finds out
		synctest.Wait()
		add(t, h, "i", "full", sigA, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
		wantLinks(t, dir, "i/full/gn/jO6SJxYbeT9VBz.jpg")
		cancel()
		synctest.Wait()
	})
}

// signature is the n-th of many signatures, spread over the shards.
func signature(n int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	x := uint64(n)*0x9E3779B97F4A7C15 + 1
	b := make([]byte, 16)
	for i := range b {
		b[i] = alphabet[x>>58]
		x = x*0xD1342543DE82EF95 + uint64(n) + 1
	}
	return string(b)
}

func TestRemovalDrop(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	expires := time.Now().Add(time.Hour)
	fill := func() {
		for _, bucket := range []string{"i", "f"} {
			add(t, h, bucket, "full", sigA, ".jpg", "/one.jpg", expires)
			add(t, h, bucket, "150x", sigA, ".webp", "/one.150x.webp", expires)
			add(t, h, bucket, "full", sigB, ".jpg", "/one.jpg", expires)
			add(t, h, bucket, "full", sigC, ".jpg", "/one.jpg2", expires)
		}
	}
	removal := func(all bool, target string) func() (int, error) {
		return func() (int, error) {
			if err := h.BeginRemoval(); err != nil {
				return 0, err
			}
			return h.EndRemoval(all, func(t string) bool { return t == target })
		}
	}
	for _, c := range []struct {
		what string
		do   func() (int, error)
		left int
	}{
		{"a removal", removal(false, "/one.jpg"), 8},
		{"a removal of nothing", removal(false, "/one.jp"), 12},
		{"a removal of all", removal(true, ""), 0},
		{"Drop", h.Drop, 0},
	} {
		fill()
		n, err := c.do()
		if got := len(links(t, dir)); err != nil || n != 12-c.left || got != c.left || h.Len() != c.left {
			t.Errorf("%s: removed %d, left %d, Len %d, %v; want %d left", c.what, n, got, h.Len(), err, c.left)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, ".dropped")); err == nil && len(entries) > 0 {
		t.Errorf("Drop has left %v", entries)
	}
	fill()
	if got, err := nginx.Targets(dir, "i", sigA); err != nil || len(got) != 2 || !slices.Contains(got, "/one.jpg") || !slices.Contains(got, "/one.150x.webp") {
		t.Errorf("the targets: %q, %v", got, err)
	}
	if got, err := nginx.Targets(dir, "t", sigA); err != nil || len(got) != 0 {
		t.Errorf("the targets of nothing: %q, %v", got, err)
	}
	for _, bad := range [][2]string{{"..", sigA}, {"i", "../../../../etc/x"}} {
		if _, err := nginx.Targets(dir, bad[0], bad[1]); err == nil {
			t.Errorf("Targets(%q, %q): accepted", bad[0], bad[1])
		}
	}
}

// Errors end up in logs; signatures must not.
func TestErrorsNameNoSignature(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	if err := os.WriteFile(filepath.Join(dir, "i"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := h.Add("i", "full", sigA, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
	if !errors.Is(err, syscall.ENOTDIR) || strings.Contains(err.Error(), sigA[2:]) {
		t.Errorf("a file in the way: %v; want ENOTDIR without the signature", err)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, ".tmp")); len(entries) > 0 {
		t.Errorf("a failed Add has left %v", entries)
	}
}

// What somebody has put into the tree stays there, and does not keep links from
// being swept.
func TestSweepLeavesStrangers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	now := time.Now()
	h := openHot(t, nginx.HotOptions{Dir: dir, Now: func() time.Time { return now }})
	add(t, h, "i", "full", sigA, ".jpg", "/a.jpg", now.Add(time.Hour))
	strangers := []string{"README", "i/README", "i/full/gn/README"}
	for _, name := range strangers {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	if n, err := h.Sweep(); n != 1 || err != nil {
		t.Errorf("removed %d, %v; want 1", n, err)
	}
	for _, name := range strangers {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenHotRefuses(t *testing.T) {
	tmp := t.TempDir()
	file := filepath.Join(tmp, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, o := range map[string]nginx.HotOptions{
		"relative folder":      {Dir: "hot"},
		"no folder":            {},
		"folder with a space":  {Dir: tmp + "/a b"},
		"a file":               {Dir: file},
		"no parent":            {Dir: tmp + "/no/hot"},
		"negative limit":       {Dir: tmp + "/hot", MaxLinks: -1},
		"folder of the system": {Dir: "/"},
	} {
		if _, err := nginx.OpenHot(o); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}
