package page

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
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

// A picture that is uploaded leaves nothing on the disk, whatever becomes of the request.
func TestUploadLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	w := newWorld(t, func(o *Options) {
		as := o.As
		o.As = func(by control.Caller) control.Service { return alike{as(by), 0} }
		o.Likeness, o.MaxUpload = true, 8<<20
	})
	anna := w.signedIn("anna", account.View)
	for name, csrf := range map[string]string{"compared": tokenIn.FindStringSubmatch(anna.get("/similar").body)[1], "forged": "x"} {
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		form.WriteField("csrf", csrf)
		part, err := form.CreateFormFile("picture", "a.png")
		if err != nil {
			t.Fatal(err)
		}
		part.Write(make([]byte, 2*maxBody)) // more than is held in memory
		form.Close()
		r, err := http.NewRequest("POST", w.http.URL+"/similar", &body)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = anna.host
		r.Header.Set("Content-Type", form.FormDataContentType())
		for name, value := range anna.cookies {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		want := map[string]int{"compared": http.StatusOK, "forged": http.StatusForbidden}[name]
		if left, err := os.ReadDir(os.TempDir()); answer.StatusCode != want || err != nil || len(left) > 0 {
			t.Errorf("%s: %d, and the folder of temporary files has %v, %v", name, answer.StatusCode, left, err)
		}
	}
}
