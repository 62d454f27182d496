package local_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/blobtest"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// place is a folder whose disk fails when it is told to. The files that cannot be removed
// are those of the test's own, so that this never fails.
func place(t testing.TB) blobtest.Place {
	root := t.TempDir()
	var fault localtest.Fault
	disk := localtest.New(func(s localtest.Step, do func() error) error {
		if s.Op == "RemoveAll" {
			return do()
		}
		return fault.Hook(s, do)
	})
	tmp := filepath.Join(root, record.TmpDir)
	if err := os.Mkdir(tmp, local.PrivateDir); err != nil {
		t.Fatal(err)
	}
	for _, name := range blobtest.Buckets {
		if err := os.Mkdir(filepath.Join(root, name), local.DirMode); err != nil {
			t.Fatal(err)
		}
	}
	return blobtest.Place{
		Open: func(testing.TB) blob.Store { return local.New(disk, root, time.Now) },
		Temp: func(t testing.TB) *os.File {
			f, err := os.CreateTemp(tmp, "image-*")
			if err != nil {
				t.Fatal(err)
			}
			return f
		},
		FailAt: func(n int) bool {
			failed := fault.Disarm() != nil
			fault.Arm(n, syscall.EIO, false, true)
			return failed
		},
		Damage: func(t testing.TB, image record.Image, bytes []byte) {
			path := filepath.Join(root, image.File())
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, bytes, local.ImageMode); err != nil {
				t.Fatal(err)
			}
		},
	}
}

func TestStore(t *testing.T) { blobtest.Run(t, place) }

// A folder in the place of an original is put aside, with what it holds.
func TestPutInPlaceOfFolder(t *testing.T) {
	p := place(t)
	f := p.Temp(t)
	defer f.Close()
	if _, err := f.WriteString("a"); err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(f.Name()))
	image := record.Image{Bucket: "i", Digest: record.Digest{1}, Info: probe.Info{Format: probe.PNG}, Bytes: 1}
	if err := os.MkdirAll(filepath.Join(root, image.File(), "inside"), 0o755); err != nil {
		t.Fatal(err)
	}
	s := p.Open(t)
	if err := s.Put(t.Context(), image, f); err != nil {
		t.Fatal(err)
	}
	if err := s.Stat(t.Context(), image); err != nil {
		t.Error(err)
	}
	if aside, err := filepath.Glob(filepath.Join(root, record.QuarantineDir, "*", image.File(), "inside")); err != nil || len(aside) != 1 {
		t.Errorf("put aside: %v, %v", aside, err)
	}
}

// What lies beside an original under its digest goes with it.
func TestRemoveTakesAllFiles(t *testing.T) {
	root := t.TempDir()
	image := record.Image{Bucket: "i", Digest: record.Digest{1}, Info: probe.Info{Format: probe.PNG}}
	other := record.Image{Bucket: "i", Digest: record.Digest{1, 1}, Info: probe.Info{Format: probe.PNG}}
	aside := filepath.Join(record.QuarantineFolder(time.Unix(0, 0)), image.File())
	for _, file := range []string{image.File(), image.VariantFile("250x250", probe.WebP), aside, other.File()} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, file), []byte("x"), 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if files, err := local.FilesOf(root, "i", image.Digest); err != nil || len(files) != 3 {
		t.Errorf("before: %v, %v", files, err)
	}
	if err := local.New(local.OS{}, root, time.Now).Remove(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	if files, err := local.FilesOf(root, "i", image.Digest); err != nil || len(files) > 0 {
		t.Errorf("left: %v, %v", files, err)
	}
	if files, err := local.FilesOf(root, "i", other.Digest); err != nil || len(files) != 1 {
		t.Errorf("of another: %v, %v", files, err)
	}
}

// A file is read whole if it fits and has nothing wrong with it; for any other it is not ok.
func TestReadSmall(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, n int, stamped bool) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, n), local.ImageMode); err != nil {
			t.Fatal(err)
		}
		if at := record.ModTimeOf(path); stamped {
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	fits, pipe, folder, link := file("fits", 10, true), filepath.Join(dir, "pipe"), filepath.Join(dir, "folder"), filepath.Join(dir, "link")
	for _, err := range []error{syscall.Mkfifo(pipe, 0o600), os.Mkdir(folder, 0o700), os.Symlink(fits, link)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		path string
		ok   bool
		n    int
	}{
		{fits, true, 10},
		{file("empty", 0, true), true, 0},
		{file("larger", 11, true), false, 0},
		{file("without its time", 10, false), false, 0},
		{link, false, 0}, // which has the time of another name
		{filepath.Join(dir, "missing"), false, 0},
		{folder, false, 0},
		{pipe, false, 0},
	} {
		n, modified, ok := local.ReadSmall(test.path, make([]byte, 10))
		if ok != test.ok || ok && (n != test.n || !modified.Equal(record.ModTimeOf(test.path))) {
			t.Errorf("%s: %d bytes of %v, ok %v", filepath.Base(test.path), n, modified, ok)
		}
	}
}
