package nginx

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The contract of server and site. The server hands a file over by answering 200 with
// HeaderRedirect and no body, no Cache-Control and no conditional handling of its own:
// nginx handles ranges, ETag and 304.
const (
	// InternalPrefix is where the site shows Site.Root to X-Accel-Redirect, and
	// to nothing else: the header's value is InternalPrefix and the path below
	// the root.
	InternalPrefix = "/_imgkeep/"
	// HeaderRedirect carries that path.
	HeaderRedirect = "X-Accel-Redirect"
	// HeaderHandoff is set by the site on every request that it passes on, so a
	// client's own never arrives. It is HandoffNginx or HandoffDirect.
	HeaderHandoff = "X-Imgkeep-Handoff"
	// HandoffNginx asks for X-Accel-Redirect.
	HandoffNginx = "nginx"
	// HandoffDirect asks the server to send the file itself, or to answer why it
	// cannot: nginx has just failed to open the file, or to find the range in it.
	HandoffDirect = "direct"
	// HeaderError carries the stable code of an error.
	HeaderError = "X-Imgkeep-Error"
)

// Site is the configuration of one nginx site. Default has the values that the Debian
// package and the systemd units assume. Every field must be set unless its comment says
// what its zero value means.
type Site struct {
	// Name distinguishes several sites of one nginx: it is part of every name that is global
	// in nginx. 1 to 32 of a-z, 0-9 and _. Empty: this is the only site.
	Name string
	// Listen are the values of listen directives: a port, an address with port
	// ("127.0.0.1:8080", "[::]:80"), or "unix:/path". May be empty if ListenTLS is not.
	Listen []string
	// ListenTLS are the same for HTTPS. Empty: no HTTPS.
	ListenTLS []string
	// Certificate and CertificateKey are the absolute paths of PEM files. Required if
	// ListenTLS is not empty.
	Certificate, CertificateKey string
	// HTTP2 enables HTTP/2 on ListenTLS: "on" by the directive http2 (nginx 1.25.1 and
	// later), "listen" by a parameter of listen (earlier versions). Empty: no HTTP/2.
	HTTP2 string
	// RateLimit is how many requests a second one IPv4 address, or one /64 of IPv6, may
	// send. 0: no limit.
	RateLimit int
	// RateBurst is how many requests beyond RateLimit it may send at once. 0: none.
	RateBurst int
	// Include is the absolute path of a file with directives for the server block.
	// Empty: no file.
	Include string
	// Page is what answers tell browsers. Its zero value is usable.
	Page Page
	// Referers are the hosts whose pages may show images, as "example.com" or
	// "*.example.com". Empty: pages of all hosts.
	Referers []string
	// Tokens is the absolute path of a file that WriteTokens has written: nginx refuses
	// requests without one of its tokens. Empty: requests need no token.
	Tokens string
	// ServerName are the host names that the site serves; "_" matches no host, so that
	// nginx chooses the site only as the default for its address.
	ServerName []string
	// Upstream is where the server listens: "unix:/path" or "host:port".
	Upstream string
	// Root is the absolute path of the store's folder.
	Root string
	// Hot is the absolute path of the tree of hot links (Hot.Dir).
	Hot string
	// Buckets are the buckets that exist, each 1 to 32 of a-z, 0-9, - and _.
	Buckets []string
	// Extensions are those that nginx tries for a hot link, in this order, from ".jpg",
	// ".png", ".webp", ".gif", ".avif", ".heic", ".bmp", ".tif" and ".jxl". Each costs a
	// look-up, so the most common comes first: see Extensions.
	Extensions []string
	// Offers are the formats in which sizes are also made, besides their own, for viewers
	// who accept them; the preferred one comes first. The extension of each is in
	// Extensions. nil: none.
	Offers []Offer
	// MaxAge is the max-age of Cache-Control: the time that every valid link still lives at
	// least, see sign.MaxAge. Whole seconds; 0: viewers must ask again each time.
	MaxAge time.Duration
	// Valid is how long nginx caches that a file exists, or does not. It bounds how late
	// nginx notices that a link has expired or an image was removed. Whole seconds, 1 to 60.
	Valid time.Duration
	// OpenFiles is how many names nginx caches, absent ones included, and so the most files
	// that a worker holds open besides its connections. A worker that reaches its limit of
	// open files (worker_rlimit_nofile) can neither open nor accept anything, so keep this
	// well below that limit. 512 is safe with the usual limit of 1,024; 10,000 serves a
	// larger set of popular images faster. 1 to 1,000,000.
	OpenFiles int
	// Timeout is how long nginx waits for the server: longer than a download
	// and a resize may take. Whole seconds, 1 second to 1 hour.
	Timeout time.Duration
	// AccessLog is the absolute path of the access log. Empty: no log.
	AccessLog string
}

// Default returns the site of the default configuration. imgkeep.conf is its rendering.
func Default() Site {
	return Site{
		Listen:     []string{"80", "[::]:80"},
		ServerName: []string{"_"},
		Upstream:   "unix:/run/imgkeep/http.sock",
		Root:       "/var/lib/imgkeep",
		Hot:        "/run/imgkeep/hot",
		Buckets:    []string{"i"},
		Extensions: slices.Clone(extensions[:4]),
		MaxAge:     7 * 24 * time.Hour,
		Valid:      5 * time.Second,
		OpenFiles:  512,
		Timeout:    time.Minute,
		AccessLog:  "/var/log/nginx/imgkeep.log",
	}
}

// extensions are those that a stored file can have, the most common first.
var extensions = []string{".jpg", ".png", ".webp", ".gif", ".avif", ".heic", ".bmp", ".tif", ".jxl"}

// contentTypes are written out: lists of older nginx versions lack image/webp, and a
// distribution's list would allow files of other types.
var contentTypes = map[string]string{
	".jpg":  "image/jpeg",
	".png":  "image/png",
	".webp": "image/webp",
	".gif":  "image/gif",
	".avif": "image/avif",
	".heic": "image/heic",
	".jxl":  "image/jxl",
	".bmp":  "image/bmp",
	".tif":  "image/tiff",
}

// Extensions sorts extensions for Site.Extensions: the most common first, each once.
// Unknown ones come last; Validate reports them.
func Extensions(exts ...string) []string {
	rank := func(ext string) int {
		if i := slices.Index(extensions, ext); i >= 0 {
			return i
		}
		return len(extensions)
	}
	sorted := slices.Clone(exts)
	slices.SortStableFunc(sorted, func(a, b string) int { return rank(a) - rank(b) })
	return slices.Compact(sorted)
}

// Validate returns everything that is wrong with the site, or nil. It accepts only
// characters without a meaning to nginx, because the values become part of its
// configuration.
func (s Site) Validate() error {
	var errs []error
	refuse := func(field, value, want string) {
		errs = append(errs, fmt.Errorf("nginx site: %s %q: want %s", field, value, want))
	}
	s.validateListen(refuse)
	s.Page.validate(refuse)
	s.validateHosts(refuse)
	s.validatePaths(refuse)
	s.validateBuckets(refuse)
	s.validateExtensions(refuse)
	s.validateOffers(refuse)
	s.validateTimes(refuse)
	if s.OpenFiles < 1 || s.OpenFiles > 1_000_000 {
		refuse("OpenFiles", strconv.Itoa(s.OpenFiles), "1 to 1000000")
	}
	return errors.Join(errs...)
}

func (s Site) validateHosts(refuse func(field, value, want string)) {
	for _, h := range s.Referers {
		if h == "_" || !serverName.MatchString(h) {
			refuse("Referers", h, `a host name or "*.example.com"`)
		}
	}
	if len(s.ServerName) == 0 {
		refuse("ServerName", "", `host names, or "_"`)
	}
	for _, n := range s.ServerName {
		if !serverName.MatchString(n) {
			refuse("ServerName", n, `a host name, "*.example.com" or "_"`)
		}
	}
	if !isEndpoint(s.Upstream) {
		refuse("Upstream", s.Upstream, `"unix:/path" or "host:port"`)
	}
}

func (s Site) validatePaths(refuse func(field, value, want string)) {
	for _, p := range []struct {
		field, path string
		optional    bool
	}{{"Root", s.Root, false}, {"Hot", s.Hot, false}, {"AccessLog", s.AccessLog, true}, {"Include", s.Include, true}, {"Tokens", s.Tokens, true}} {
		if !isPath(p.path) && (p.path != "" || !p.optional) {
			refuse(p.field, p.path, "a clean absolute path of letters, digits and ./_@+-")
		}
	}
	if s.Root != "" && (s.Hot == s.Root || strings.HasPrefix(s.Root, s.Hot+"/")) {
		refuse("Hot", s.Hot, "a folder that does not hold Root "+s.Root)
	}
}

func (s Site) validateBuckets(refuse func(field, value, want string)) {
	if len(s.Buckets) == 0 {
		refuse("Buckets", "", "at least one bucket")
	}
	for i, b := range s.Buckets {
		switch {
		case !isName(b):
			refuse("Buckets", b, "1 to 32 of a-z, 0-9, - and _")
		case "/"+b+"/" == InternalPrefix:
			refuse("Buckets", b, "another name: the hand-off uses this one")
		case slices.Contains(s.Buckets[:i], b):
			refuse("Buckets", b, "each bucket once")
		}
	}
	if n := len(strings.Join(s.Buckets, "|")); n > maxBuckets {
		refuse("Buckets", fmt.Sprintf("of %d bytes", n), fmt.Sprintf("names of at most %d bytes together: nginx reads no longer words", maxBuckets))
	}
}

func (s Site) validateExtensions(refuse func(field, value, want string)) {
	if len(s.Extensions) == 0 {
		refuse("Extensions", "", "at least one extension")
	}
	for i, e := range s.Extensions {
		if contentTypes[e] == "" || slices.Contains(s.Extensions[:i], e) {
			refuse("Extensions", e, "each of "+strings.Join(extensions, " ")+" at most once")
		}
	}
}

func (s Site) validateTimes(refuse func(field, value, want string)) {
	for _, d := range []struct {
		field      string
		value      time.Duration
		least, max time.Duration
	}{
		{"MaxAge", s.MaxAge, 0, 10 * 366 * 24 * time.Hour},
		{"Valid", s.Valid, time.Second, time.Minute},
		{"Timeout", s.Timeout, time.Second, time.Hour},
	} {
		if d.value < d.least || d.value > d.max || d.value%time.Second != 0 {
			refuse(d.field, d.value.String(), fmt.Sprintf("whole seconds from %v to %v", d.least, d.max))
		}
	}
}

var (
	path       = regexp.MustCompile(`^/[A-Za-z0-9._@+/-]*$`)
	host       = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	serverName = regexp.MustCompile(`^(_|(\*\.)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])$`)
	siteName   = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)
)

// ID is the prefix of names that are global in nginx, so that several sites can coexist.
func (s Site) ID() string {
	if s.Name == "" {
		return "imgkeep"
	}
	return "imgkeep_" + s.Name
}

func (s Site) validateListen(refuse func(field, value, want string)) {
	if s.Name != "" && !siteName.MatchString(s.Name) {
		refuse("Name", s.Name, "1 to 32 of a-z, 0-9 and _")
	}
	if len(s.Listen) == 0 && len(s.ListenTLS) == 0 {
		refuse("Listen", "", "at least one address")
	}
	for field, list := range map[string][]string{"Listen": s.Listen, "ListenTLS": s.ListenTLS} {
		for _, l := range list {
			if !isEndpoint(l) && !isEndpoint("0.0.0.0:"+l) {
				refuse(field, l, `a port, "address:port" or "unix:/path"`)
			}
		}
	}
	for field, path := range map[string]string{"Certificate": s.Certificate, "CertificateKey": s.CertificateKey} {
		if len(s.ListenTLS) > 0 && !isPath(path) {
			refuse(field, path, "a clean absolute path of letters, digits and ./_@+-")
		}
	}
	if s.HTTP2 != "" && s.HTTP2 != "on" && s.HTTP2 != "listen" {
		refuse("HTTP2", s.HTTP2, `"on", "listen" or nothing`)
	}
	for field, n := range map[string]int{"RateLimit": s.RateLimit, "RateBurst": s.RateBurst} {
		if n < 0 || n > 1_000_000 {
			refuse(field, strconv.Itoa(n), "0 to 1000000")
		}
	}
}

// isPath accepts only what nginx takes literally everywhere: no space, quote, brace,
// semicolon, dollar sign or line break.
func isPath(p string) bool {
	return p != "/" && path.MatchString(p) && filepath.Clean(p) == p
}

func isEndpoint(s string) bool {
	if p, ok := strings.CutPrefix(s, "unix:"); ok {
		return isPath(p)
	}
	h, port, err := net.SplitHostPort(s)
	if err != nil {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || port != strconv.FormatUint(n, 10) {
		return false
	}
	if strings.HasPrefix(s, "[") {
		ip := net.ParseIP(h) // refuses zones, which nginx does not know
		return ip != nil && ip.To4() == nil
	}
	return host.MatchString(h)
}

// maxBuckets keeps the expressions that list the buckets within 4,096 bytes.
const maxBuckets = 3500

// isName is the grammar of buckets and sizes in links.
func isName(s string) bool {
	return len(s) <= 32 && name.MatchString(s)
}

var name = regexp.MustCompile(`^[a-z0-9_-]+$`)
