package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
)

// A tag says for whom a link was signed: a member of a forum, whose posts show the image.
// It is the fragment of the URL in the link, which no origin ever sees, and which does not
// distinguish images. So links keep their form, and a server without support for tags shows
// the same image.
//
// The signature of a link covers the tag. But the author of a post may append a fragment to
// an image's URL, and a site signs the URL that it gets: so a tag has its own MAC, of the
// site's secret, the tag and the URL. Without the secret, nobody can make one for another
// member, or move theirs to another URL. Anybody can read the tag in a link: it should be a
// number, not a name.

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

// Tag returns the URL of an image with a tag, which replaces an existing fragment: this is
// the URL to sign. The MAC is made with the first secret, and is valid as long as that
// secret is. The error is CheckTag's.
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

// tagMAC is as long as a signature. Its message begins with a word that no message of a
// link can begin with, and its key contains no week.
func tagMAC(secret, url, by string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(tagLabel + by + "\n" + url))
	return EncodeURL(string(m.Sum(nil)[:12]))
}
