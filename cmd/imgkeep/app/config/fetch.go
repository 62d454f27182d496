package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/fetch/s3origin"
	"imgkeep/bucket/imageurl"
)

// Fetch is about downloads from origins.
type Fetch struct {
	// The time for a whole download, redirects included. 1ms to 1h.
	Timeout time.Duration `yaml:"timeout"`
	// The time until the header of an answer has arrived. 1ms to 1h.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// The largest image, in bytes. 1KiB to 1GiB.
	MaxBytes ByteSize `yaml:"max_bytes"`
	// The largest image, in pixels: width times height. At least 1.
	MaxPixels int64 `yaml:"max_pixels"`
	// The largest width and height, in pixels. 1 to 65535.
	MaxSide int `yaml:"max_side"`
	// The most frames of an animation. One with more is refused with 413, as soon as the
	// header of the first frame too many arrives. 1 to 1000000.
	MaxFrames int `yaml:"max_frames"`
	// The largest animation, in pixels: width times height times frames; a larger one is
	// refused likewise. 500 million are a thousand frames of 800 x 600; 16 MiB of GIF usually
	// hold far less. This bounds what is kept; resize.animation_pixels bounds what stays an
	// animation when it is resized. 1 to 1000000000000.
	MaxAnimationPixels int64 `yaml:"max_animation_pixels"`
	// How many redirects are followed. 0 to 20; 0: none.
	MaxRedirects int `yaml:"max_redirects"`
	// The ports that may be connected to.
	Ports []int `yaml:"ports"`
	// The private networks that images may be fetched from, such as 10.1.0.0/16 or
	// fd00::/8. Empty: none.
	Networks []netip.Prefix `yaml:"networks"`
	// Hosts from which nothing is fetched, written as the hosts of a bucket. Empty: none.
	DenyHosts []string `yaml:"deny_hosts"`
	// The User-Agent that imgkeep sends. Many origins refuse an empty one. If base_url is set,
	// it is appended to the default, as in Mozilla/5.0 (compatible; imgkeep;
	// +https://img.example.com): some origins, such as Wikimedia, want a contact.
	UserAgent string `yaml:"user_agent"`
	// The formats that the Accept header names, as far as formats above has them; if it has
	// none of them, all of its formats. Other formats are accepted too. Some origins convert
	// their JPEGs to WebP for clients that name WebP; that copy would be kept for good instead
	// of the original. At least one.
	Accept []string `yaml:"accept"`
	// A proxy for all downloads, which hides the server's address from origins:
	// http://host:port, https://host:port or socks5://host:port, with user:password@ before
	// the host if needed. Empty: none.
	Proxy string `yaml:"proxy"`
	// Settings for some hosts. The first profile that names a host applies to it, chosen again
	// at each redirect, and no other host sees its values. Each has hosts, written as the
	// hosts of a bucket, and any of
	//   user_agent  instead of the one above
	//   referer     a URL that is sent as Referer. Empty: none is sent
	//   proxy       instead of the one above; direct: none
	//   per_host    instead of the one below, for the whole site
	//   headers     further headers, as in ["Accept-Language: de", "Cookie: adult=1"]
	//   insecure    true: any certificate is accepted, even another host's. An attacker on
	//               the network can then replace the image
	//   tls_min     the oldest version of TLS, 1.0 to 1.3, in quotes; below "1.2" also
	//               the ciphers of that time. Empty: "1.2"
	// as in
	//   - {hosts: ["*.example.com"], referer: "https://www.example.com/", per_host: 1}
	Profiles []Profile `yaml:"profiles"`
	// Pictures that say that an image was removed, which origins send with status 200
	// instead of it: they count as gone, and are never stored. Each is recognised by one of
	//   url     to which its origin redirects
	//   etag    its ETag, of at least 8 characters
	//   digest  SHA-256 of its bytes, as sha256sum prints it or as imgkeep names files
	// The defaults are imgur's, by its URL, its ETag and its bytes, and Flickr's, small and
	// large.
	Removed []Removed `yaml:"removed"`
	// Where else to look for an image that its origin has lost, in this order: URLs with
	// {url} in their path or query. The journal then says where the image came from. The
	// owner of such a service learns which URLs are asked for. Empty: nowhere. The Internet
	// Archive: https://web.archive.org/web/0im_/{url}
	Fallbacks []string `yaml:"fallbacks"`
	// How many failures of an image in a row it takes before the fallbacks are asked, by
	// the reason of the last one. The pauses between failures double, from 1 min for most
	// and from 1 h for a page: the 3rd failure comes after 3 min at the earliest, the 6th
	// after half an hour. 0 to 100; 0: never.
	FallbackAfter FallbackAfter `yaml:"fallback_after"`
	// Which query parameters do not identify the image, by hosts: an attachment whose link is
	// signed again each time is then one entry, fetched by the first link that works. Each has
	// hosts, written as the hosts of a bucket, and params, which are names, or prefixes that
	// end in *. The first entry that names a host applies. Set this before such images are
	// kept: an image that was kept under a whole URL is found under that one alone. A damaged
	// original of such a host cannot be fetched again. As in
	//   - {hosts: [cdn.discordapp.com, media.discordapp.net], params: [ex, is, hm]}
	//   - {hosts: ["*.amazonaws.com"], params: ["X-Amz-*", Expires, Signature, AWSAccessKeyId]}
	SameImage []SameImage `yaml:"same_image"`
	// true: http and https of one URL are one entry, that of https, fetched by the one that
	// is asked for first. An attacker on the network who replaces the image of the http URL
	// then replaces that of the https URL too.
	SameScheme bool `yaml:"same_scheme"`
	// The base of URLs in links that name no host, such as
	// https://static.example.com/images/. Empty: such links are refused.
	BaseURL string `yaml:"base_url"`
	// Names of this server besides that of base_url, written as the hosts of a bucket; on
	// any port. A link of this server within a link is replaced by the URL that it shows,
	// if one of the secrets signed it in the last ten years; every other URL of this server
	// is refused.
	OwnHosts []string `yaml:"own_hosts"`
	// The folder that URLs such as local:///dir/image.png are read from. Empty: such
	// URLs are refused.
	LocalRoot string `yaml:"local_root"`
	// Object stores that speak S3 and hold a site's own attachments, so that links may name
	// s3://bucket/key: each has
	//   endpoint         http or https and a host, as in https://s3.example.com; it may have a
	//                    private address, and is asked without the proxy above
	//   region           for which requests are signed. Empty: us-east-1
	//   path_style       true: the bucket is part of the path, not of the host
	//   buckets          the only ones that are read, at least one
	//   access_key_file, secret_key_file   files of one line each; a name without a slash is
	//                    that of a systemd credential of the service
	//   access_key, secret_key   instead of the files; make this file unreadable for others then
	// Without keys, those of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are used. The host of
	// s3://attachments/ is attachments.s3: only buckets of this server whose hosts name it, as
	// in hosts: [attachments.s3], serve its objects. Empty: s3 URLs are refused. As in
	//   - {endpoint: "https://s3.example.com", path_style: true, buckets: [attachments],
	//      access_key_file: /etc/imgkeep/s3.access, secret_key_file: /etc/imgkeep/s3.secret}
	S3 []S3Origin `yaml:"s3"`
	// The most downloads at once. 1 to 10000.
	Concurrency int `yaml:"concurrency"`
	// The most of them from one site, which is a domain with all hosts below it. At least 1;
	// no more than concurrency. All sites of one domain where anybody can have a site (dynamic
	// DNS, say), and all of one network (/24, /56), share an eighth of concurrency, or twice
	// this if that is more.
	PerHost int `yaml:"per_host"`
	// How many downloads may wait. Further ones are refused with 503. 1 to 1000000.
	Queue int `yaml:"queue"`
}

// Profile has settings for some hosts.
type Profile struct {
	// Hosts are written as Bucket.Hosts. At least one.
	Hosts []string `yaml:"hosts"`
	// UserAgent is sent to them. Empty: Fetch.UserAgent.
	UserAgent string `yaml:"user_agent"`
	// Referer is sent to them, a URL. Empty: none.
	Referer string `yaml:"referer"`
	// Proxy is as Fetch.Proxy; fetch.NoProxy: none. Empty: Fetch.Proxy.
	Proxy string `yaml:"proxy"`
	// PerHost is as Fetch.PerHost. 0: that.
	PerHost int `yaml:"per_host"`
	// Headers are sent to them, each as "Name: value".
	Headers []string `yaml:"headers"`
	// Insecure takes any certificate.
	Insecure bool `yaml:"insecure"`
	// TLSMin is the oldest version of TLS. Empty: 1.2.
	TLSMin string `yaml:"tls_min"`
}

// S3Origin is an object store that holds a site's own images.
type S3Origin struct {
	// Endpoint is scheme and host.
	Endpoint string `yaml:"endpoint"`
	// Region is what requests are signed for. Empty: us-east-1.
	Region string `yaml:"region"`
	// PathStyle has the bucket's name in the path.
	PathStyle bool `yaml:"path_style"`
	// Buckets may be read. At least one.
	Buckets []string `yaml:"buckets"`
	// AccessKey and SecretKey sign requests; after Load also where they come from files or
	// the environment. Empty: there are none for this process, see CheckS3Keys.
	AccessKey Secret `yaml:"access_key"`
	SecretKey Secret `yaml:"secret_key"`
	// AccessKeyFile and SecretKeyFile hold them. Without a slash they are credentials of
	// systemd, in $CREDENTIALS_DIRECTORY.
	AccessKeyFile string `yaml:"access_key_file"`
	SecretKeyFile string `yaml:"secret_key_file"`
}

// SameImage says which query parameters of some hosts do not identify the image.
type SameImage struct {
	// Hosts are written as Bucket.Hosts. At least one.
	Hosts []string `yaml:"hosts"`
	// Params are names, or beginnings with "*" behind them. At least one.
	Params []string `yaml:"params"`
}

// FallbackAfter is when an origin counts as having lost an image, by fetch.Reason.
type FallbackAfter struct {
	// 404, 410, and a picture that says that the image was removed.
	Gone int `yaml:"gone"`
	// The name of the host does not exist.
	NoHost int `yaml:"no_host"`
	// The host refuses the connection, breaks it off, or has no route to it.
	Unreachable int `yaml:"unreachable"`
	// No valid certificate, or no TLS 1.2 or later.
	TLS int `yaml:"tls"`
	// No answer in time.
	Timeout int `yaml:"timeout"`
	// 500 to 599.
	ServerError int `yaml:"server_error"`
	// A page with status 200 instead of the image, as parked domains send it.
	Page int `yaml:"page"`
	// 401, 403, 429, 451, and challenges. Some object stores answer 403 for what is missing.
	Blocked int `yaml:"blocked"`
}

// ByReason are the same numbers by their reasons.
func (a FallbackAfter) ByReason() map[fetch.Reason]int {
	return map[fetch.Reason]int{
		fetch.ReasonGone: a.Gone, fetch.ReasonNoHost: a.NoHost, fetch.ReasonUnreachable: a.Unreachable, fetch.ReasonTLS: a.TLS,
		fetch.ReasonTimeout: a.Timeout, fetch.ReasonServerError: a.ServerError, fetch.ReasonPage: a.Page, fetch.ReasonBlocked: a.Blocked,
	}
}

// Removed is the mark of a picture that says that an image was removed, as
// fetch.Removed describes it: one of its fields is set.
type Removed struct {
	URL    string `yaml:"url"`
	ETag   string `yaml:"etag"`
	Digest string `yaml:"digest"`
}

func (f *Fetch) validate(p *problems) {
	between(p, "fetch.timeout", f.Timeout, time.Millisecond, time.Hour)
	between(p, "fetch.header_timeout", f.HeaderTimeout, time.Millisecond, time.Hour)
	between(p, "fetch.max_bytes", f.MaxBytes, kibibyte, gibibyte)
	between(p, "fetch.max_pixels", f.MaxPixels, 1, maxPixels)
	between(p, "fetch.max_side", f.MaxSide, 1, maxSide)
	between(p, "fetch.max_frames", f.MaxFrames, 1, 1_000_000)
	between(p, "fetch.max_animation_pixels", f.MaxAnimationPixels, 1, maxAnimationPixels)
	between(p, "fetch.max_redirects", f.MaxRedirects, 0, 20)
	between(p, "fetch.concurrency", f.Concurrency, 1, 10_000)
	between(p, "fetch.per_host", f.PerHost, 1, 10_000)
	between(p, "fetch.queue", f.Queue, 1, maxQueue)
	if len(f.Ports) == 0 {
		p.addf("fetch.ports", "it is empty, so that nothing could be fetched")
	}
	for i, n := range f.Ports {
		between(p, item("fetch.ports", i), n, 1, 65535)
	}
	unique(p, "fetch.ports", f.Ports)
	for i, n := range f.Networks {
		if at := item("fetch.networks", i); n.Addr().Is4In6() {
			p.addf(at, "%s is an IPv4 network in IPv6's spelling; write it as IPv4", n)
		} else if m := n.Masked(); m != n {
			// 10.1.2.3/8 may be meant as 10.1.2.3/32 or as 10.0.0.0/8.
			p.addf(at, "%s is not a network: the network of that length is %s", n, m)
		}
	}
	checkHosts(p, "fetch.deny_hosts", f.DenyHosts)
	validateUserAgent(p, "fetch.user_agent", f.UserAgent) // an empty one is refused by many origins
	validateFormats(p, "fetch.accept", f.Accept, "it is empty; name at least one format, as in [jpeg, png, gif]")
	validateProxy(p, "fetch.proxy", f.Proxy)
	f.validateProfiles(p)
	for i, r := range f.Removed {
		if err := fetch.Removed(r).Check(); err != nil {
			p.add(item("fetch.removed", i), err)
		}
	}
	for i, s := range f.Fallbacks {
		if _, err := imageurl.ParseFallback(s); err != nil {
			p.add(item("fetch.fallbacks", i), err)
		}
	}
	unique(p, "fetch.fallbacks", f.Fallbacks)
	for reason, n := range f.FallbackAfter.ByReason() {
		between(p, "fetch.fallback_after."+string(reason), n, 0, 100)
	}
	for i, r := range f.SameImage {
		at := item("fetch.same_image", i)
		if len(r.Hosts) == 0 || len(r.Params) == 0 {
			p.addf(at, "it needs hosts and params, as in {hosts: [cdn.example.com], params: [ex, sig, \"X-Amz-*\"]}")
		}
		checkHosts(p, at+".hosts", r.Hosts)
		for j, param := range r.Params {
			if name := strings.TrimSuffix(param, "*"); name == "" || strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("*&=?#", c) }) {
				p.addf(item(at+".params", j), "%q is not the name of a parameter: want one as in URLs, with or without * at its end", param)
			}
		}
		unique(p, at+".params", r.Params)
	}
	checkHosts(p, "fetch.own_hosts", f.OwnHosts)
	if f.BaseURL != "" {
		if err := imageurl.CheckBase(f.BaseURL); err != nil {
			p.addf("fetch.base_url", "%q: %w", f.BaseURL, err)
		}
	}
}

func (f *Fetch) validateProfiles(p *problems) {
	for i, profile := range f.Profiles {
		at := item("fetch.profiles", i)
		if len(profile.Hosts) == 0 {
			p.addf(at+".hosts", "it is empty, so that the profile would apply to no host")
		}
		checkHosts(p, at+".hosts", profile.Hosts)
		if profile.UserAgent != "" {
			validateUserAgent(p, at+".user_agent", profile.UserAgent)
		}
		if err := fetch.CheckReferer(profile.Referer); err != nil {
			p.addf(at+".referer", "%q: %w", profile.Referer, err)
		}
		if profile.Proxy != fetch.NoProxy {
			validateProxy(p, at+".proxy", profile.Proxy)
		}
		between(p, at+".per_host", profile.PerHost, 0, 10_000)
		for j, h := range profile.Headers {
			// Without the value, which may be a secret.
			if err := fetch.CheckHeader(h); err != nil {
				p.add(item(at+".headers", j), err)
			} else if strings.HasSuffix(h, ": "+redacted) {
				p.addf(item(at+".headers", j), "the value is %q, which is the placeholder of a hidden one; write the real one", redacted)
			}
		}
		if profile.TLSMin != "" {
			oneOf(p, at+".tls_min", profile.TLSMin, "1.0", "1.1", "1.2", "1.3")
		}
	}
}

// validateS3 names what is wrong with Fetch.S3, without a key.
func (c *Config) validateS3(p *problems) {
	seen := map[string]bool{}
	for i, o := range c.Fetch.S3 {
		at := item(s3Key, i)
		if err := s3origin.CheckEndpoint(o.Endpoint); err != nil {
			p.add(at+".endpoint", err)
		}
		if err := s3origin.CheckRegion(o.Region); err != nil {
			p.addf(at+".region", "%q: %w", o.Region, err)
		}
		if len(o.Buckets) == 0 {
			p.addf(at+".buckets", "it is empty, so that nothing could be read")
		}
		for j, b := range o.Buckets {
			at := item(at+".buckets", j)
			if err := imageurl.CheckObjectBucket(b); err != nil {
				p.addf(at, "%q is not a bucket of an object store: %w", b, err)
				continue
			}
			if err := s3origin.CheckStyle(o.Endpoint, b); err != nil && !o.PathStyle {
				p.addf(at, "%q: %w", b, err)
			}
			if seen[b] {
				p.addf(at, "%q is listed twice", b)
			}
			seen[b] = true
		}
		o.validateKeys(p, at)
	}
}

func (o S3Origin) validateKeys(p *problems, at string) {
	if (o.AccessKeyFile == "") != (o.SecretKeyFile == "") {
		p.addf(at, "of access_key_file and secret_key_file only one is set: set both, or none")
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		p.addf(at, "of access_key and secret_key only one is set: set both, or none")
	}
	for _, k := range []struct {
		name string
		key  Secret
	}{{"access_key", o.AccessKey}, {"secret_key", o.SecretKey}} {
		if k.key == "" {
			continue
		}
		if err := s3origin.CheckKey(string(k.key)); err != nil {
			p.add(fmt.Sprintf("%s.%s", at, k.name), err)
		}
	}
}

// validateUserAgent refuses what net/http would not send.
func validateUserAgent(p *problems, key, s string) {
	if strings.TrimSpace(s) == "" || !controlFree(s) || len(s) > 256 {
		p.addf(key, "%q cannot be sent: want 1 to 256 characters, none of them a control character", s)
	}
}

func validateProxy(p *problems, key, proxy string) {
	if proxy == "" {
		return
	}
	// Messages leave the URL out, because of its password.
	u, err := url.Parse(proxy)
	if err != nil || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme) || u.Hostname() == "" ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		p.addf(key, "it is not a proxy: want http://host:port, https://host:port or socks5://host:port, with user:password@ before the host if need be")
		return
	}
	if password, _ := u.User.Password(); password == redacted {
		p.addf(key, "the password is %q, which is the placeholder of a hidden one; write the real one", redacted)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			p.addf(key, "%q is not a port: want a number from 1 to 65535", port)
		}
	}
}

// checkHosts checks patterns of hosts. It refuses a pattern that matches nothing: a host
// that should be denied would not be.
func checkHosts(p *problems, key string, hosts []string) {
	for i, h := range hosts {
		if _, err := imageurl.ParsePattern(h); err != nil {
			p.add(item(key, i), err)
		}
	}
	unique(p, key, hosts)
}
