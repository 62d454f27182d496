package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// webp reads a WebP, or an AVIF: Go has no encoder. lossy.webp is 17 x 11, gif2webp.webp 15 x 9
// in 4 frames.
func webp(t testing.TB, name string, padding int) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../../../bucket/probe/testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return append(data, make([]byte, padding)...)
}

// negotiating is a site that offers sizes in WebP. Its decoder makes what is asked for
// of what it is given, by format.
func negotiating(t *testing.T, change func(*bucket.Options, *server.Options)) (*site, map[string][]byte) {
	t.Helper()
	s := newSite(t, func(b *bucket.Options, o *server.Options) {
		o.Sizes, o.Handoff = []int{9, 11, 15, 17}, true
		o.Negotiate = map[string][]string{nginx.AnySize: {"webp"}}
		if change != nil {
			change(b, o)
		}
	})
	made := map[string][]byte{}
	s.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
		var all []resize.Result
		for _, target := range j.Targets {
			all = append(all, result(t, made[target.FormatOf(j.Format)]))
		}
		return all, nil
	}
	return s, made
}

// formats are those of the targets of each job since the last call.
func (s *site) formats() (all []string) {
	s.decoder.mu.Lock()
	defer s.decoder.mu.Unlock()
	for _, j := range s.decoder.jobs {
		var targets []string
		for _, target := range j.Targets {
			targets = append(targets, target.FormatOf(j.Format))
		}
		slices.Sort(targets)
		all = append(all, strings.Join(targets, "+"))
	}
	s.decoder.jobs = nil
	return all
}

// gets asks as a viewer who accepts, and as nginx does for them, and checks which file
// both get, and where the hot link of it is.
func (s *site) gets(path, accept string, want []byte, kind, class string) {
	s.t.Helper()
	w := s.ask(http.MethodGet, path, http.Header{"Accept": {accept}})
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) || w.Header().Get("Content-Type") != kind || w.Header().Get("Vary") != "Accept" {
		s.t.Errorf("%q: %d, %d bytes, %v", accept, w.Code, w.Body.Len(), w.Header())
	}
	s.hot.take()
	w = s.ask(http.MethodGet, path, http.Header{"Accept": {accept}, nginx.HeaderHandoff: {nginx.HandoffNginx}})
	file, err := os.ReadFile(filepath.Join(s.store.Root(), strings.TrimPrefix(w.Header().Get(nginx.HeaderRedirect), nginx.InternalPrefix)))
	if err != nil || !bytes.Equal(file, want) || w.Header().Get("Content-Type") != kind {
		s.t.Errorf("%q, handed over: %v, %v", accept, w.Header(), err)
	}
	if links := s.hot.take(); len(links) != 1 || !strings.HasPrefix(links[0], "i "+class+" ") {
		s.t.Errorf("%q: hot links %q, want one in %s", accept, links, class)
	}
}

const likesWebP = "image/webp,*/*;q=0.8"

// Both pictures come from one decoding, the smaller is kept, and each class has its
// own. What is there is not made again.
func TestConverted(t *testing.T) {
	s, made := negotiating(t, nil)
	made["jpeg"], made["webp"] = toJPEG(t, 17, 11), webp(t, "lossy.webp", 0)
	url := s.origin.put("cat", toJPEG(t, 34, 22))
	path := s.link("11x", url)
	s.gets(path, likesWebP, made["webp"], "image/webp", "11x+webp")
	s.gets(path, "*/*", made["jpeg"], "image/jpeg", "11x")
	if jobs := s.formats(); !slices.Equal(jobs, []string{"jpeg+webp"}) {
		t.Errorf("jobs %q", jobs)
	}
	// Where the one is there, only the other is made.
	path = s.link("x17", url)
	s.gets(path, "*/*", made["jpeg"], "image/jpeg", "x17")
	s.gets(path, likesWebP, made["webp"], "image/webp", "x17+webp")
	if jobs := s.formats(); !slices.Equal(jobs, []string{"jpeg", "webp"}) {
		t.Errorf("jobs %q", jobs)
	}
	// Nothing else varies.
	if w := s.ask(http.MethodGet, s.link("full", url), http.Header{"Accept": {likesWebP}}); w.Code != 200 || w.Header().Get("Vary") != "" {
		t.Errorf("full: %d, %v", w.Code, w.Header())
	}
}

// What is not smaller is dropped, and so it is remembered: a byte decides.
func TestConvertedIsNoSmaller(t *testing.T) {
	plain := toJPEG(t, 17, 11)
	for padding, smaller := range map[int]bool{len(plain) - 92 - 1: true, len(plain) - 92: false} {
		s, made := negotiating(t, nil)
		made["jpeg"], made["webp"] = plain, webp(t, "lossy.webp", padding)
		url := s.origin.put("cat", toJPEG(t, 34, 22))
		want, kind := plain, "image/jpeg"
		if smaller {
			want, kind = made["webp"], "image/webp"
		}
		for range 2 {
			s.gets(s.link("11x", url), likesWebP, want, kind, "11x+webp")
		}
		if jobs := s.formats(); len(jobs) != 1 {
			t.Errorf("jobs %q", jobs)
		}
	}
}

// The original, too, is smaller than what is converted.
func TestOriginalIsSmaller(t *testing.T) {
	s, made := negotiating(t, nil)
	source := toPNG(t, 17, 11)
	made["png"], made["webp"] = append(slices.Clone(source), 0), webp(t, "lossy.webp", len(source)-92)
	s.gets(s.link("11x", s.origin.put("cat", source)), likesWebP, source, "image/png", "11x+webp")
}

// An image that cannot be converted, by its fault, is served as it is otherwise, and
// not tried again; it is not held to be poison for that.
func TestCannotBeConverted(t *testing.T) {
	for name, fault := range map[string]error{
		"refused": &resize.ImageError{TooLarge: true, Detail: "20000 by 2 pixels are too many for webp"},
		"poison":  fmt.Errorf("%w: %w", resize.ErrCrashed, resize.ErrPoison),
	} {
		s, made := negotiating(t, nil)
		made["jpeg"] = toJPEG(t, 17, 11)
		well := s.decoder.answer
		s.decoder.answer = func(source []byte, j resize.Job) ([]resize.Result, error) {
			for _, target := range j.Targets {
				if target.FormatOf(j.Format) == "webp" {
					return nil, fault
				}
			}
			return well(source, j)
		}
		url := s.origin.put("cat", toJPEG(t, 34, 22))
		for range 4 {
			s.gets(s.link("11x", url), likesWebP, made["jpeg"], "image/jpeg", "11x+webp")
		}
		if jobs := s.formats(); !slices.Equal(jobs, []string{"jpeg+webp", "jpeg", "webp"}) {
			t.Errorf("%s: jobs %q", name, jobs)
		}
		s.gets(s.link("x17", url), "*/*", made["jpeg"], "image/jpeg", "x17")
	}
}

// While no decoder has time, who accepts more gets at least what is there: without a
// hot link, so that they get the better one later.
func TestNotConvertedNow(t *testing.T) {
	s, made := negotiating(t, nil)
	made["jpeg"], made["webp"] = toJPEG(t, 17, 11), webp(t, "lossy.webp", 0)
	url := s.origin.put("cat", toJPEG(t, 34, 22))
	path := s.link("11x", url)
	s.gets(path, "*/*", made["jpeg"], "image/jpeg", "11x")
	s.decoder.ready = func() error { return resize.ErrBusy }
	w := s.ask(http.MethodGet, path, http.Header{"Accept": {likesWebP}, nginx.HeaderHandoff: {nginx.HandoffNginx}})
	if w.Code != 200 || w.Header().Get("Content-Type") != "image/jpeg" || len(s.hot.take()) != 0 {
		t.Errorf("busy: %d, %v", w.Code, w.Header())
	}
	checkError(t, "nothing there", s.ask(http.MethodGet, s.link("x17", url), http.Header{"Accept": {likesWebP}}), 503, "busy")
	s.decoder.ready = nil
	s.gets(path, likesWebP, made["webp"], "image/webp", "11x+webp")
}

// An animation stays one: where the two together would have lost frames, each is made
// by itself.
func TestConvertedAnimation(t *testing.T) {
	s, made := negotiating(t, nil)
	made["gif"], made["webp"] = append(toGIF(t, 15, 9, 4), make([]byte, 2000)...), webp(t, "gif2webp.webp", 0)
	well := s.decoder.answer
	s.decoder.answer = func(source []byte, j resize.Job) ([]resize.Result, error) {
		all, err := well(source, j)
		for i := range all {
			if len(all) > 1 {
				all[i].Frames = 1
			}
		}
		return all, err
	}
	source := append(toGIF(t, 30, 18, 4), make([]byte, 9000)...)
	url := s.origin.put("film", source)
	s.gets(s.link("9x", url), likesWebP, made["webp"], "image/webp", "9x+webp")
	s.gets(s.link("9x", url), "*/*", made["gif"], "image/gif", "9x")
	if jobs := s.formats(); !slices.Equal(jobs, []string{"gif+webp", "gif", "webp"}) {
		t.Errorf("jobs %q", jobs)
	}
}

// AVIF takes no animation: the next format that is accepted does, or none.
func TestAnimationIsNotStilled(t *testing.T) {
	s, made := negotiating(t, func(_ *bucket.Options, o *server.Options) {
		o.Negotiate = map[string][]string{nginx.AnySize: {"avif", "webp"}}
	})
	made["gif"], made["webp"] = append(toGIF(t, 15, 9, 4), make([]byte, 2000)...), webp(t, "gif2webp.webp", 0)
	url := s.origin.put("film", append(toGIF(t, 30, 18, 4), make([]byte, 9000)...))
	s.gets(s.link("9x", url), "image/avif", made["gif"], "image/gif", "9x+avif")
	s.gets(s.link("9x", url), "image/webp,image/avif", made["webp"], "image/webp", "9x+avif+webp")
	s.gets(s.link("9x", url), "image/webp", made["webp"], "image/webp", "9x+webp")
	if jobs := s.formats(); !slices.Equal(jobs, []string{"gif", "webp"}) {
		t.Errorf("jobs %q", jobs)
	}
}

// The first format that is accepted counts, in the operator's order; also where it is
// the source's own.
func TestOrderOfFormats(t *testing.T) {
	for order, want := range map[string]string{"webp avif": "webp", "avif webp": "avif+webp"} {
		s, made := negotiating(t, func(_ *bucket.Options, o *server.Options) {
			o.Negotiate = map[string][]string{nginx.AnySize: strings.Fields(order)}
		})
		made["webp"] = webp(t, "lossy.webp", 0)
		well := s.decoder.answer
		s.decoder.answer = func(source []byte, j resize.Job) ([]resize.Result, error) {
			if len(j.Targets) == 1 && j.Targets[0].Format == "avif" || len(j.Targets) > 1 {
				return nil, &resize.ImageError{Detail: "the test has no AVIF"}
			}
			return well(source, j)
		}
		url := s.origin.put("still", webp(t, "lossy.webp", 500))
		s.gets(s.link("11x", url), "image/avif,image/webp", made["webp"], "image/webp", "11x+avif+webp")
		if jobs := s.formats(); jobs[0] != want {
			t.Errorf("%s: jobs %q, want %q first", order, jobs, want)
		}
	}
}

// Populate makes what all classes get, from one decoding; and one by one where a
// conversion is refused, but not where it is the image.
func TestPopulateConverts(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails func(formats []string) bool
		jobs  []string
		made  int
	}{
		{"well", func([]string) bool { return false }, []string{"jpeg+webp"}, 2},
		{"no WebP can be made", func(f []string) bool { return slices.Contains(f, "webp") }, []string{"jpeg+webp", "jpeg", "webp"}, 2},
		{"broken", func([]string) bool { return true }, []string{"jpeg+webp", "jpeg"}, 0},
	} {
		s, made := negotiating(t, nil)
		made["jpeg"], made["webp"] = toJPEG(t, 17, 11), webp(t, "lossy.webp", 0)
		well := s.decoder.answer
		s.decoder.answer = func(source []byte, j resize.Job) ([]resize.Result, error) {
			var formats []string
			for _, target := range j.Targets {
				formats = append(formats, target.FormatOf(j.Format))
			}
			if c.fails(formats) {
				return nil, &resize.ImageError{Detail: "by this test"}
			}
			return well(source, j)
		}
		p, err := server.NewPopulator(server.Options{
			Store: s.store, Resizer: s.decoder, Sizes: []int{11}, Negotiate: map[string][]string{nginx.AnySize: {"webp"}},
		}, 2)
		if err != nil {
			t.Fatal(err)
		}
		done, err := p.Populate(t.Context(), "i", s.origin.put("cat", toJPEG(t, 34, 22)), []string{"11x"})
		if done.Made != c.made || (err == nil) != (c.made > 0) {
			t.Errorf("%s: %d made, %v", c.name, done.Made, err)
		}
		if jobs := s.formats(); !slices.Equal(jobs, c.jobs) {
			t.Errorf("%s: jobs %q, want %q", c.name, jobs, c.jobs)
		}
	}
}

// An AVIF is recognised by our own parser too, whatever a decoder says that it is.
func TestConvertedImpossible(t *testing.T) {
	good := webp(t, "still.avif", 0)
	sides := result(t, good)
	for name, c := range map[string]struct {
		data []byte
		ok   bool
	}{
		"an AVIF":    {good, true},
		"HTML":       {append(slices.Clone(good[:12]), "<html><script>alert(1)</script>"...), false},
		"cut off":    {good[:len(good)-1], false},
		"other size": {webp(t, "turned.avif", 0), false},
	} {
		s, made := negotiating(t, func(_ *bucket.Options, o *server.Options) {
			o.Sizes, o.Negotiate = []int{sides.Height}, map[string][]string{nginx.AnySize: {"avif"}}
		})
		made["jpeg"] = append(toJPEG(t, sides.Width, sides.Height), make([]byte, 1000)...)
		well := s.decoder.answer
		s.decoder.answer = func(source []byte, j resize.Job) ([]resize.Result, error) {
			var all []resize.Result
			for _, target := range j.Targets {
				r := sides
				if r.Data = c.data; target.FormatOf(j.Format) != "avif" {
					one, err := well(source, resize.Job{Format: j.Format, Targets: []resize.Target{target}})
					if err != nil {
						return nil, err
					}
					r = one[0]
				}
				all = append(all, r)
			}
			return all, nil
		}
		want, kind := made["jpeg"], "image/jpeg"
		if c.ok {
			want, kind = good, "image/avif"
		}
		url := s.origin.put("cat", toJPEG(t, 2*sides.Width, 2*sides.Height))
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.gets(s.link(fmt.Sprintf("%dx", sides.Height), url), "image/avif", want, kind, fmt.Sprintf("%dx+avif", sides.Height))
		})
	}
}
