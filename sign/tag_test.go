package sign

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const tagSecret, otherTagSecret = "the secret of these tests", "another secret of these tests"

func tagger(t testing.TB, secrets ...string) *Signer {
	t.Helper()
	s, err := New(Options{Secrets: secrets})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A tag is found as it was made, in a link of the form that all links have, whichever of
// the secrets made it.
func TestTag(t *testing.T) {
	s := tagger(t, tagSecret)
	for _, url := range []string{"https://example.com/a.png", "https://example.com/a.png?x=1&y", "https://example.com/ä", "images/relative.png"} {
		for _, by := range []string{"1", "4711", "Member_x-9", strings.Repeat("a", MaxTag)} {
			tagged, err := s.Tag(url+"#theirs", by)
			if err != nil || !strings.HasPrefix(tagged, url+"#imgkeep-by="+by+".") || strings.Contains(tagged, "theirs") {
				t.Errorf("%s, %s: %s, %v", url, by, tagged, err)
			}
			for name, of := range map[string]*Signer{"the same": s, "with a new secret before it": tagger(t, otherTagSecret, tagSecret)} {
				if got := of.TagOf(tagged); got != by {
					t.Errorf("%s, %s: %q for %s", url, by, got, name)
				}
			}
			l := s.Sign("i", "150x", tagged, false, time.Unix(1640730000, 0))
			if again, err := Parse(l.String()); err != nil || again != l {
				t.Errorf("%s: %v", l, err)
			}
		}
	}
	for _, by := range []string{"", strings.Repeat("a", MaxTag+1), "a b", "a.b", "a#b", "ä", "a\n"} {
		if tagged, err := s.Tag("https://example.com/", by); !errors.Is(err, ErrTag) {
			t.Errorf("%q: %s, %v", by, tagged, err)
		}
	}
}

// Without the secret nobody makes a tag: not by a fragment in the URL that they post, not by
// another's tag, not by a part of one.
func TestForgedTag(t *testing.T) {
	s := tagger(t, tagSecret)
	const url = "https://example.com/a.png"
	tagged, err := s.Tag(url, "4711")
	if err != nil {
		t.Fatal(err)
	}
	_, fragment, _ := strings.Cut(tagged, "#")
	mac := tagged[strings.LastIndex(tagged, ".")+1:]
	theirs, err := tagger(t, otherTagSecret).Tag(url, "4711")
	if err != nil {
		t.Fatal(err)
	}
	for name, forged := range map[string]string{
		"none":                     url,
		"another fragment":         url + "#top",
		"without a MAC":            url + "#imgkeep-by=4711",
		"an empty MAC":             url + "#imgkeep-by=4711.",
		"a part of the MAC":        tagged[:len(tagged)-1],
		"more than the MAC":        tagged + "A",
		"another member":           url + "#imgkeep-by=4712." + mac,
		"another image":            "https://example.com/b.png#" + fragment,
		"the signature of a link":  url + "#imgkeep-by=4711." + s.Sign("i", "full", url, false, time.Now()).Signature,
		"another's secret":         theirs,
		"behind another fragment":  url + "#top#" + fragment,
		"a tag that cannot be one": url + "#imgkeep-by=a b." + mac,
	} {
		if got := s.TagOf(forged); got != "" {
			t.Errorf("%s: %q of %s", name, got, forged)
		}
	}
	if s.TagOf(tagged) != "4711" {
		t.Error("the tag itself is not found")
	}
}

// FuzzTagOf: no URL has a tag but one that Tag makes.
func FuzzTagOf(f *testing.F) {
	s := tagger(f, tagSecret)
	good, _ := s.Tag("https://example.com/", "1")
	for _, seed := range []string{good, good + "#", "#imgkeep-by=1.", "a#imgkeep-by=1.AAAAAAAAAAAAAAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		by := s.TagOf(url)
		if by == "" {
			return
		}
		if again, err := s.Tag(url, by); err != nil || again != url {
			t.Errorf("%q is said to be of %q, whose is %q, %v", url, by, again, err)
		}
	})
}
