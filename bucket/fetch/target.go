package fetch

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket/fetch/place"
	"imgkeep/bucket/imageurl"
)

// target is a URL that has passed every check that does not need a name server.
type target struct {
	image imageurl.URL // http or https
	url   *url.URL     // the same
	host  string       // without port and brackets
	addr  netip.Addr   // valid if host is an address

	cookies *cookies      // of the fetch
	place   *place.Place  // of the fetch
	addrs   []netip.Addr  // that host has; nil: not looked up yet
	spent   time.Duration // on that, of the time for the header
}

// target checks a URL: the first one and each target of a redirect. raw is resolved against
// base, unless that is empty. hosts are those allowed; nil: any.
func (f *Fetcher) target(base imageurl.URL, raw string, hosts *imageurl.Hosts) (target, error) {
	var t target
	to, err := imageurl.Resolve(base, raw)
	if err != nil {
		return t, errorf(Refused, "", "%w", err)
	}
	if to.IsLocal() || to.IsObject() { // where a redirect leads
		return t, errorf(Refused, "", "scheme %s: only http and https are fetched", strings.SplitN(to.String(), ":", 2)[0])
	}
	t.image, t.host = to, to.Host()
	t.addr, _ = netip.ParseAddr(t.host)
	if t.url, err = url.Parse(to.String()); err != nil {
		return t, errorf(Refused, t.host, "not a valid URL")
	}
	if port := portOf(t.url); !slices.Contains(f.o.Ports, port) {
		return t, errorf(Refused, t.host, "port %d is not on the list of ports", port)
	}
	if len(f.objects.all) > 0 && strings.HasSuffix(t.host, "."+imageurl.ObjectDomain) {
		// Or a list of hosts that names a bucket would name this one too.
		return t, errorf(Refused, t.host, "host is the name of an S3 bucket: want s3://bucket/key")
	}
	if f.denied.Has(t.host) {
		return t, errorf(Denied, t.host, "host is denied by the operator")
	}
	if hosts != nil && !hosts.Has(t.host) {
		return t, errorf(Refused, t.host, "host is not on the bucket's list of hosts")
	}
	if f.o.Own != nil && f.o.Own(to) {
		return t, errorf(Refused, t.host, "URL leads back to this server: its host is one of this server's own names")
	}
	if f.removed.isURL(to) {
		return t, errorf(Gone, t.host, "URL is that of a picture that says that it was removed")
	}
	return t, nil
}

// portOf is the port of a URL that imageurl has read.
func portOf(u *url.URL) int {
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

// claimOn is that on a target whose address is known only if its host is one.
func (f *Fetcher) claimOn(to target) place.Claim {
	c := place.ClaimOn(to.host, to.addr, f.profileOf(to.host).perHost)
	if to.addr.IsValid() {
		c.Network = f.networkOf(to.addr)
	}
	return c
}

// networkOf is imageurl.Network, except that addresses of the operator's own networks do
// not count.
func (f *Fetcher) networkOf(a netip.Addr) string {
	if f.guard.Listed(a) {
		return ""
	}
	return imageurl.Network(a)
}

// enterSite waits for a place for a target, and resolves its addresses once it has a place:
// otherwise strangers could have any number of names resolved at once. If their network has
// no place left, it waits once more.
func (f *Fetcher) enterSite(ctx context.Context, to *target) error {
	c := f.claimOn(*to)
	if !to.place.Holds(c) {
		if err := f.enter(ctx, to.place, c, to.host); err != nil {
			return err
		}
	}
	if network, ok := f.networks.of(to.host); ok {
		c.Network = network // and where it is connected to again, it is looked up
	} else if !to.addr.IsValid() {
		began := time.Now()
		lookup, cancel := context.WithTimeoutCause(ctx, f.o.HeaderTimeout, errHeaderTimeout)
		addrs, err := f.profileOf(to.host).dialer.resolve(lookup, to.host, to.addr)
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				err = errorf(Timeout, to.host, "%w", context.Cause(ctx))
			}
			return err
		}
		to.addrs, to.spent = addrs, time.Since(began)
		c.Network = f.networkOf(addrs[0])
	}
	if !to.place.MoveTo(c.Network) {
		return f.enter(ctx, to.place, c, to.host)
	}
	return nil
}

// enter waits for a place.
func (f *Fetcher) enter(ctx context.Context, p *place.Place, c place.Claim, host string) error {
	if err := p.Enter(ctx, c, f.o.Timeout); err != nil {
		return errorf(Busy, host, "%w", err)
	}
	return nil
}
