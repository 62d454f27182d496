package fetch

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
)

func TestLocal(t *testing.T) {
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	picture := pngOf(t, 30, 20)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "dir/sub dir"), 0o700))
	for name, content := range map[string][]byte{
		"secret.png": picture, "root/a.png": picture, "root/dir/sub dir/ü.png": picture, "root/page.png": []byte("<html>"), "root/cut.png": picture[:100],
		"root/empty.png": nil, "root/..a.png": picture, "rootling/a.png": picture,
	} {
		must(os.MkdirAll(filepath.Dir(filepath.Join(outside, name)), 0o700))
		must(os.WriteFile(filepath.Join(outside, name), content, 0o600))
	}
	for link, to := range map[string]string{
		"inside.png": "a.png", "dir/up.png": "../a.png", "out.png": "../secret.png", "absolute.png": filepath.Join(outside, "secret.png"), "out": "..", "loop.png": "loop.png",
		"nothing.png": "none.png", "dev.png": "/dev/zero", "proc.png": "/proc/self/environ", "absolute-inside.png": filepath.Join(root, "a.png"),
	} {
		must(os.Symlink(to, filepath.Join(root, link)))
	}
	must(syscall.Mkfifo(filepath.Join(root, "fifo.png"), 0o600))
	must(os.Link(filepath.Join(root, "a.png"), filepath.Join(root, "hard.png")))

	f := newFetcher(t, Options{LocalRoot: root})
	n := int64(len(picture))
	for _, tt := range []struct {
		url  string
		want ErrorKind
	}{
		{"local:///a.png", ""},
		{"LOCAL:///a.png#fragment", ""},
		{"local:///dir/sub%20dir/%C3%BC.png", ""},
		{"local:///dir/sub dir/ü.png", ""},
		{"local:///..a.png", ""},
		{"local:///inside.png", ""},
		{"local:///dir/up.png", ""},
		{"local:///hard.png", ""},

		// There is no way out.
		{"local:///../secret.png", Refused},
		{"local:///dir/../../secret.png", Refused},
		{"local:///%2e%2e/secret.png", Refused},
		{"local:///..%2fsecret.png", Refused},
		{"local:////etc/passwd", Refused},
		{"local:///%2fetc/passwd", Refused},
		{"local:///out.png", Refused},
		{"local:///absolute.png", Refused},
		{"local:///absolute-inside.png", Refused},
		{"local:///out/secret.png", Refused},
		{"local:///out/root/a.png", Refused},
		{"local:///loop.png", Refused},
		{"local:///dev.png", Refused},
		{"local:///proc.png", Refused},
		{"local:///../rootling/a.png", Refused},

		// Nothing but files.
		{"local:///", Refused}, {"local:///dir", Refused}, {"local:///dir/", Refused}, {"local:///fifo.png", Refused},

		// One spelling.
		{"local:/a.png", ""}, // as RFC 8089 has it for file:
		{"local:a.png", Refused}, {"local://a.png", Refused}, {"local://host/a.png", Refused}, {"local://u@/a.png", Refused}, {"local:///./a.png", Refused},
		{"local:///dir//x.png", Refused}, {"local:///a.png?x", Refused}, {"local:///a.png?", Refused}, {"local:", Refused}, {"local:///a.png%00", Refused}, {"local:///%zz", Refused},
		{"local:///" + strings.Repeat("a", imageurl.MaxRedirect), Refused},

		{"local:///none.png", Gone}, {"local:///none/a.png", Gone}, {"local:///a.png/b.png", Gone}, {"local:///nothing.png", Gone},
		{"local:///" + strings.Repeat("a", 300), Failed},
		{"local:///page.png", NotImage}, {"local:///cut.png", Broken}, {"local:///empty.png", Failed},
	} {
		got, res, err := pull(t, f, tt.url)
		if tt.want != "" {
			wantClass(t, err, tt.want)
			if strings.Contains(err.Error(), ".png") || strings.Contains(err.Error(), outside) {
				t.Errorf("%s: error shows the path: %v", tt.url, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(got, picture) || res.Bytes != n || res.Info.Width != 30 {
			t.Errorf("%s: %d bytes, %+v, %v", tt.url, len(got), res, err)
		}
		if want := "local:///"; !strings.HasPrefix(res.FinalURL, want) || strings.Contains(res.FinalURL, "#") {
			t.Errorf("%s: final URL is %s", tt.url, res.FinalURL)
		}
	}

	// The same limits and checks as for any other image.
	for _, tt := range []struct {
		r    Request
		want ErrorKind
	}{
		{Request{MaxBytes: n}, ""}, {Request{MaxBytes: n - 1}, TooLarge},
		{Request{Limits: probe.Limits{MaxPixels: 600}}, ""}, {Request{Limits: probe.Limits{MaxPixels: 599}}, TooManyPixels},
		{Request{Limits: probe.Limits{Formats: []probe.Format{probe.GIF}}}, NotImage},
		{Request{Hosts: []string{"example.com"}}, Refused},
	} {
		tt.r.URL = "local:///a.png"
		_, _, err := pullRequest(t, f, tt.r)
		if tt.want != "" {
			wantClass(t, err, tt.want)
		} else if err != nil {
			t.Errorf("%+v: %v", tt.r, err)
		}
	}
	_, _, err := pull(t, newFetcher(t, Options{}), "local:///a.png")
	wantClass(t, err, Refused, "local_root")
}

// TestLocalRootIsSwapped: the folder is open, so that exchanging its name for a link
// to another one leads nowhere else.
func TestLocalRootIsSwapped(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for i, name := range []string{"root", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "a.png"), pngOf(t, 10*(i+1), 10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := newFetcher(t, Options{LocalRoot: root})
	if err := os.Rename(root, root+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("other", root); err != nil {
		t.Fatal(err)
	}
	_, res, err := pull(t, f, "local:///a.png")
	if err != nil || res.Info.Width != 10 {
		t.Errorf("%+v, %v", res, err)
	}
}

func FuzzLocalName(f *testing.F) {
	for _, s := range []string{"local:///a/b.png", "local:///../a", "local:///%2e%2e/a", "local:////a", "local:///a?b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		name, err := localName(raw)
		if err == nil && (!filepath.IsLocal(name) || filepath.Clean(name) != name || strings.Contains(name, "\x00")) {
			t.Fatalf("%q is the file %q", raw, fmt.Sprint(name))
		}
	})
}
