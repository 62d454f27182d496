package main_test

import (
	"encoding/json"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// waves is a picture of soft shapes, others for another seed, mirrored or not.
func waves(w, h int, seed uint64, mirrored bool) image.Image {
	r := rand.New(rand.NewPCG(seed, 4))
	type wave struct{ x, y, phase float64 }
	all := make([]wave, 40)
	for i := range all {
		all[i] = wave{40 * r.Float64(), 80*r.Float64() - 40, 6 * r.Float64()}
	}
	m := image.NewGray(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			u, v := float64(x)/float64(w), float64(y)/float64(h)
			if mirrored {
				u = 1 - u
			}
			sum := 128.0
			for _, a := range all {
				sum += 20 * math.Sin(a.x*u+a.y*v+a.phase)
			}
			m.SetGray(x, y, color.Gray{Y: uint8(min(max(sum, 0), 255))})
		}
	}
	return m
}

// What comes back of an image that was removed, smaller, in another format or mirrored, is
// kept out, whatever link asks for it; and what is let through is shown.
func TestLookAlikes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"likeness": "on"})
	o := w.origin
	const cat, dog = 1, 2
	catURL := o.serve("/pictures/cat", toJPEG(t, waves(640, 420, cat, false)))
	copyURL := o.serve("/pictures/copy", toPNG(t, waves(330, 210, cat, false)))
	mirrorURL := o.serve("/pictures/mirrored", toJPEG(t, waves(400, 260, cat, true)))
	otherURL := o.serve("/pictures/other", toJPEG(t, waves(300, 300, 3, false)))
	s := w.start()
	command := func(args ...string) string {
		t.Helper()
		out, errs, status := w.imgkeep(args...)
		if status != 0 {
			t.Errorf("%s: status %d, %s", strings.Join(args, " "), status, errs)
		}
		return out
	}
	s.get(link("i", "20x", catURL)).isImage("image/jpeg") // which makes its hash
	s.get(link("i", "full", o.serve("/pictures/dog", toJPEG(t, waves(500, 400, dog, false))))).isImage("image/jpeg")
	if out := command("likeness", "index"); !strings.HasPrefix(out, "2 images: ") {
		t.Errorf("index: %s", out)
	}
	file := filepath.Join(w.dir, "copy.png")
	if err := os.WriteFile(file, toPNG(t, waves(330, 210, cat, true)), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, turned := range map[string]bool{link("i", "full", catURL): false, file: true} {
		var found struct {
			Hash   string
			Images []struct {
				Distance int
				Turned   bool
			}
		}
		if err := json.Unmarshal([]byte(command("similar", "--json", what)), &found); err != nil || len(found.Images) != 1 || found.Images[0].Distance > 16 || found.Images[0].Turned != turned {
			t.Errorf("similar to %s: %+v, %v", what, found, err)
		}
	}

	out := command("block", "--similar", "--why", "a ticket", link("i", "full", catURL))
	if !strings.Contains(out, "blocked: similar ") || !strings.Contains(out, "removed") {
		t.Errorf("block: %s", out)
	}
	s.get(link("i", "full", catURL)).isError(451, "removed")
	for _, url := range []string{copyURL, mirrorURL} {
		s.get(proxyLink("i", "full", url)).isError(451, "similar")
		s.get(link("i", "20x", url)).isError(451, "similar")
		s.get(link("i", "full", url)).isError(451, "similar")
	}
	if n := o.count("/pictures/copy"); n != 1 {
		t.Errorf("%d fetches of what was refused", n)
	}
	s.get(link("i", "full", otherURL)).isImage("image/jpeg")
	if list := command("list", "--similar"); strings.Count(list, "\n") != 2 || !strings.Contains(list, copyURL) || !strings.Contains(list, `"why":"a ticket"`) {
		t.Errorf("refused: %s", list)
	}
	command("allow", copyURL)
	s.get(link("i", "full", copyURL)).isImage("image/png")
	exported := command("likeness", "export")

	s.stop()
	s = w.start()
	defer s.stop()
	s.get(link("i", "full", mirrorURL)).isError(451, "similar")
	s.get(link("i", "full", o.serve("/pictures/again", toJPEG(t, waves(320, 200, cat, false))))).isError(451, "similar")
	s.get(link("i", "full", copyURL)).isImage("image/png")
	command("allow", "--undo", copyURL) // which keeps it, for it is there
	s.get(link("i", "full", copyURL)).isImage("image/png")
	command("unblock", strings.TrimSpace(exported))
	s.get(link("i", "full", mirrorURL)).isImage("image/jpeg")
	list := filepath.Join(w.dir, "list.txt")
	if err := os.WriteFile(list, []byte(exported), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := command("likeness", "import", list); out != "1 hashes: 1 blocked now, 0 before\n" {
		t.Errorf("import: %s", out)
	}
	s.get(link("i", "full", o.serve("/pictures/and-again", toJPEG(t, waves(310, 200, cat, false))))).isError(451, "similar")
	command("unblock", strings.TrimSpace(exported))
	if out := command("block", "--similar", "--within", "20", file); !strings.HasPrefix(out, "blocked: similar ") {
		t.Errorf("block a file: %s", out)
	}
	s.get(link("i", "full", o.serve("/pictures/once-more", toJPEG(t, waves(350, 230, cat, true))))).isError(451, "similar")
	for _, args := range [][]string{{"similar", "--within", "49", file}, {"similar", "no image"}, {"block", "--similar", "example.com"}, {"likeness", "import", filepath.Join(w.dir, "none")}, {"likeness"}} {
		if out, errs, status := w.imgkeep(args...); status == 0 || errs == "" {
			t.Errorf("%q: status %d, %s%s", args, status, out, errs)
		}
	}
}
