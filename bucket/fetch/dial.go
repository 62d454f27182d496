package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http/httptrace"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"imgkeep/bucket/fetch/guard"
	"imgkeep/bucket/fetch/place"
	"imgkeep/bucket/imageurl"
)

// Resolver finds the addresses of a name. *net.Resolver is one.
//
// Its answers are not trusted: the dialer checks each address.
type Resolver interface {
	// LookupNetIP returns the addresses of host. network is "ip".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	// maxAddresses bounds how many addresses of one name are tried: a zone with a thousand
	// addresses must not make this server connect to a thousand hosts.
	maxAddresses = 8
	// maxAttempt bounds one attempt if there are more addresses to try: long enough for
	// three SYNs.
	maxAttempt = 5 * time.Second
)

// dialer connects to origins. It is the only way out: every connection of a Fetcher, except
// the one to the operator's own proxy, passes connect with an address that the guard has
// checked.
type dialer struct {
	guard    guard.Guard
	resolver Resolver
	timeout  time.Duration // of one dial, all addresses together
	log      *slog.Logger

	// connect connects to a checked address: directly, or through a proxy.
	connect func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// direct returns the connect of a dialer without a proxy. It checks the address once more
// right before the system call: nothing can change it between this check and the
// connection.
func direct(g guard.Guard) func(context.Context, netip.AddrPort) (net.Conn, error) {
	d := &net.Dialer{
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || network != "tcp4" && network != "tcp6" {
				return errorf(Refused, "", "not a TCP address: %s %s", network, address)
			}
			if err := g.Check(to.Addr()); err != nil {
				return errorf(Refused, "", "%w", err)
			}
			return nil
		},
	}
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		return d.DialContext(ctx, "tcp", to.String())
	}
}

// fetchKey is the context key of the fetch that needs a connection.
type fetchKey struct{}

// targetKey is the context key of that fetch's target, whose addresses are known and
// checked.
type targetKey struct{}

// boundDial ends a dial after timeout, and together with its fetch. An http.Transport
// passes on a context's values but not its end, and continues to dial after the request was
// given up: a host that drops packets would keep a descriptor for longer than it keeps a
// place.
func boundDial(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, errHeaderTimeout)
	fetch, ok := ctx.Value(fetchKey{}).(context.Context)
	if !ok {
		return ctx, cancel
	}
	stop := context.AfterFunc(fetch, cancel)
	return ctx, func() { stop(); cancel() }
}

// bounded is a DialContext that boundDial ends.
func bounded(dial func(context.Context, string, string) (net.Conn, error), timeout time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := boundDial(ctx, timeout)
		defer cancel()
		return dial(ctx, network, address)
	}
}

// DialContext is the DialContext of an http.Transport.
func (d *dialer) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := boundDial(ctx, d.timeout)
	defer cancel()
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errorf(Refused, "", "not an address: %w", err)
	}
	host, addr, err := imageurl.ParseHost(name)
	if err != nil {
		return nil, errorf(Refused, "", "%w", err)
	}
	var addrs []netip.Addr
	if to, ok := ctx.Value(targetKey{}).(target); ok && to.host == host && len(to.addrs) > 0 {
		addrs = to.addrs
	} else if addrs, err = d.resolve(ctx, host, addr); err != nil {
		return nil, err
	}
	var first error
	for i, a := range addrs {
		to, err := netip.ParseAddrPort(net.JoinHostPort(a.String(), port))
		if err != nil {
			return nil, errorf(Refused, host, "not a port: %w", err)
		}
		conn, err := d.attempt(ctx, to, len(addrs)-i)
		if err == nil {
			return judgedConn{conn, a}, nil
		}
		if first == nil || errors.Is(first, syscall.ENETUNREACH) { // which tells of our network
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, dialError(ctx, host, first)
}

// attempt gives one address its share of the remaining time.
func (d *dialer) attempt(ctx context.Context, to netip.AddrPort, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		part := min(max(time.Until(deadline)/time.Duration(left), time.Millisecond), maxAttempt)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, part)
		defer cancel()
	}
	return d.connect(ctx, to)
}

// resolve returns the addresses of host that may be connected to; addr alone if the host is
// an address. It returns an Error of kind Refused if it finds only forbidden ones.
func (d *dialer) resolve(ctx context.Context, host string, addr netip.Addr) ([]netip.Addr, error) {
	addrs := []netip.Addr{addr}
	if !addr.IsValid() {
		var err error
		if addrs, err = d.resolver.LookupNetIP(ctx, "ip", host); err != nil {
			return nil, lookupError(ctx, host, err)
		}
	}
	var permitted []netip.Addr
	var refused error
	for _, a := range addrs {
		a = a.Unmap()
		if err := d.guard.Check(a); err != nil {
			if refused == nil {
				refused = err
			}
			continue
		}
		permitted = append(permitted, a)
	}
	switch {
	case len(permitted) > 0 && refused != nil:
		d.log.LogAttrs(ctx, slog.LevelInfo, "a name has addresses that are not connected to",
			slog.String("host", host), slog.String("address", refused.Error()))
	case refused != nil:
		return nil, errorf(Refused, host, "network is not permitted: %w", refused)
	case len(permitted) == 0:
		return nil, errorf(Failed, host, "%w: the name has no address", errNoHost)
	}
	permitted = alternate(permitted)
	return permitted[:min(len(permitted), maxAddresses)], nil
}

// alternate sorts addresses so that the families take turns, the first one's first (RFC
// 8305, section 4): if one family does not work, as IPv6 often does not, the other is tried
// next.
func alternate(addrs []netip.Addr) []netip.Addr {
	var same, other []netip.Addr
	for _, a := range addrs {
		if a.Is4() == addrs[0].Is4() {
			same = append(same, a)
		} else {
			other = append(other, a)
		}
	}
	out := make([]netip.Addr, 0, len(addrs))
	for i := range max(len(same), len(other)) {
		if i < len(same) {
			out = append(out, same[i])
		}
		if i < len(other) {
			out = append(out, other[i])
		}
	}
	return out
}

func lookupError(ctx context.Context, host string, err error) error {
	var dns *net.DNSError
	switch {
	case ctx.Err() != nil:
		return errorf(Timeout, host, "looking up the name: %w", context.Cause(ctx))
	case errors.As(err, &dns) && dns.IsNotFound:
		return errorf(Failed, host, "%w", errNoHost)
	case errors.As(err, &dns) && dns.IsTimeout:
		return errorf(Timeout, host, "the name server does not answer")
	}
	return errorf(Failed, host, "looking up the name: %w", err)
}

// dialError classifies an error of connecting. err is that of the first address, which
// tells more than that of the last one tried.
func dialError(ctx context.Context, host string, err error) error {
	var e *Error
	var timeout net.Error
	switch {
	case errors.As(err, &e):
		e.Host = host
		return e
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return errorf(Timeout, host, "connecting: %w", err)
	}
	return errorf(Failed, host, "connecting: %w", err)
}

// judgedConn is a connection to an address that the guard has seen, directly or
// through a proxy.
type judgedConn struct {
	net.Conn
	to netip.Addr
}

// watch makes sure that a fetch counts for the network that its connection leads to: a
// reused connection may lead elsewhere than the name does by now. If that network has no
// place, it calls full.
func (f *Fetcher) watch(ctx context.Context, p *place.Place, full func()) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		conn := info.Conn
		if t, ok := conn.(*tls.Conn); ok {
			conn = t.NetConn()
		}
		if j, ok := conn.(judgedConn); ok && !p.MoveTo(f.networkOf(j.to)) {
			full()
		}
	}})
}

// networks are those of hosts that answered recently, to which a connection may still be
// open, so that their names need not be resolved again.
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

// errNetworkBusy ends a fetch whose connection leads to a network without a free place.
var errNetworkBusy = errors.New("too many fetches are from the same network")
