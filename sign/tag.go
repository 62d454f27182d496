package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// A tag says for whom a link was signed: a member of a forum, in whose posts the image
// stands. It is the fragment of the URL in the link, which no origin ever sees, and which
// does not tell one image from another. So links keep their form, and a server that knows
// nothing of tags shows the same.
//
// The signature of a link covers it. But whoever posts the URL of an image may write a
// fragment behind it, and a site signs what it is given: so a tag has a MAC of its own, of
// the site's secret, the tag and the URL. Without the secret nobody makes one for another
// member, nor takes theirs to another URL. What anybody can read in a link is the tag
// itself: it should be a number, not a name.

const (
	tagPrefix = "imgkeep-by="
	tagLabel  = "imgkeep by\n"
	// MaxTag is the longest tag, in bytes.
	MaxTag = 64
)

// ErrTag: a text cannot be a tag.
var ErrTag = errors.New("want 1 to 64 of A-Z, a-z, 0-9, _ and -, such as the number of a member")

// CheckTag tells whether a text can be a tag.
func CheckTag(by string) error {
	if by == "" || len(by) > MaxTag || strings.ContainsFunc(by, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	}) {
		return fmt.Errorf("%q cannot be a tag: %w", by, ErrTag)
	}
	return nil
}

// Tag returns the URL of an image with a tag, in the place of a fragment that it may have:
// what is to be signed. The first secret makes its MAC, which holds as long as that secret
// does. The error is CheckTag's.
func (s *Signer) Tag(url, by string) (string, error) {
	if err := CheckTag(by); err != nil {
		return "", err
	}
	url, _, _ = strings.Cut(url, "#")
	return url + "#" + tagPrefix + by + "." + tagMAC(s.secrets[0], url, by), nil
}

// TagOf returns the tag of a URL, as it stands in a link; empty where there is none that one
// of the secrets has made.
func (s *Signer) TagOf(url string) string {
	url, fragment, _ := strings.Cut(url, "#")
	tag, ok := strings.CutPrefix(fragment, tagPrefix)
	if !ok {
		return ""
	}
	by, mac, ok := strings.Cut(tag, ".")
	if !ok || CheckTag(by) != nil {
		return ""
	}
	for _, secret := range s.secrets {
		if hmac.Equal([]byte(tagMAC(secret, url, by)), []byte(mac)) {
			return by
		}
	}
	return ""
}

// tagMAC is of as many bytes as a signature. Its message begins with a word that no
// message of a link can begin with, and its key has no week.
func tagMAC(secret, url, by string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(tagLabel + by + "\n" + url))
	return EncodeURL(string(m.Sum(nil)[:12]))
}
