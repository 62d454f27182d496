package sign

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Sizes that every server has, whatever its configuration.
const (
	SizeFull = "full" // the image as its origin sent it
	SizeInfo = "info" // facts about the image, as JSON
)

const (
	signatureLen = 16 // base64url of 12 bytes
	maxName      = 32 // of a bucket or size
	maxPath      = 4096
	proxy        = "/proxy"
)

// Every error of Parse and URL wraps ErrMalformed.
var ErrMalformed = errors.New("malformed link")

// Link is a link taken apart. Its fields hold what stands in the path, with one
// exception: "%3D", which some clients write for the padding of base64, is "=".
type Link struct {
	Bucket    string // lower-case letters, digits, "-", "_"
	Size      string // "full", "info", "{h}x{w}" or the name of a preset
	Signature string // 16 characters of base64url
	ExtURL    string // base64url of the image's URL, padded or not
	Proxy     bool   // the extension "/proxy": serve but do not store
	// Ending is one of Endings, for programs that accept only URLs with such an ending as
	// images; or empty. It is not signed and has no effect: anybody may append one to a
	// link, and gets the same bytes with their true type. Not together with Proxy.
	Ending string
}

// Endings are what may follow ext_url.
func Endings() []string { return []string{".jpg", ".jpeg", ".png", ".gif", ".webp"} }

// Parse takes the path of a link apart. It wants the path as it was sent
// (escaped): a decoded path would let "%2F" pass for a separator. Parse checks
// the form only; it says nothing about the signature. Every link that it accepts
// is written by String as it was read, apart from "%3D".
func Parse(path string) (Link, error) {
	if len(path) > maxPath {
		return Link{}, malformed("longer than %d characters", maxPath)
	}
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return Link{}, malformed("it does not start with a slash")
	}
	var l Link
	if l.Bucket, rest, ok = strings.Cut(rest, "/"); !ok || !isName(l.Bucket) {
		return Link{}, malformed("want /{bucket}/{size}/{signature}/{ext_url}, and the bucket is not a name")
	}
	if l.Size, rest, ok = strings.Cut(rest, "/"); !ok || !isName(l.Size) {
		return Link{}, malformed("want /{bucket}/{size}/{signature}/{ext_url}, and the size is not a name")
	}
	if l.Signature, rest, ok = strings.Cut(rest, "/"); !ok || len(l.Signature) != signatureLen || !isBase64URL(l.Signature) {
		return Link{}, malformed("the signature is not %d characters of base64url", signatureLen)
	}
	l.ExtURL, l.Proxy = strings.CutSuffix(rest, proxy)
	if dot := strings.LastIndexByte(l.ExtURL, '.'); dot >= 0 && !l.Proxy {
		l.ExtURL, l.Ending = rest[:dot], rest[dot:]
		if !slices.Contains(Endings(), l.Ending) {
			return Link{}, malformed("the ending is not one of %s", strings.Join(Endings(), " "))
		}
	}
	if strings.Contains(l.ExtURL, "%") {
		l.ExtURL = strings.NewReplacer("%3D", "=", "%3d", "=").Replace(l.ExtURL)
	}
	bare := strings.TrimRight(l.ExtURL, "=")
	if bare == "" || len(l.ExtURL)-len(bare) > 2 || !isBase64URL(bare) {
		return Link{}, malformed("the part after the signature is not base64url")
	}
	return l, nil
}

// String returns the path of the link.
func (l Link) String() string {
	return "/" + l.Bucket + "/" + l.Size + "/" + l.Signature + "/" + l.ExtURL + l.extension() + l.Ending
}

// URL decodes ext_url. The result is what somebody signed, not necessarily a URL.
func (l Link) URL() (string, error) {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(l.ExtURL, "="))
	if err != nil {
		return "", malformed("the part after the signature is not base64url: %v", err)
	}
	return string(b), nil
}

// EncodeURL is the ext_url of an image's URL, without padding.
func EncodeURL(url string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(url))
}

func (l Link) extension() string {
	if l.Proxy {
		return proxy
	}
	return ""
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

func isName(s string) bool {
	if s == "" || len(s) > maxName {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}

func isBase64URL(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return true
}
