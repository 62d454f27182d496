package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"imgkeep/bucket/imageurl"
)

// walk is the way from a URL to where its redirects end.
type walk struct {
	*Fetcher
	hosts  *imageurl.Hosts        // that may be asked; nil: any
	denied func(host string) bool // nil: none
	seen   map[step]bool
	hops   int
	plain  error // why https was tried; nil: it was not
}

// step is what is asked on the way.
type step struct {
	url     imageurl.URL
	cookies string
}

func stepTo(to target) step { return step{to.image, to.cookies.header(to.url)} }

// follow visits a URL, and then the targets of redirects, until a visit returns no
// location, or an error.
func (f *Fetcher) follow(ctx context.Context, r Request, visit func(context.Context, target) (location string, err error)) (err error) {
	w := walk{Fetcher: f, denied: r.Denied, seen: map[step]bool{}}
	if len(r.Hosts) > 0 {
		w.hosts = imageurl.NewHosts(r.Hosts)
	}
	to, err := w.judge("", r.URL)
	if err != nil {
		return err
	}
	to.place, to.cookies = f.placeFor(r), newCookies()
	defer to.place.Release()
	if err := f.enterSite(ctx, &to); err != nil {
		return err
	}
	// The clock starts with the work. Waiting for a place is not the origin's fault.
	ctx, cancel := context.WithTimeoutCause(ctx, f.o.Timeout, errTimeout)
	defer cancel()
	defer func() { err = asked(err, w.hops > 0) }()
	for {
		// After the wait for a place: an earlier fetch may have got a pause.
		if err := f.o.Pauses.stands(to.host, f.o.Now()); err != nil {
			return err
		}
		w.seen[stepTo(to)] = true
		location, err := visit(ctx, to)
		f.o.Pauses.note(to.host, err, f.o.Now())
		next, ended, err := w.next(to, location, err)
		if ended || err != nil {
			return err
		}
		// A redirect to another site counts there: a hundred hosts that all redirect to one
		// victim must not evade the victim's limit.
		if err := f.enterSite(ctx, &next); err != nil {
			return err
		}
		to = next
	}
}

// judge is Fetcher.target with what the request itself allows and denies.
func (w *walk) judge(base imageurl.URL, raw string) (target, error) {
	to, err := w.target(base, raw, w.hosts)
	if err == nil && w.denied != nil && w.denied(to.host) {
		err = errorf(Denied, to.host, "host is denied by the operator")
	}
	return to, err
}

// next is the target after one whose visit returned location and err, if there is one.
func (w *walk) next(from target, location string, err error) (to target, ended bool, _ error) {
	switch secure, ok := w.secure(from, err, w.hosts); {
	case ok && w.plain == nil:
		w.plain, to = err, secure
	case err != nil && w.plain != nil && unanswered(err):
		return target{}, true, w.plain
	case err != nil || location == "":
		return target{}, true, err
	default:
		// A redirect beyond the limit is not followed, nor examined.
		if w.hops++; w.hops > w.o.MaxRedirects {
			return target{}, true, errorf(Failed, from.host, "more than %d redirects", w.o.MaxRedirects)
		}
		w.plain = nil
		if to, err = w.judge(from.image, location); err != nil {
			return target{}, true, redirectedFrom(from, err)
		}
	}
	to.place, to.cookies = from.place, from.cookies
	// With a new cookie it may lead elsewhere.
	if w.seen[stepTo(to)] {
		return target{}, true, errorf(Failed, from.host, "redirects in a loop")
	}
	return to, false, nil
}

// asked notes whether a host had answered before an error.
func asked(err error, was bool) error {
	var e *Error
	if was && errors.As(err, &e) {
		e.Asked = true
	}
	return err
}

// redirectedFrom adds to err which host redirected to the refused target.
func redirectedFrom(from target, err error) error {
	var e *Error
	if errors.As(err, &e) {
		if e.Host == "" {
			e.Host = from.host
		}
		e.Err = fmt.Errorf("redirected from %s: %w", from.host, e.Err)
	}
	return err
}

// cookies are those that the origins of one fetch have set. They end with the fetch. It
// uses them sequentially.
type cookies struct{ jar *cookiejar.Jar }

func newCookies() *cookies {
	jar, err := cookiejar.New(&cookiejar.Options{PublicSuffixList: publicsuffix.List})
	if err != nil {
		panic(err) // it never is
	}
	return &cookies{jar}
}

// maxCookies bounds what is sent of them, in bytes: servers refuse more.
const maxCookies = 8 << 10

// header is the Cookie field of a request; empty: none.
func (c *cookies) header(u *url.URL) string {
	req := http.Request{Header: http.Header{}}
	for _, cookie := range c.jar.Cookies(u) {
		req.AddCookie(cookie)
	}
	if h := req.Header.Get("Cookie"); len(h) <= maxCookies {
		return h
	}
	return ""
}

func (c *cookies) take(resp *http.Response, u *url.URL) { c.jar.SetCookies(u, resp.Cookies()) }

// secure returns the https target of an http one that could not be connected to: many
// servers have closed port 80.
func (f *Fetcher) secure(to target, err error, hosts *imageurl.Hosts) (target, bool) {
	var e *Error
	if !errors.As(err, &e) || !e.unconnected || e.Kind != Failed && e.Kind != Timeout || to.url.Scheme != "http" || portOf(to.url) != 80 {
		return target{}, false
	}
	https, err := f.target("", "https"+strings.TrimPrefix(to.image.String(), "http"), hosts)
	return https, err == nil
}

// unanswered tells whether an error came before any answer.
func unanswered(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == 0 && (e.Kind == Failed || e.Kind == Timeout || e.Kind == Refused)
}
