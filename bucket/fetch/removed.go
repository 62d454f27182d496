package fetch

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"imgkeep/bucket/imageurl"
)

// Removed is the mark of a picture that says that an image was removed, and that comes with
// status 200 instead of the image. Exactly one of the fields is set.
type Removed struct {
	// URL is where an origin leads to. http and https count alike.
	URL string
	// ETag is the entity tag of the picture, of at least 8 characters. Quotes and
	// a W/ before them make no difference.
	ETag string
	// Digest is the SHA-256 of the picture's bytes: 64 hexadecimal digits, or 43
	// characters of base64url, as the store names its files.
	Digest string
}

// minETag is the length of the shortest mark. Many images have a tag such as "1".
const minETag = 8

// Check returns an error that says what is wrong with a mark.
func (r Removed) Check() error { return new(removals).add(r) }

// removals are marks, made ready to be asked for.
type removals struct {
	urls    map[string]bool // without scheme
	etags   map[string]bool // without quotes
	digests map[[32]byte]bool
}

func newRemovals(marks []Removed) (*removals, error) {
	r := &removals{map[string]bool{}, map[string]bool{}, map[[32]byte]bool{}}
	for i, m := range marks {
		if err := r.add(m); err != nil {
			return nil, fmt.Errorf("removed[%d]: %w", i, err)
		}
	}
	return r, nil
}

// add also checks, with maps that are nil.
func (r *removals) add(m Removed) error {
	set := 0
	for _, s := range []string{m.URL, m.ETag, m.Digest} {
		if s != "" {
			set++
		}
	}
	if set != 1 {
		return errors.New("want exactly one of url, etag and digest")
	}
	switch {
	case m.URL != "":
		key, err := removedURL(m.URL)
		if err != nil {
			return err
		}
		if r.urls != nil {
			r.urls[key] = true
		}
	case m.ETag != "":
		tag := opaque(m.ETag)
		if len(tag) < minETag || !validFieldValue(tag) {
			return fmt.Errorf("etag %q: want at least %d printable characters, or it would be that of other images too", m.ETag, minETag)
		}
		if r.etags != nil {
			r.etags[tag] = true
		}
	default:
		digest, err := parseDigest(m.Digest)
		if err != nil {
			return err
		}
		if r.digests != nil {
			r.digests[digest] = true
		}
	}
	return nil
}

func removedURL(raw string) (string, error) {
	u, err := imageurl.Parse(raw)
	if err == nil && !u.IsLocal() && !u.IsObject() {
		// A host alone would match every image that it redirects to /.
		if _, path, _ := strings.Cut(strings.TrimPrefix(schemeless(u), "://"), "/"); strings.Trim(path, "/") != "" {
			return schemeless(u), nil
		}
	}
	return "", fmt.Errorf("url %q: want http or https, a host and a path, as in https://i.imgur.com/removed.png", printable(raw, 100))
}

// schemeless is a URL from "://" on: http and https are the same picture.
func schemeless(u imageurl.URL) string {
	_, rest, _ := strings.Cut(u.String(), ":")
	return ":" + rest
}

// opaque is what stands in an entity tag (RFC 9110, section 8.8.3).
func opaque(etag string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(etag), "W/"), `"`)
}

func parseDigest(s string) (digest [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(digest) {
		b, err = base64.RawURLEncoding.Strict().DecodeString(s)
	}
	if err != nil || len(b) != len(digest) {
		return digest, fmt.Errorf("digest %q: want a SHA-256 in 64 hexadecimal digits or 43 characters of base64url", printable(s, 100))
	}
	return [32]byte(b), nil
}

func (r *removals) isURL(u imageurl.URL) bool { return r.urls[schemeless(u)] }

func (r *removals) isETag(field string) bool {
	return len(r.etags) > 0 && r.etags[opaque(field)]
}

// isDigest asks for a digest only where there is something to compare it with.
func (r *removals) isDigest(digest func() [32]byte) bool {
	return len(r.digests) > 0 && digest != nil && r.digests[digest()]
}
