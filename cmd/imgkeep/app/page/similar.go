package page

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
)

// maxLikes is how many look-alikes a page shows.
const maxLikes = 24

// likeView is what looks like an image.
type likeView struct {
	Of       string // a digest; empty: of an upload
	Within   int
	Most     int
	Result   control.Similar
	Items    []like
	Problem  string
	Asked    bool // something was looked for
	Searched string
}

// like is one look-alike.
type like struct {
	lookalike.Found
	Image query.ImageDetails
	URL   string // one of its URLs; empty: none is known
	Block *record.Block
}

func (v likeView) pasted() string { return "" }

// similar shows what looks like an image that is kept.
func (s *Server) similar(w http.ResponseWriter, r *http.Request) {
	v := likeView{Of: r.URL.Query().Get("digest"), Most: likeness.MaxWithin}
	var err error
	if v.Within, err = within(r.URL.Query().Get("within")); err != nil {
		s.fail(w, r, err)
		return
	}
	if v.Of != "" {
		if _, err := record.ParseDigest(v.Of); err != nil {
			s.fail(w, r, asked{err})
			return
		}
		s.showSimilar(w, r, v, control.SimilarRequest{Digest: v.Of}, nil)
		return
	}
	s.show(w, r, "similar", "Look-alikes", v)
}

func within(text string) (int, error) {
	n, err := strconv.Atoi(cmp.Or(text, strconv.Itoa(likeness.Within)))
	if err != nil || n < 0 || n > likeness.MaxWithin {
		return 0, asked{errors.New("the distance is from 0 to " + strconv.Itoa(likeness.MaxWithin))}
	}
	return n, nil
}

// compare shows what looks like a picture that was uploaded. Nothing of it is kept.
func (s *Server) compare(w http.ResponseWriter, r *http.Request) {
	v := likeView{Most: likeness.MaxWithin}
	var err error
	if v.Within, err = within(r.PostFormValue("within")); err != nil {
		s.fail(w, r, err)
		return
	}
	f, _, err := r.FormFile("picture")
	if err != nil {
		s.fail(w, r, asked{errors.New("no picture was chosen")})
		return
	}
	defer f.Close()
	picture, err := io.ReadAll(f)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.showSimilar(w, r, v, control.SimilarRequest{}, bytes.NewReader(picture))
}

func (s *Server) showSimilar(w http.ResponseWriter, r *http.Request, v likeView, q control.SimilarRequest, picture io.Reader) {
	service := s.service(r)
	q.Within, q.Limit = v.Within, maxLikes+1
	found, err := service.Similar(r.Context(), q, picture)
	v.Result, v.Asked = found, true
	if err != nil {
		v.Problem = sentence(err.Error())
	}
	for _, x := range found.Images {
		if x.Digest == v.Of || len(v.Items) == maxLikes {
			continue
		}
		one := like{Found: x}
		d, err := service.Show(r.Context(), control.ShowRequest{Digest: x.Digest})
		if err != nil {
			s.fail(w, r, err)
			return
		}
		if len(d.Images) > 0 {
			one.Image = d.Images[0]
			if len(one.Image.URLs) > 0 {
				one.URL = one.Image.URLs[0]
			}
		}
		if len(d.Blocks) > 0 {
			one.Block = &d.Blocks[0]
		}
		v.Items = append(v.Items, one)
	}
	s.show(w, r, "similar", "Look-alikes", v)
}

// allow lets an image through that was refused for what it looks like, or takes that back.
func (s *Server) allow(w http.ResponseWriter, r *http.Request) {
	digest := r.PostFormValue("digest")
	if _, err := record.ParseDigest(digest); err != nil {
		s.fail(w, r, asked{err})
		return
	}
	_, err := s.service(r).Allow(r.Context(), control.AllowRequest{Digest: digest, Undo: r.PostFormValue("undo") != "", Why: "on the moderators' page"})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/?state=similar", http.StatusSeeOther)
}

// listRefusals fills the list of what was refused for what it looks like, the newest first.
func (s *Server) listRefusals(r *http.Request, v *galleryView) error {
	var all []lookalike.Refusal
	_, err := s.service(r).List(r.Context(), control.ListRequest{What: "similar"}, func(e control.Event) error {
		if e.Item.Refusal != nil {
			all = append(all, *e.Item.Refusal)
		}
		return nil
	})
	if errors.Is(err, lookalike.ErrOff) {
		return nil
	}
	sortRefusals(all)
	v.Refusals, v.Next = slice(all, v.Filter.Before)
	return err
}

// isUpload tells whether a request is a form with a file.
func isUpload(r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && kind == "multipart/form-data" && r.URL.Path == "/similar"
}
