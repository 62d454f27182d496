package page

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"imgkeep/bucket/lookalike"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
)

// alike is a service that finds an image and so many others that look like it.
type alike struct {
	control.Service
	others int
}

func (a alike) Similar(_ context.Context, q control.SimilarRequest, _ io.Reader) (control.Similar, error) {
	found := control.Similar{Images: []lookalike.Found{{Digest: q.Digest}}}
	for n := range a.others {
		found.Images = append(found.Images, lookalike.Found{Digest: fmt.Sprint("other ", n)})
	}
	return found, nil
}

// A preview says how many others look like what is to be removed: of a few images, and
// where images are compared.
func TestPreviewCountsLookAlikes(t *testing.T) {
	for _, c := range []struct {
		name     string
		likeness bool
		others   int
		picks    int
		want     string // empty: nothing is said
	}{
		{"none", true, 0, 1, ""},
		{"one", true, 1, 1, "1 other image looks</a>"},
		{"as many as are counted", true, maxAlike, 1, "100 other images look</a>"},
		{"more", true, maxAlike + 1, 1, "100 other images look</a>"},
		{"of as many as are looked at", true, 1, maxCompared, "1 other image looks</a>"},
		{"of more", true, 1, maxCompared + 1, ""},
		{"not compared", false, 1, 1, ""},
	} {
		w := newWorld(t, func(o *Options) {
			as := o.As
			o.As = func(by control.Caller) control.Service { return alike{as(by), c.others} }
			o.Likeness = c.likeness
		})
		form := url.Values{}
		for n := range c.picks {
			u := fmt.Sprintf("https://cats.example/%d.png", n)
			w.keep("i", u, n)
			form.Add("pick", "url "+u)
		}
		a := w.signedIn("anna", account.Remove).post("/", "/remove", form)
		want := strings.Replace(c.want, "</a>", " like it</a>", 1)
		if a.status != 200 || !strings.Contains(a.body, want) || want == "" && strings.Contains(a.body, "like it</a>") {
			t.Errorf("%s: %d, want %q: %s", c.name, a.status, want, a.body)
		}
	}
}
