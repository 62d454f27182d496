package server_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// withPresets is a site with presets, which may be changed until then.
func withPresets(presets map[string]*resize.Preset) func(*bucket.Options, *server.Options) {
	return func(_ *bucket.Options, o *server.Options) { o.Presets = presets }
}

// A preset's name is a size: it is asked for once, made as it says, stored under
// its name and definition, and served in its format.
func TestPreset(t *testing.T) {
	avatar := &resize.Preset{Width: 8, Height: 8, Fit: "cover", Format: "png"}
	presets := map[string]*resize.Preset{"avatar": avatar}
	s := newSite(t, withPresets(presets))
	delete(presets, "avatar") // changes nothing any more
	url := s.origin.put("cat", toJPEG(t, 40, 30))
	made := toPNG(t, 8, 8)
	s.decoder.answer = results(result(t, made))
	for range 2 {
		w := s.get(s.link("avatar", url))
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), made) || w.Header().Get("Content-Type") != "image/png" {
			t.Fatalf("status %d, %s, %d bytes", w.Code, w.Header().Get("Content-Type"), w.Body.Len())
		}
	}
	if len(s.decoder.jobs) != 1 || s.decoder.jobs[0].Format != "jpeg" || s.decoder.jobs[0].Targets[0] != (resize.Target{Preset: avatar}) {
		t.Errorf("jobs %+v", s.decoder.jobs)
	}
	image, err := s.store.Find("i", url)
	if err != nil {
		t.Fatal(err)
	}
	name := "avatar-" + avatar.Digest() + ".png"
	if made, err := s.store.VariantNames(image); err != nil || !slices.Equal(made, []string{name}) {
		t.Errorf("stored are %v, %v, want %s", made, err, name)
	}
	if body := s.get(s.link("info", url)).Body.String(); !strings.Contains(body, `"sizes":["avatar"]`) {
		t.Errorf("info says %s", body)
	}
	checkError(t, "another name", s.get(s.link("avatars", url)), 400, "size")
	checkError(t, "the name of a file", s.get(s.link("avatar-"+avatar.Digest(), url)), 400, "size")
	checkError(t, "not stored", s.get(s.proxyLink("avatar", url)), 400, "proxy-size")
}

// When the definition changes, what was made by the old one is not served as the
// new, nor told of.
func TestPresetChanges(t *testing.T) {
	for name, changed := range map[string]*resize.Preset{
		"side": {Width: 9}, "colour": {Width: 8, Brightness: 5},
		"watermark": {Width: 8, Watermark: &resize.Watermark{Format: "png", Picture: []byte("x")}},
	} {
		var o server.Options
		s := newSite(t, func(_ *bucket.Options, so *server.Options) {
			so.Presets = map[string]*resize.Preset{"small": {Width: 8}}
			o = *so
		})
		url := s.origin.put("cat", toPNG(t, 80, 40))
		s.decoder.answer = results(result(t, toPNG(t, 8, 4)))
		if w := s.get(s.link("small", url)); w.Code != 200 {
			t.Fatalf("status %d", w.Code)
		}
		o.Store, o.Presets = s.store, map[string]*resize.Preset{"small": changed}
		var err error
		if s.handler, err = server.New(o); err != nil {
			t.Fatal(err)
		}
		if body := s.get(s.link("info", url)).Body.String(); !strings.Contains(body, `"sizes":[]`) {
			t.Errorf("%s: info says %s", name, body)
		}
		again := toPNG(t, changed.Width, changed.Width/2+changed.Width%2)
		s.decoder.answer = results(result(t, again))
		if w := s.get(s.link("small", url)); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), again) || len(s.decoder.jobs) != 2 {
			t.Errorf("%s: status %d, made %d times", name, w.Code, len(s.decoder.jobs))
		}
	}
}

// A hot link leads to the file of the present definition, by the extension of its
// own format.
func TestPresetHotLink(t *testing.T) {
	avatar := &resize.Preset{Width: 8, Format: "png"}
	s := newSite(t, func(_ *bucket.Options, o *server.Options) {
		o.Presets, o.Handoff = map[string]*resize.Preset{"avatar": avatar}, true
	})
	url := s.origin.put("cat", toJPEG(t, 40, 20))
	s.decoder.answer = results(result(t, toPNG(t, 8, 4)))
	path := s.link("avatar", url)
	w := s.ask("GET", path, map[string][]string{"X-Imgkeep-Handoff": {"nginx"}})
	if to := w.Header().Get("X-Accel-Redirect"); !strings.HasSuffix(to, ".avatar-"+avatar.Digest()+".png") {
		t.Errorf("handed over to %q", to)
	}
	links := s.hot.take()
	if len(links) != 1 || !strings.HasPrefix(links[0], "i avatar ") || !strings.Contains(links[0], " .png ") || !strings.Contains(links[0], "avatar-"+avatar.Digest()+".png ") {
		t.Errorf("hot links %q", links)
	}
}

// What a decoder sends must be what the preset asked for.
func TestPresetImpossible(t *testing.T) {
	presets := map[string]*resize.Preset{
		"cover": {Width: 10, Height: 10, Fit: "cover"}, "card": {Width: 10, Height: 10, Fit: "contain", Format: "png"},
		"turned": {Width: 10, Rotate: 90}, "trimmed": {Width: 10, Height: 12, Trim: 5},
		"padded": {Width: 10, Padding: resize.Padding{Left: 3, Bottom: 2}}, "first": {Animated: "first"},
	}
	s := newSite(t, withPresets(presets))
	for i, c := range []struct {
		preset string
		made   []byte
		ok     bool
	}{
		{"cover", toJPEG(t, 10, 10), true}, {"cover", toJPEG(t, 10, 9), false}, {"cover", toPNG(t, 10, 10), false},
		{"card", toPNG(t, 10, 10), true}, {"card", toJPEG(t, 10, 10), false}, {"card", toPNG(t, 10, 8), false},
		{"turned", toJPEG(t, 10, 13), true}, {"turned", toJPEG(t, 10, 8), true /* of an orientation that only it reads */}, {"turned", toJPEG(t, 13, 10), false},
		{"trimmed", toJPEG(t, 10, 12), true}, {"trimmed", toJPEG(t, 1, 1), true}, {"trimmed", toJPEG(t, 11, 12), false}, {"trimmed", toJPEG(t, 10, 13), false},
		{"padded", toJPEG(t, 13, 10), true}, {"padded", toJPEG(t, 10, 8), false},
	} {
		url := s.origin.put(fmt.Sprint(i), append(toJPEG(t, 40, 30), fmt.Sprint(i)...))
		s.decoder.answer = results(result(t, c.made))
		w := s.get(s.link(c.preset, url))
		if c.ok && (w.Code != 200 || !bytes.Equal(w.Body.Bytes(), c.made)) {
			t.Errorf("%s, case %d: status %d", c.preset, i, w.Code)
		} else if !c.ok {
			checkError(t, fmt.Sprintf("%s, case %d", c.preset, i), w, 503, "resize-crashed")
		}
	}
}

// The original may stand for what a preset makes of it, but only where it looks
// the same; and for an animation that is too large, where that is chosen.
func TestOriginalForPreset(t *testing.T) {
	presets := map[string]*resize.Preset{
		"small": {Width: 10, JPEGQuality: 90}, "turned": {Width: 10, Rotate: 180}, "webp": {Width: 10, Format: "png"}, "first": {Width: 10, Animated: "first"},
		"small-animation": {Width: 5},
	}
	larger := func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, 5000)...) }
	still, moving := toJPEG(t, 9, 9), toGIF(t, 10, 10, 3)
	for _, whole := range []bool{false, true} {
		s := newSite(t, func(_ *bucket.Options, o *server.Options) {
			o.Presets, o.WholeAnimations = presets, whole
		})
		for i, c := range []struct {
			size         string
			source, made []byte
			original     bool
		}{
			{"small", still, larger(still), true},
			{"small", larger(still), still, false},
			{"turned", still, larger(still), false},
			{"webp", still, larger(toPNG(t, 9, 9)), false},
			{"first", moving, toGIF(t, 10, 10, 1), false},
			{"first", toGIF(t, 10, 10, 1), larger(toGIF(t, 10, 10, 1)), false},
			{"small-animation", moving, toGIF(t, 5, 5, 1), whole},
			{"small-animation", moving, toGIF(t, 5, 5, 3), false},
			{"small-animation", toGIF(t, 10, 10, 1), toGIF(t, 5, 5, 1), false},
			{"x10", toGIF(t, 20, 20, 3), toGIF(t, 10, 10, 1), whole},
			{"x10", toGIF(t, 20, 20, 3), toGIF(t, 10, 10, 3), false},
		} {
			source := append(bytes.Clone(c.source), fmt.Sprint(i)...)
			url := s.origin.put(fmt.Sprint(i), source)
			s.decoder.answer = results(result(t, c.made))
			want := c.made
			if c.original {
				want = source
			}
			if w := s.get(s.link(c.size, url)); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) {
				t.Errorf("whole %v, case %d (%s): status %d, %d bytes, want %d", whole, i, c.size, w.Code, w.Body.Len(), len(want))
			}
		}
	}
}
