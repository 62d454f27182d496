package main_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// oldStore is a store as imageproxy-py leaves it.
type oldStore struct {
	t   testing.TB
	dir string
}

// path is where that server keeps the image of an ext_url.
func (o oldStore) path(bucket, extURL string) string {
	sum := sha256.Sum224([]byte(extURL))
	name := base64.URLEncoding.EncodeToString(sum[:])
	return filepath.Join(o.dir, bucket, name[:1], name[1:2], name)
}

func (o oldStore) write(path string, data []byte) {
	o.t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		o.t.Fatal(err)
	}
}

// put stores an image.
func (o oldStore) put(bucket, extURL string, image []byte) (path string) {
	o.t.Helper()
	path = o.path(bucket, extURL)
	o.write(path, image)
	o.write(path+".headers", []byte("content-type image/whatever\nx-original-url "+extURL+"\n"))
	return path
}

// tree is all that lies in a folder.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = fmt.Sprint(info.Mode(), info.ModTime(), len(data), sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func plain(url string) string  { return base64.RawURLEncoding.EncodeToString([]byte(url)) }
func padded(url string) string { return base64.URLEncoding.EncodeToString([]byte(url)) }

// The path is the one that the other server's own code gave.
func TestOldPath(t *testing.T) {
	t.Parallel()
	o := oldStore{t, "/srv"}
	if got, want := o.path("i", plain("https://example_url/img.jpg")), "/srv/i/c/0/c0I24_tvE7OfaOVBGNsaJMEmL5ZdnpWCWMrh7g=="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// An imported store answers the links that the other server has answered: with a
// bucket in the signature and without, with padding and without.
func TestImport(t *testing.T) {
	t.Parallel()
	for name, serving := range map[string]bool{"served": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, settings{
				"buckets": []any{map[string]any{"name": "i"}, map[string]any{"name": "f"}}, "sign.bucketless": "i",
			})
			old := oldStore{t, filepath.Join(w.dir, "old")}
			host := w.origin.URL // which has nothing any more
			type kept struct {
				bucket, ext string
				image       []byte
			}
			var images []kept
			put := func(bucket, ext string, image []byte) string {
				images = append(images, kept{bucket, ext, image})
				return old.put(bucket, ext, image)
			}
			cat := photo(t, 60, 40)
			put("i", plain(host+"/pictures/cat"), cat)
			put("f", plain(host+"/pictures/cat"), photo(t, 30, 30))
			put("i", plain(host+"/pictures/alias"), cat) // the same bytes
			put("i", padded(host+"/pictures/pad?/"), toPNG(t, noise(30, 20, 1)))
			put("i", padded(host+"/pictures/pad?//"), toPNG(t, noise(30, 20, 2)))
			put("i", plain(host+"/pictures/two?a=1&amp;b=2"), toGIF(t, corners(20, 20), corners(20, 20)))
			put("i", plain(host+"/pictures/Bär und Öl"), photo(t, 20, 20))
			put("i", plain("https://elsewhere.example/"+strings.Repeat("x", 200)), photo(t, 20, 20))
			// The same image in both spellings of its URL.
			put("i", plain(host+"/pictures/both/"), cat)
			put("i", padded(host+"/pictures/both/"), cat)

			// What is not taken over.
			cut := old.put("i", plain(host+"/pictures/cut"), cat[:len(cat)/2])
			page := old.put("i", plain(host+"/pictures/page"), []byte("<html>"))
			ftp := old.put("i", plain("ftp://example.com/"), cat)
			other := old.path("i", plain(host+"/pictures/taken"))
			old.write(other, cat)
			old.write(other+".headers", []byte("content-type image/jpeg\nx-original-url "+plain(host+"/pictures/cat")+"\n"))
			nameless := old.path("i", plain(host+"/pictures/nameless"))
			old.write(nameless, cat)
			failed := old.path("i", plain(host+"/pictures/failed"))
			old.write(failed+".err", []byte("1700000000 60"))
			old.write(failed+".tmp", cat)
			old.write(old.path("f", "x")+".headers", []byte("content-type image/jpeg\n"))
			foreign := filepath.Join(old.dir, "i", "notes.txt")
			old.write(foreign, []byte("notes"))
			old.write(filepath.Join(old.dir, "zzz", "x"), nil)

			before := tree(t, old.dir)
			var s *server
			if serving {
				s = w.start()
			}
			out, errs, status := w.imgkeep("import", "--dry-run", old.dir)
			if status != 3 || !strings.Contains(out, "12 images could be kept, 3 could not, before they are looked at; passed over: 1 failures, 2 unfinished, 1 foreign\n") || len(w.originals("i")) != 0 {
				t.Errorf("a dry run: status %d: %s%s", status, out, errs)
			}
			out, errs, status = w.imgkeep("import", old.dir)
			if status != 3 || !strings.Contains(out, "15 images in ") || !strings.Contains(out, ", 5 not kept; passed over: 1 failures, 2 unfinished, 1 foreign\n") ||
				!strings.Contains(errs, "zzz is no bucket of the configuration") {
				t.Errorf("status %d: %s%s", status, out, errs)
			}
			for path, code := range map[string]string{cut: "broken", page: "type", ftp: "url", other: "name", nameless: "headers", foreign: "foreign"} {
				if !strings.Contains(out, fmt.Sprintf("%-16s %s", code, path)) {
					t.Errorf("it does not tell of %s %s:\n%s", code, path, out)
				}
			}
			out, _, _ = w.imgkeep("import", "--quiet", old.dir)
			if !strings.Contains(out, ": 0 kept now (0 B), 10 kept before, 5 not kept;") {
				t.Errorf("again: %s", out)
			}
			if after := tree(t, old.dir); fmt.Sprint(after) != fmt.Sprint(before) {
				t.Error("the source has changed")
			}

			if !serving {
				s = w.start()
			}
			now := time.Now()
			for _, k := range images {
				message := k.bucket + "/" + k.ext
				s.get("/"+k.bucket+"/full/"+signature(secret, message, now)+"/"+k.ext).isBytes(http.DetectContentType(k.image), k.image)
				if k.bucket == "i" {
					s.get("/i/full/"+signature(secret, k.ext, now)+"/"+k.ext).isBytes(http.DetectContentType(k.image), k.image)
				}
			}
			s.get(link("i", "20x20", host+"/pictures/cat")).isImage("image/jpeg")
			s.get(link("i", "full", host+"/pictures/taken")).isError(http.StatusNotFound, "gone")
			if n := w.origin.count("/pictures/cat"); n != 0 {
				t.Errorf("%d fetches of what is imported", n)
			}
			// Asked to, it removes what is kept, and only that.
			if out, errs, status := w.imgkeep("import", "--remove", old.dir); status != 3 {
				t.Errorf("--remove: status %d: %s%s", status, out, errs)
			}
			left := tree(t, old.dir)
			for _, k := range images {
				path := old.path(k.bucket, k.ext)
				if left[path] != "" || left[path+".headers"] != "" {
					t.Errorf("%s is still there", path)
				}
			}
			if want := len(before) - 2*len(images); len(left) != want {
				t.Errorf("%d files are left, want %d", len(left), want)
			}
			s.stop()
			if out, errs, status := w.imgkeep("scrub", "--quiet"); status != 0 {
				t.Errorf("scrub: status %d: %s%s", status, out, errs)
			}
		})
	}
}

// In place: the images are the same files as before, under two names or, with
// --remove, under their new one, and answer the same links. What cannot be kept stays
// as it was.
func TestImportLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	old := oldStore{t, filepath.Join(w.dir, "old")}
	images := map[string][]byte{}
	paths := map[string]string{}
	for n := range 10 {
		ext := plain(fmt.Sprintf("%s/pictures/%d", w.origin.URL, n))
		images[ext] = append(photo(t, 30, 20), byte(n))
		paths[ext] = old.put("i", ext, images[ext])
	}
	page := old.put("i", plain(w.origin.URL+"/pictures/page"), []byte("<html>"))
	inode := func(path string) os.FileInfo {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	kept := func() (all []os.FileInfo) {
		for _, path := range w.originals("i") {
			all = append(all, inode(filepath.Join(w.root(), path)))
		}
		return all
	}
	was := map[string]os.FileInfo{}
	for ext, path := range paths {
		was[ext] = inode(path)
	}
	s := w.start()
	if _, errs, status := w.imgkeep("import", "--link", old.dir); status != 2 || !strings.Contains(errs, "--link does not go with a running server") || len(kept()) != 0 {
		t.Errorf("while a server runs: status %d: %s", status, errs)
	}
	s.stop()
	if out, errs, status := w.imgkeep("import", "--link", old.dir); status != 3 || !strings.Contains(out, "11 images in ") || !strings.Contains(out, ": 10 kept now") {
		t.Fatalf("status %d: %s%s", status, out, errs)
	}
	same := func() {
		t.Helper()
		now := kept()
		for ext := range paths {
			if !slices.ContainsFunc(now, func(i os.FileInfo) bool { return os.SameFile(i, was[ext]) }) {
				t.Errorf("%s was copied", ext)
			}
		}
	}
	same()
	for ext, path := range paths {
		if data, err := os.ReadFile(path); err != nil || !bytes.Equal(data, images[ext]) {
			t.Errorf("%s has changed: %v", path, err)
		}
		inode(path + ".headers")
	}
	if mode := inode(page).Mode(); mode != 0o644 {
		t.Errorf("what is no image has mode %v now", mode)
	}
	// The same once more, moved.
	if out, errs, status := w.imgkeep("import", "--link", "--remove", old.dir); status != 3 || !strings.Contains(out, "10 kept before, 1 not kept") {
		t.Fatalf("--remove: status %d: %s%s", status, out, errs)
	}
	if left := tree(t, old.dir); len(left) != 2 || left[page] == "" {
		t.Errorf("left: %v", left)
	}
	same()
	s = w.start()
	now := time.Now()
	for ext, image := range images {
		s.get("/i/full/"+signature(secret, "i/"+ext, now)+"/"+ext).isBytes("image/jpeg", image)
	}
	s.stop()
	if out, errs, status := w.imgkeep("scrub", "--quiet"); status != 0 {
		t.Errorf("scrub: status %d: %s%s", status, out, errs)
	}
	if text, err := os.ReadFile(filepath.Join(w.root(), "audit.ndjson")); err != nil || strings.Count(string(text), "\n") != 2 || strings.Count(string(text), `"op":"import","what":{"bucket":"i","from":"`+old.dir) != 2 || !strings.Contains(string(text), `"urls":11,"kept":10,"failed":1`) {
		t.Errorf("the audit log: %s, %v", text, err)
	}
}

func TestImportUsage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	dir := filepath.Join(w.dir, "empty")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"accepts 1 arg":                      {},
		"there is no folder of a bucket":     {dir},
		"there is no folder of a bucket in ": {filepath.Join(w.dir, "nowhere")},
		`--bucket: "x" is not one of i`:      {"--bucket", "x", dir},
	} {
		if _, errs, status := w.imgkeep(append([]string{"import"}, args...)...); status != 2 || !strings.Contains(errs, want) {
			t.Errorf("%v: status %d, %s; want %q", args, status, errs, want)
		}
	}
}

// A file of one's own under a URL: for viewers it is as if it had been fetched.
func TestAdd(t *testing.T) {
	t.Parallel()
	for name, serving := range map[string]bool{"served": true, "alone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil)
			url := w.origin.refuse("/pictures/lost", http.StatusNotFound)
			cat := photo(t, 700, 500) // larger than any other request
			file := filepath.Join(w.dir, "cat.jpg")
			page := filepath.Join(w.dir, "page.jpg")
			for path, data := range map[string][]byte{file: cat, page: []byte("<html>")} {
				if err := os.WriteFile(path, data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var s *server
			if serving {
				s = w.start()
				s.get(link("i", "full", url)).isError(http.StatusNotFound, "gone")
			}
			for _, c := range []struct {
				args   []string
				status int
				want   string
			}{
				{[]string{"--url", url, file}, 0, fmt.Sprintf("kept: %d bytes\n", len(cat))},
				{[]string{"--url", url + "#again", file}, 0, "kept before\n"},
				{[]string{"--url", url, page}, 1, "not an accepted image type"},
				{[]string{"--url", "nonsense", file}, 1, "not the URL of an image"},
				{[]string{file}, 2, "--url is missing"},
				{[]string{"--url", url, "--bucket", "x", file}, 2, `"x" is not one of i`},
				{[]string{"--url", url, file + "x"}, 2, "no such file"},
			} {
				if out, errs, status := w.imgkeep(append([]string{"add"}, c.args...)...); status != c.status || !strings.Contains(out+errs, c.want) {
					t.Errorf("%v: status %d: %s%s; want %q", c.args, status, out, errs, c.want)
				}
			}
			if err := os.WriteFile(file, photo(t, 30, 30), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, errs, status := w.imgkeep("add", "--url", url, file); status != 1 || !strings.Contains(errs, "another image is kept") {
				t.Errorf("another image: status %d: %s", status, errs)
			}
			if !serving {
				s = w.start()
			}
			s.get(link("i", "full", url)).isBytes("image/jpeg", cat)
			s.get(link("i", "50x50", url)).isImage("image/jpeg")
			s.stop()
		})
	}
}
