package record

import (
	"encoding/base64"
	"fmt"
	"log/slog"
)

// Digest is the SHA-256 of an image's bytes, and its name for good.
type Digest [32]byte

// DigestLen is the length of a digest as text: base64url without padding.
const DigestLen = 43

// String is the digest as 43 characters of base64url (RFC 4648, section 5).
func (d Digest) String() string {
	return base64.RawURLEncoding.EncodeToString(d[:])
}

// LogValue is the digest in a log, as JSON too: what String returns.
func (d Digest) LogValue() slog.Value { return slog.StringValue(d.String()) }

// ParseDigest accepts only what String returns: of the spellings that decode to the same
// bytes only that one is the name of a file.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) == DigestLen {
		if n, err := base64.RawURLEncoding.Strict().Decode(d[:], []byte(s)); err == nil && n == len(d) {
			return d, nil
		}
	}
	return Digest{}, fmt.Errorf("%q is no digest: want %d characters of base64url", s, DigestLen)
}
