package resize

import (
	"strings"
	"testing"
)

func TestListed(t *testing.T) {
	l := Listed{Sides: []int{100, 200}, Presets: []string{"avatar", "card"}}
	for name, want := range map[string]string{
		"100x100": "", "100x200": "", "200x": "", "x100": "", "avatar": "", "card": "",
		"150x": "150, of 150x, is not one of the sizes [100 200]", "x150": "150, of x150",
		"100x150": "150, of 100x150", "150x100": "150, of 150x100", "101x": "101, of", "99x": "99, of",
		"": `"" is none of the presets avatar, card, and no height x width`, "x": `"x" is none of`,
		"0x100": "no height x width", "100x0": "no height x width", "0100x": "no height x width", "100X100": "no height x width",
		"-100x": "no height x width", "100": "no height x width", "100x100x100": "no height x width",
		"full": "no height x width", "info": "no height x width", "Avatar": "no height x width", "avatar ": "no height x width",
		"a\n" + strings.Repeat("b", 1000): `"a\nbb`,
	} {
		err := l.Check(name)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", name, err, want)
		}
		if err != nil && (len(err.Error()) > 200 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%q: a line of %d bytes: %v", name, len(err.Error()), err)
		}
	}
	if err := (Listed{}).Check("avatar"); err == nil || strings.Contains(err.Error(), "presets") {
		t.Errorf("nothing is listed: %v", err)
	}
	if err := (Listed{}).Check("100x"); err == nil {
		t.Error("a side passes that is not listed")
	}
}
