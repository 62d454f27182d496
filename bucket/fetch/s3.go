package fetch

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"imgkeep/bucket/fetch/place"
	"imgkeep/bucket/fetch/s3origin"
	"imgkeep/bucket/imageurl"
)

// S3 is a store of objects that s3://bucket/key URLs are read from.
type S3 = s3origin.Options

// objectOrigin is a store of objects, and the connections to it.
type objectOrigin struct {
	*s3origin.Origin
	transport *http.Transport
}

// objects are the stores of objects that may be asked. The zero value is none.
type objects struct {
	buckets map[string]*objectOrigin
	all     []*objectOrigin

	mu   sync.Mutex
	told map[string]time.Time // when the log was told of a bucket that cannot be read
}

func (f *Fetcher) addObjects(list []S3) error {
	f.objects.buckets, f.objects.told = map[string]*objectOrigin{}, map[string]time.Time{}
	for i, o := range list {
		origin, err := s3origin.New(o)
		if err != nil {
			return fmt.Errorf("s3[%d]: %w", i, err)
		}
		with := &objectOrigin{Origin: origin}
		with.transport = f.transport(bounded(origin.DialContext, f.o.HeaderTimeout), way{tlsMin: tls.VersionTLS12}.tls(f.o.RootCAs))
		for _, b := range origin.Buckets() {
			if f.objects.buckets[b] != nil {
				return fmt.Errorf("s3[%d]: buckets: %q is listed twice", i, b)
			}
			f.objects.buckets[b] = with
		}
		f.objects.all = append(f.objects.all, with)
	}
	return nil
}

// objectScheme begins URLs of objects in Options.S3: s3://bucket/key.
const objectScheme = "s3:"

func isObject(raw string) bool {
	return len(raw) >= len(objectScheme) && strings.EqualFold(raw[:len(objectScheme)], objectScheme)
}

// object judges the URL of an object as target does that of others. hosts must name its
// bucket: a list that is empty allows the hosts of the Web, and no bucket, since the
// members of a site may have links signed for any URL.
func (f *Fetcher) object(raw string) (imageurl.URL, *objectOrigin, error) {
	u, err := imageurl.Resolve("", raw)
	if err != nil {
		return "", nil, errorf(Refused, "", "%w", err)
	}
	bucket, _ := u.Object()
	origin := f.objects.buckets[bucket]
	switch host := u.Host(); {
	case len(f.objects.all) == 0:
		return "", nil, errorf(Refused, host, "objects are not fetched: fetch.s3 is empty")
	case origin == nil:
		return "", nil, errorf(Refused, host, "the bucket is not on the list of an S3 origin: see fetch.s3")
	case origin.Keyless():
		return "", nil, errorf(Refused, host, "there are no keys for its store here: see fetch.s3")
	case f.denied.Has(host):
		return "", nil, errorf(Denied, host, "host is denied by the operator")
	}
	return u, origin, nil
}

// objectFor is object with what the request itself allows and denies.
func (f *Fetcher) objectFor(r Request) (imageurl.URL, *objectOrigin, error) {
	u, origin, err := f.object(r.URL)
	if err != nil {
		return "", nil, err
	}
	switch host := u.Host(); {
	case !imageurl.NewHosts(r.Hosts).Has(host):
		return "", nil, errorf(Refused, host, "host is not on the bucket's list of hosts, which has to name it")
	case r.Denied != nil && r.Denied(host):
		return "", nil, errorf(Denied, host, "host is denied by the operator")
	}
	return u, origin, nil
}

// claimOnObject is one on the bucket of an object, which is a site as other hosts are. The
// network is the operator's own, and not counted.
func (f *Fetcher) claimOnObject(u imageurl.URL) place.Claim {
	return place.ClaimOn(u.Host(), netip.Addr{}, f.profileOf(u.Host()).perHost)
}

// withObject has an object asked for, within the time of a fetch, as soon as there is a
// place for it.
func (f *Fetcher) withObject(ctx context.Context, r Request, ask func(context.Context, imageurl.URL, *objectOrigin) error) error {
	u, origin, err := f.objectFor(r)
	if err != nil {
		return err
	}
	p := f.placeFor(r)
	defer p.Release()
	if c := f.claimOnObject(u); !p.Holds(c) {
		if err := f.enter(ctx, p, c, u.Host()); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.o.Timeout, errTimeout)
	defer cancel()
	if err := f.o.Pauses.stands(u.Host(), f.o.Now()); err != nil {
		return err
	}
	err = ask(ctx, u, origin)
	f.o.Pauses.note(u.Host(), err, f.o.Now())
	return err
}

// fetchObject fetches an object.
func (f *Fetcher) fetchObject(ctx context.Context, r Request, dst io.Writer) (res Result, err error) {
	err = f.withObject(ctx, r, func(ctx context.Context, u imageurl.URL, origin *objectOrigin) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := f.askObject(ctx, cancel, u, origin, "")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if res.Info, res.Bytes, err = f.take(ctx, cancel, u.Host(), resp, r, dst); err == nil {
			res.FinalURL = u.String()
		}
		return err
	})
	return res, err
}

// aliveObject is Alive for an object. It asks by GET, since the answer to a HEAD does not
// tell a bucket that is not there from an object that is not.
func (f *Fetcher) aliveObject(ctx context.Context, r Request) error {
	return f.withObject(ctx, r, func(ctx context.Context, u imageurl.URL, origin *objectOrigin) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := f.askObject(ctx, cancel, u, origin, "bytes=0-511") // glanceBytes
		if err != nil {
			return err
		}
		defer resp.Body.Close() // and the connection, if it sends all of it
		return recognise(ctx, u.Host(), resp)
	})
}

// askObject asks for an object, or a span of it, and returns an answer that has it.
func (f *Fetcher) askObject(ctx context.Context, cancel context.CancelCauseFunc, u imageurl.URL, origin *objectOrigin, span string) (*http.Response, error) {
	host := u.Host()
	impatience := time.AfterFunc(f.o.HeaderTimeout, func() { cancel(errHeaderTimeout) })
	defer impatience.Stop()
	resp, err := origin.transport.RoundTrip(origin.Request(context.WithValue(ctx, fetchKey{}, ctx), u, f.o.UserAgent, span))
	if err != nil {
		return nil, sendError(ctx, host, err)
	}
	if !impatience.Stop() {
		resp.Body.Close()
		return nil, sendError(ctx, host, errHeaderTimeout)
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && span != "":
		resp.StatusCode = http.StatusOK
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && span != "":
		err = errorf(NotImage, host, "the object is empty")
	case resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent:
		patience := time.AfterFunc(pageTime, func() { cancel(errHeaderTimeout) })
		defer patience.Stop()
		err = f.objectError(host, resp)
	}
	if err == nil {
		_, err = f.judgeHeader(host, resp)
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// throttlePause is what a store gets that asks for a pause and does not say how long.
const throttlePause = 5 * time.Second

// objectError is what a store's error is to its object. Of what comes with it only the code
// is told: the rest may repeat keys and what was signed.
func (f *Fetcher) objectError(host string, resp *http.Response) error {
	code := s3origin.Code(io.LimitReader(resp.Body, maxPage))
	said := strings.TrimSpace(fmt.Sprintf("status %d %s", resp.StatusCode, code))
	e := errorf(Failed, host, "%s", said)
	switch s3origin.Judge(resp.StatusCode, code) {
	case s3origin.Absent:
		e.Kind = Gone
	case s3origin.Forbidden:
		e.Kind, e.Err = Blocked, fmt.Errorf("%s: the keys may not read the object, or it is not there and they may not list the bucket", said)
	case s3origin.Misconfigured:
		e.Err = fmt.Errorf("%s: the store refuses the request: check the keys, region, endpoint and buckets of fetch.s3, and the clock", said)
		f.tell(host, resp.StatusCode, e)
	case s3origin.Throttled:
		e.RetryAfter = throttlePause
	case s3origin.Unclear:
		if code == "" {
			e.Err = fmt.Errorf("%s: no answer of an S3-compatible store", said)
		}
	}
	if asked := retryAfter(resp.Header.Get("Retry-After"), f.o.Now()); asked > 0 {
		e.RetryAfter = asked
	}
	e.Status = resp.StatusCode
	return e
}

// tellPause is how long after one line in the log of a bucket there is the next.
const tellPause = time.Minute

// tell has the log tell of a bucket that cannot be read until the operator does something.
func (f *Fetcher) tell(host string, status int, err error) {
	f.objects.mu.Lock()
	now := f.o.Now()
	last, was := f.objects.told[host] // one of those configured
	tells := !was || now.Sub(last) >= tellPause || now.Before(last)
	if tells {
		f.objects.told[host] = now
	}
	f.objects.mu.Unlock()
	if tells {
		f.o.Logger.Error("an S3 origin refuses this server", slog.String("host", host), slog.Int("status", status), slog.Any("error", err))
	}
}
