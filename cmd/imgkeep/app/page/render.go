package page

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/go-chi/chi/v5"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/page/plot"
)

// view is what templates get.
type view struct {
	Title, Active string
	User          *user // nil: nobody has signed in
	CSRF          string
	Clear         bool   // pictures are shown without blur
	Query         string // in the search box
	Waiting       int    // removals that wait for consent
	Two           bool
	Likeness      bool
	Now           time.Time
	Data          any
}

// CanRemove and CanAdmin are for templates.
func (v view) CanRemove() bool { return v.User != nil && v.User.Role.May(account.Remove) }
func (v view) CanAdmin() bool  { return v.User != nil && v.User.Role.May(account.Admin) }

// static is a file that is served as it is.
type static struct {
	text      []byte
	mediaType string
	version   string
}

// loadAssets reads what is embedded: pages, each with the frame around all, and files.
func (s *Server) loadAssets() error {
	s.static, s.templates = map[string]static{}, map[string]*template.Template{}
	files, err := fs.Glob(assets, "assets/static/*")
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		s.static[path.Base(name)] = static{text, mime.TypeByExtension(path.Ext(name)), hex.EncodeToString(sum[:6])}
	}
	pages, err := fs.Glob(assets, "assets/pages/*.html")
	if err != nil {
		return err
	}
	for _, name := range pages {
		t, err := template.New("frame.html").Funcs(s.functions()).ParseFS(assets, "assets/frame.html", name)
		if err != nil {
			return err
		}
		s.templates[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return nil
}

// functions are those of templates.
func (s *Server) functions() template.FuncMap {
	return template.FuncMap{
		"asset":   func(name string) string { return "/static/" + name + "?v=" + s.static[name].version },
		"bytes":   func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
		"comma":   func(n int) string { return humanize.Comma(int64(n)) },
		"ago":     func(t time.Time) string { return humanize.RelTime(t, s.opts.Now(), "ago", "from now") },
		"when":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"host":    hostOf,
		"short":   short,
		"plain":   control.Printable,
		"thumb":   func(bucket, url string) string { return pictureURL(bucket, s.size(thumbSide), url) },
		"large":   func(bucket, url string) string { return pictureURL(bucket, s.size(largeSide), url) },
		"image":   imageURL,
		"digest":  func(bucket, digest string) string { return "/image?" + query4("bucket", bucket, "digest", digest) },
		"plural":  plural,
		"what":    factsOf,
		"plot":    plot.SVG,
		"list":    func(s ...string) []string { return s },
		"percent": func(n, all int) string { return fmt.Sprintf("%.1f%%", 100*float64(n)/float64(max(all, 1))) },
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(int64(n)) + " " + many
}

func hostOf(u string) string {
	if h := imageurl.HostOf(u); h != "" {
		return h
	}
	return "a local file"
}

// short is a text cut off in its middle.
func short(s string, most int) string {
	r := []rune(control.Printable(s))
	if len(r) <= most {
		return string(r)
	}
	return string(r[:most*2/3]) + "…" + string(r[len(r)-most/3:])
}

// Sides of pictures, in pixels: the least one that is listed and not smaller is used.
const thumbSide, largeSide = 200, 500

// size is that of pictures, of those that links may ask for.
func (s *Server) size(side int) string {
	best := 0
	for _, n := range s.opts.Sizes() {
		if n >= side && (best < side || n < best) || n < side && n > best && best < side {
			best = n
		}
	}
	if best == 0 {
		return "full"
	}
	return fmt.Sprintf("%dx%d", best, best)
}

func pictureURL(bucket, size, u string) string {
	return "/picture/" + bucket + "/" + size + "/" + base64.RawURLEncoding.EncodeToString([]byte(u))
}

func imageURL(bucket, u string) string { return "/image?" + query4("bucket", bucket, "url", u) }

func query4(k1, v1, k2, v2 string) string { return url.Values{k1: {v1}, k2: {v2}}.Encode() }

// show answers with a page of somebody who has signed in.
func (s *Server) show(w http.ResponseWriter, r *http.Request, page, title string, data any) {
	s.showStatus(w, r, http.StatusOK, page, title, data)
}

func (s *Server) showStatus(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) {
	u := userOf(r)
	v := view{Title: title, Active: page, Clear: s.cookie(r, clearCookie) != "", Now: s.opts.Now(), Two: s.opts.TwoPersons, Likeness: s.opts.Likeness, Data: data}
	if u.Name != "" {
		v.User, v.CSRF, v.Waiting = &u, u.csrf, s.proposals.waiting(u.Name)
	}
	if q, ok := data.(interface{ pasted() string }); ok {
		v.Query = q.pasted()
	}
	s.render(w, status, page, v)
}

// showOut answers with a page of somebody who has not.
func (s *Server) showOut(w http.ResponseWriter, r *http.Request, status int, page, title string, data any) {
	s.render(w, status, page, view{Title: title, Active: page, CSRF: s.form(w, r), Now: s.opts.Now(), Data: data})
}

func (s *Server) render(w http.ResponseWriter, status int, page string, v view) {
	var b bytes.Buffer
	if err := s.templates[page].Execute(&b, v); err != nil {
		s.opts.Log.Error("page: cannot render a page", "page", page, "error", err)
		http.Error(w, "this page cannot be shown: the log of the server says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	w.Write(b.Bytes())
}

// Errors of requests.
var (
	errNotFound  = errors.New("there is no such page")
	errMethod    = errors.New("this cannot be done here")
	errSignedOut = errors.New("you are not signed in any more")
	errForged    = errors.New("this form is an old one, or was not sent by this page: go back, load the page again and repeat what you did")
	errRole      = errors.New("your role does not allow this: ask an administrator")
	errProxyUser = errors.New("there is no account of your name: ask an administrator to run 'imgkeep moderator add'")
	errNothing   = errors.New("nothing was selected")
)

// statuses of errors; all others are the server's fault.
var statuses = []struct {
	err    error
	status int
}{
	{errNotFound, http.StatusNotFound}, {errMethod, http.StatusMethodNotAllowed}, {errSignedOut, http.StatusUnauthorized},
	{errForged, http.StatusForbidden}, {errRole, http.StatusForbidden}, {errProxyUser, http.StatusForbidden},
	{errNothing, http.StatusUnprocessableEntity}, {account.ErrLink, http.StatusNotFound}, {account.ErrBusy, http.StatusServiceUnavailable},
	{bucket.ErrNotKept, http.StatusNotFound}, {bucket.ErrNotBlocked, http.StatusNotFound}, {bucket.ErrNoBucket, http.StatusNotFound},
	{query.ErrCursor, http.StatusBadRequest}, {errAsked, http.StatusBadRequest}, {context.DeadlineExceeded, http.StatusServiceUnavailable},
	{query.ErrBackward, http.StatusNotImplemented}, {errJobs, http.StatusServiceUnavailable}, {errOwn, http.StatusForbidden},
}

// asked is an error of what somebody has typed.
type asked struct{ error }

var errAsked = errors.New("asked")

func (a asked) Is(err error) bool { return err == errAsked }
func (a asked) Unwrap() error     { return a.error }

func statusOf(err error) int {
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return http.StatusRequestEntityTooLarge
	}
	for _, x := range statuses {
		if errors.Is(err, x.err) {
			return x.status
		}
	}
	return http.StatusInternalServerError
}

// fail answers with an error, as a page.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := statusOf(err)
	if status == http.StatusInternalServerError {
		s.opts.Log.Error("page: a request has failed", "path", r.URL.Path, "error", err)
	}
	s.showStatus(w, r, status, "problem", http.StatusText(status), sentence(err.Error()))
}

// sentence is an error as a sentence.
func sentence(text string) string {
	first, n := utf8.DecodeRuneInString(text)
	text = string(unicode.ToUpper(first)) + text[n:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

func (s *Server) serveStatic(w http.ResponseWriter, r *http.Request) {
	f, ok := s.static[chi.URLParam(r, "file")]
	if !ok {
		s.fail(w, r, errNotFound)
		return
	}
	w.Header().Set("Content-Type", f.mediaType)
	if r.URL.Query().Get("v") == f.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.text))
}
