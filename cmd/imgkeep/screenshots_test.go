package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// TestScreenshots makes the pictures of the moderators' page that stand in the documents:
// scripts/screenshots runs it. Without a folder to put them in it does nothing.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		t.Skip("SCREENSHOTS names no folder: see scripts/screenshots")
	}
	b := newBrowser(t)
	w, _, base := exhibition(t)
	b.join(w.invite(base, "anna", "admin"))
	w.invite(base, "bert", "view")
	if out, _, status := w.imgkeep("moderator", "token", "anna", "forum", "--role", "remove"); status != 0 {
		t.Fatal(out)
	}
	b.do(chromedp.Navigate(base + "/?state=kept"))
	first := evaluate[string](b, "document.querySelectorAll('.gallery .picture')[4].getAttribute('href')")
	// Something to see in the audit log and among the blocks.
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"), chromedp.KeyEvent("b"))
	b.shows("What will happen")
	b.shoot(dir, "remove", 1200, 900, "light")
	b.do(chromedp.SetValue(chromedp.CSS("select[name=why]"), "against the rules"), chromedp.SendKeys(chromedp.CSS("input[name=text]"), "report 4711"))
	b.press("Remove now")
	b.shows("were taken away")
	b.shoot(dir, "removed", 1200, 700, "light")
	b.do(chromedp.Navigate(base + "/"))
	b.shows("Kept")
	b.do(chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("j"), chromedp.KeyEvent("x"))
	for _, scheme := range []string{"light", "dark"} {
		b.shoot(dir, "gallery-"+scheme, 1280, 860, scheme)
		b.shoot(dir, "gallery-phone-"+scheme, 390, 780, scheme)
	}
	for _, c := range []struct {
		name, path string
		wide, high int64
		scheme     string
	}{
		{"image", first, 1200, 820, "light"}, {"image-phone", first, 390, 900, "dark"},
		{"failed", "/?state=failed", 1200, 620, "light"}, {"blocked", "/?state=blocked", 1200, 480, "light"},
		{"hosts", "/hosts", 1200, 780, "light"}, {"figures", "/figures", 1280, 1130, "dark"}, {"similar", "/similar", 1200, 640, "light"}, {"audit", "/audit", 1200, 700, "light"}, {"accounts", "/accounts", 1200, 420, "light"},
	} {
		b.do(chromedp.Navigate(base + c.path))
		b.shows("Search")
		b.shoot(dir, c.name, c.wide, c.high, c.scheme)
	}
	b.other().signInShot(dir, base)
}

func (b *browser) signInShot(dir, base string) {
	b.do(chromedp.Navigate(base + "/"))
	b.shows("Sign in")
	b.shoot(dir, "sign-in", 900, 560, "light")
}

// shoot writes what a browser shows into a file.
func (b *browser) shoot(dir, name string, width, height int64, scheme string) {
	b.t.Helper()
	b.look(scheme)
	b.do(b.size(width, height))
	evaluate[bool](b, "Promise.all([...document.images].map(i => { i.loading = 'eager'; return i.decode().catch(() => 0); })).then(() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(() => r(true)))))")
	quality := int64(82)
	shot := call(b, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatWebp, Quality: &quality})
	if err := os.WriteFile(filepath.Join(dir, name+".webp"), shot.Data, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// exhibition is a server that keeps pictures of many hosts, made up.
func exhibition(t *testing.T) (w *world, s *server, base string) {
	t.Helper()
	w = newWorld(t, settings{"sizes": []int{150, 250, 500}, "page.listen": "127.0.0.1:0", "resize.workers": 2, "likeness": "on"})
	s = w.start()
	hosts := []string{"i.imgur.example", "photos.hiking.example", "cdn.forum.example", "pics.garden.example", "static.shop.example", "upload.wiki.example"}
	random := rand.New(rand.NewPCG(7, 1))
	for n := range 36 {
		host := hosts[int(float64(len(hosts))*random.Float64()*random.Float64())]
		file := filepath.Join(w.dir, "picture.jpg")
		if err := os.WriteFile(file, hills(t, uint64(n), 640+160*(n%3), 480+120*(n%2)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, stderr, status := w.imgkeep("add", "--bucket", "i", "--url", fmt.Sprintf("https://%s/2026/11/%s-%d.jpg", host, []string{"sunset", "ridge", "lake", "morning"}[n%4], 4000+37*n), file); status != 0 {
			t.Fatal(out, stderr)
		}
	}
	w.spread(s)
	w.busyWeek()
	s = w.start()
	base, _ = s.logged("serving the moderators' page")["url"].(string)
	for _, url := range []string{w.origin.refuse("/gone/1.jpg", 404), w.origin.refuse("/private/2.jpg", 403), w.origin.serve("/pages/3.jpg", []byte("<!DOCTYPE html><title>Photo not available</title><p>Sign in to see this photo"))} {
		s.get(link("i", "full", url))
	}
	return w, s, base
}

// spread dates what is kept back, over half a year, in the journal of which the next start
// makes a new index.
func (w *world) spread(s *server) {
	w.t.Helper()
	s.stop()
	files := w.files("i/journal/*.ndjson")
	text, err := os.ReadFile(filepath.Join(w.root(), files[0]))
	if err != nil {
		w.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	sum := regexp.MustCompile(`,"sum":"[0-9a-f]{8}"}$`)
	now := time.Now().UTC()
	for i, line := range lines {
		back := len(lines) - 1 - i
		at := now.Add(-time.Duration(math.Pow(float64(back), 2.35)*1.05*float64(time.Hour)) - 7*time.Minute)
		lines[i] = sum.ReplaceAllString(`{"time":"`+at.Format(time.RFC3339)+line[strings.Index(line, `","op"`):], "}")
	}
	for _, err := range []error{
		os.WriteFile(filepath.Join(w.root(), files[0]), []byte(strings.Join(lines, "\n")+"\n"), 0o600), os.Remove(filepath.Join(w.root(), "index.db")),
	} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

// busyWeek makes up how the server did in the last three days.
func (w *world) busyWeek() {
	w.t.Helper()
	random := rand.New(rand.NewPCG(5, 8))
	var samples []map[string]any
	now := time.Now().UTC()
	for n := 3 * 24 * 12; n > 0; n-- {
		at := now.Add(-time.Duration(n) * 5 * time.Minute)
		day := .35 + .65*math.Pow(math.Sin(math.Pi*(float64(at.Hour())+float64(at.Minute())/60)/24), 2)
		of := func(n float64) int { return int(n * day * (.7 + .6*random.Float64())) }
		samples = append(samples, map[string]any{
			"at": at.Format(time.RFC3339), "warm": of(420), "cold": of(60), "failed": of(14), "hot": 900 + of(600),
			"fetch_wait": float64(of(900)) / 100, "resize_wait": float64(of(300)) / 100,
		})
	}
	text, err := json.Marshal(samples)
	if err == nil {
		err = os.WriteFile(filepath.Join(w.root(), "trend.json"), text, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// hills is a picture of hills under a sky, another one for each seed.
func hills(t *testing.T, seed uint64, width, height int) []byte {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	hue := random.Float64()
	shade := func(h, s, v float64) [3]float64 {
		k := func(n float64) float64 {
			x := math.Mod(n+h*6, 6)
			return v - v*s*max(0, min(x, 4-x, 1))
		}
		return [3]float64{k(5), k(3), k(1)}
	}
	top, low := shade(hue, .55, .55+.35*random.Float64()), shade(math.Mod(hue+.08, 1), .35, 1)
	sunX, sunY, sun := random.Float64(), .15+.35*random.Float64(), .05+.06*random.Float64()
	type ridge struct{ base, phase, freq, amp, depth float64 }
	var ridges []ridge
	for n := range 4 {
		ridges = append(ridges, ridge{.48 + .14*float64(n), 6 * random.Float64(), 3 + 6*random.Float64(), .03 + .06*random.Float64(), float64(n)})
	}
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			u, v := float64(x)/float64(width), float64(y)/float64(height)
			c := [3]float64{}
			for i := range c {
				c[i] = top[i] + (low[i]-top[i])*min(1, v*1.6)
			}
			if d := math.Hypot(u-sunX, (v-sunY)*float64(height)/float64(width)); d < sun {
				c = [3]float64{1, .95, .8}
			}
			for _, r := range ridges {
				line := r.base + r.amp*(math.Sin(r.freq*u*2+r.phase)+.5*math.Sin(2.7*r.freq*u+r.phase*3))
				if v > line {
					c = shade(math.Mod(hue+.45+.03*r.depth, 1), .3+.12*r.depth, .75-.16*r.depth)
				}
			}
			grain := (random.Float64() - .5) * .03
			m.Set(x, y, color.RGBA{uint8(255 * max(0, min(1, c[0]+grain))), uint8(255 * max(0, min(1, c[1]+grain))), uint8(255 * max(0, min(1, c[2]+grain))), 255})
		}
	}
	var out bytes.Buffer
	if err := jpeg.Encode(&out, m, &jpeg.Options{Quality: 85}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
