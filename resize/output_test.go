package resize

import (
	"os"
	"strings"
	"testing"
)

// What is made in another format looks the same: what only the first format was
// asked for is left out, and nothing shows through that did not before.
func TestAs(t *testing.T) {
	size := Size{Height: 9}
	full := &Preset{Width: 9, Height: 9, Fit: "contain", Progressive: true, JPEGQuality: 70, WebPQuality: 71, AVIFQuality: 50, Animated: "keep"}
	for _, c := range []struct {
		name           string
		target         Target
		format, source string
		want           Target
	}{
		{"size", Target{Size: size, Quality: 80}, "avif", "jpeg", Target{Size: size, Format: "avif", Quality: 65}},
		{"webp of jpeg", Target{Preset: full}, "webp", "jpeg", Target{Preset: &Preset{Width: 9, Height: 9, Fit: "contain", Background: "#ffffff", Format: "webp", WebPQuality: 71, Animated: "keep"}}},
		{"avif of jpeg", Target{Preset: full}, "avif", "jpeg", Target{Preset: &Preset{Width: 9, Height: 9, Fit: "contain", Background: "#ffffff", Format: "avif", AVIFQuality: 50}}},
		{"avif of png", Target{Preset: full}, "avif", "png", Target{Preset: &Preset{Width: 9, Height: 9, Fit: "contain", Format: "avif", AVIFQuality: 50}}},
		{"a background of its own", Target{Preset: &Preset{Background: "#000000"}}, "webp", "jpeg", Target{Preset: &Preset{Background: "#000000", Format: "webp"}}},
	} {
		before := *full
		got := c.target.As(c.format, c.source, 65)
		if *full != before {
			t.Fatalf("%s: the preset was changed", c.name)
		}
		if p := got.Preset; p != nil && c.want.Preset != nil {
			if *p != *c.want.Preset {
				t.Errorf("%s: %+v, want %+v", c.name, *p, *c.want.Preset)
			}
			if errs := p.Check(); len(errs) > 0 {
				t.Errorf("%s: a decoder refuses it: %v", c.name, errs)
			}
		} else if got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestReadOutputs(t *testing.T) {
	for _, c := range []struct {
		value, want, wrong string
	}{
		{"", "", ""},
		{"avif", "avif", ""},
		{"avif,avif", "", `"avif": want each of avif at most once`},
		{"jpeg", "", `"jpeg": want each of avif at most once`},
		{"avif,", "", `"": want each of avif at most once`},
	} {
		got, err := ReadOutputs(func(string) string { return c.value })
		if c.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("%q: %v", c.value, err)
			}
		} else if err != nil || strings.Join(got, ",") != c.want {
			t.Errorf("%q: %v, %v", c.value, got, err)
		}
	}
}

// A decoder that does not write what it was asked for ends the start, and says so;
// one that does is used for it.
func TestOutputs(t *testing.T) {
	_, err := NewPool(Options{Command: []string{os.Args[0], "fake-decoder", "well"}, Workers: 1, Outputs: []string{"avif"}})
	if err == nil || !strings.Contains(err.Error(), "it writes the extra formats [], want [avif]") {
		t.Errorf("got %v", err)
	}
	p, err := NewPool(Options{Command: []string{os.Args[0], "fake-decoder", "avif"}, Workers: 1, Outputs: []string{"avif"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if got := p.Outputs(); len(got) != 1 || got[0] != "avif" {
		t.Errorf("outputs %v", got)
	}
	for _, c := range []struct {
		job   Request
		wrong string
	}{
		{Request{Format: "jpeg", Targets: []Target{{Size: Size{Height: 9}, Format: "avif"}}}, ""},
		{Request{Format: "avif", Targets: []Target{{Size: Size{Height: 9}, Format: "jpeg"}}}, "has no avif"},
		{Request{Format: "jpeg", Targets: []Target{{Size: Size{Height: 9}, Format: "svg"}}}, `format "svg" is not one of jpeg, png, gif, webp, avif`},
	} {
		c.job.MaxPixels, c.job.AnimationPixels = 1, 1
		if err := p.check(&c.job); c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%+v: %v", c.job, err)
		}
	}
}
