package engine

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/sign"
)

// SelfLinks know the URLs that lead back to this server.
type SelfLinks struct {
	hosts    func(host string) bool // that are this server's alone; nil: none
	relative string                 // what URLs in links are relative to; empty: nothing
	signer   *sign.Signer
	now      func() time.Time
	known    signedLinks
	same     sameImage
}

// NewSelfLinks returns those of a configuration. Without a signer no link is known to be
// signed.
func NewSelfLinks(c config.Config, signer *sign.Signer, now func() time.Time) *SelfLinks {
	o := &SelfLinks{signer: signer, now: now, relative: c.Fetch.BaseURL, same: newSameImage(c)}
	hosts := slices.Clone(c.Fetch.OwnHosts)
	if u, err := imageurl.Parse(c.BaseURL); err == nil {
		hosts = append(hosts, u.Host())
	}
	if len(hosts) > 0 {
		o.hosts = imageurl.NewHosts(hosts).Match
	}
	return o
}

// Is tells whether a URL leads back to this server: by its host alone.
func (o *SelfLinks) Is(u imageurl.URL) bool { return o.hosts != nil && o.hosts(u.Host()) }

// Key is the URL under which the image of a canonical URL is kept.
func (o *SelfLinks) Key(canonical string) string { return o.same.key(canonical) }

// maxNested is how many links may be wrapped in one another.
const maxNested = 3

// Unwrap returns the URL that a link of this server shows, and any other URL as it
// is, all canonical. A user who copies the address of an image from a page writes
// such a link, and a later page wraps it in another one.
//
// The link inside must have been signed with one of the secrets in the last ten years:
// its own life is over soon, but it is the link around it that opens the image now.
// Without that a stranger could name any URL under the name of this server, which a
// site may trust. All else that leads here is refused.
func (o *SelfLinks) Unwrap(canonical string) (string, error) {
	return o.follow(canonical, func(u imageurl.URL) (sign.Link, error) {
		l, err := sign.Parse(u.Path())
		if err != nil || !o.signed(l) {
			return l, refuseOwn(u.Host(), "a URL of this server that is no link it has signed")
		}
		return l, nil
	})
}

// follow goes from link to link as long as they are of this server, as link reads them.
func (o *SelfLinks) follow(canonical string, link func(imageurl.URL) (sign.Link, error)) (string, error) {
	for range maxNested + 1 {
		u := imageurl.URL(canonical)
		if !o.Is(u) {
			return canonical, nil
		}
		l, err := link(u)
		if err != nil {
			return "", err
		}
		if canonical, err = o.shownBy(l); err != nil {
			return "", err
		}
	}
	return "", refuseOwn("", "too many links of this server within one another")
}

// shownBy is the canonical URL in a link.
func (o *SelfLinks) shownBy(l sign.Link) (string, error) {
	raw, err := l.URL()
	if err != nil {
		return "", err
	}
	return imageurl.CanonicalAt(o.relative, raw)
}

func refuseOwn(host, why string) error {
	return &fetch.Error{Kind: fetch.Refused, Host: host, Err: errors.New(why)}
}

// lookBack is how old a link may be that is unwrapped, in weeks: ten years.
const lookBack = 522

// ImageOf is the canonical URL of the image that a link shows, also of a link around
// another one.
func (o *SelfLinks) ImageOf(l sign.Link) (string, error) {
	canonical, err := o.shownBy(l)
	if err != nil {
		return "", err
	}
	return o.follow(canonical, func(u imageurl.URL) (sign.Link, error) {
		l, err := sign.Parse(u.Path())
		if err != nil {
			err = fmt.Errorf("it is around a URL of this server that is no link: %w", err)
		}
		return l, err
	})
}

// Signed tells whether one of the secrets signed a link in the last ten years. It needs a
// signer.
func (o *SelfLinks) Signed(l sign.Link) bool { return o.signed(l) }

// signed tells whether one of the secrets signed a link within lookBack. That takes
// about a millisecond where none did, so what was found last is remembered: of a
// link that stands in a page, every view asks.
func (o *SelfLinks) signed(l sign.Link) bool {
	key := l.String()
	if known, ok := o.known.get(key); ok {
		return known
	}
	signed := o.signer.Signed(l, o.now(), lookBack)
	o.known.put(key, signed)
	return signed
}

// signedLinks tell of links whether they are signed, of the last maxSignedLinks at most.
// They end with the secrets, at a reload.
type signedLinks struct {
	mu    sync.Mutex
	links map[string]bool
}

const maxSignedLinks = 1000

func (v *signedLinks) get(link string) (signed, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	signed, ok = v.links[link]
	return signed, ok
}

func (v *signedLinks) put(link string, signed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.links == nil || len(v.links) >= maxSignedLinks {
		v.links = map[string]bool{}
	}
	v.links[link] = signed
}

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
