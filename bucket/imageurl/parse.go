package imageurl

import (
	"net/netip"
	"strconv"
	"strings"
)

// parse reads a URL by the rule of browsers, relative to base if that is not empty.
// Neither raw nor what it returns may be longer than limit bytes.
func parse(raw string, base URL, limit int) (URL, error) {
	clean, err := trim(raw)
	if err != nil {
		return "", err
	}
	u, err := parseClean(clean, base)
	if err != nil {
		return "", err
	}
	if len(u) > limit {
		return "", urlError("longer than %d bytes", limit)
	}
	return u, nil
}

// trim drops the characters that browsers drop. Other control characters are a mistake or
// an attack on the request line.
func trim(raw string) (string, error) {
	s := strings.Trim(raw, " \t\r\n")
	if strings.ContainsAny(s, "\t\r\n") {
		s = strings.NewReplacer("\t", "", "\r", "", "\n", "").Replace(s)
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == 0x7f {
			return "", urlError("it contains the control character %#02x", c)
		}
	}
	return s, nil
}

func parseClean(s string, base URL) (URL, error) {
	scheme, rest, ok := cutScheme(s)
	if ok && scheme == objectScheme {
		return object(rest) // whose keys may hold what is a fragment elsewhere
	}
	s, _, _ = strings.Cut(s, "#")
	scheme, rest, ok = cutScheme(s)
	switch {
	case !ok && base == "":
		return "", urlError("want scheme://host/path")
	case !ok:
		return relative(s, base)
	case scheme == localScheme:
		return local(rest)
	case scheme != "http" && scheme != "https":
		return "", urlError("the scheme is %q: want http, https, s3 or local", scheme[:min(len(scheme), 20)])
	}
	after := strings.TrimLeft(rest, `/\`)
	if base != "" && after == rest && strings.HasPrefix(string(base), scheme+":") {
		return relative(rest, base) // "http:path" is relative to a base of its scheme
	}
	return absolute(scheme, after)
}

// cutScheme cuts off "scheme:" and returns the scheme in lower case (RFC 3986, section
// 3.1).
func cutScheme(s string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(s, ":")
	if !ok || scheme == "" {
		return "", s, false
	}
	for i := range len(scheme) {
		c := scheme[i] | 0x20
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || !('0' <= c && c <= '9' || strings.IndexByte("+-.", scheme[i]) >= 0)) {
			return "", s, false
		}
	}
	return strings.ToLower(scheme), rest, true
}

// absolute reads what follows scheme and slashes.
func absolute(scheme, s string) (URL, error) {
	end := strings.IndexAny(s, `/\?`)
	if end < 0 {
		end = len(s)
	}
	host, err := authority(scheme, s[:end])
	if err != nil {
		return "", err
	}
	path, query := cutQuery(s[end:])
	return URL(scheme + "://" + host + resolveDots(slashes(path)) + query), nil
}

// relative reads a reference that is not a complete URL.
func relative(s string, base URL) (URL, error) {
	origin, path, query := base.split()
	if base.IsLocal() || base.IsObject() {
		return "", urlError("nothing is relative to a local file or an object")
	}
	ref, refQuery := cutQuery(s)
	ref = slashes(ref)
	scheme, _, _ := strings.Cut(origin, ":")
	switch {
	case strings.HasPrefix(ref, "//"):
		return absolute(scheme, strings.TrimLeft(s, `/\`))
	case strings.HasPrefix(ref, "/"):
		return URL(origin + resolveDots(ref) + refQuery), nil
	case ref == "" && refQuery == "":
		return URL(origin + path + query), nil
	case ref == "":
		return URL(origin + path + refQuery), nil
	}
	folder := path[:strings.LastIndexByte(path, '/')+1]
	return URL(origin + resolveDots(folder+ref) + refQuery), nil
}

// local reads the URL of an operator's file, after its scheme.
func local(s string) (URL, error) {
	path, ok := strings.CutPrefix(s, "//")
	if !ok {
		path = s
	}
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "?") || !ok && strings.HasPrefix(path, "//") {
		return "", urlError("want local:///path, with neither host nor query")
	}
	return URL(localScheme + "://" + resolveDots(path)), nil
}

// cutQuery cuts a reference into its path and its query, which begins with "?".
func cutQuery(s string) (path, query string) {
	if i := strings.IndexByte(s, '?'); i >= 0 {
		return s[:i], escape(s[i:])
	}
	return s, ""
}

// slashes replaces backslashes in a path by slashes, as browsers do.
func slashes(path string) string { return strings.ReplaceAll(path, `\`, "/") }

// resolveDots resolves the dot segments of a path, in all spellings that browsers know, and
// escapes it.
func resolveDots(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "/.") && !strings.Contains(path, "/%2") {
		return escape(path)
	}
	var kept []string
	segments := strings.Split(path, "/")[1:]
	for i, segment := range segments {
		last := i == len(segments)-1
		dots := segment
		if len(segment) <= len("%2e%2e") && strings.Contains(segment, "%2") {
			dots = strings.ReplaceAll(strings.ReplaceAll(segment, "%2e", "."), "%2E", ".")
		}
		switch dots {
		case ".":
		case "..":
			kept = kept[:max(0, len(kept)-1)]
		default:
			kept = append(kept, segment)
			continue
		}
		if last {
			kept = append(kept, "")
		}
	}
	return escape("/" + strings.Join(kept, "/"))
}

// unsafe are the printable bytes that may not stand in a path or a query here.
const unsafe = " \"<>\\^`{|}"

// escape percent-encodes characters that a URL may not contain.
func escape(s string) string {
	clean := true
	for i := range len(s) {
		clean = clean && !escapes(s, i)
	}
	if clean {
		return s
	}
	var b strings.Builder
	const hex = "0123456789ABCDEF"
	for i := range len(s) {
		if c := s[i]; escapes(s, i) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// escapes tells whether the byte at i has to be escaped.
func escapes(s string, i int) bool {
	c := s[i]
	return c <= ' ' || c >= 0x7f || strings.IndexByte(unsafe, c) >= 0 || c == '%' && !isEscape(s[i:])
}

func isEscape(s string) bool { return len(s) >= 3 && isHex(s[1]) && isHex(s[2]) }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// authority returns the one spelling of host and port.
func authority(scheme, s string) (string, error) {
	if strings.Contains(s, "@") {
		return "", urlError("want a host without a user name") // http://trusted.example@evil.example/ is made to be misread
	}
	name, port := s, ""
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.Contains(s[i:], "]") {
		name, port = s[:i], s[i+1:]
	}
	if strings.Contains(name, ":") && !strings.HasPrefix(name, "[") {
		return "", urlError("%q is not a host: write an IPv6 address in brackets", name)
	}
	if !strings.HasPrefix(name, "[") {
		name = unescape(name)
	}
	host, addr, err := ParseHost(name)
	if err != nil {
		return "", urlError("%v", err)
	}
	return withPort(scheme, host, addr, port)
}

func withPort(scheme, host string, addr netip.Addr, port string) (string, error) {
	if addr.Is6() {
		host = "[" + host + "]"
	}
	if port == "" {
		return host, nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", urlError("%q is no port: want 1 to 65535", port)
	}
	if scheme == "http" && n == 80 || scheme == "https" && n == 443 {
		return host, nil
	}
	return host + ":" + strconv.FormatUint(n, 10), nil
}

// unescape decodes the percent-encoding of a host; invalid escapes stay.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && isEscape(s[i:]) {
			c, _ := strconv.ParseUint(s[i+1:i+3], 16, 8)
			b.WriteByte(byte(c))
			i += 2
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// unescapeAmpersands makes "&" of an ampersand that HTML has escaped, once or more
// often (HTML, section 13.5: named as amp, decimal as 38, hexadecimal as 26).
func unescapeAmpersands(s string) string {
	if !strings.Contains(s, "&") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c := s[i]
		b.WriteByte(c)
		i++
		for c == '&' { // what was escaped twice is escaped still
			n := ampersand(s[i:])
			if n == 0 {
				break
			}
			i += n
		}
	}
	return b.String()
}

// ampersand is the length of what stands behind "&" where both are an escaped
// ampersand, or 0.
func ampersand(s string) int {
	for _, name := range []string{"amp;", "AMP;"} {
		if strings.HasPrefix(s, name) {
			return len(name)
		}
	}
	digits, ok := strings.CutPrefix(s, "#")
	if !ok {
		return 0
	}
	want := "38;"
	if rest := strings.TrimLeft(digits, "xX"); len(digits)-len(rest) == 1 {
		digits, want = rest, "26;"
	}
	zeros := strings.TrimLeft(digits, "0")
	if !strings.HasPrefix(zeros, want) {
		return 0
	}
	return len(s) - len(zeros) + len(want)
}
