package bucket

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"image"
	"image/png"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// dot is a PNG of one pixel.
var dot = func() []byte {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		panic(err)
	}
	return b.Bytes()
}()

const addedURL = "https://example.com/dot.png"

func TestAdd(t *testing.T) {
	root, o := t.TempDir(), newOrigin()
	s := openStore(t, Options{Root: root, Origin: o})
	// A failure that stands against the URL is forgotten.
	if _, err := s.Keep(t.Context(), "i", addedURL); err == nil {
		t.Fatal("the origin has it")
	}
	image, added, err := s.Add("i", addedURL, bytes.NewReader(dot))
	if err != nil || !added || image.Format != probe.PNG || image.Bytes != int64(len(dot)) || image.Width != 1 {
		t.Fatalf("%+v, %v, %v", image, added, err)
	}
	for range 2 {
		found, err := s.Keep(t.Context(), "i", addedURL)
		if err != nil || found != image {
			t.Errorf("found %+v, %v; want %+v", found, err, image)
		}
		if b, err := os.ReadFile(s.Path(image.File())); !bytes.Equal(b, dot) || err != nil {
			t.Errorf("the file: %q, %v", b, err)
		}
		// Again, and after the next start.
		if again, added, err := s.Add("i", addedURL, bytes.NewReader(dot)); again != image || added || err != nil {
			t.Errorf("again: %+v, %v, %v", again, added, err)
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, Options{Root: root, Origin: o})
	}
	// What is kept stays.
	other := append(bytes.Clone(dot), '\n') // what follows an image is no matter
	if _, _, err := s.Add("i", addedURL, bytes.NewReader(other)); !errors.Is(err, ErrTaken) {
		t.Errorf("other bytes: %v", err)
	}
	if o.count(addedURL) != 1 {
		t.Errorf("%d fetches, want the one that failed", o.count(addedURL))
	}
}

// A picture that is complete but for its end marker is accepted, however it is added; half a
// picture is not.
func TestWithoutItsEnd(t *testing.T) {
	root, files := t.TempDir(), t.TempDir()
	fetcher, err := fetch.New(fetch.Options{LocalRoot: files})
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, Options{Root: root, Origin: fetcher, MaxBytes: 1 << 20})
	endless := dot[:len(dot)-12]
	for name, data := range map[string][]byte{"endless.png": endless, "half.png": endless[:len(endless)-3]} {
		if err := os.WriteFile(filepath.Join(files, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	image, err := s.Keep(t.Context(), "i", "local:///endless.png")
	if err != nil || image.Bytes != int64(len(endless)) {
		t.Errorf("%+v, %v", image, err)
	}
	if _, err := s.Keep(t.Context(), "i", "local:///half.png"); err == nil {
		t.Error("half an image was kept")
	}
	if _, added, err := s.Add("i", addedURL, bytes.NewReader(endless)); !added || err != nil {
		t.Errorf("added %v, %v", added, err)
	}
	if _, _, err := s.Add("i", addedURL+"2", bytes.NewReader(endless[:len(endless)-3])); !errors.Is(err, probe.ErrTruncated) {
		t.Errorf("half an image: %v", err)
	}
	if _, _, err := s.AddFile("i", addedURL+"3", filepath.Join(files, "endless.png")); err != nil {
		t.Error(err)
	}
}

func TestAddRefuses(t *testing.T) {
	s := openStore(t, Options{
		Root: t.TempDir(), Origin: newOrigin(), DenyHosts: []string{"denied.example"}, MaxBytes: int64(len(dot)),
		Limits: probe.Limits{Formats: []probe.Format{probe.GIF, probe.PNG}, MaxPixels: 1},
	})
	broken := errors.New("the tape is torn")
	two := bytes.Clone(dot)
	two[19] = 2 // wide
	for name, c := range map[string]struct {
		bucket, url string
		r           io.Reader
		want        error
	}{
		"no bucket":       {"x", addedURL, bytes.NewReader(dot), ErrNoBucket},
		"a denied host":   {"i", "https://denied.example/", bytes.NewReader(dot), ErrDenied},
		"a page":          {"i", addedURL, strings.NewReader("<html>"), probe.ErrType},
		"nothing":         {"i", addedURL, strings.NewReader(""), probe.ErrType},
		"cut off":         {"i", addedURL, bytes.NewReader(dot[:len(dot)-15]), probe.ErrTruncated},
		"a pixel more":    {"i", addedURL, bytes.NewReader(two), probe.ErrPixels},
		"a byte more":     {"i", addedURL, bytes.NewReader(append(bytes.Clone(dot), 0)), ErrTooLarge},
		"another format":  {"i", addedURL, strings.NewReader("\xff\xd8\xff\xe0"), probe.ErrType},
		"a reader's fail": {"i", addedURL, io.MultiReader(bytes.NewReader(dot[:5]), iotest.ErrReader(broken)), broken},
	} {
		if image, added, err := s.Add(c.bucket, c.url, c.r); !errors.Is(err, c.want) || added || image != (record.Image{}) {
			t.Errorf("%s: %+v, %v, %v; want %v", name, image, added, err, c.want)
		}
	}
	if _, added, err := s.Add("i", addedURL, iotest.OneByteReader(bytes.NewReader(dot))); !added || err != nil {
		t.Errorf("at the limits: %v, %v", added, err)
	}
	full := openStore(t, Options{Root: t.TempDir(), Origin: newOrigin(), MinFree: 1 << 62})
	if _, _, err := full.Add("i", addedURL, bytes.NewReader(dot)); !errors.Is(err, ErrFull) {
		t.Errorf("a full disk: %v", err)
	}
	if err := full.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := full.Add("i", addedURL, bytes.NewReader(dot)); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed store: %v", err)
	}
}

// If a fetch of the URL is under way, the fetched image stays.
func TestAddWhileFetching(t *testing.T) {
	for name, c := range map[string]struct {
		fails bool
		want  error
	}{"that succeeds": {false, ErrTaken}, "that fails": {true, nil}} {
		o := newOrigin()
		o.hold, o.arrived = make(chan struct{}), make(chan string, 10)
		o.set(addedURL, "the bytes of the origin")
		if c.fails {
			o.fail(addedURL, &fetch.Error{Kind: fetch.Gone, Err: errors.New("gone")})
		}
		s := openStore(t, Options{Root: t.TempDir(), Origin: o})
		var wg sync.WaitGroup
		wg.Go(func() { s.Keep(context.Background(), "i", addedURL) })
		<-o.arrived
		var err error
		wg.Go(func() { _, _, err = s.Add("i", addedURL, bytes.NewReader(dot)) })
		close(o.hold)
		wg.Wait()
		if !errors.Is(err, c.want) {
			t.Errorf("a fetch %s: %v, want %v", name, err, c.want)
		}
	}
}

// Of two who add different bytes under one URL at the same time, one succeeds.
func TestAddTwice(t *testing.T) {
	s := openStore(t, Options{Root: t.TempDir(), Origin: newOrigin()})
	other := append(bytes.Clone(dot), '\n')
	results := make(chan error, 20)
	for i := range 20 {
		go func() {
			b := dot
			if i%2 == 0 {
				b = other
			}
			_, _, err := s.Add("i", addedURL, bytes.NewReader(b))
			results <- err
		}()
	}
	taken := 0
	for range 20 {
		if err := <-results; errors.Is(err, ErrTaken) {
			taken++
		} else if err != nil {
			t.Error(err)
		}
	}
	if taken != 10 {
		t.Errorf("%d were told that it is taken, want 10", taken)
	}
}

// A file that is added by a hard link is shared with its source: the same bytes once,
// read-only. A file that is refused stays as it was.
func TestAddFile(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	var refuse error // of the next links to a file in dir
	d := newStepDisk(func(s localtest.Step, do func() error) error {
		if s.Op == "Link" && strings.Contains(s.Path, "linked-") && refuse != nil {
			return refuse
		}
		return do()
	})
	s := openStore(t, Options{Root: root, Origin: newOrigin(), MaxBytes: int64(len(dot)) + 1, disk: d})
	put := func(name string, data []byte) (path string) {
		t.Helper()
		path = filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	mode := func(path string) fs.FileMode {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	path := put("dot", dot)
	image, added, err := s.AddFile("i", addedURL, path)
	if err != nil || !added || image.Bytes != int64(len(dot)) || image.Digest != sha256.Sum256(dot) {
		t.Fatalf("%+v, %v, %v", image, added, err)
	}
	a, errA := os.Stat(path)
	b, errB := os.Stat(s.Path(image.File()))
	if errA != nil || errB != nil || !os.SameFile(a, b) || mode(path) != local.ImageMode {
		t.Errorf("not one file: %v, %v, %v", errA, errB, mode(path))
	}
	// The same again, and under another URL: what is there is used.
	if again, added, err := s.AddFile("i", addedURL, path); again != image || added || err != nil {
		t.Errorf("again: %+v, %v, %v", again, added, err)
	}
	if other, added, err := s.AddFile("i", urlA, put("copy", dot)); other.File() != image.File() || !added || err != nil {
		t.Errorf("another URL: %+v, %v, %v", other, added, err)
	}
	// The source may go, and the store keeps it.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s, image); got != string(dot) {
		t.Errorf("%d bytes", len(got))
	}
	// Nor does what is removed here go there.
	copied := put("third", append(bytes.Clone(dot), '\n'))
	if _, _, err := s.AddFile("i", urlB, copied); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Purge(t.Context(), Target{URL: urlB}, RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(copied); err != nil || len(data) != len(dot)+1 {
		t.Errorf("the source went too: %v", err)
	}

	if err := os.Symlink(put("target", dot), filepath.Join(dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		want error
	}{
		"a page":        {put("page", []byte("<html>")), probe.ErrType},
		"cut off":       {put("cut", dot[:len(dot)-15]), probe.ErrTruncated},
		"two too many":  {put("large", append(bytes.Clone(dot), 0, 0)), ErrTooLarge},
		"another image": {put("other", append(bytes.Clone(dot), '\r')), ErrTaken},
		"nothing":       {filepath.Join(dir, "nothing"), fs.ErrNotExist},
		"a symlink":     {filepath.Join(dir, "symlink"), nil},
	} {
		if _, added, err := s.AddFile("i", addedURL, c.path); err == nil || c.want != nil && !errors.Is(err, c.want) || added {
			t.Errorf("%s: %v, %v; want %v", name, added, err, c.want)
		}
		if c.want != nil && c.want != fs.ErrNotExist && mode(c.path) != 0o600 {
			t.Errorf("%s: it has mode %v now", name, mode(c.path))
		}
	}
	for _, refuse = range []error{syscall.EXDEV, fs.ErrPermission} {
		if _, _, err := s.AddFile("i", "https://example.com/new", put("new", dot)); !errors.Is(err, refuse) {
			t.Errorf("%v: %v", refuse, err)
		}
	}
}
