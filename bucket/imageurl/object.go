package imageurl

import (
	"errors"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	objectScheme = "s3"
	// ObjectDomain is the domain that the buckets of object stores count as hosts of:
	// attachments.s3 is that of s3://attachments/. No name of DNS ends so: a top-level
	// domain has letters only (RFC 1123, section 2.1).
	ObjectDomain = "s3"
	// maxKey is the longest key of an object, in bytes.
	maxKey = 1024
)

// IsObject tells whether the URL is that of an object in an S3-compatible store.
func (u URL) IsObject() bool { return strings.HasPrefix(string(u), objectScheme+":") }

// Object returns the bucket and the path of an object's URL. The path is that of a
// request: a slash, and the key as AWS encodes it. Both are empty for any other URL.
func (u URL) Object() (bucket, path string) {
	rest, ok := strings.CutPrefix(string(u), objectScheme+"://")
	if !ok {
		return "", ""
	}
	bucket, key, _ := strings.Cut(rest, "/")
	return bucket, "/" + key
}

// ObjectHost is the host that a bucket of an object store counts as.
func ObjectHost(bucket string) string { return bucket + "." + ObjectDomain }

// CheckObjectBucket says what is wrong with the name of a bucket of an object store.
func CheckObjectBucket(name string) error {
	wrong := errors.New("want 3 to 63 of a-z, 0-9, - and ., with a letter or digit at both ends, no two dots in a row, and no IP address")
	if len(name) < 3 || len(name) > 63 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || strings.Contains(name, "..") {
		return wrong
	}
	for _, c := range []byte{name[0], name[len(name)-1]} {
		if c == '-' || c == '.' {
			return wrong
		}
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return wrong
	}
	return nil
}

// object reads the URL of an object, behind its scheme. Its one spelling encodes each byte
// of the key but letters, digits and - . _ ~ / so that it stands in a signed request as it
// is. What proxies and file systems read as another key is refused.
func object(s string) (URL, error) {
	rest, ok := strings.CutPrefix(s, "//")
	bucket, key, hasKey := strings.Cut(rest, "/")
	if !ok || !hasKey {
		return "", urlError("want s3://bucket/key")
	}
	if err := CheckObjectBucket(bucket); err != nil {
		return "", urlError("it names no bucket: %v", err)
	}
	if strings.ContainsAny(key, `?#\`) {
		return "", urlError(`a key of an object has ?, # and \ as %%3F, %%23 and %%5C`)
	}
	for i := range len(key) {
		if key[i] == '%' && !isEscape(key[i:]) {
			return "", urlError("a key of an object has %% as %%25")
		}
	}
	key = unescape(key)
	if err := checkKey(key); err != nil {
		return "", urlError("%v", err)
	}
	return URL(objectScheme + "://" + bucket + "/" + encodeKey(key)), nil
}

func checkKey(key string) error {
	switch {
	case len(key) > maxKey:
		return errors.New("the key has more than 1024 bytes")
	case !utf8.ValidString(key):
		return errors.New("the key is not UTF-8")
	case strings.ContainsFunc(key, unicode.IsControl):
		return errors.New("the key has a control character")
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return errors.New("the key is empty, or has an empty part, . or .. between its slashes")
		}
	}
	return nil
}

// encodeKey is the URI encoding of AWS Signature Version 4, which leaves slashes alone.
func encodeKey(key string) string {
	var b strings.Builder
	const hex = "0123456789ABCDEF"
	for i := range len(key) {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
