package record

import (
	"testing"

	"imgkeep/bucket/probe"
)

func TestParseFile(t *testing.T) {
	d := Digest{1, 2, 3}
	n := d.String()
	for name, want := range map[string]File{
		n + ".jpg":          {d, probe.JPEG, ""},
		n + ".250x250.webp": {d, probe.WebP, "250x250"},
		n + ".150x.gif":     {d, probe.GIF, "150x"},
	} {
		if got, ok := ParseFile(n[:1], n[1:2], name); !ok || got != want {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
		if _, ok := ParseFile("Z", n[1:2], name); ok {
			t.Errorf("%s: in the wrong folder", name)
		}
	}
	for _, name := range []string{"", n, n + ".", n + ".svg", n + "..jpg", n + ".a.b.jpg", n[:42] + ".jpg", n + "jpg", n + ".jpg~", "." + n + ".jpg", n + ".JPG"} {
		if _, ok := ParseFile(n[:1], n[1:2], name); ok {
			t.Errorf("%q is read as a file of the store", name)
		}
	}
}

// stampedOnce is the time of AAA.jpg.
const stampedOnce = 802346425

func TestModTimeOf(t *testing.T) {
	a, b := Image{Bucket: "i", Digest: Digest{1}, Info: probe.Info{Format: probe.JPEG}}, Image{Bucket: "f", Digest: Digest{1}, Info: probe.Info{Format: probe.JPEG}}
	if !ModTimeOf(a.File()).Equal(ModTimeOf("/elsewhere/" + b.File())) {
		t.Error("the time of a file hangs on where it lies")
	}
	seen := map[int64]string{}
	for n := range 200 {
		a.Digest[5] = byte(n)
		for _, file := range []string{a.File(), a.VariantFile("150x150", probe.JPEG), a.VariantFile("150x150", probe.WebP), a.VariantFile("x150", probe.JPEG)} {
			at := ModTimeOf(file)
			if other := seen[at.Unix()]; other != "" {
				t.Errorf("%s and %s have one time", file, other)
			}
			seen[at.Unix()] = file
			if at.Year() < 1978 || at.Year() > 2012 || at.Nanosecond() != 0 {
				t.Errorf("%s: %v", file, at)
			}
		}
	}
	// It is part of what nodes agree on: a change of it makes all browsers ask anew.
	if got := ModTimeOf("i/A/A/AAA.jpg").Unix(); got != stampedOnce {
		t.Errorf("the time of a name is %d, and was %d", got, stampedOnce)
	}
}
