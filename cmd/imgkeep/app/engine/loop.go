package engine

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"imgkeep/cmd/imgkeep/app/config"
)

// loop marks what this server fetches, in a CDN-Loop header (RFC 8586), so that it
// knows its own fetches when they come back to it by a name that it does not know as
// its own: a chain of links that lead to one another would else have it work for
// itself.
//
// A mark is a random number and a MAC of it. So nobody else can make one, two marks
// tell no origin that they are of one server, and all servers with the same secrets
// know them. Who has seen one can have their own requests refused, and nobody else's:
// no page can make a browser send this header. The handler looks at a mark once the
// signature of a link was right, so that without a link it tells nothing either.
type loop struct{ secrets []config.Secret }

const (
	loopNonce = 8
	loopMAC   = 12
	loopLabel = "imgkeep loop\x00"
)

// mark returns a new mark; empty without secrets.
func (l loop) mark() string {
	if len(l.secrets) == 0 {
		return ""
	}
	b := make([]byte, loopNonce, loopNonce+loopMAC)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(append(b, l.mac(l.secrets[0], b)...))
}

func (l loop) mac(secret config.Secret, nonce []byte) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(loopLabel))
	m.Write(nonce)
	return m.Sum(nil)[:loopMAC]
}

// own tells whether CDN-Loop headers hold a mark of this server's.
func (l loop) own(headers []string) bool {
	for _, header := range headers {
		for id := range strings.SplitSeq(header, ",") {
			id, _, _ = strings.Cut(id, ";")
			b, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(id))
			if err != nil || len(b) != loopNonce+loopMAC {
				continue
			}
			for _, secret := range l.secrets {
				if hmac.Equal(l.mac(secret, b[:loopNonce]), b[loopNonce:]) {
					return true
				}
			}
		}
	}
	return false
}
