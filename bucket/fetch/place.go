package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"time"

	"imgkeep/bucket/imageurl"
)

// claim is what a fetch is counted by when places are shared out.
type claim struct {
	site    string
	perSite int    // places of the site; 0: as usual
	domain  string // empty: it is the site
	network string // empty: not known yet, or not counted
}

func (c claim) groups() (all []string) {
	for _, key := range []string{c.domain, c.network} {
		if key != "" {
			all = append(all, key)
		}
	}
	return all
}

// claimOf is that of a target whose address is known only if its host is one.
func (f *Fetcher) claimOf(to target) claim {
	c := claim{site: siteOf(to.host, to.addr), perSite: f.profileOf(to.host).perHost}
	if to.addr.IsValid() {
		c.network = f.guard.networkOf(to.addr)
	} else if domain := imageurl.Domain(to.host); domain != c.site {
		c.domain = "domain " + domain
	}
	return c
}

// networkOf is imageurl.Network, but that addresses of the operator's own networks are
// not counted.
func (g guard) networkOf(a netip.Addr) string {
	for _, n := range g.networks {
		if n.Contains(a.Unmap()) {
			return ""
		}
	}
	return imageurl.Network(a)
}

// place is what a fetch holds of the limiter: nothing, or a place.
type place struct {
	limit *limiter
	idle  bool // nobody waits for the fetch

	mu    sync.Mutex // of what follows, which a connection changes
	claim claim
	hold  *hold // nil: none
}

func (p *place) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold != nil {
		p.limit.release(p.hold)
		p.hold = nil
	}
}

// moveTo counts the place by another network, if that has room for it.
func (p *place) moveTo(network string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hold == nil {
		return true // the fetch has ended
	}
	if !p.limit.move(p.hold, p.claim.network, network) {
		return false
	}
	p.claim.network = network
	return true
}

// seen notes from which network a host has answered.
func (p *place) seen(n *networks, host string) {
	p.mu.Lock()
	network := p.claim.network
	p.mu.Unlock()
	n.note(host, network)
}

// enterSite waits for a place for a target, and finds its addresses. Those come when
// it has a place, or strangers could have any number of names looked up at once; if
// their network has none left, it waits once more.
func (f *Fetcher) enterSite(ctx context.Context, p *place, to *target) error {
	c := f.claimOf(*to)
	if p.hold == nil || p.claim.site != c.site || p.claim.domain != c.domain {
		if err := f.enter(ctx, p, c, to.host); err != nil {
			return err
		}
	}
	if network, ok := f.networks.of(to.host); ok {
		c.network = network // and where it is connected to anew, it is looked up
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
		c.network = f.guard.networkOf(addrs[0])
	}
	if !p.moveTo(c.network) {
		return f.enter(ctx, p, c, to.host)
	}
	return nil
}

// enter waits for a place. One that is held is given back before, so that nobody
// waits with something in their hands.
func (f *Fetcher) enter(ctx context.Context, p *place, c claim, host string) error {
	p.release()
	var h *hold
	var err error
	if p.idle {
		h, err = p.limit.holdIdle(ctx, c.site, c.perSite, c.groups())
	} else {
		ctx, cancel := context.WithTimeoutCause(ctx, f.o.Timeout, errBusy)
		defer cancel()
		began := time.Now()
		h, err = p.limit.hold(ctx, c.site, c.perSite, c.groups())
		f.waited.Add(int64(time.Since(began)))
	}
	if err != nil {
		return errorf(Busy, host, "%w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.claim, p.hold = c, h
	return nil
}

// judgedConn is a connection to an address that the guard has seen, directly or
// through a proxy.
type judgedConn struct {
	net.Conn
	to netip.Addr
}

// watch sees to it that a fetch counts for the network to which its connection leads:
// one that is used again may lead elsewhere than the name does by now. If that network
// has no place, full is called.
func (f *Fetcher) watch(ctx context.Context, p *place, full func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn := info.Conn
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		if j, ok := conn.(judgedConn); ok && !p.moveTo(f.guard.networkOf(j.to)) {
			full()
		}
	}})
}

// networks are those of hosts that have answered just now, whose connection may be
// there still, so that their names need not be looked up again.
type networks struct {
	mu    sync.Mutex
	hosts map[string]seenNetwork
}

type seenNetwork struct {
	network string
	at      time.Time
}

const maxNetworks = 1000

// of returns the network of a host, if it is known.
func (n *networks) of(host string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s, ok := n.hosts[host]
	if ok && time.Since(s.at) > idleConnTimeout {
		delete(n.hosts, host)
		ok = false
	}
	return s.network, ok
}

func (n *networks) note(host, network string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil || len(n.hosts) >= maxNetworks {
		n.hosts = map[string]seenNetwork{}
	}
	n.hosts[host] = seenNetwork{network, time.Now()}
}

// errNetworkBusy ends a fetch whose connection leads to a network that has no place.
var errNetworkBusy = errors.New("too many fetches are from the same network")
