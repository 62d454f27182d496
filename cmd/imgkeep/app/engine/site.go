package engine

import (
	"cmp"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/listen"
	"imgkeep/nginx"
	"imgkeep/sign"
)

// NewSite is the nginx site that goes with a configuration.
func NewSite(c config.Config) (nginx.Site, error) {
	limits, err := Limits(c)
	if err != nil {
		return nginx.Site{}, err
	}
	s := nginx.Site{
		Page: pageOf(c), Referers: c.Nginx.Referers, Name: c.Nginx.Name, Listen: c.Nginx.Listen, ServerName: serverNames(c), Upstream: c.Listen,
		RateLimit: c.Nginx.RateLimit, RateBurst: c.Nginx.RateBurst, Include: c.Nginx.Include,
		Root: c.Root, Hot: c.Nginx.Hot,
		MaxAge: sign.MaxAge(c.Sign.Weeks), Valid: c.Nginx.Valid, OpenFiles: c.Nginx.OpenFiles,
		AccessLog: c.Nginx.AccessLog,
		Timeout:   patience(c),
	}
	if len(c.Access.Tokens) > 0 {
		s.Tokens = c.Nginx.Tokens
	}
	if c.Nginx.Certificate != "" {
		s.ListenTLS, s.Certificate, s.CertificateKey = c.Nginx.ListenTLS, c.Nginx.Certificate, c.Nginx.CertificateKey
		s.HTTP2 = http2Of(c.Nginx.HTTP2)
	}
	for _, b := range c.Buckets {
		s.Buckets = append(s.Buckets, b.Name)
	}
	for _, f := range limits.Formats {
		s.Extensions = append(s.Extensions, f.Ext())
	}
	if len(c.ExtraFormats()) > 0 { // sizes of which are made in another format
		s.Extensions = append(s.Extensions, probe.WebP.Ext())
	}
	for _, p := range c.Presets {
		if f, err := probe.ParseFormat(p.Format); err == nil { // otherwise as the source
			s.Extensions = append(s.Extensions, f.Ext())
		}
	}
	if slices.Contains(c.Outputs(), probe.AVIF.String()) {
		s.Extensions = append(s.Extensions, probe.AVIF.Ext())
	}
	s.Offers = offers(c)
	for _, o := range s.Offers {
		s.Extensions = append(s.Extensions, "."+o.Format)
	}
	s.Extensions = nginx.Extensions(s.Extensions...)
	if _, isUnix := listen.Path(c.Listen); !isUnix && len(c.Listen) > 0 && c.Listen[0] == ':' {
		s.Upstream = "127.0.0.1" + c.Listen
	}
	if err := s.Validate(); err != nil {
		return s, config.Error{Err: fmt.Errorf("no nginx site can be made of this configuration: %w", err)}
	}
	return s, nil
}

// serverNames are those of the configuration, or the host of base_url.
func serverNames(c config.Config) []string {
	if len(c.Nginx.ServerName) > 0 {
		return c.Nginx.ServerName
	}
	u, err := imageurl.Parse(c.BaseURL + "/") // in punycode, as browsers send it
	switch host := u.Host(); {
	case err != nil:
		return []string{"_"}
	case strings.Contains(host, ":"):
		return []string{"[" + host + "]"}
	default:
		return []string{host}
	}
}

// http2Of says how a site asks for HTTP/2: see nginx.Site. Where no nginx can be
// asked, as in a container of the server alone, it is the current way.
func http2Of(setting string) string {
	switch setting {
	case "off":
		return ""
	case "auto":
	default:
		return setting
	}
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		out, err := exec.Command(name, "-v").CombinedOutput()
		if err != nil {
			continue
		}
		if !knowsHTTP2(string(out)) {
			return "listen"
		}
		break
	}
	return "on"
}

// knowsHTTP2 tells whether nginx, by what its -v says, has the directive http2, as it
// has since 1.25.1.
func knowsHTTP2(version string) bool {
	var major, minor, patch int
	if _, rest, ok := strings.Cut(version, "nginx/"); ok {
		fmt.Sscanf(rest, "%d.%d.%d", &major, &minor, &patch)
	}
	return cmp.Or(cmp.Compare(major, 1), cmp.Compare(minor, 25), cmp.Compare(patch, 1)) >= 0
}

// offers are what is negotiated, by format: first what the sizes have, in their
// order, then what only presets have.
func offers(c config.Config) []nginx.Offer {
	var all []nginx.Offer
	add := func(size string, formats []string) {
		for _, f := range formats {
			i := slices.IndexFunc(all, func(o nginx.Offer) bool { return o.Format == f })
			if i < 0 {
				i, all = len(all), append(all, nginx.Offer{Format: f})
			}
			all[i].Sizes = append(all[i].Sizes, size)
		}
	}
	add(nginx.AnySize, c.Resize.Negotiate)
	for _, p := range c.Presets {
		add(p.Name, p.Negotiate)
	}
	return all
}

// patience is the longest that a request can rightly take: a wait for a place and
// a download, each as long as fetch.timeout, the same with a decoder, and a little
// for the disk. What could not be made in two formats at once takes two decoders more,
// one after the other.
func patience(c config.Config) time.Duration {
	d := 2*c.Fetch.Timeout + 2*c.Resize.Timeout + 10*time.Second
	if len(offers(c)) > 0 {
		d += 2 * c.Resize.Timeout
	}
	return min(d.Round(time.Second), time.Hour)
}
