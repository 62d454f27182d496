package config

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket/approve"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/hook"
	"imgkeep/nginx"
	"imgkeep/sign"
)

// clean normalises values, so that the rest of the program sees one form.
func (c *Config) clean(p *problems) {
	abs := func(key string, path *string) {
		if *path == "" {
			return
		}
		full, err := filepath.Abs(*path)
		if err != nil { // there is no working directory
			p.add(key, err)
			return
		}
		*path = full
	}
	abs("root", &c.Root)
	abs("admin", &c.Admin)
	abs("placeholder", &c.Placeholder)
	abs("fetch.local_root", &c.Fetch.LocalRoot)
	abs("nginx.hot", &c.Nginx.Hot)
	abs("nginx.access_log", &c.Nginx.AccessLog)
	abs("nginx.certificate", &c.Nginx.Certificate)
	abs("nginx.certificate_key", &c.Nginx.CertificateKey)
	abs("nginx.include", &c.Nginx.Include)
	abs("nginx.tokens", &c.Nginx.Tokens)
	for i := range c.Placeholders {
		abs(item("placeholders", i)+".image", &c.Placeholders[i].Image)
	}
	for i := range c.Access.TokenFiles {
		abs(item(tokenFilesKey, i), &c.Access.TokenFiles[i])
	}
	for i := range c.Hooks.SecretFiles {
		abs(item(hookFilesKey, i), &c.Hooks.SecretFiles[i])
	}
	for i := range c.Fetch.S3 {
		for key, path := range map[string]*string{".access_key_file": &c.Fetch.S3[i].AccessKeyFile, ".secret_key_file": &c.Fetch.S3[i].SecretKeyFile} {
			if strings.Contains(*path, "/") { // otherwise a credential of systemd
				abs(item(s3Key, i)+key, path)
			}
		}
	}
	c.cleanShared(abs)
	for i := range c.Sign.SecretFiles {
		abs(fmt.Sprintf("%s[%d]", secretFilesKey, i), &c.Sign.SecretFiles[i])
	}
	for i := range c.Presets {
		abs(item("presets", i)+".watermark.picture", &c.Presets[i].Watermark.Picture)
	}
	if strings.Contains(c.Resize.Command, "/") { // otherwise a name in PATH
		abs("resize.command", &c.Resize.Command)
	}
	for key, address := range map[string]*string{"listen": &c.Listen, "metrics.listen": &c.Metrics.Listen, "page.listen": &c.Page.Listen} {
		if path, ok := strings.CutPrefix(*address, unixPrefix); ok && path != "" {
			abs(key, &path)
			*address = unixPrefix + path
		}
	}
	// One site cannot have more places than there are: operators who lower one limit need
	// not adjust the other.
	c.Fetch.PerHost = min(c.Fetch.PerHost, max(c.Fetch.Concurrency, 1))
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	c.Page.URL = strings.TrimRight(c.Page.URL, "/")
}

// validate reports every invalid value.
func (c *Config) validate(p *problems) {
	validateListen(p, "listen", c.Listen)
	if c.Metrics.Listen != "" {
		validateListen(p, "metrics.listen", c.Metrics.Listen)
		if c.Metrics.Listen == c.Listen && !strings.HasSuffix(c.Listen, ":0") {
			p.addf("metrics.listen", "%q is where links are served: name another address", c.Metrics.Listen)
		}
	}
	c.validatePage(p)
	c.validatePaths(p)
	c.validateBaseURL(p)
	oneOf(p, "handoff", c.Handoff, "direct", "nginx")
	oneOf(p, "likeness", c.Likeness, "off", "on")
	between(p, "max_connections", c.MaxConnections, 16, 1_000_000)
	between(p, "shutdown_timeout", c.ShutdownTimeout, time.Millisecond, time.Hour)

	c.validateAnswers(p)
	c.validateBuckets(p)
	c.validateSign(p)

	for i, n := range c.Sizes {
		between(p, item("sizes", i), n, 1, maxSide)
	}
	unique(p, "sizes", c.Sizes)
	c.validatePresets(p)
	validateFormats(p, "formats", c.Formats, "it is empty, so that no image would be accepted")
	for i, b := range c.Buckets {
		if extra := c.ExtraFormats(); b.StripMetadata && len(extra) > 0 {
			p.addf(item("buckets", i)+".strip_metadata", "the metadata of %s cannot be removed, and may say where a photo was taken: take them out of formats, or leave this off", strings.Join(extra, ", "))
		}
	}

	c.Fetch.validate(p)
	c.validateS3(p)
	c.Approve.validate(p)
	c.Hooks.validate(p)
	c.validateResize(p)
	c.validateStore(p)
	c.validateShared(p)
	c.Nginx.validate(p)
	oneOf(p, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(p, "log.format", c.Log.Format, "text", "json")
}

// validateFormats reports what is wrong with a list of formats, which must not be empty.
func validateFormats(p *problems, key string, names []string, empty string) {
	if len(names) == 0 {
		p.addf(key, "%s", empty)
	}
	for i, name := range names {
		if _, err := probe.ParseFormat(name); err != nil {
			p.add(item(key, i), err)
		}
	}
	unique(p, key, names)
}

func (c *Config) validateResize(p *problems) {
	between(p, "resize.workers", c.Resize.Workers, 0, 1024)
	between(p, "resize.queue", c.Resize.Queue, 1, maxQueue)
	between(p, "resize.timeout", c.Resize.Timeout, time.Millisecond, time.Hour)
	between(p, "resize.quality", c.Resize.Quality, 1, 100)
	between(p, "resize.avif_quality", c.Resize.AVIFQuality, 1, 100)
	validateNegotiate(p, "resize.negotiate", c.Resize.Negotiate)
	between(p, "resize.max_images", c.Resize.MaxImages, 1, 1_000_000_000)
	between(p, "resize.animation_pixels", c.Resize.AnimationPixels, 1, maxPixels)
	oneOf(p, "resize.sandbox", c.Resize.Sandbox, "auto", "require", "off")
	between(p, "resize.max_memory", c.Resize.MaxMemory, 256*mebibyte, tebibyte)
	oneOf(p, "resize.animation_excess", c.Resize.AnimationExcess, "first", "original")
	c.validateEager(p)
}

func (c *Config) validateStore(p *problems) {
	between(p, "store.min_free", c.Store.MinFree, 0, 1024*tebibyte)
	between(p, "store.min_free_inodes", c.Store.MinFreeInodes, 0, 1<<40)
	if c.Store.MaxPerSite != 0 {
		between(p, "store.max_per_site", c.Store.MaxPerSite, mebibyte, 1024*tebibyte)
	}
	between(p, "store.scrub_interval", c.Store.ScrubInterval, 0, 10*365*24*time.Hour)
	between(p, "store.scrub_rate", c.Store.ScrubRate, 0, tebibyte)
	if c.LinkRot.Interval != 0 { // off, or polite
		between(p, "linkrot.interval", c.LinkRot.Interval, 24*time.Hour, 10*365*24*time.Hour)
	}
	between(p, "linkrot.rate", c.LinkRot.Rate, 1, 1000)
}

// ExtraFormats are the formats that not every browser shows. Decoders read them only on request,
// at their start.
func (c Config) ExtraFormats() []string {
	return slices.DeleteFunc(slices.Clone(c.Formats), func(name string) bool {
		f, err := probe.ParseFormat(name)
		return err != nil || slices.Contains(probe.Web(), f)
	})
}

const (
	unixPrefix         = "unix:"
	maxSocket          = 107 // bytes of a path in sockaddr_un, less the NUL
	maxSide            = 65535
	maxPixels          = 10_000_000_000
	maxAnimationPixels = 100 * maxPixels
	maxQueue           = 1_000_000
)

func validateListen(p *problems, key, address string) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		if path == "" || len(path) > maxSocket {
			p.addf(key, "the path of a socket must have 1 to %d bytes, and %q has %d", maxSocket, path, len(path))
		}
		return
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		p.addf(key, "%q is neither host:port, as in 127.0.0.1:8091, nor unix:/path", address)
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		p.addf(key, "%q is not a port: want a number from 0 (any free port) to 65535", port)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return r <= ' ' || r == '/' || r > '~' }) {
		p.addf(key, "%q is neither an address nor the name of a host", host)
	}
}

func (c *Config) validatePaths(p *problems) {
	if c.Root == "" || c.Root == "/" {
		p.addf("root", "%q cannot be the store: name a folder of its own, as in /var/lib/imgkeep", c.Root)
	}
	if c.Nginx.Hot == "" || c.Nginx.Hot == "/" {
		p.addf("nginx.hot", "%q cannot hold the links: name a folder of its own, as in /run/imgkeep/hot", c.Nginx.Hot)
	}
	if path := c.AdminSocket(); len(path) > maxSocket {
		p.addf("admin", "the path of a socket must have 1 to %d bytes, and %q has %d: set a shorter one", maxSocket, path, len(path))
	}
	// Links are removed from the hot folder by age; nothing is ever removed from root.
	if c.Handoff == "nginx" && (within(c.Nginx.Hot, c.Root) || within(c.Root, c.Nginx.Hot)) {
		p.addf("nginx.hot", "%s and root, %s, must not be within each other", c.Nginx.Hot, c.Root)
	}
	for _, path := range []struct{ key, path string }{
		{"root", c.Root}, {"admin", c.Admin}, {"nginx.hot", c.Nginx.Hot}, {"placeholder", c.Placeholder},
		{"fetch.local_root", c.Fetch.LocalRoot}, {"nginx.access_log", c.Nginx.AccessLog},
		{"resize.command", c.Resize.Command}, {"listen", c.Listen}, {"metrics.listen", c.Metrics.Listen},
	} {
		if !controlFree(path.path) {
			p.addf(path.key, "%q holds a control character", path.path)
		}
	}
}

// within tells whether the absolute path is folder or lies in it.
func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

func (c *Config) validateBaseURL(p *problems) {
	if c.BaseURL == "" {
		return
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(c.BaseURL, "#") {
		p.addf("base_url", "%q is not what links can begin with: want http or https and a host, as in https://img.example.com", c.BaseURL)
	} else if u.Path != "" {
		// nginx and the server find links by their whole path.
		p.addf("base_url", "%q has a path, below which no link is found: give images a host of their own, as in https://img.example.com", c.BaseURL)
	}
}

// validateAnswers checks what browsers are told, and who is answered. The server checks
// which error codes exist.
func (c *Config) validateAnswers(p *problems) {
	var codes []string
	for i, h := range c.Placeholders {
		at := item("placeholders", i)
		if len(h.Errors) == 0 {
			p.addf(at+".errors", "it is empty, so that the image would never be sent")
		}
		for j, code := range h.Errors {
			if slices.Contains(codes, code) {
				p.addf(item(at+".errors", j), "%s has an image already", code)
			}
			codes = append(codes, code)
		}
		if h.Image == "" {
			p.addf(at+".image", "it is empty; name a file")
		}
	}
	oneOf(p, "headers.resource_policy", c.Headers.ResourcePolicy, nginx.ResourcePolicies...)
	if err := nginx.CheckRobots(c.Headers.Robots); err != nil {
		p.add("headers.robots", err)
	}
	for i, o := range c.CORS.Origins {
		if err := nginx.CheckOrigin(o); err != nil {
			p.add(item("cors.origins", i), err)
		}
	}
	unique(p, "cors.origins", c.CORS.Origins)
	for _, t := range c.Access.Tokens {
		if err := nginx.CheckToken(string(t)); err != nil {
			p.addf(tokensKey, "one of them, or of %s, is not a token: %w", tokenFilesKey, err)
		}
	}
	if len(c.Access.Tokens) > 0 && c.Nginx.Tokens == "" {
		p.addf("nginx.tokens", "it is empty, and there are tokens; name a file, as in /etc/imgkeep/nginx.tokens")
	}
}

var bucketName = regexp.MustCompile(`^[a-z0-9]{1,16}$`)

// reserved are the names that routes and files beside the buckets have.
var reserved = []string{"healthz", "readyz", "metrics", "tmp", "journal", "quarantine", "index.db"}

func (c *Config) validateBuckets(p *problems) {
	if len(c.Buckets) == 0 {
		p.addf("buckets", "it is empty, so that nothing could be kept")
	}
	names := make([]string, 0, len(c.Buckets))
	for i, b := range c.Buckets {
		at := item("buckets", i)
		switch {
		case slices.Contains(reserved, b.Name):
			p.addf(at+".name", "%q is taken: none of %s can be a bucket", b.Name, strings.Join(reserved, ", "))
		case !bucketName.MatchString(b.Name):
			p.addf(at+".name", "%q is not a bucket's name: want 1 to 16 of a-z and 0-9", b.Name)
		case slices.Contains(names, b.Name):
			p.addf(at+".name", "%q is listed twice", b.Name)
		}
		names = append(names, b.Name)
		checkHosts(p, at+".hosts", b.Hosts)
		if b.MaxBytes != 0 {
			between(p, at+".max_bytes", b.MaxBytes, kibibyte, gibibyte)
		}
	}
	if b := c.Sign.Bucketless; b != "" && !slices.Contains(names, b) {
		p.addf("sign.bucketless", "%q is not a bucket: want one of %s", b, strings.Join(names, ", "))
	}
}

func (c *Config) validateSign(p *problems) {
	between(p, "sign.weeks", c.Sign.Weeks, 1, sign.MaxWeeks)
	if c.Sign.Timezone == "" { // which would mean UTC to Go
		p.addf("sign.timezone", `it is empty; want a name, as in UTC or Europe/Berlin`)
	} else if _, err := time.LoadLocation(c.Sign.Timezone); err != nil {
		p.addf("sign.timezone", "%q is not known here; want a name, as in UTC or Europe/Berlin", c.Sign.Timezone)
	}
	c.checkSecrets(p)
}

// validate leaves the spelling of addresses and names to package nginx, which knows which
// characters have a meaning to nginx.
func (n *Nginx) validate(p *problems) {
	between(p, "nginx.max_links", n.MaxLinks, 1, 100_000_000)
	between(p, "nginx.valid", n.Valid, time.Second, time.Minute)
	if n.Valid%time.Second != 0 {
		p.addf("nginx.valid", "%v is not a whole number of seconds", n.Valid)
	}
	between(p, "nginx.open_files", n.OpenFiles, 1, 1_000_000)
	if len(n.Listen) == 0 && n.Certificate == "" {
		p.addf("nginx.listen", `it is empty; want ports or addresses, as in ["80", "[::]:80"]`)
	}
	switch {
	case n.Certificate == "" && n.CertificateKey != "":
		p.addf("nginx.certificate", "it is empty, and nginx.certificate_key is not: set both, or none")
	case n.Certificate != "" && n.CertificateKey == "":
		p.addf("nginx.certificate_key", "it is empty, and nginx.certificate is not: set both, or none")
	case n.Certificate != "" && len(n.ListenTLS) == 0:
		p.addf("nginx.listen_tls", `it is empty, and there is a certificate; want ports or addresses, as in ["443", "[::]:443"]`)
	}
	oneOf(p, "nginx.http2", n.HTTP2, "auto", "on", "listen", "off")
	between(p, "nginx.rate_limit", n.RateLimit, 0, 1_000_000)
	between(p, "nginx.rate_burst", n.RateBurst, 0, 1_000_000)
}

func (a *Approve) validate(p *problems) {
	if a.URL != "" {
		// Without the URL, which may hold a token.
		if err := approve.CheckURL(a.URL); err != nil {
			p.add("approve.url", err)
		} else if _, query, _ := strings.Cut(a.URL, "?"); query == redacted {
			p.addf("approve.url", "the query is %q, which is the placeholder of a hidden one; write the real one", redacted)
		}
	}
	between(p, "approve.timeout", a.Timeout, time.Millisecond, time.Hour)
	between(p, "approve.concurrency", a.Concurrency, 1, 1000)
	oneOf(p, "approve.fail", a.Fail, "closed", "open")
}

func (h *Hooks) validate(p *problems) {
	urls := h.ByType()
	for _, kind := range slices.Sorted(maps.Keys(urls)) {
		// Without the URL, which may hold a token.
		key := "hooks." + kind + ".url"
		if err := hook.CheckURL(urls[kind]); err != nil {
			p.add(key, err)
		} else if _, query, _ := strings.Cut(urls[kind], "?"); query == redacted {
			p.addf(key, "the query is %q, which is the placeholder of a hidden one; write the real one", redacted)
		}
	}
	for _, s := range h.Secrets { // without the secret; those of files come last
		if _, err := hook.ParseSecret(string(s)); err != nil {
			p.addf(hooksKey, "one of them, or of %s, is not a secret: %w; `openssl rand -base64 32` makes a good one", hookFilesKey, err)
			break
		}
	}
	between(p, "hooks.timeout", h.Timeout, time.Millisecond, time.Minute)
}

// unique reports each value that a list holds twice.
func unique[T cmp.Ordered](p *problems, key string, list []T) {
	for i, v := range list {
		if slices.Contains(list[:i], v) {
			p.addf(item(key, i), "%v is listed twice", v)
		}
	}
}

func item(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// problem is one thing wrong with one key, which may be that of an item of a
// list: "buckets[1].name".
type problem struct {
	key    string // empty: the source as a whole
	source string // empty: to be found by the key
	err    error
}

// problems collects everything that is wrong, so that it is reported at once.
type problems []problem

func (p *problems) add(key string, err error) {
	*p = append(*p, problem{key: key, err: err})
}

func (p *problems) addf(key, format string, args ...any) {
	p.add(key, fmt.Errorf(format, args...))
}

// has tells whether something is wrong with a key or an item of it.
func (p *problems) has(key string) bool {
	return slices.ContainsFunc(*p, func(q problem) bool {
		return q.key == key || strings.HasPrefix(q.key, key+"[")
	})
}

// invalid is the error of Load: one line for each problem.
type invalid problems

func (e invalid) Error() string {
	lines := make([]string, 0, len(e))
	for _, p := range e {
		line := p.err.Error()
		for _, before := range []string{p.key, p.source} {
			if before != "" {
				line = before + ": " + line
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As see the single errors.
func (e invalid) Unwrap() []error {
	var errs []error
	for _, p := range e {
		errs = append(errs, p.err)
	}
	return errs
}

// between reports n unless it is in the range lo to hi.
func between[T cmp.Ordered](p *problems, key string, n, lo, hi T) {
	if n < lo || n > hi {
		p.addf(key, "%v is not in the range %v to %v", n, lo, hi)
	}
}

// oneOf reports s unless it is one of the names.
func oneOf(p *problems, key, s string, names ...string) {
	if !slices.Contains(names, s) {
		p.addf(key, "%q is not one of %s", s, strings.Join(names, ", "))
	}
}

// Error says that a configuration or a command line is wrong in a way that only its use
// shows: a placeholder that is no picture, a format that no decoder writes.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e Error) Unwrap() error { return e.Err }

// Errorf returns an Error whose text is made as by [fmt.Errorf].
func Errorf(format string, args ...any) error { return Error{fmt.Errorf(format, args...)} }
