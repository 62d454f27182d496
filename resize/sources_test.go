package resize

import (
	"os"
	"strings"
	"testing"
)

func TestReadSources(t *testing.T) {
	for _, c := range []struct {
		value, want, wrong string
	}{
		{"", "", ""},
		{"avif", "avif", ""},
		{"avif,avif", "", `source "avif": want each of`},
		{"jpeg", "", `source "jpeg": want each of`},
		{"avif,", "", `source "": want each of`},
	} {
		got, err := ReadSources(func(name string) string {
			return map[string]string{"IMGKEEP_DECODER_SOURCES": c.value}[name]
		})
		if c.wrong == "" && (err != nil || strings.Join(got, ",") != c.want) {
			t.Errorf("%q: %q, %v", c.value, got, err)
		}
		if c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: %v, want %s", c.value, err, c.wrong)
		}
	}
}

// Decoders are told what to read, and one that does not is not used. A source that
// nobody asked for is no job.
func TestSources(t *testing.T) {
	p := newPool(t, Options{Sources: []string{"avif"}})
	if s := p.Sources(); len(s) != 1 || s[0] != "avif" {
		t.Errorf("it reads %v", s)
	}
	job := Job{Format: "avif", Targets: []Target{{Size: Size{Height: 9}}}}
	if _, err := newPool(t, Options{}).Resize(t.Context(), strings.NewReader("x"), 1, job); err == nil || !strings.Contains(err.Error(), "has no avif") {
		t.Errorf("not asked for: %v", err)
	}
	for _, o := range []Options{
		{Sources: []string{"avif"}, Command: []string{os.Args[0], "fake-decoder", "without sources"}},
		{Sources: []string{"svg"}, Command: []string{os.Args[0], "fake-decoder"}},
	} {
		if p, err := NewPool(o); err == nil {
			_ = p.Close()
			t.Errorf("%+v: no error", o)
		}
	}
}

// What is made keeps to formats that every browser shows.
func TestFormatOf(t *testing.T) {
	for _, c := range []struct{ source, target, want string }{
		{"jpeg", "", "jpeg"}, {"png", "", "png"}, {"gif", "", "gif"}, {"webp", "", "webp"},
		{"avif", "", "webp"}, {"bmp", "", "webp"}, {"heic", "", "webp"}, {"tiff", "", "webp"}, {"jxl", "", "webp"}, {"avif", "png", "png"}, {"jpeg", "webp", "webp"},
	} {
		if got := (Target{Format: c.target}).FormatOf(c.source); got != c.want {
			t.Errorf("%q of %s is %s, want %s", c.target, c.source, got, c.want)
		}
		if got := (Target{Preset: &Preset{Format: c.target}}).FormatOf(c.source); got != c.want {
			t.Errorf("a preset with %q of %s is %s, want %s", c.target, c.source, got, c.want)
		}
	}
}
