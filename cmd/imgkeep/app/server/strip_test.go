package server_test

import (
	"bytes"
	"fmt"
	"image"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// In a bucket that says so, full is the same picture without its metadata, turned
// as before; what is kept is what came. In others it is what came.
func TestStripped(t *testing.T) {
	s := newSite(t, func(_ *bucket.Options, o *server.Options) { o.Stripped, o.Handoff = []string{"i"}, true })
	const place = "N 52.5 E 13.4"
	plain := turned(toJPEG(t, 40, 30))
	photo := append([]byte("\xff\xd8\xff\xfe\x00\x0f"+place), plain[2:]...)
	url := s.origin.put("photo", photo)
	other := s.signer.Sign("f", "full", url, false, s.clock.Now()).String()
	if w := s.get(other); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), photo) {
		t.Errorf("another bucket: status %d, not what came", w.Code)
	}
	for about, path := range map[string]string{"kept": s.link("full", url), "proxy, kept": s.proxyLink("full", url)} {
		w := s.get(path)
		got := w.Body.Bytes()
		if w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" || bytes.Contains(got, []byte(place)) || !bytes.Contains(got, []byte("Exif\x00\x00MM")) {
			t.Fatalf("%s: status %d, %q", about, w.Code, got)
		}
		a, _, errA := image.Decode(bytes.NewReader(photo))
		b, _, errB := image.Decode(bytes.NewReader(got))
		if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: other pixels: %v, %v", about, errA, errB)
		}
		w = s.ask("GET", path, http.Header{"Range": {"bytes=0-1"}})
		if w.Code != 206 || w.Body.String() != "\xff\xd8" {
			t.Errorf("%s: a range: %d, %q", about, w.Code, w.Body)
		}
	}
	passing := s.origin.put("passing", append(bytes.Clone(photo), 'x'))
	if w := s.get(s.proxyLink("full", passing)); w.Code != 200 || bytes.Contains(w.Body.Bytes(), []byte(place)) {
		t.Errorf("proxy, not kept: status %d, or still there", w.Code)
	} else if head := s.ask("HEAD", s.proxyLink("full", passing), nil); head.Code != 200 || head.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
		t.Errorf("proxy, not kept: HEAD says %d, %v; want %d bytes", head.Code, head.Header(), w.Body.Len())
	}
	kept, err := s.store.Find("i", url)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(s.store.Path(kept.File())); err != nil || !bytes.Equal(b, photo) {
		t.Errorf("what is kept has changed: %v", err)
	}
	w := s.ask("GET", s.link("full", url), http.Header{"X-Imgkeep-Handoff": {"nginx"}})
	links := s.hot.take()
	if to := w.Header().Get("X-Accel-Redirect"); !strings.HasSuffix(to, ".full.jpg") || len(links) != 1 || !strings.Contains(links[0], ".full.jpg ") {
		t.Errorf("handed over to %q, hot links %q", to, links)
	}
	if body := s.get(s.link("info", url)).Body.String(); !strings.Contains(body, `"sizes":[]`) {
		t.Errorf("info says %s", body)
	}
	// Nor does the original stand for a size of it.
	small := s.origin.put("small", append(toJPEG(t, 9, 9), place...))
	made := append(toJPEG(t, 9, 9), make([]byte, 500)...)
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return []resize.Result{result(t, made)}, nil }
	if w := s.get(s.link("10x10", small)); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), made) {
		t.Errorf("a size: status %d, %d bytes", w.Code, w.Body.Len())
	}
	// Where there is nothing to take out, nothing is stored twice.
	bare := s.origin.put("bare", toPNG(t, 8, 8))
	s.get(s.link("full", bare))
	if kept, err = s.store.Find("i", bare); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(s.store.Path(kept.VariantFile("full", kept.Format))); err != nil || info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
}
