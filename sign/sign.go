package sign

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// Errors of Verify.
var (
	ErrForged  = errors.New("the signature fits no secret")
	ErrExpired = errors.New("the link has expired")
)

// Errors of New about secrets.
var (
	ErrNoSecret   = errors.New("no secret is set, so no link can be signed or checked")
	ErrWeakSecret = errors.New("weak secret")
	ErrBadSecret  = errors.New("not a secret: want one line of text; `openssl rand -base64 32` makes a good one")
)

const (
	// MinSecret is the shortest secret that New accepts, in bytes.
	MinSecret = 16
	// MaxSecret is the longest secret that New accepts, in bytes.
	MaxSecret = 4096
	// MaxWeeks is the longest life that a link can have, in weeks.
	MaxWeeks = 52

	early = 10 * time.Minute
	// expiredWeeks is how far back a link is recognised as expired. Beyond it
	// a link counts as forged, so that a forged link costs little.
	expiredWeeks = 8
)

// wellKnown are secrets from examples, including long ones.
var wellKnown = []string{"changeme", "change-me", "secret", "password", "example", "imgkeep", "0123456789abcdef", "1234567890123456"}

// Options say what New builds.
type Options struct {
	// Secrets are the keys: the first signs, all verify. At least one. Each is
	// read by [ParseSecret].
	Secrets []string
	// Weeks is how many weeks a link lives, its own counted. 0 means 2.
	Weeks int
	// Location is the zone in which weeks begin. nil means UTC.
	Location *time.Location
	// Bucketless names the one bucket in which links of the older scheme are
	// accepted too, whose message has no bucket. Empty: none.
	Bucketless string
	// AllowWeak accepts secrets that are short or well known, for tests.
	AllowWeak bool
}

// Signer signs links and verifies them. It may be used concurrently.
type Signer struct {
	secrets    []string
	weeks      int
	location   *time.Location
	bucketless string
	keys       atomic.Pointer[keyring]
}

// ParseSecret takes a secret out of the text of a file, a variable or a setting.
// One line end (LF or CRLF) at its end is dropped, as editors and shells add it;
// all else counts, spaces too. What is left is one line of UTF-8 of at most
// MaxSecret bytes, without control characters. The error is ErrNoSecret where
// nothing is left, and wraps ErrBadSecret otherwise. No error holds any of the
// text.
func ParseSecret(text string) (string, error) {
	secret := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case secret == "":
		return "", ErrNoSecret
	case len(secret) > MaxSecret:
		return "", fmt.Errorf("it has more than %d bytes: %w", MaxSecret, ErrBadSecret)
	case !utf8.ValidString(secret):
		return "", fmt.Errorf("it is not UTF-8: %w", ErrBadSecret)
	case strings.ContainsFunc(secret, unicode.IsControl):
		return "", fmt.Errorf("it holds a line end or another control character: %w", ErrBadSecret)
	}
	return secret, nil
}

// New returns a Signer, or an error that wraps ErrNoSecret, ErrBadSecret or
// ErrWeakSecret or says which option is wrong.
func New(o Options) (*Signer, error) {
	if o.Weeks == 0 {
		o.Weeks = 2
	}
	if o.Weeks < 1 || o.Weeks > MaxWeeks {
		return nil, fmt.Errorf("a link cannot live %d weeks: want 1 to %d", o.Weeks, MaxWeeks)
	}
	if o.Location == nil {
		o.Location = time.UTC
	}
	if o.Bucketless != "" && !isName(o.Bucketless) {
		return nil, fmt.Errorf("bucketless: %q is not the name of a bucket", o.Bucketless)
	}
	if len(o.Secrets) == 0 {
		return nil, ErrNoSecret
	}
	secrets := make([]string, len(o.Secrets))
	for i, text := range o.Secrets {
		s, err := ParseSecret(text)
		if errors.Is(err, ErrNoSecret) {
			return nil, fmt.Errorf("secret %d of %d is empty: %w", i+1, len(o.Secrets), err)
		}
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d: %w", i+1, len(o.Secrets), err)
		}
		secrets[i] = s
		if why := weakness(s); why != "" && !o.AllowWeak {
			return nil, fmt.Errorf("secret %d of %d %s: %w", i+1, len(o.Secrets), why, ErrWeakSecret)
		}
	}
	return &Signer{
		secrets:    secrets,
		weeks:      o.Weeks,
		location:   o.Location,
		bucketless: o.Bucketless,
	}, nil
}

// weakness says why a secret must not guard anything, or "".
func weakness(secret string) string {
	if len(secret) < MinSecret {
		return fmt.Sprintf("has %d bytes, fewer than %d", len(secret), MinSecret)
	}
	if slices.Contains(wellKnown, strings.ToLower(strings.TrimSpace(secret))) {
		return "is a well-known one"
	}
	if strings.Count(secret, secret[:1]) == len(secret) {
		return "repeats one character"
	}
	return ""
}

// Sign returns the link of url at time at, signed with the first secret. It
// does not check that bucket and size exist, nor that url is one.
func (s *Signer) Sign(bucket, size, url string, proxy bool, at time.Time) Link {
	l := Link{Bucket: bucket, Size: size, ExtURL: EncodeURL(url), Proxy: proxy}
	k := newKey(s.secrets[0], weekOf(at, s.location))
	l.Signature = string(k.signature(l.message()))
	return l
}

// SignBucketless is Sign in the older scheme, whose message has no bucket. It is
// there for comparing with a site that still signs so; no site should begin to.
func (s *Signer) SignBucketless(bucket, size, url string, proxy bool, at time.Time) Link {
	l := Link{Bucket: bucket, Size: size, ExtURL: EncodeURL(url), Proxy: proxy}
	k := newKey(s.secrets[0], weekOf(at, s.location))
	l.Signature = string(k.signature(l.bucketlessMessage()))
	return l
}

// Verify tells whether a link is good at time now, and if so when it expires:
// the end of its last week, at which it is no longer good. The error is
// ErrExpired for a link that was good within the eight weeks before, and
// ErrForged for any other. Signatures are compared in constant time.
func (s *Signer) Verify(l Link, now time.Time) (expires time.Time, err error) {
	ring := s.keyring(now)
	message := l.message()
	for _, w := range ring.weeks {
		if !w.accepts(now) {
			continue
		}
		if s.fits(w, l, message) {
			return w.expires, nil
		}
	}
	for _, w := range ring.weeks {
		if !now.Before(w.expires) && s.fits(w, l, message) {
			return time.Time{}, ErrExpired
		}
	}
	return time.Time{}, ErrForged
}

// Signed says whether one of the secrets signed a link in this week or in the given number
// of weeks before, however long ago it has expired. It computes its own keys and does not
// touch those of Verify. A link that nobody signed costs about a microsecond for each week
// and secret.
func (s *Signer) Signed(l Link, now time.Time, weeks int) bool {
	message := l.message()
	current := weekOf(now.Add(early), s.location)
	for age := range weeks + 1 {
		w := ringWeek{}
		for _, secret := range s.secrets {
			w.keys = append(w.keys, newKey(secret, current.add(-age)))
		}
		if s.fits(w, l, message) {
			return true
		}
	}
	return false
}

// MaxAge is the time that a link of this week has left in any case, where links
// live for so many weeks: what a browser may keep an answer for. It is a whole
// number of weeks, and 0 where a link lives for one week only.
func MaxAge(weeks int) time.Duration {
	return time.Duration(weeks-1) * 7 * 24 * time.Hour
}

// MaxAge is that of the Signer's links.
func (s *Signer) MaxAge() time.Duration { return MaxAge(s.weeks) }

func (s *Signer) fits(w ringWeek, l Link, message []byte) bool {
	for _, k := range w.keys {
		if k.fits(message, l.Signature) {
			return true
		}
		if s.bucketless != "" && l.Bucket == s.bucketless && k.fits(l.bucketlessMessage(), l.Signature) {
			return true
		}
	}
	return false
}

// message is what the signature covers.
func (l Link) message() []byte {
	b := make([]byte, 0, len(l.Bucket)+1+len(l.ExtURL)+len(proxy))
	b = append(b, l.Bucket...)
	b = append(b, '/')
	b = append(b, l.ExtURL...)
	return append(b, l.extension()...)
}

// bucketlessMessage is what the signature of the older scheme covers.
func (l Link) bucketlessMessage() []byte {
	return l.message()[len(l.Bucket)+1:]
}

// keyring holds the keys of all weeks that matter in one week: the coming one, the valid
// ones, and those recognised as expired. Keys are costly to compute and every request uses
// them, so each is computed once.
type keyring struct {
	from, until time.Time // serves now in [from, until)
	weeks       []ringWeek
}

type ringWeek struct {
	start   time.Time
	expires time.Time
	keys    []*key
}

// accepts tells whether links of this week are good now.
func (w ringWeek) accepts(now time.Time) bool {
	return !now.Before(w.start.Add(-early)) && now.Before(w.expires)
}

func (s *Signer) keyring(now time.Time) *keyring {
	if r := s.keys.Load(); r != nil && !now.Before(r.from) && now.Before(r.until) {
		return r
	}
	current := weekOf(now, s.location)
	r := &keyring{from: current.start, until: current.add(1).start}
	// The commonest first: this week's links, then last week's, and so on; the
	// coming week's come before those that have expired.
	ages := []int{}
	for age := range s.weeks {
		ages = append(ages, age)
	}
	ages = append(ages, -1)
	for age := range expiredWeeks {
		ages = append(ages, s.weeks+age)
	}
	for _, age := range ages {
		w := current.add(-age)
		rw := ringWeek{start: w.start, expires: w.add(s.weeks).start}
		for _, secret := range s.secrets {
			rw.keys = append(rw.keys, newKey(secret, w))
		}
		r.weeks = append(r.weeks, rw)
	}
	s.keys.Store(r)
	return r
}

// key is the key of one secret in one week.
type key struct {
	macs sync.Pool // of *mac: an HMAC whose key schedule is done
}

type mac struct {
	hash.Hash
	sum [sha256.Size]byte
	sig [signatureLen]byte
}

func newKey(secret string, w week) *key {
	k := []byte(secret + w.String())
	return &key{macs: sync.Pool{New: func() any {
		return &mac{Hash: hmac.New(sha256.New, k)}
	}}}
}

func (k *key) signature(message []byte) []byte {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	return slices.Clone(m.sign(message))
}

func (k *key) fits(message []byte, signature string) bool {
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	want := m.sign(message)
	var got [signatureLen]byte
	if copy(got[:], signature) != len(want) || len(signature) != len(want) {
		return false
	}
	return subtle.ConstantTimeCompare(want, got[:]) == 1
}

// sign returns the signature of message. It is good until the next call.
func (m *mac) sign(message []byte) []byte {
	m.Reset()
	m.Write(message)
	sum := m.Sum(m.sum[:0])
	base64.RawURLEncoding.Encode(m.sig[:], sum[:12])
	return m.sig[:]
}
