package app

import (
	"errors"
	"net/url"
	"slices"
	"sync"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/sign"
)

// own knows the URLs that lead back to this server.
type own struct {
	hosts    func(host string) bool // that are this server's alone; nil: none
	relative string                 // what URLs in links are relative to; empty: nothing
	signer   *sign.Signer
	now      func() time.Time
	known    verdicts
	same     sameImage
}

func newOwn(c config.Config, signer *sign.Signer, now func() time.Time) *own {
	o := &own{signer: signer, now: now, relative: c.Fetch.BaseURL, same: newSameImage(c)}
	hosts := slices.Clone(c.Fetch.OwnHosts)
	if u, err := url.Parse(c.BaseURL); err == nil && u.Host != "" {
		hosts = append(hosts, u.Hostname())
	}
	if len(hosts) > 0 {
		o.hosts = imageurl.NewHosts(hosts).Match
	}
	return o
}

// mayBe is a short cut for the many URLs of other hosts: it looks at the host alone,
// which a canonical URL has in one spelling.
func (o *own) mayBe(canonical string) bool {
	host := hostIn(canonical)
	return o.hosts != nil && o.hosts(host)
}

// is tells whether a URL leads back to this server.
func (o *own) is(u *url.URL) bool {
	return o.hosts != nil && o.hosts(u.Hostname())
}

// maxNested is how many links may be wrapped in one another.
const maxNested = 3

// unwrap returns the URL that a link of this server shows, and any other URL as it
// is, all canonical. A user who copies the address of an image from a page writes
// such a link, and a later page wraps it in another one.
//
// The link inside must have been signed with one of the secrets in the last ten years:
// its own life is over soon, but it is the link around it that opens the image now.
// Without that a stranger could name any URL under the name of this server, which a
// site may trust. All else that leads here is refused.
func (o *own) unwrap(canonical string) (string, error) {
	for range maxNested + 1 {
		if !o.mayBe(canonical) {
			return canonical, nil
		}
		u, err := url.Parse(canonical)
		if err != nil {
			return canonical, nil // fetching says what is wrong
		}
		l, err := sign.Parse(u.EscapedPath())
		if err != nil || !o.signed(l) {
			return "", refuseOwn(u, "a URL of this server that is no link it has signed")
		}
		inner, err := l.URL()
		if err != nil {
			return "", err
		}
		if canonical, err = bucket.CanonicalAt(o.relative, inner); err != nil {
			return "", err
		}
	}
	return "", &fetch.Error{Class: fetch.Refused, Err: errors.New("too many links of this server within one another")}
}

func refuseOwn(u *url.URL, why string) error {
	return &fetch.Error{Class: fetch.Refused, Host: u.Hostname(), Err: errors.New(why)}
}

// lookBack is how old a link may be that is unwrapped, in weeks: ten years.
const lookBack = 522

// signed tells whether one of the secrets signed a link within lookBack. That takes
// about a millisecond where none did, so what was found last is remembered: of a
// link that stands in a page, every view asks.
func (o *own) signed(l sign.Link) bool {
	key := l.String()
	if known, ok := o.known.get(key); ok {
		return known
	}
	signed := o.signer.Signed(l, o.now(), lookBack)
	o.known.put(key, signed)
	return signed
}

// verdicts tell of links whether they are signed, of the last maxVerdicts at most.
// They end with the secrets, at a reload.
type verdicts struct {
	mu    sync.Mutex
	links map[string]bool
}

const maxVerdicts = 1000

func (v *verdicts) get(link string) (signed, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	signed, ok = v.links[link]
	return signed, ok
}

func (v *verdicts) put(link string, signed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.links == nil || len(v.links) >= maxVerdicts {
		v.links = map[string]bool{}
	}
	v.links[link] = signed
}
