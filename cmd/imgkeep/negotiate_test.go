package main_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imgkeep/nginx"
)

// What browsers of three ages accept.
const (
	old     = "image/png,image/*;q=0.8,*/*;q=0.5"
	recent  = "image/webp,image/png,image/*;q=0.8,*/*;q=0.5"
	current = "image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5"
)

// landscape is smooth, with edges, as photos are: both AVIF and WebP make less of it
// than JPEG.
func landscape(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			wave := 60 * math.Sin(40*u*u+25*v) * math.Cos(30*v*v-11*u)
			edge := math.Copysign(30, math.Sin(3+9*u+17*v))
			c := func(base float64) uint8 { return uint8(min(max(base+wave+edge, 0), 255)) }
			m.SetNRGBA(x, y, color.NRGBA{c(90 + 80*u), c(120), c(90 + 80*v), 255})
		}
	}
	return m
}

func negotiating(t testing.TB, more settings) (*world, nginx.Site) {
	w, site := newFronted(t, settings{"sizes": []int{100, 200}, "resize.negotiate": []string{"avif", "webp"}, "presets": []settings{
		{"name": "photo", "width": 150, "negotiate": []string{"webp"}},
		{"name": "plain", "width": 150},
		{"name": "modern", "width": 150, "format": "avif", "quality": settings{"avif": 40}},
	}})
	for key, value := range more {
		w.set(key, value)
	}
	site.Timeout += 2 * time.Minute
	site.Extensions = []string{".jpg", ".png", ".webp", ".gif", ".avif"}
	site.Offers = []nginx.Offer{{Format: "avif", Sizes: []string{"x"}}, {Format: "webp", Sizes: []string{"x", "photo"}}}
	return w, site
}

func accepting(accept string, pairs ...string) http.Header {
	h := http.Header{"Accept": {accept}}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// One link is another picture for each class of viewers, whichever server answers: the
// server, nginx by its order, and nginx alone. All of them say so, and a viewer never
// gets what they do not accept.
func TestNegotiate(t *testing.T) {
	t.Parallel()
	w, site := negotiating(t, nil)
	var text bytes.Buffer
	if err := site.Render(&text); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := w.imgkeep("nginx"); got != text.String() {
		t.Errorf("imgkeep nginx prints another site than\n%s", text.String())
	}
	photo := w.origin.serve("/pictures/photo", toJPEG(t, landscape(800, 600)))
	flag := w.origin.serve("/pictures/flag", toPNG(t, corners(800, 600)))
	film := w.origin.serve("/pictures/film", toGIF(t, corners(400, 300), corners(400, 300)))
	still := w.origin.serve("/pictures/still", testdata(t, "still.webp"))
	s, ng := w.start(), w.front(site)

	type request struct {
		size, url, accept string
		kind              string
		varies            bool
	}
	var hots []func()
	for _, c := range []request{
		{"200x", photo, old, "image/jpeg", true},
		{"200x", photo, recent, "image/webp", true},
		{"200x", photo, current, "image/avif", true},
		{"200x", photo, "image/avif", "image/avif", true},
		{"200x", photo, "image/avif;q=0, image/webp", "image/webp", true},
		{"200x", photo, "*/*", "image/jpeg", true},
		{"photo", photo, old, "image/jpeg", true},
		{"photo", photo, recent, "image/webp", true},
		{"photo", photo, current, "image/webp", true},
		{"photo", photo, "image/avif", "image/jpeg", true},
		{"plain", photo, current, "image/jpeg", false},
		{"modern", photo, old, "image/avif", false},
		{"full", photo, current, "image/jpeg", false},
		// Four colours: nothing makes less of them than PNG does.
		{"100x", flag, old, "image/png", true},
		{"100x", flag, current, "image/png", true},
		// An animation stays one.
		{"100x", film, old, "image/gif", true},
		{"100x", film, recent, "image/webp", true},
		{"100x", film, current, "image/webp", true},
		{"100x", film, "image/avif", "image/gif", true},
		// What is WebP goes to everybody as ever.
		{"100x", still, old, "image/webp", true},
	} {
		// A fragment is no part of an image's URL, so that each has a link of its own.
		path := link("i", c.size, fmt.Sprint(c.url, "#", len(hots)))
		first := s.see(http.MethodGet, path, accepting(c.accept))
		etag := strings.Trim(strings.Split(strings.SplitAfter(first.header, "Etag: ")[1], "\n")[0], "[]`'\"\\")
		etag = `"` + etag + `"`
		type try struct {
			method string
			header http.Header
			status int
		}
		tries := []try{
			{http.MethodGet, accepting(c.accept), 200},
			{http.MethodHead, accepting(c.accept), 200},
			{http.MethodGet, accepting(c.accept, "Range", "bytes=1-9"), 206},
			{http.MethodGet, accepting(c.accept, "If-None-Match", etag), 304},
			{http.MethodGet, accepting(c.accept, "If-None-Match", `"other"`), 200},
			{http.MethodGet, accepting(c.accept, "If-Match", `"other"`), 412},
			{http.MethodGet, accepting(c.accept, "Range", "bytes=9999999-"), 416},
		}
		want := make([]seen, len(tries))
		for i, r := range tries {
			want[i] = s.see(r.method, path, r.header)
			what := fmt.Sprint(r.method, " ", c.size, " of ", c.url, " ", r.header)
			if want[i].status != r.status {
				t.Errorf("%s: status %d, want %d", what, want[i].status, r.status)
			}
			if r.status < 300 && !strings.Contains(want[i].header, fmt.Sprintf("Content-Type: [%q]", c.kind)) {
				t.Errorf("%s: %s, want %s", what, want[i].header, c.kind)
			}
			if varies := strings.Contains(want[i].header, `Vary: ["Accept"]`); r.status < 400 && varies != c.varies {
				t.Errorf("%s: Vary %v, want %v", what, varies, c.varies)
			}
			if warm := ng.see(r.method, link("i", c.size, fmt.Sprint(c.url, "#", len(hots), "-", i)), r.header); warm != want[i] {
				t.Errorf("%s, by X-Accel-Redirect:\ngot  %d %s\nwant %d %s", what, warm.status, warm.header, want[i].status, want[i].header)
			}
		}
		// As nginx asks: nginx has not looked for it yet.
		told := http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}, "Accept": {c.accept}}
		if a, err := s.request(t.Context(), http.MethodGet, path, told); err != nil || a.header.Get(nginx.HeaderRedirect) == "" {
			t.Fatalf("%v, %v", a.header, err)
		}
		hots = append(hots, func() {
			for i, r := range tries {
				if r.status == 416 {
					continue // which is imgkeep's to answer
				}
				if got := ng.see(r.method, path, r.header); got != want[i] {
					t.Errorf("%s %s of %s %v, hot:\ngot  %d %s\nwant %d %s", r.method, c.size, c.url, r.header, got.status, got.header, want[i].status, want[i].header)
				}
			}
		})
	}
	// The server holds its breath: nginx is on its own.
	s.signal(syscall.SIGSTOP)
	for _, hot := range hots {
		hot()
	}
	s.signal(syscall.SIGCONT)
	s.stop()
}

// All classes ask for a link at once that nobody has asked for before: each gets its
// own, and the image is fetched once.
func TestNegotiateAtOnce(t *testing.T) {
	t.Parallel()
	w, site := negotiating(t, nil)
	s, ng := w.start(), w.front(site)
	for n := range 3 {
		url := w.origin.serve(fmt.Sprint("/pictures/", n), toJPEG(t, landscape(800+n, 600)))
		var all sync.WaitGroup
		for accept, kind := range map[string]string{old: "image/jpeg", recent: "image/webp", current: "image/avif", "image/avif": "image/avif"} {
			for range 3 {
				all.Go(func() {
					if got := ng.see(http.MethodGet, link("i", "200x", url), accepting(accept)); got.status != 200 || !strings.Contains(got.header, fmt.Sprintf("Content-Type: [%q]", kind)) {
						t.Errorf("%s: %d, %s", accept, got.status, got.header)
					}
				})
			}
		}
		all.Wait()
		if asked := len(w.origin.asked(fmt.Sprint("/pictures/", n))); asked != 1 {
			t.Errorf("fetched %d times", asked)
		}
	}
	s.stop()
}

// made are the files made from images, without the digest, with what they lead to.
func (w *world) made() []string {
	var all []string
	for _, file := range w.files("i/?/?/*.*.*") {
		_, name, _ := strings.Cut(filepath.Base(file), ".")
		if to, err := os.Readlink(filepath.Join(w.root(), file)); err == nil {
			_, to, _ := strings.Cut(to, ".")
			name += " -> " + to
		}
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// madeWhen tells when they were made.
func (w *world) madeWhen() (all []string) {
	for _, file := range w.files("i/?/?/*.*.*") {
		info, err := os.Lstat(filepath.Join(w.root(), file))
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, fmt.Sprint(filepath.Base(file), " ", info.ModTime()))
	}
	return all
}

// What another format would make no smaller is made once, and not again for the next
// who asks. Everything that looks after the store knows what stands there.
func TestNegotiatedFiles(t *testing.T) {
	t.Parallel()
	w, _ := negotiating(t, settings{"handoff": "direct", "listen": "127.0.0.1:0", "resize.eager": []string{"x100"}})
	flag := w.origin.serve("/pictures/flag", toPNG(t, corners(800, 600)))
	s := w.start()
	for range 2 {
		s.ask(http.MethodGet, link("i", "100x", flag), accepting(current)).isImage("image/png")
	}
	// (A lossless WebP is smaller.)
	want := []string{"100x.avif -> 100x.png", "100x.png", "x100.avif -> x100.png", "x100.png", "x100.webp"}
	becomes(t, func() bool { return len(w.made()) >= len(want) }) // the eager ones come later
	if got := w.made(); !slices.Equal(got, want) {
		t.Errorf("made are %q, want %q", got, want)
	}
	before := w.madeWhen()
	s.ask(http.MethodGet, link("i", "100x", flag), accepting(current)).isImage("image/png")
	s.ask(http.MethodGet, link("i", "x100", flag), accepting(recent)).isImage("image/webp")
	if after := w.madeWhen(); !slices.Equal(before, after) {
		t.Errorf("made were %q, then %q", before, after)
	}
	if out, errs, status := w.imgkeep("scrub", "--quiet"); status != 0 || !strings.Contains(out, "clean") {
		t.Errorf("scrub: %d, %s%s", status, out, errs)
	}
	if out, errs, status := w.imgkeep("show", flag); status != 0 || !strings.Contains(out, "100x.avif") {
		t.Errorf("show: %d, %s%s", status, out, errs)
	}
	if body := string(s.get(link("i", "info", flag)).body); !strings.Contains(body, `"sizes":["100x","x100"]`) && !strings.Contains(body, `"sizes":["x100","100x"]`) {
		t.Errorf("info: %s", body)
	}
	// What it stands for is gone: both are made anew.
	for _, file := range w.files("i/?/?/*.100x.png") {
		if err := os.Remove(filepath.Join(w.root(), file)); err != nil {
			t.Fatal(err)
		}
	}
	s.ask(http.MethodGet, link("i", "100x", flag), accepting(current)).isImage("image/png")
	if out, errs, status := w.imgkeep("purge", flag); status != 0 {
		t.Errorf("purge: %d, %s%s", status, out, errs)
	}
	if left := w.made(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	s.stop()
}

// Populate makes what any class of viewers will ask for.
func TestNegotiatePopulate(t *testing.T) {
	t.Parallel()
	w, _ := negotiating(t, settings{"handoff": "direct", "listen": "127.0.0.1:0"})
	list := filepath.Join(w.dir, "list")
	text := w.origin.serve("/pictures/photo", toJPEG(t, landscape(800, 600))) + "\n" + w.origin.serve("/pictures/film", toGIF(t, corners(400, 300), corners(400, 300))) + "\n"
	if err := os.WriteFile(list, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs, status := w.imgkeep("populate", "--sizes", "100x,photo", list); status != 0 {
		t.Fatalf("status %d, %s%s", status, out, errs)
	}
	var got []string
	for _, name := range w.made() {
		size, rest, _ := strings.Cut(name, "-")
		if size == "photo" { // less the digest
			name = size + rest[strings.Index(rest, "."):]
		}
		got = append(got, name)
	}
	want := []string{"100x.avif", "100x.gif", "100x.jpg", "100x.webp", "100x.webp", "photo.gif", "photo.jpg", "photo.webp", "photo.webp"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("made are %q, want %q", got, want)
	}
}

// When what is negotiated changes, no hot link of before is left.
func TestNegotiateChanges(t *testing.T) {
	t.Parallel()
	w, site := negotiating(t, nil)
	url := w.origin.serve("/pictures/photo", toJPEG(t, landscape(800, 600)))
	s, ng := w.start(), w.front(site)
	for _, accept := range []string{old, recent, current} {
		ng.see(http.MethodGet, link("i", "200x", url), accepting(accept))
	}
	var places []string
	for _, path := range w.links() {
		places = append(places, strings.Split(strings.TrimPrefix(path, w.dir), "/")[3])
	}
	slices.Sort(places) // with the names that are tried before
	if places = slices.Compact(places); !slices.Equal(places, []string{"200x", "200x+avif+webp", "200x+webp"}) {
		t.Errorf("hot links in %q", places)
	}
	s.stop()
	w.set("resize.negotiate", []string{"webp"})
	s = w.start()
	if left := w.links(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
	s.ask(http.MethodGet, link("i", "200x", url), accepting(current)).isImage("image/webp")
	s.stop()
}

// A decoder that cannot write what is to be made stops the start.
func TestNoDecoderForAVIF(t *testing.T) {
	t.Parallel()
	w, _ := negotiating(t, nil)
	other := filepath.Join(w.dir, "other")
	script := "#!/bin/sh\nunset IMGKEEP_DECODER_OUTPUTS\nexec " + filepath.Join(w.bin(), "imgkeep-resize") + "\n"
	if err := os.WriteFile(other, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	w.set("resize.command", other)
	if _, stderr, status := w.imgkeep("serve"); status == 0 || !strings.Contains(stderr, "it writes the extra formats [], want [avif]") {
		t.Errorf("status %d, %s", status, stderr)
	}
	// A running server that was not told of AVIF refuses a preset that needs it.
	w.set("resize.command", "")
	w.set("resize.negotiate", []string{"webp"})
	w.set("presets", []settings{})
	s := w.start()
	w.set("presets", []settings{{"name": "modern", "width": 150, "format": "avif"}})
	if _, stderr, status := w.imgkeep("reload"); status != 1 || !strings.Contains(stderr, "decoders that write avif are started with the server: restart it") {
		t.Errorf("reload: status %d, %s", status, stderr)
	}
	s.stop()
}

// movingPNG is an animated PNG (W3C PNG, third edition, 13) of pictures that are of one size
// and kind, for 100 ms each.
func movingPNG(t testing.TB, pictures ...image.Image) []byte {
	t.Helper()
	chunk := func(kind string, data []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		b = append(append(b, kind...), data...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	numbers := func(all ...int) (b []byte) {
		for _, n := range all {
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		}
		return b
	}
	const head = 8 + 25
	var out []byte
	sequence := 0
	for i, m := range pictures {
		still := toPNG(t, m)
		if i == 0 {
			out = append(still[:head:head], chunk("acTL", numbers(len(pictures), 0))...)
		}
		b := m.Bounds()
		out = append(out, chunk("fcTL", append(numbers(sequence, b.Dx(), b.Dy(), 0, 0), 0, 10, 0, 100, 0, 0))...)
		sequence++
		for rest := still[head:]; string(rest[4:8]) == "IDAT"; {
			n := int(binary.BigEndian.Uint32(rest))
			data := rest[8 : 8+n]
			rest = rest[12+n:]
			if i == 0 {
				out = append(out, chunk("IDAT", data)...)
				continue
			}
			out = append(out, chunk("fdAT", append(numbers(sequence), data...))...)
			sequence++
		}
	}
	return append(out, chunk("IEND", nil)...)
}

// A size of an animated PNG moves for those who accept WebP, and by a preset in that format;
// for others it is the first frame. The original moves, and info says so.
func TestNegotiatedAPNG(t *testing.T) {
	t.Parallel()
	w, _ := negotiating(t, settings{"handoff": "direct", "listen": "127.0.0.1:0", "presets": []settings{
		{"name": "webp", "width": 150, "format": "webp"}, {"name": "still", "width": 150, "format": "webp", "animated": "first"},
	}})
	film := movingPNG(t, landscape(400, 300), noise(400, 300, 1), landscape(400, 300))
	url := w.origin.serve("/pictures/film", film)
	s := w.start()
	s.ask(http.MethodGet, link("i", "full", url), accepting(current)).isBytes("image/png", film)
	if info := s.get(link("i", "info", url)); !strings.Contains(string(info.body), `"frames":3`) {
		t.Errorf("info: %s", info.body)
	}
	moves := func(size, accept, kind string, want int) {
		t.Helper()
		a := s.ask(http.MethodGet, link("i", size, url), accepting(accept))
		a.isImage(kind)
		if got := bytes.Count(a.body, []byte("ANMF")) + bytes.Count(a.body, []byte("fcTL")); got != want {
			t.Errorf("%s for %s: %d frames, want %d", size, accept, got, want)
		}
	}
	moves("100x", old, "image/png", 0)
	moves("100x", recent, "image/webp", 3)
	moves("x200", current, "image/webp", 3) // AVIF does not move
	moves("x200", old, "image/png", 0)
	moves("webp", old, "image/webp", 3)
	moves("still", old, "image/webp", 0)
	s.stop()

	// The same setting as for other animations: what does not move is the original.
	w.set("resize.animation_excess", "original")
	second := w.origin.serve("/pictures/second", append(film[:len(film):len(film)], 0))
	s = w.start()
	s.ask(http.MethodGet, link("i", "100x", second), accepting(old)).isBytes("image/png", append(film[:len(film):len(film)], 0))
	s.stop()
}
