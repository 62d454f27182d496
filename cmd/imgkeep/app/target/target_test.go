package target

import (
	"errors"
	"strings"
	"testing"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/sign"
)

// self knows the links of img.example.
type self struct{}

func (self) ImageOf(l sign.Link) (string, error) {
	u, err := l.URL()
	if u == "https://img.example/loop" {
		err = errors.New("a loop")
	}
	return u, err
}
func (self) Key(canonical string) string {
	before, _, _ := strings.Cut(canonical, "?token=")
	return before
}
func (self) Is(u imageurl.URL) bool { return u.Host() == "img.example" }

const cat = "https://cats.example/cat.png"

func linkTo(u string) string {
	return "/i/250x250/" + strings.Repeat("A", 16) + "/" + sign.EncodeURL(u)
}

// What is pasted is read as the image, or the host, that it names; what it is kept under may
// be another URL than the one that was named.
func TestRead(t *testing.T) {
	digest := record.Digest{0xf8, 1}.String() // begins with "-"
	for text, want := range map[string]Target{
		cat:               {URL: cat, Source: cat},
		" <" + cat + "> ": {URL: cat, Source: cat},
		cat + "?token=5":  {URL: cat, Source: cat + "?token=5"},
		linkTo(cat):       {URL: cat, Source: cat, Link: linkTo(cat)},
		"[img]https://img.example" + linkTo(cat) + "[/img]": {URL: cat, Source: cat, Link: linkTo(cat)},
		digest:           {Digest: digest},
		Prefix + digest:  {Digest: digest},
		"Cats.example":   {Host: "cats.example"},
		"*.cats.example": {Host: "*.cats.example"},
	} {
		if got, err := (Reader{self{}}).Read(text, true); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "cats and dogs", "ftp://a.example/", digest[1:], "https://img.example/cat.png", linkTo("https://img.example/loop"), linkTo(cat) + " " + linkTo("https://dogs.example/")} {
		if got, err := (Reader{self{}}).Read(text, true); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
	if got, err := (Reader{self{}}).Read("cats.example", false); err == nil {
		t.Errorf("a host where none may be is read as %+v", got)
	}
}
