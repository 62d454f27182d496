package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"imgkeep/bucket/fetch/place"
	"imgkeep/bucket/probe"
)

// visit asks one origin, once. It returns a complete image, the location of a redirect, or
// an error.
func (f *Fetcher) visit(ctx context.Context, to target, r Request, dst io.Writer) (res Result, location string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	impatience := time.AfterFunc(f.o.HeaderTimeout-to.spent, func() { cancel(errHeaderTimeout) })
	defer impatience.Stop()
	ctx = f.watch(ctx, to.place, func() { cancel(errNetworkBusy) })

	resp, err := f.send(ctx, to, http.MethodGet, r.Limits.Formats, "")
	if err != nil {
		return Result{}, "", sendError(ctx, to.host, err)
	}
	defer resp.Body.Close()
	if !impatience.Stop() {
		return Result{}, "", sendError(ctx, to.host, errHeaderTimeout)
	}
	if location, err = f.judgeHeader(to.host, resp); err != nil {
		patience := time.AfterFunc(pageTime, func() { cancel(errHeaderTimeout) })
		defer patience.Stop()
		return Result{}, "", explain(err, resp)
	}
	if location != "" {
		return Result{}, location, nil
	}
	info, n, err := f.take(ctx, cancel, to.host, resp, r, dst)
	if err != nil {
		return Result{}, "", err
	}
	f.networks.note(to.host, to.place.Network())
	return Result{Info: info, Bytes: n, FinalURL: to.image.String()}, "", nil
}

// take receives the body of an answer whose header has been judged.
func (f *Fetcher) take(ctx context.Context, cancel context.CancelCauseFunc, host string, resp *http.Response, r Request, dst io.Writer) (probe.Info, int64, error) {
	a := answer{host: host, status: resp.StatusCode, length: resp.ContentLength, body: resp.Body, challenge: challenged(resp)}
	a.unframed = resp.ProtoMajor < 2 && resp.ContentLength < 0 && len(resp.TransferEncoding) == 0
	body := place.NewBody(a.body, f.o.interval, func() { cancel(place.ErrTooSlow) })
	defer body.Stop()
	a.body = body
	info, n, err := a.receive(ctx, r, dst)
	if err == nil && f.removed.isDigest(r.Digest) {
		err = a.errorf(Gone, "its bytes are those of a picture that says that it was removed")
	}
	return info, n, err
}

// send sends the request, for a range of bytes if one is given. Its header does not differ
// between two viewers of the same bucket, and additions of a profile go only to its own
// hosts.
func (f *Fetcher) send(ctx context.Context, to target, method string, formats []probe.Format, span string) (*http.Response, error) {
	p := f.profileOf(to.host)
	req := (&http.Request{
		Method: method,
		URL:    to.url,
		Header: http.Header{
			"User-Agent": {p.userAgent},
			"Accept":     {accept(f.o.Accept, formats)},
			// Compression does not help images, and would let an origin send a thousand
			// times the bytes that it seems to.
			"Accept-Encoding": {"identity"},
		},
	}).WithContext(context.WithValue(context.WithValue(ctx, targetKey{}, to), fetchKey{}, ctx))
	if p.referer != "" {
		req.Header.Set("Referer", p.referer)
	}
	maps.Copy(req.Header, p.headers)
	if h := to.cookies.header(to.url); h != "" {
		if own := req.Header.Get("Cookie"); own != "" {
			h = own + "; " + h
		}
		req.Header["Cookie"] = []string{h} // a new list: the profile's is not ours to change
	}
	if f.o.Loop != nil {
		if mark := f.o.Loop(); mark != "" {
			req.Header.Set("CDN-Loop", mark)
		}
	}
	if span != "" {
		req.Header.Set("Range", span)
	}
	var connected atomic.Bool
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}))
	resp, err := p.roundTrip(req, to)
	if err != nil {
		if !connected.Load() {
			err = unconnectedError{err}
		}
		return nil, err
	}
	to.cookies.take(resp, to.url)
	return resp, nil
}

// unconnectedError is what went wrong before there was a connection.
type unconnectedError struct{ error }

func (e unconnectedError) Unwrap() error { return e.error }

func (p *profile) roundTrip(req *http.Request, to target) (*http.Response, error) {
	if p.plain == nil || to.url.Scheme != "http" {
		return p.ask(req)
	}
	// The proxy, not this server, is going to connect to this address. No more can be done
	// for a plain http URL, see the package's doc.
	if len(to.addrs) == 0 {
		if _, err := p.dialer.resolve(req.Context(), to.host, to.addr); err != nil {
			return nil, err
		}
	}
	return p.plain.RoundTrip(req)
}

// accept returns the Accept header for formats, all if there are none; it names those that
// are also in named, if any. It accepts everything else with the lowest weight: some
// servers answer 406 to a list without that, though they have the image.
func accept(named, formats []probe.Format) string {
	if len(formats) == 0 {
		formats = probe.Web()
	}
	both := slices.DeleteFunc(slices.Clone(formats), func(f probe.Format) bool { return !slices.Contains(named, f) })
	if len(both) == 0 {
		both = formats
	}
	var b strings.Builder
	for _, f := range both {
		b.WriteString(f.ContentType() + ",")
	}
	return b.String() + "*/*;q=0.1"
}

// sendError turns an error before the end of the header into an Error.
func sendError(ctx context.Context, host string, err error) error {
	var e *Error
	var timeout net.Error
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errNetworkBusy):
		return errorf(Busy, host, "%w", cause)
	case ctx.Err() != nil: // which includes a name server and an address that did not answer
		e = errorf(Timeout, host, "%w", cause)
	case errors.As(err, &e):
	case errors.As(err, &timeout) && timeout.Timeout():
		e = errorf(Timeout, host, "%w", err)
	default:
		e = errorf(Failed, host, "%w", err)
	}
	e.unconnected = errors.As(err, new(unconnectedError))
	return e
}

// compressed are the content codings that change the bytes (IANA HTTP Content
// Coding Registry). Servers put other words there, such as utf-8 or aws-chunked,
// which change nothing; the bytes tell.
var compressed = map[string]bool{
	"gzip": true, "x-gzip": true, "deflate": true, "compress": true, "x-compress": true,
	"br": true, "zstd": true, "dcb": true, "dcz": true, "exi": true, "pack200-gzip": true,
}

// judgeHeader returns an error unless an answer has a body to look at (nil), or
// leads elsewhere (location).
func (f *Fetcher) judgeHeader(host string, resp *http.Response) (location string, err error) {
	status := resp.StatusCode
	fail := func(c ErrorKind, format string, args ...any) error {
		e := errorf(c, host, format, args...)
		e.Status = status
		e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), f.o.Now())
		return e
	}
	switch status {
	case http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNonAuthoritativeInfo:
	case http.StatusPartialContent:
		if !complete(resp) {
			return "", fail(Failed, "status 206, with a part that nobody has asked for")
		}
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		if location = resp.Header.Get("Location"); location == "" {
			return "", fail(Failed, "status %d without a location", status)
		}
		return location, nil
	case http.StatusNotFound, http.StatusGone:
		return "", fail(Gone, "status %d", status)
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests, http.StatusUnavailableForLegalReasons:
		return "", fail(Blocked, "status %d", status)
	default:
		if challenged(resp) {
			return "", fail(Blocked, "status %d with a challenge", status)
		}
		return "", fail(Failed, "status %d", status)
	}
	if f.removed.isETag(resp.Header.Get("ETag")) {
		return "", fail(Gone, "its ETag is that of a picture that says that it was removed")
	}
	for _, line := range resp.Header["Content-Encoding"] {
		for coding := range strings.SplitSeq(line, ",") {
			if coding = strings.ToLower(strings.TrimSpace(coding)); compressed[coding] {
				return "", fail(Failed, "body is encoded as %s although identity was asked for", coding)
			}
		}
	}
	return "", nil
}

// complete tells whether the part in an answer with status 206 is the whole: some servers
// send a 206 although nobody asked for a part.
func complete(resp *http.Response) bool {
	span, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes 0-")
	last, total, _ := strings.Cut(span, "/")
	end, err := strconv.ParseInt(last, 10, 64)
	all, err2 := strconv.ParseInt(total, 10, 64)
	if !ok || err != nil || err2 != nil || end != all-1 || resp.ContentLength >= 0 && resp.ContentLength != all {
		return false
	}
	resp.ContentLength = all
	return true
}

// pageTime bounds the wait for the page of an error's status. The kind is known without
// the page, so an origin gains nothing by being slow here.
const pageTime = 2 * time.Second

// explain adds to an error what the page of the answer says: its first bytes for the
// operator, and whether it is a challenge, which some send with 503.
func explain(err error, resp *http.Response) error {
	var e *Error
	// The body of other statuses is something else, as that of 101: a connection.
	if !errors.As(err, &e) || e.Status < 400 {
		return err
	}
	page := make([]byte, maxPage)
	n, _ := io.ReadFull(resp.Body, page)
	page = page[:n]
	if n > 0 {
		e.Head = page[:min(n, MaxHead):min(n, MaxHead)]
	}
	if e.Kind == Failed && markup(page) && challengePage(page) {
		e.Kind, e.Err = Blocked, fmt.Errorf("status %d with a challenge", e.Status)
	}
	return e
}

// challenged reports whether an answer declares itself a challenge.
func challenged(resp *http.Response) bool {
	return strings.EqualFold(resp.Header.Get("Cf-Mitigated"), "challenge")
}

// MaxRetryAfter is the longest pause that an origin can ask for, so that none makes an
// image unreachable for good with one answer.
const MaxRetryAfter = 24 * time.Hour

// retryAfter reads a Retry-After field (RFC 9110, section 10.2.3): seconds, or a
// date. It returns 0 for anything else, and for the past.
func retryAfter(field string, now time.Time) time.Duration {
	field = strings.TrimSpace(field)
	if field == "" {
		return 0
	}
	if strings.Trim(field, "0123456789") == "" {
		seconds, err := strconv.ParseInt(field, 10, 64)
		if err != nil || seconds > int64(MaxRetryAfter/time.Second) {
			return MaxRetryAfter // too many digits are many seconds
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(field)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
