// Package outbound asks the operator's proxy, HTTP or SOCKS5, to connect to origins.
//
// It promises that the proxy gets the address that it is given, so that it resolves no name
// differently, except as Plain says; that its work ends with its context; and that no error
// shows the proxy's password.
//
// It judges no address, neither an origin's nor the proxy's own, which is the
// operator's choice.
package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// Proxy is the operator's proxy. It is trusted to do what it is asked. It may be used
// concurrently.
type Proxy struct {
	url  *url.URL
	addr string // host:port
	tls  *tls.Config
}

// Parse reads the URL of a proxy: http://, https:// or socks5://, a host, and where
// needed user:password and a port. config is that of TLS with an https one. It returns
// nil for an empty string.
func Parse(s string, config *tls.Config) (*Proxy, error) {
	if s == "" {
		return nil, nil
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("proxy: not a valid URL") // url.Error would show the password
	}
	port := u.Port()
	switch u.Scheme {
	case "http", "https":
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
	case "socks5":
		if port == "" {
			port = "1080"
		}
	case "socks5h":
		return nil, errors.New("proxy: socks5h leaves names to the proxy, but they are resolved here so that addresses can be judged: use socks5")
	default:
		return nil, fmt.Errorf("proxy: scheme %q is not http, https or socks5", u.Scheme)
	}
	if u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return nil, errors.New("proxy: not of the form scheme://[user:password@]host[:port]")
	}
	return &Proxy{url: u, addr: net.JoinHostPort(u.Hostname(), port), tls: config}, nil
}

// Err is wrapped by errors of the way to an origin through a proxy: they say nothing about
// the origin.
var Err = errors.New("proxy")

// Tunnel returns a function that connects to an address through the proxy.
func (p *Proxy) Tunnel() (func(context.Context, netip.AddrPort) (net.Conn, error), error) {
	if p.url.Scheme != "socks5" {
		return p.connect, nil
	}
	var auth *proxy.Auth
	if p.url.User != nil {
		password, _ := p.url.User.Password()
		auth = &proxy.Auth{User: p.url.User.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", p.addr, auth, &net.Dialer{})
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	socks, ok := d.(proxy.ContextDialer)
	if !ok {
		return nil, errors.New("proxy: this SOCKS5 dialer cannot be interrupted")
	}
	return func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		conn, err := socks.DialContext(ctx, "tcp", to.String())
		if err != nil {
			return nil, fmt.Errorf("%w: %w", Err, err)
		}
		return conn, nil
	}, nil
}

// dial connects to the proxy itself.
func (p *Proxy) dial(ctx context.Context) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.addr)
	if err != nil || p.url.Scheme != "https" {
		return conn, err
	}
	config := p.tls.Clone()
	config.ServerName = p.url.Hostname()
	config.NextProtos = []string{"http/1.1"}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// connect asks an HTTP proxy for a tunnel (RFC 9110, section 9.3.6).
func (p *Proxy) connect(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	conn, err := p.dial(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", Err, err)
	}
	// The end of ctx ends the conversation with the proxy, not the tunnel.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	tunnel, err := p.handshake(conn, to)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", Err, err)
	}
	return tunnel, nil
}

// maxHeader bounds a proxy's answer to CONNECT, in bytes.
const maxHeader = 64 << 10

func (p *Proxy) handshake(conn net.Conn, to netip.AddrPort) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to.String()}, Host: to.String(), Header: http.Header{}}
	if u := p.url.User; u != nil {
		password, _ := u.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(u.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	req.Header.Set("User-Agent", "") // sends none
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	br := bufio.NewReader(io.LimitReader(conn, maxHeader))
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, fmt.Errorf("it answers %d to CONNECT", resp.StatusCode)
	}
	if n := br.Buffered(); n > 0 {
		// A server speaks second in TLS and in HTTP, so these bytes are not the
		// origin's.
		return nil, fmt.Errorf("it sent %d bytes too many after CONNECT", n)
	}
	return conn, nil
}

// Plain returns base as a transport for http URLs through an HTTP proxy, without CONNECT:
// few proxies allow CONNECT to port 80. It connects only to the proxy, whatever the URL,
// whose name the proxy resolves. For a SOCKS5 proxy it returns nil.
func (p *Proxy) Plain(base *http.Transport) *http.Transport {
	if p.url.Scheme == "socks5" {
		return nil
	}
	t := base.Clone()
	u := *p.url
	u.Scheme = "http" // dial does the TLS to an https proxy
	t.Proxy = http.ProxyURL(&u)
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := p.dial(ctx)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", Err, err)
		}
		return conn, nil
	}
	return t
}
