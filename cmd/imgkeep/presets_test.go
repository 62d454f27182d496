package main_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// presets of these tests: each shows that what the configuration says reaches the
// decoder.
var presets = []settings{
	{"name": "avatar", "width": 16, "height": 16, "fit": "cover", "gravity": "west", "format": "png"},
	{"name": "card", "width": 30, "height": 30, "fit": "contain", "background": "#00ff00", "padding": []int{1, 2}, "watermark": settings{"text": "x", "position": "northwest", "scale": 100}},
}

// A preset's name is usable wherever a size is.
func TestPresets(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"presets": presets})
	s := w.start()
	url := w.origin.serve("/pictures/wide.jpg", toJPEG(t, corners(80, 40)))
	a := s.get(link("i", "avatar", url)).isImage("image/png")
	if b := a.decoded().Bounds(); b.Dx() != 16 || b.Dy() != 16 {
		t.Errorf("avatar: %v", b)
	}
	checkCorners(t, "avatar", a.decoded(), red, red, blue, blue)
	s.sameHead(a)
	a = s.get(link("i", "card", url)).isImage("image/jpeg")
	m := a.decoded()
	if b := m.Bounds(); b.Dx() != 34 || b.Dy() != 32 {
		t.Errorf("card: %v", b)
	}
	white := 0 // of the text
	for i := range 34 * 32 {
		if r, g, b, _ := m.At(i%34, i/34).RGBA(); r > 0xc000 && g > 0xc000 && b > 0xc000 {
			white++
		}
	}
	if c := color.RGBAModel.Convert(m.At(17, 30)).(color.RGBA); c.G < 200 || c.R > 60 || white < 20 {
		t.Errorf("card: at its bottom there is %v; %d pixels of text", c, white)
	}
	s.get(link("i", "cards", url)).isError(http.StatusBadRequest, "size")
	s.get(proxyLink("i", "avatar", url)).isError(http.StatusBadRequest, "proxy-size")
	s.stop()
}

// A preset that has changed is made anew, and no hot link of the old one is left.
func TestPresetChanges(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, settings{"presets": []settings{{"name": "small", "width": 20}}})
	s, front := w.start(), w.front(site)
	url := w.origin.serve("/pictures/wide.png", toPNG(t, corners(80, 40)))
	path := link("i", "small", url)
	sides := func() image.Point {
		t.Helper()
		seen := front.see(http.MethodGet, path, nil)
		m, err := png.Decode(strings.NewReader(seen.body))
		if err != nil {
			t.Fatalf("status %d, %v", seen.status, err)
		}
		return m.Bounds().Max
	}
	for range 2 { // by the server, then by nginx
		if b := sides(); b != image.Pt(20, 10) {
			t.Errorf("before: %v", b)
		}
	}
	hot, err := filepath.Glob(filepath.Join(w.dir, "hot", "i", "small", "??", "*.png"))
	if err != nil || len(hot) != 1 {
		t.Fatalf("hot links %v, %v", hot, err)
	}
	s.stop()
	w.set("presets", []settings{{"name": "small", "width": 20, "rotate": 90}})
	s = w.start()
	if _, err := os.Lstat(hot[0]); err == nil {
		t.Error("the hot link is still there")
	}
	w.within(site, "the preset is the new one", func() bool { return sides() == image.Pt(20, 40) })
	s.stop()
}

// A wrong preset stops the start, by its name.
func TestWrongPreset(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	// Its structure is sound, and only who unpacks it sees that it is not.
	torn := toPNG(t, noise(20, 10, 1))
	i := bytes.Index(torn, []byte("IDAT"))
	n := int(binary.BigEndian.Uint32(torn[i-4:]))
	for j := i + 10; j < i+4+n; j++ {
		torn[j] ^= 0x55
	}
	binary.BigEndian.PutUint32(torn[i+4+n:], crc32.ChecksumIEEE(torn[i:i+4+n]))
	mark := filepath.Join(w.dir, "torn.png")
	if err := os.WriteFile(mark, torn, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, preset := range map[string]settings{
		`presets[0].watermark: preset "a": it cannot be drawn: `:        {"name": "a", "watermark": settings{"picture": mark}},
		`presets[0].fit: preset "a": cover needs both width and height`: {"name": "a", "fit": "cover", "width": 5},
		`presets[0].watermark: preset "a": picture: open `:              {"name": "a", "watermark": settings{"picture": filepath.Join(w.dir, "none.png")}},
		`presets[0].watermark: preset "a": text `:                       {"name": "a", "watermark": settings{"text": "日本"}},
	} {
		w.set("presets", []settings{preset})
		if _, stderr, status := w.imgkeep("serve"); status != 2 || !strings.Contains(stderr, want) {
			t.Errorf("status %d, %q, want %q", status, stderr, want)
		}
	}
}

// What preview writes is what a viewer gets.
func TestPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"presets": presets})
	source := toJPEG(t, corners(80, 40))
	file := filepath.Join(w.dir, "wide.jpg")
	if err := os.WriteFile(file, source, 0o600); err != nil {
		t.Fatal(err)
	}
	s := w.start()
	served := s.get(link("i", "avatar", w.origin.serve("/wide.jpg", source))).isImage("image/png").body
	s.stop()
	stdout, stderr, status := w.imgkeep("preview", "avatar", file)
	if status != 0 || stderr != "" || !strings.HasPrefix(stdout, "wide.avatar.png: 16 x 16, ") {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	if got, err := os.ReadFile(filepath.Join(w.dir, "wide.avatar.png")); err != nil || !bytes.Equal(got, served) {
		t.Errorf("it wrote %d bytes, %v; served are %d", len(got), err, len(served))
	}
	if stdout, _, status := w.imgkeep("preview", "avatar", file, "-o", "-"); status != 0 || stdout != string(served) {
		t.Errorf("to standard output: status %d, %d bytes", status, len(stdout))
	}
	if stdout, _, status := w.imgkeep("preview", "20x50", file, "--output", filepath.Join(w.dir, "out")); status != 0 || !strings.Contains(stdout, "out: 40 x 20, ") {
		t.Errorf("a size: status %d, %q", status, stdout)
	}
	broken := filepath.Join(w.dir, "broken.jpg")
	if err := os.WriteFile(broken, source[:len(source)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"avatars", file}, 2, `"avatars" is neither one of the presets avatar, card nor height x width`},
		{[]string{"21x", file}, 2, "21, of 21x, is not one of the sizes"},
		{[]string{"full", file}, 2, `"full" is neither one of the presets`},
		{[]string{"avatar"}, 2, "accepts 2 arg(s)"},
		{[]string{"avatar", file, "-o", file}, 2, "would overwrite the image itself"},
		{[]string{"avatar", filepath.Join(w.dir, "none")}, 1, "no such file"},
		{[]string{"avatar", broken}, 1, "truncated image"},
		{[]string{"avatar", filepath.Join(w.dir, "imgkeep.yaml")}, 1, "not an accepted image type"},
	} {
		if _, stderr, status := w.imgkeep(append([]string{"preview"}, c.args...)...); status != c.status || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: status %d, %q, want %d, %q", c.args, status, stderr, c.status, c.want)
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, source) {
		t.Error("the image itself was changed")
	}
}

// In a bucket with strip_metadata no viewer learns where a photo was taken.
func TestStripMetadata(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"buckets": []settings{{"name": "i", "strip_metadata": true}, {"name": "f"}}})
	s := w.start()
	const place = "N 52.5 E 13.4"
	source := inserted(oriented(toJPEG(t, corners(80, 40)), 6), segment(0xe1, []byte("http://ns.adobe.com/xap/1.0/\x00"+place)))
	url := w.origin.serve("/pictures/photo.jpg", source)
	s.get(link("f", "full", url)).isBytes("image/jpeg", source)
	for about, path := range map[string]string{"full": link("i", "full", url), "proxy": proxyLink("i", "full", url), "small": link("i", "10x", url)} {
		a := s.get(path)
		if a.status != http.StatusOK || bytes.Contains(a.body, []byte(place)) || bytes.Contains(a.body, []byte("Exif")) != (about != "small") {
			t.Errorf("%s: status %d, %q", about, a.status, a.body)
		}
	}
	s.stop()
}
