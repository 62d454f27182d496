package config

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"imgkeep/bucket/imageurl"
)

// Page is about the moderators' page.
type Page struct {
	// Where the page is served: a socket, unix:/path, or a loopback address with a port,
	// behind a proxy with TLS. Empty: no page.
	Listen string `yaml:"listen"`
	// Scheme and host of the page as moderators see it, such as
	// https://moderate.example.com, without a path, and never a host of images. Requests
	// for any other host are refused. A socket needs it. Empty: http and the address above.
	URL string `yaml:"url"`
	// Serve the page on an address that others can reach too, without TLS. Only for a
	// network whose every machine you trust.
	AllowRemote bool `yaml:"allow_remote"`
	// The header in which the proxy passes the client's address, such as X-Real-IP:
	// attempts to guess passwords are slowed down by it. The proxy must replace what
	// clients send in it. It is used only from a socket or a loopback address. Empty: no
	// proxy is trusted.
	AddressHeader string `yaml:"address_header"`
	// The header in which a proxy that signs people in names the moderator, such as
	// X-Remote-User. Anybody who can reach the page without that proxy can impersonate
	// every moderator. It is used only as the one above is, and the moderator must exist.
	// Empty: none.
	UserHeader string `yaml:"user_header"`
	// The reasons of a removal that moderators choose from; they may also write another.
	Reasons []string `yaml:"reasons"`
	// A block, purge or undo of one moderator waits for the consent of another who may also
	// remove. Waiting requests are kept in memory, for a week: a restart forgets them.
	// Programs with a token cannot remove then.
	TwoPersons bool `yaml:"two_persons"`
}

// maxReason is the longest reason on the list, in bytes.
const maxReason = 200

func (c *Config) validatePage(p *problems) {
	for key, name := range map[string]string{"page.address_header": c.Page.AddressHeader, "page.user_header": c.Page.UserHeader} {
		if strings.ContainsFunc(name, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z') }) {
			p.addf(key, "%q is no name of a header: want one such as X-Real-IP", name)
		}
		if slices.Contains([]string{"Host", "Cookie", "Authorization", "Content-Length", "Content-Type"}, http.CanonicalHeaderKey(name)) {
			p.addf(key, "clients send %s for themselves: want a header that only the proxy sets", name)
		}
	}
	unique(p, "page.reasons", c.Page.Reasons)
	for i, reason := range c.Page.Reasons {
		if reason == "" || len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			p.addf(item("page.reasons", i), "want a line of 1 to %d bytes", maxReason)
		}
	}
	if c.Page.Listen == "" {
		return
	}
	validateListen(p, "page.listen", c.Page.Listen)
	for key, other := range map[string]string{"listen": c.Listen, "metrics.listen": c.Metrics.Listen} {
		if other == c.Page.Listen && !strings.HasSuffix(other, ":0") {
			p.addf("page.listen", "%q is that of %s: name another address", other, key)
		}
	}
	if !c.Page.AllowRemote && !onlyHere(c.Page.Listen) {
		p.addf("page.listen", "%q can be reached from elsewhere: name a socket, or an address such as 127.0.0.1:8092 behind a proxy with TLS; page.allow_remote permits it", c.Page.Listen)
	}
	c.validatePageURL(p)
}

// onlyHere tells whether an address is a socket, or a loopback address.
func onlyHere(address string) bool {
	if strings.HasPrefix(address, unixPrefix) {
		return true
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func (c *Config) validatePageURL(p *problems) {
	if c.Page.URL == "" {
		switch {
		case strings.HasPrefix(c.Page.Listen, unixPrefix):
			p.addf("page.url", "it is empty, and a socket has no name that browsers know: want one such as https://moderate.example.com")
		case c.Page.AllowRemote && !onlyHere(c.Page.Listen):
			p.addf("page.url", "it is empty, and page.listen can be reached by several names: want the one that moderators use, such as http://moderate.example.com:8092")
		}
		return
	}
	u, err := url.Parse(c.Page.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		p.addf("page.url", "%q is no scheme and host: want one such as https://moderate.example.com", c.Page.URL)
		return
	}
	if u.Scheme == "http" && !c.Page.AllowRemote && !onlyHere(net.JoinHostPort(u.Hostname(), "0")) {
		p.addf("page.url", "%q is without TLS: passwords would cross the network unencrypted; page.allow_remote permits it", c.Page.URL)
	}
	images := slices.Clone(c.Fetch.OwnHosts)
	if base, err := url.Parse(c.BaseURL); err == nil && base.Host != "" && base.Host != u.Host {
		// To browsers another port of a machine is another origin, except for cookies.
		if !onlyHere(net.JoinHostPort(base.Hostname(), "0")) {
			images = append(images, base.Hostname())
		}
	} else if err == nil && base.Host == u.Host {
		images = append(images, base.Hostname())
	}
	for _, name := range c.Nginx.ServerName {
		if _, err := imageurl.ParsePattern(name); err == nil && !onlyHere(net.JoinHostPort(name, "0")) {
			images = append(images, name)
		}
	}
	if len(images) > 0 && imageurl.NewHosts(images).Match(strings.ToLower(u.Hostname())) {
		p.addf("page.url", "%q is a host of images, and what strangers have made must not be served beside the page: name another host", u.Host)
	}
}

// PageURL is where moderators find the page: Page.URL, or the URL of Page.Listen.
func (c Config) PageURL() string {
	if c.Page.URL != "" {
		return c.Page.URL
	}
	return "http://" + c.Page.Listen
}
