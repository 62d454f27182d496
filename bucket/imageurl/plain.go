package imageurl

import (
	"strconv"
	"strings"
)

// isPlain tells whether a URL is already canonical, for the spelling of nearly all links:
// http or https, a host of ASCII that no mapping changes, and no byte that would be encoded
// or is encoded already. Other URLs take the slow path, which costs microseconds; a fuzz
// test compares the two.
func isPlain(raw string) bool {
	rest, secure := strings.CutPrefix(raw, "https://")
	if !secure {
		var ok bool
		if rest, ok = strings.CutPrefix(raw, "http://"); !ok {
			return false
		}
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return false
	}
	host, port, hasPort := strings.Cut(rest[:slash], ":")
	if hasPort && !isPlainPort(port, secure) || !isPlainPath(rest[slash:]) {
		return false
	}
	_, err := checkHost(host)
	return err == nil
}

func isPlainPort(port string, secure bool) bool {
	if port == "" || len(port) > 5 || port[0] == '0' {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && (secure && n != 443 || !secure && n != 80)
}

// isPlainPath is for a path that begins with a slash, and its query.
func isPlainPath(path string) bool {
	for i := range len(path) {
		if !plainBytes[path[i]] {
			return false
		}
	}
	if strings.Contains(path, "&amp;") || strings.Contains(path, "&AMP;") {
		return false
	}
	path, _, _ = strings.Cut(path, "?")
	for p := path; ; {
		i := strings.Index(p, "/.")
		if i < 0 {
			break
		}
		p = p[i+2:]
		if segment, _, _ := strings.Cut(p, "/"); segment == "" || segment == "." {
			return false // a dot segment
		}
	}
	return true
}

// plainBytes may stand in a path and a query, and mean themselves (RFC 3986,
// section 3.3 and 3.4).
var plainBytes = func() (plain [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/?") {
		plain[c] = true
	}
	return plain
}()
