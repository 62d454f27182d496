package nginx

import (
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"
)

//go:embed site.conf.tmpl
var siteTemplate string

//go:embed main.conf.tmpl
var mainTemplate string

// Render writes the complete site configuration, to be included in the http
// block of an nginx 1.18 or later, or the error of Validate and nothing.
func (s Site) Render(w io.Writer) error {
	if err := s.Validate(); err != nil {
		return err
	}
	return render(w, s)
}

// Main is a complete nginx.conf around one Site, for an nginx that serves nothing else. It
// writes only below Prefix. It runs in the foreground.
type Main struct {
	Site Site
	// Prefix is the absolute path of a folder of its own.
	Prefix string
	// User is the user and optionally the group ("www-data www-data") that
	// workers run as. Empty: nginx' own choice; without root it has none.
	User string
	// Workers is the number of worker processes. 0: one a core.
	Workers int
	// Connections is how many connections a worker holds. 0: 4096.
	Connections int
}

// Render writes the configuration, or an error and nothing.
func (m Main) Render(w io.Writer) error {
	if !isPath(m.Prefix) {
		return fmt.Errorf("nginx main: Prefix %q: want a clean absolute path of letters, digits and ./_@+-", m.Prefix)
	}
	for _, name := range strings.Fields(m.User) {
		if !host.MatchString(name) {
			return fmt.Errorf("nginx main: User %q: want a user and a group", m.User)
		}
	}
	if m.Connections == 0 {
		m.Connections = 4096
	}
	if m.Workers < 0 || m.Connections < 16 {
		return fmt.Errorf("nginx main: Workers %d, Connections %d: want at least 0 and 16", m.Workers, m.Connections)
	}
	if err := m.Site.Validate(); err != nil {
		return err
	}
	return render(w, m)
}

// Files is how many files a worker may have open: its cache of open files, and for every
// connection the connection itself, its upstream's and one file.
func (m Main) Files() int { return m.Site.OpenFiles + 3*m.Connections + 64 }

// render writes nothing unless all of it can be rendered.
func render(w io.Writer, data any) error {
	t := template.New("").Funcs(template.FuncMap{
		"accepts": accepts,
		"answerHeaders": func(s Site, indent string, always bool) string {
			return strings.ReplaceAll(answerHeaders(s, always), "\n", "\n"+indent)
		},
		"exactly": exactly,
		// What nginx answers itself when it finds the error. A rewrite answers 401 and 403;
		// imgkeep answers a 403 for a file that cannot be read.
		"handled":      func(status int) bool { return !slices.Contains([]int{401, 403, 416, 500}, status) },
		"alternatives": func(names []string) string { return strings.Join(names, "|") },
		"acceptSets":   acceptSets,
		"contentType":  func(ext string) string { return contentTypes[ext] },
		"dir":          filepath.Dir,
		"each":         each,
		"join":         func(list []string) string { return strings.Join(list, " ") },
		"pages":        ErrorPages,
		"handoff":      func() string { return HeaderHandoff },
		"prefix":       func() string { return InternalPrefix },
		"seconds":      func(d time.Duration) int64 { return int64(d / time.Second) },
		"places":       places,
		"trimDot":      func(ext string) string { return strings.TrimPrefix(ext, ".") },
	})
	name := "site"
	if _, ok := data.(Main); ok {
		name = "main"
	}
	template.Must(t.New("site").Parse(siteTemplate))
	template.Must(t.New("main").Parse(mainTemplate))
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("nginx configuration: %w", err)
	}
	_, err := b.WriteTo(w)
	return err
}

// ErrorPage is what a viewer gets for an error that nginx itself finds.
type ErrorPage struct {
	Status int    // of the answer
	Code   string // in HeaderError
	Line   string // the body, without the line break that ends it
	Retry  bool   // a Retry-After header is sent
}

// ErrorPages are the errors that nginx itself answers, as the site has them. The
// server gives the same answers where it meets the same error in direct mode.
func ErrorPages() []ErrorPage {
	return []ErrorPage{
		{Status: 400, Code: "malformed", Line: "malformed request"},
		{Status: 401, Code: "token", Line: "this server answers with a token only"},
		{Status: 403, Code: "referer", Line: "images are not shown on this page's site"},
		{Status: 412, Code: "precondition", Line: "the image does not meet the condition of the request"},
		{Status: 414, Code: "long", Line: "the address is too long"},
		{Status: 416, Code: "range", Line: "the image has no such range of bytes"},
		{Status: 429, Code: "rate", Line: "too many requests: try again later", Retry: true},
		{Status: 431, Code: "headers", Line: "the headers of the request are too large"},
		{Status: 500, Code: "internal", Line: "internal error"},
		{Status: 501, Code: "malformed", Line: "malformed request"},
		{Status: 502, Code: "unavailable", Line: "the image server is not running: try again later", Retry: true},
		{Status: 503, Code: "busy", Line: "too busy: try again later", Retry: true},
		{Status: 504, Code: "timeout", Line: "the image server took too long: try again later", Retry: true},
		{Status: 505, Code: "malformed", Line: "malformed request"},
	}
}
