package account

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// SignIn returns the account of a name and its password: ErrPassword where they do not
// fit, TooManyError where somebody guesses, ErrBusy. from is where the browser is; an
// invalid address is one place like any other. device is what NewDevice has given to it
// once; "": nothing.
func (b *Book) SignIn(ctx context.Context, name, password string, from netip.Addr, device string) (Moderator, error) {
	a, err := b.load()
	if err != nil {
		return Moderator{}, err
	}
	if len(name) > 64 || len(password) > MaxPassword {
		return Moderator{}, ErrPassword
	}
	who := "stranger " + name
	if id, ok := a.knows(name, device); ok {
		who = "device " + name + " " + id
	}
	if err := b.guess.allow(network(from), who); err != nil {
		return Moderator{}, err
	}
	kept, found := "", Moderator{}
	if m, err := a.find(name); err == nil {
		kept, found = m.Password, *m
	}
	ok, err := b.hasher.matches(ctx, password, kept)
	if err != nil {
		return Moderator{}, err
	}
	if !ok {
		return Moderator{}, ErrPassword
	}
	return found, nil
}

// NewDevice is what a browser is given that has signed in to an account, so that its
// further attempts are counted apart from those of strangers.
func (b *Book) NewDevice(name string) (string, error) {
	a, err := b.load()
	if err != nil {
		return "", err
	}
	id := encode(random(12))
	return id + "." + a.deviceSum(name, id), nil
}

func (a *accounts) deviceSum(name, id string) string {
	mac := hmac.New(sha256.New, a.Key)
	mac.Write([]byte(name + " " + id))
	return encode(mac.Sum(nil))
}

// knows tells whether a browser has signed in to an account before.
func (a *accounts) knows(name, device string) (id string, ok bool) {
	id, sum, ok := strings.Cut(device, ".")
	return id, ok && len(a.Key) > 0 && len(id) <= 32 && same(sum, a.deviceSum(name, id))
}

// network is the place of an address: its /24, or its /56.
func network(a netip.Addr) string {
	a = a.Unmap()
	bits := 56
	if a.Is4() {
		bits = 24
	}
	p, err := a.WithZone("").Prefix(bits)
	if err != nil {
		return "network nowhere"
	}
	return "network " + p.String()
}

// How often one may try: so many at once, and then one each so long.
const (
	networkBurst = 20
	networkEvery = 6 * time.Second
	accountBurst = 10
	accountEvery = time.Minute
	maxGuesses   = 10_000 // places and accounts that are remembered
)

// guesses bound how often somebody tries.
type guesses struct {
	now  func() time.Time
	mu   sync.Mutex
	full map[string]time.Time // when each may try as often as at the beginning
}

func newGuesses(now func() time.Time) *guesses {
	return &guesses{now: now, full: map[string]time.Time{}}
}

// allow counts an attempt from a network by a stranger or a device.
func (g *guesses) allow(network, who string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	wait := max(g.wait(network, networkBurst, networkEvery, now), g.wait(who, accountBurst, accountEvery, now))
	if wait > 0 {
		return TooManyError{wait}
	}
	g.count(network, networkEvery, now)
	g.count(who, accountEvery, now)
	return nil
}

// wait is how long until one more is allowed.
func (g *guesses) wait(key string, burst int, every time.Duration, now time.Time) time.Duration {
	full, ok := g.full[key]
	if !ok {
		return 0
	}
	return full.Sub(now) - time.Duration(burst-1)*every
}

func (g *guesses) count(key string, every time.Duration, now time.Time) {
	if _, ok := g.full[key]; !ok && len(g.full) >= maxGuesses {
		g.forget(now)
	}
	at := g.full[key]
	if at.Before(now) {
		at = now
	}
	g.full[key] = at.Add(every)
}

// forget makes room: those who may try freely again, or else the one who is nearest to it.
func (g *guesses) forget(now time.Time) {
	var nearest string
	var at time.Time
	for key, full := range g.full {
		if !full.After(now) {
			delete(g.full, key)
		} else if nearest == "" || full.Before(at) {
			nearest, at = key, full
		}
	}
	if len(g.full) >= maxGuesses {
		delete(g.full, nearest)
	}
}
