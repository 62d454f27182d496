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
