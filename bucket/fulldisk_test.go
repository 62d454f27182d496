package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// smallDisk names the folder on which TestFullDisk, run again in a mount
// namespace of its own, has a small file system; smallType is its type.
const (
	smallDisk = "IMGKEEP_SMALL_DISK"
	smallType = "IMGKEEP_SMALL_DISK_TYPE"
)

const page = 4096

// A real file system of a few megabytes, filled to the last block and the last
// inode. tmpfs is always tried; ext4, which needs a loop device and mkfs, by
// scripts/crash.
func TestFullDisk(t *testing.T) {
	if root := os.Getenv(smallDisk); root != "" {
		mountSmall(t, root, os.Getenv(smallType))
		t.Run("floor of bytes", func(t *testing.T) { testFloorOfBytes(t, root) })
		t.Run("floor of inodes", func(t *testing.T) { testFloorOfInodes(t, root) })
		t.Run("no bytes left", func(t *testing.T) { testNoBytesLeft(t, root) })
		t.Run("removals", func(t *testing.T) { testRemovalsOnFullDisk(t, root) })
		t.Run("no inodes left", func(t *testing.T) { testNoInodesLeft(t, root) })
		return
	}
	types := []string{"tmpfs"}
	if os.Getenv(crashRounds) != "" {
		types = append(types, "ext4")
	}
	for _, kind := range types {
		t.Run(kind, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
			child.Env = append(os.Environ(), smallDisk+"="+t.TempDir(), smallType+"="+kind)
			child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
			if os.Getuid() != 0 { // then in a user namespace, where we are root
				child.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
				child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
				child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
			}
			out, err := child.CombinedOutput()
			if err != nil || !bytes.Contains(out, []byte("--- PASS: TestFullDisk/no_inodes_left")) {
				t.Errorf("%v (a mount namespace is needed: root's, or a user's own)\n%s", err, out)
			}
		})
	}
}

func mountSmall(t *testing.T, root, kind string) {
	t.Helper()
	var err error
	switch kind {
	case "tmpfs":
		err = syscall.Mount("tmpfs", root, "tmpfs", 0, "size=6m,nr_inodes=5000")
	case "ext4":
		image := root + ".ext4"
		defer os.Remove(image) // the mount holds it
		var out []byte
		if out, err = exec.Command("mkfs.ext4", "-q", "-m", "0", "-N", "5000", image, "40M").CombinedOutput(); err == nil {
			out, err = exec.Command("mount", "-o", "loop", image, root).CombinedOutput()
		}
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
	}
	if err != nil {
		t.Fatalf("mount a small %s: %v", kind, err)
	}
	t.Cleanup(func() { syscall.Unmount(root, syscall.MNT_DETACH) })
}

// heavy is an origin with an image of its own under every URL: of 20 KB, or of a
// few bytes where the URL says tiny. Some are gone.
type heavy struct{}

func (heavy) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	if strings.Contains(r.URL, "gone") {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New(strings.Repeat("gone ", 100))}
	}
	body := []byte(heavyBody(r.URL))
	_, err := dst.Write(body)
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	return fetch.Result{Info: info, Bytes: int64(len(body))}, err
}

func heavyBody(url string) string {
	if strings.Contains(url, "tiny") {
		sum := sha256.Sum256([]byte(url))
		return string(sum[:])
	}
	return strings.Repeat(url+"\n", 20<<10/len(url))
}

func heavyURL(name any) string { return fmt.Sprintf("https://example.com/%v.png", name) }

// small is a store on the small disk.
func small(t *testing.T, root string, o Options) *Store {
	o.Root, o.Origin = filepath.Join(root, "store"), heavy{}
	return openStore(t, withFolders(o))
}

func free(t *testing.T, root string) local.Room {
	t.Helper()
	r, err := local.OS{}.Room(root)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// fill takes all but so many pages; the name is for taking it away again.
func fill(t *testing.T, root string, leave int) (ballast string) {
	t.Helper()
	ballast = filepath.Join(root, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for {
		if _, err := f.Write(make([]byte, page)); err != nil {
			break
		}
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(max(0, info.Size()/page-int64(leave)) * page); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return ballast
}

// served: all that is there is served.
func served(t *testing.T, s *Store, urls ...string) {
	t.Helper()
	for _, url := range urls {
		image, err := s.Find("i", url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got := content(t, s, image); got != heavyBody(url) {
			t.Errorf("%s: %d bytes, or others", url, len(got))
		}
	}
}

// refused: nothing new is kept, made or passed on, and the error says so.
func refused(t *testing.T, s *Store, word string) {
	t.Helper()
	if err := s.Ready(); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), word) {
		t.Errorf("ready: %v", err)
	}
	if _, err := s.Keep(t.Context(), "i", heavyURL("refused")); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), word) {
		t.Errorf("keep: %v", err)
	}
	if _, err := s.Fetch(t.Context(), "i", heavyURL("refused")); !errors.Is(err, ErrFull) {
		t.Errorf("fetch: %v", err)
	}
	if _, err := s.Find("i", heavyURL("refused")); !errors.Is(err, ErrNotKept) {
		t.Errorf("it is there, or held against the origin: %v", err)
	}
}

func testFloorOfBytes(t *testing.T, root string) {
	s := small(t, root, Options{})
	a, b := heavyURL("bytes a"), heavyURL("bytes b")
	keep(t, s, a)
	s.Close(t.Context())
	s = small(t, root, Options{MinFree: int64(free(t, root).Bytes)})
	if err := s.Ready(); err != nil {
		t.Errorf("exactly at the floor: %v", err)
	}
	keep(t, s, b) // crosses it
	refused(t, s, "store.min_free")
	served(t, s, a, b)
	s.Close(t.Context())
	s = small(t, root, Options{MinFree: int64(free(t, root).Bytes) + 1})
	refused(t, s, "store.min_free")
	served(t, s, a, b)
}

func testFloorOfInodes(t *testing.T, root string) {
	s := small(t, root, Options{})
	a, b := heavyURL("inodes a"), heavyURL("inodes b")
	keep(t, s, a)
	s.Close(t.Context())
	s = small(t, root, Options{MinFreeInodes: int64(free(t, root).Inodes)})
	if err := s.Ready(); err != nil {
		t.Errorf("exactly at the floor: %v", err)
	}
	keep(t, s, b)
	refused(t, s, "store.min_free_inodes")
	served(t, s, a, b)
}

// Without floors the disk runs full in the middle of a write: of an image, of a
// line of the journal, of the index.
func testNoBytesLeft(t *testing.T, root string) {
	s := small(t, root, Options{})
	kept := []string{heavyURL("old")}
	image := keep(t, s, kept[0])
	where := map[string]int{}
	// attempt keeps until the disk is full, and tells what did not fit.
	attempt := func(n int, name string) (refused string) {
		for k := range 1000 {
			url := heavyURL(fmt.Sprintf("%s-%d-%d", name, n, k))
			_, err := s.Keep(t.Context(), "i", url)
			var gone *Failure
			switch {
			case err == nil:
				kept = append(kept, url)
			case errors.As(err, &gone):
			case errors.Is(err, ErrFull):
				what, _, _ := strings.Cut(err.Error(), ":")
				where[what]++
				if left, err := os.ReadDir(filepath.Join(s.Root(), record.TmpDir)); err != nil || len(left) > 0 {
					t.Errorf("left in tmp: %v, %v", left, err)
				}
				return url
			default:
				t.Fatal(err)
			}
		}
		t.Fatal("it never gets full")
		return ""
	}
	for n := range 40 {
		tiny := "tiny" + strings.Repeat("-with-a-long-URL", 150)
		attempts := []string{"image", tiny, tiny, "gone"}
		ballast := fill(t, root, n/4)
		refused := attempt(n, attempts[n%4])
		made, err := s.OpenVariant(t.Context(), image, fmt.Sprintf("%dx", n), probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
			_, err := io.Copy(io.Discard, r)
			return make([]byte, 20*page), err
		})
		if !errors.Is(err, ErrFull) {
			t.Errorf("make: %v, %v", made, err)
		}
		served(t, s, kept...)
		if n%8 == 7 { // a start on a full disk serves what is there
			s.Close(t.Context())
			fill(t, root, 0)
			s = small(t, root, Options{})
			served(t, s, kept...)
		}
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		if n%4 == 3 {
			refused = heavyURL(fmt.Sprint("fits again ", n)) // that one was gone
		}
		keep(t, s, refused)
		kept = append(kept, refused)
		served(t, s, kept...)
	}
	t.Log(where)
	for _, what := range []string{"store the image", "write the journal of bucket i", "write the index"} {
		if where[what] == 0 {
			t.Errorf("the disk was never full when it had to %s: %v", what, where)
		}
	}
	readJournal(t, s.Root(), "i") // no broken line
}

func testNoInodesLeft(t *testing.T, root string) {
	s := small(t, root, Options{})
	a, b := heavyURL("last inode a"), heavyURL("last inode b")
	keep(t, s, a)
	dir := filepath.Join(root, "many")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			break
		}
		f.Close()
	}
	if _, err := s.Keep(t.Context(), "i", b); !errors.Is(err, ErrFull) {
		t.Errorf("keep: %v", err)
	}
	served(t, s, a)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	keep(t, s, b)
	served(t, s, a, b)
}
