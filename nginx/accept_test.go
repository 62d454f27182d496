package nginx_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
)

// What browsers send, and what others may.
var accepted = []struct {
	accept     string
	avif, webp bool
}{
	{"", false, false},
	// Chrome, Firefox, Safari, curl; and a browser of 2010.
	{"image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", true, true},
	{"image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", true, true},
	{"image/webp,image/avif,image/jxl,image/heic,image/heic-sequence,video/*;q=0.8,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", true, true},
	{"*/*", false, false},
	{"image/png,image/*;q=0.8,*/*;q=0.5", false, false},

	{"image/avif", true, false},
	{"image/webp", false, true},
	{"IMAGE/AVIF, Image/WebP;Q=0.5", true, true},
	{"image/*", false, false},
	{"image/jpeg, image/webp", false, true},
	{" \timage/avif\t , \t image/webp ", true, true},
	{",,image/avif,,", true, false},
	{"image/avif;q=1, image/webp;q=1.000", true, true},
	{"image/avif;q=0.001, image/webp;q=0.999", true, true},
	{"image/avif; q=0.5\t,image/webp ;\tq=0.05", true, true},

	// Not wanted.
	{"image/avif;q=0, image/webp;q=0.000", false, false},
	{"image/avif;q=0., image/webp;q=0.00", false, false},
	{"image/avif;q=0,image/avif", true, false}, // it says both

	// No weight that there can be.
	{"image/avif;q=", false, false},
	{"image/avif;q=2, image/webp;q=1.1", false, false},
	{"image/avif;q=0.0001, image/webp;q=1.0000", false, false},
	{"image/avif;q=.5, image/webp;q=-1", false, false},
	{"image/avif;q=1e0, image/webp;q=0x1", false, false},
	{"image/avif;q = 1, image/webp;q=1 0", false, false},
	{"image/avif;q=0.5;q=0.5, image/webp;;", false, false},
	{"image/avif;, image/webp; ", false, false},
	// Other parameters.
	{"image/avif;level=1;q=1, image/webp;x", false, false},
	// Other types.
	{"image/avif-sequence, ximage/webp, image/webp2, image /webp, image/ webp", false, false},
	{"image/avif/x, /image/webp, text/image/webp", false, false},
	{"image/avifimage/webp", false, false},
	{"image/av\u0131f, \u0131mage/webp", false, false}, // a dotless i
	{"image/avif\x80, \xffimage/webp", false, false},
	{"image/avif image/webp", false, false},
	// Quotes could hide commas.
	{`text/html;x=",image/avif,"`, false, false},
	{`image/avif,text/html;x=""`, false, false},
	{`image/avif,"`, false, false},
	// At the limit, and beyond.
	{"image/avif," + strings.Repeat("a", 1024-11), true, false},
	{"image/avif," + strings.Repeat("a", 1025-11), false, false},
	{strings.Repeat("a,", 507) + "image/avif", true, false},
	{strings.Repeat(",", 1000) + "image/webp", false, true},
	{strings.Repeat("image/avif;q=0,", 60) + "image/webp", false, true},
	{strings.Repeat("image/avif,", 500), false, false},
	{strings.Repeat("\t", 900) + "image/avif" + strings.Repeat(" ", 100) + "x", false, false},
}

func TestAccepts(t *testing.T) {
	for _, c := range accepted {
		if avif, webp := nginx.Accepts(c.accept, "image/avif"), nginx.Accepts(c.accept, "image/webp"); avif != c.avif || webp != c.webp {
			t.Errorf("%.80q: avif %v, webp %v, want %v, %v", c.accept, avif, webp, c.avif, c.webp)
		}
	}
}

func offering(s *nginx.Site) {
	s.Extensions = []string{".jpg", ".png", ".webp", ".gif", ".avif"}
	s.Offers = []nginx.Offer{{Format: "avif", Sizes: []string{nginx.AnySize, "card"}}, {Format: "webp", Sizes: []string{nginx.AnySize, "banner"}}}
}

// told is what nginx tells imgkeep of an Accept header.
func told(t *testing.T, w *world, size, accept string) string {
	t.Helper()
	header := http.Header{}
	if accept != "" {
		header["Accept"] = []string{accept}
	}
	w.app.take()
	ask(t, w.client, "GET", w.URL+"/i/"+size+"/"+sigA+"/"+extURL, header)
	asked := w.app.take()
	if len(asked) != 1 {
		t.Fatalf("imgkeep was asked %d times", len(asked))
	}
	return strings.Join(asked[0].header["Accept"], " | ")
}

func canonical(avif, webp bool) string {
	return map[[2]bool]string{{true, true}: "image/avif, image/webp", {true, false}: "image/avif", {false, true}: "image/webp"}[[2]bool{avif, webp}]
}

// nginx finds in every Accept header what Accepts does, also in made up ones.
func TestNginxAndGoAgree(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) { offering(s) })
	for _, c := range accepted {
		if got, want := told(t, w, "150x", c.accept), canonical(c.avif, c.webp); got != want {
			t.Errorf("%.80q: %q, want %q", c.accept, got, want)
		}
	}
	// Pieces of what is right, in any order.
	pieces := []string{"image/avif", "image/webp", "IMAGE/WEBP", "image/avif,", ",image/webp", ",image/avif,", "image/webp;q=", ",", ",", ",", ", ", " ,", ";", ";q=", "q=", "0", "0.", "1", "1.0", "00", "0.5", ".", " ", "\t", "*/*", "image/*", "x", "=", `"`, "\x80", ";q=0", ";q=1", ";q=0.3"}
	random := rand.New(rand.NewPCG(1, 2))
	yes := 0
	for range 1500 {
		var b strings.Builder
		for range 1 + random.IntN(9) {
			b.WriteString(pieces[random.IntN(len(pieces))])
		}
		accept := strings.Trim(b.String(), " \t") // as whoever reads headers does
		avif, webp := nginx.Accepts(accept, "image/avif"), nginx.Accepts(accept, "image/webp")
		if got, want := told(t, w, "150x", accept), canonical(avif, webp); got != want {
			t.Errorf("%q: nginx %q, Accepts %q", accept, got, want)
		}
		if avif || webp {
			yes++
		}
	}
	if yes < 300 || yes > 1200 {
		t.Errorf("%d of 1500 named a format: the pieces are badly chosen", yes)
	}
	// Only what is offered is asked about.
	const both = "image/avif,image/webp"
	for size, want := range map[string]string{
		"150x": both, "x200": both, "250x250": both,
		"card": "image/avif", "banner": "image/webp", "avatar": "", "full": "", "info": "", "card2": "", "xcard": "",
	} {
		if got := told(t, w, size, both); strings.ReplaceAll(got, " ", "") != want {
			t.Errorf("%s: %q, want %q", size, got, want)
		}
	}
	// Without offers no Accept header arrives at all.
	w = newWorld(t, nginx.HotOptions{}, nil)
	if got := told(t, w, "150x", both); got != "" {
		t.Errorf("without offers: %q", got)
	}
}

// One signed link is hot for viewers of all accept sets. Each set has its own folder of hot
// links, and gets the files of no other, whatever their types.
func TestHotVariantDirs(t *testing.T) {
	w := newWorld(t, nginx.HotOptions{}, func(s *nginx.Site, _ *app) { offering(s) })
	expires := time.Now().Add(time.Hour)
	put := func(size string, formats []string, file string) {
		add(t, w.hot, "i", nginx.VariantDir(size, formats), sigA, filepath.Ext(file), filepath.Join(w.app.root, file), expires)
	}
	jpg, png := w.store(t, "i", "d.150x.jpg", 900), w.store(t, "i", "d.card.png", 901)
	avif, webp := w.store(t, "i", "d.150x.avif", 700), w.store(t, "i", "d.150x.webp", 800)
	put("150x", nil, jpg)
	put("150x", []string{"webp"}, webp)
	put("150x", []string{"avif"}, avif)
	put("150x", []string{"webp", "avif"}, avif)
	put("card", nil, png)
	put("card", []string{"avif"}, png) // the smaller of the two
	put("full", nil, jpg)

	for _, c := range []struct {
		size, accept  string
		kind          string
		length        int
		vary, asksApp bool
	}{
		{"150x", "", "image/jpeg", 900, true, false},
		{"150x", "image/jpeg,*/*", "image/jpeg", 900, true, false},
		{"150x", "image/webp", "image/webp", 800, true, false},
		{"150x", "image/avif", "image/avif", 700, true, false},
		{"150x", "image/webp,image/avif", "image/avif", 700, true, false},
		{"150x", "image/avif;q=0,image/webp", "image/webp", 800, true, false},
		{"card", "image/avif,image/webp", "image/png", 901, true, false},
		{"card", "image/webp", "image/png", 901, true, false},
		{"full", "image/avif,image/webp", "image/jpeg", 900, false, false},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := w.look(t, method, c.size, http.Header{"Accept": {c.accept}})
			if a.status != 200 || a.kind != c.kind || a.length != int64(c.length) || (a.vary == "Accept") != c.vary {
				t.Errorf("%s %s, %q: %+v", method, c.size, c.accept, a)
			}
		}
		for what, header := range map[string]http.Header{
			"206": {"Accept": {c.accept}, "Range": {"bytes=0-9"}},
			"304": {"Accept": {c.accept}, "If-Modified-Since": {"Tue, 03 Nov 2026 12:34:56 GMT"}},
		} {
			if a := w.look(t, "GET", c.size, header); fmt.Sprint(a.status) != what || (a.vary == "Accept") != c.vary {
				t.Errorf("%s, %q: %+v, want a %s", c.size, c.accept, a, what)
			}
		}
	}
	if asked := w.app.take(); len(asked) > 0 {
		t.Errorf("imgkeep was asked: %+v", asked)
	}
	// What is not hot for a class goes to imgkeep, though it is for others.
	if a := w.look(t, "GET", "banner", http.Header{"Accept": {"image/webp"}}); a.status != 403 || a.vary != "" || len(w.app.take()) != 1 {
		t.Errorf("not hot: %+v", a)
	}
	if err := w.hot.BeginRemoval(); err != nil {
		t.Error(err)
	}
	if n, err := w.hot.EndRemoval(false, func(target string) bool { return target != "/" }); n != 7 || err != nil {
		t.Errorf("%d links removed, %v", n, err)
	}
}

type seen struct {
	status     int
	kind, vary string
	length     int64
}

func (w *world) look(t *testing.T, method, size string, header http.Header) seen {
	t.Helper()
	req, err := http.NewRequest(method, w.URL+"/i/"+size+"/"+sigA+"/"+extURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return seen{resp.StatusCode, resp.Header.Get("Content-Type"), strings.Join(resp.Header.Values("Vary"), " | "), resp.ContentLength}
}

func TestVariantDir(t *testing.T) {
	for want, formats := range map[string][]string{
		"150x": nil, "150x+avif": {"avif"}, "150x+webp": {"webp"}, "150x+avif+webp": {"webp", "avif"},
	} {
		if got := nginx.VariantDir("150x", formats); got != want {
			t.Errorf("%v: %s, want %s", formats, got, want)
		}
	}
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir})
	for _, size := range []string{"150x+", "150x+gif", "150x+webp+avif", "150x+avif+avif", "+avif", "info+avif", "150x+avif/..", "150x.avif"} {
		if err := h.Add("i", size, sigA, ".jpg", "/var/lib/imgkeep/d.jpg", time.Now().Add(time.Hour)); err == nil {
			t.Errorf("%q: accepted", size)
		}
	}
	add(t, h, "i", strings.Repeat("s", 32)+"+avif+webp", sigA, ".avif", "/var/lib/imgkeep/d.avif", time.Now().Add(time.Hour))
}

// Offers are in the site in the order in which they are wanted; a site without them
// is as if there were no such thing.
func TestOffers(t *testing.T) {
	plain := render(t, nginx.Default())
	for _, word := range []string{"Vary", "Accept ", "avif", "imgkeep_first"} {
		if strings.Contains(plain, word) {
			t.Errorf("a site without offers speaks of %s", word)
		}
	}
	for _, order := range [][]string{{"avif", "webp"}, {"webp", "avif"}, {"webp"}} {
		s := nginx.Default()
		offering(&s)
		s.Offers = nil
		for _, f := range order {
			s.Offers = append(s.Offers, nginx.Offer{Format: f, Sizes: []string{nginx.AnySize}})
		}
		text := render(t, s)
		if slices.Contains(order, "avif") {
			want := fmt.Sprintf("\"+avif+webp\" \".%s\";", order[0])
			if !strings.Contains(text, want) {
				t.Errorf("%v: no %s in\n%s", order, want, text)
			}
		} else if strings.Contains(text, "takes_avif") {
			t.Errorf("%v: it asks for AVIF", order)
		}
	}
}
