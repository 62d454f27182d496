package page

import (
	"encoding/base64"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/target"
)

// search shows what is known of what somebody has pasted: an image, a host, or all whose
// URLs hold it.
func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	text := strings.TrimSpace(r.URL.Query().Get("q"))
	if text == "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	t, err := s.opts.Read(text, true)
	switch {
	case err == nil && t.Host != "" && strings.Contains(t.Host, ".") && s.hasHost(r, t.Host):
		s.showGallery(w, r, filter{State: "kept", Host: t.Host}, text)
	case err == nil && t.Host == "":
		s.showImage(w, r, t, text)
	case strings.Contains(text, "/i/") && err != nil && strings.Contains(err.Error(), "server"):
		s.fail(w, r, asked{err})
	default:
		s.showGallery(w, r, filter{State: "kept", Text: text}, text)
	}
}

// hasHost tells whether anything is kept of a host: "cat.jpg" may be one, or a part of a
// URL.
func (s *Server) hasHost(r *http.Request, host string) bool {
	page, err := s.service(r).Latest(r.Context(), query.RecentFilter{Filter: query.Filter{Hosts: []string{host}}, Limit: 1})
	return err == nil && (len(page.Items) > 0 || page.Partial)
}

// imageView is what is known of one image.
type imageView struct {
	Name      string // by which it was asked for
	Link      string // by which it was found; empty: by none
	URL       string
	Digest    string
	Details   query.Details
	History   []control.HistoryEntry
	Unsigned  string // what is wrong with the link's signature
	Searched  string
	Removable string // what a removal is of
}

func (v imageView) pasted() string { return v.Searched }

// Blocked tells whether a block stands against it.
func (v imageView) Blocked() bool { return len(v.Details.Blocks) > 0 }

// Known tells whether anything is known of it.
func (v imageView) Known() bool {
	return len(v.Details.Images)+len(v.Details.Failures)+len(v.Details.Blocks) > 0
}

func (s *Server) image(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	t := target.Target{URL: q.Get("url"), Source: q.Get("url"), Digest: q.Get("digest")}
	if (t.URL == "") == (t.Digest == "") {
		s.fail(w, r, errNotFound)
		return
	}
	if _, err := record.ParseDigest(t.Digest); t.Digest != "" && err != nil {
		s.fail(w, r, asked{err})
		return
	}
	s.showImage(w, r, t, "")
}

func (s *Server) showImage(w http.ResponseWriter, r *http.Request, t target.Target, searched string) {
	service := s.service(r)
	v := imageView{URL: t.URL, Digest: t.Digest, Link: t.Link, Searched: searched, Name: t.URL}
	if t.URL == "" {
		v.Name = t.Digest
	}
	q := control.ShowRequest{URL: t.URL, Source: t.Source, Digest: t.Digest, Named: control.Named{Link: t.Link}}
	var err error
	if v.Details, err = service.Show(r.Context(), q); err != nil && t.Link != "" {
		// The signature may be of another image: what the link says is shown all the
		// same, with a warning.
		v.Unsigned = sentence(err.Error())
		q.Unverified = true
		v.Details, err = service.Show(r.Context(), q)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if userOf(r).Role.May("remove") {
		if v.History, err = s.historyOf(r, v); err != nil {
			s.fail(w, r, err)
			return
		}
	}
	status := http.StatusOK
	if !v.Known() {
		status = http.StatusNotFound
	}
	s.showStatus(w, r, status, "image", "Image", v)
}

// historyOf are the lines of the audit log that name an image.
func (s *Server) historyOf(r *http.Request, v imageView) (all []control.HistoryEntry, err error) {
	names := []string{v.URL, v.Digest}
	for _, i := range v.Details.Images {
		names = append(names, i.Digest)
	}
	seen := map[string]bool{"": true}
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		page, err := s.service(r).History(r.Context(), control.HistoryRequest{Text: name, Limit: 20})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
	}
	return all, nil
}

// picture sends a picture of an image: what viewers would get.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	u, err := base64.RawURLEncoding.DecodeString(chi.URLParam(r, "url"))
	if err != nil {
		http.Error(w, "no such picture", http.StatusNotFound)
		return
	}
	f, mediaType, err := s.opts.Picture(r.Context(), chi.URLParam(r, "bucket"), string(u), chi.URLParam(r, "size"))
	if err != nil {
		code := s.opts.Code(err)
		w.Header().Set("X-Imgkeep-Error", code)
		http.Error(w, "no picture: "+code, http.StatusNotFound)
		return
	}
	defer f.Close()
	h := w.Header()
	h.Set("Content-Type", mediaType)
	// As on its own it is a document of a stranger.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "private, no-cache")
	h.Set("ETag", `"`+filepath.Base(f.Name())+`"`)
	http.ServeContent(w, r, "", time.Time{}, f)
}
