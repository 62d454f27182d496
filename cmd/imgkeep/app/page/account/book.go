package account

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Book are the accounts of a store. It may be used concurrently, also by several
// processes: what one changes the others see with their next call.
type Book struct {
	root   string
	now    func() time.Time
	hasher *hasher
	guess  *guesses

	mu    sync.Mutex
	known *accounts // what the file held when it was this one
	stamp stamp
}

// stamp tells one version of the file from another: each is a new file.
type stamp struct {
	inode uint64
	size  int64
	at    time.Time
}

// Open returns the accounts of the store in a folder. There may be none yet.
func Open(root string, now func() time.Time) *Book {
	return &Book{root: root, now: now, hasher: newHasher(), guess: newGuesses(now)}
}

// load returns what the file holds, which is not to be changed.
func (b *Book) load() (*accounts, error) {
	path := filepath.Join(b.root, File)
	var at stamp
	if info, err := os.Stat(path); err == nil {
		at.size, at.at = info.Size(), info.ModTime()
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			at.inode = s.Ino
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known != nil && at == b.stamp {
		return b.known, nil
	}
	a, err := read(path)
	if err != nil {
		return nil, err
	}
	b.known, b.stamp = a, at
	return a, nil
}

// Find returns an account.
func (b *Book) Find(name string) (Moderator, error) {
	a, err := b.load()
	if err != nil {
		return Moderator{}, err
	}
	m, err := a.find(name)
	if err != nil {
		return Moderator{}, err
	}
	return *m, nil
}

// All returns all accounts, by their names.
func (b *Book) All() ([]Moderator, error) {
	a, err := b.load()
	if err != nil {
		return nil, err
	}
	all := []Moderator{}
	for _, m := range a.Moderators {
		all = append(all, *m)
	}
	slices.SortFunc(all, func(a, b Moderator) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// Add makes an account, and returns the secret of the link by which its owner chooses a
// password. ErrExists where there is one.
func (b *Book) Add(name string, role Role, valid time.Duration) (secret string, err error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	err = change(b.root, func(a *accounts) error {
		if _, err := a.find(name); err == nil {
			return fmt.Errorf("%w: %s", ErrExists, name)
		}
		m := &Moderator{Name: name, Role: role, Added: b.now().UTC().Truncate(time.Second)}
		secret = b.open(m, valid)
		a.Moderators = append(a.Moderators, m)
		return nil
	})
	return secret, err
}

// Renew opens a new link for an account. The password stays until the link is used.
func (b *Book) Renew(name string, valid time.Duration) (secret string, err error) {
	err = b.change(name, func(m *Moderator) error {
		secret = b.open(m, valid)
		return nil
	})
	return secret, err
}

func (b *Book) open(m *Moderator, valid time.Duration) string {
	secret := newSecret()
	m.Link = &Link{Hash: secretHash(secret), Expires: b.now().UTC().Add(valid).Truncate(time.Second)}
	return secret
}

// change changes an account.
func (b *Book) change(name string, do func(*Moderator) error) error {
	return change(b.root, func(a *accounts) error {
		m, err := a.find(name)
		if err != nil {
			return err
		}
		return do(m)
	})
}

// SetRole gives an account another role; tokens of it that may more get the same.
func (b *Book) SetRole(name string, role Role) error {
	return b.change(name, func(m *Moderator) error {
		m.Role = role
		for i := range m.Tokens {
			m.Tokens[i].Role = least(m.Tokens[i].Role, role)
		}
		return nil
	})
}

// Drop removes an account: its owner is signed out, and its tokens open nothing any more.
func (b *Book) Drop(name string) error {
	return change(b.root, func(a *accounts) error {
		if _, err := a.find(name); err != nil {
			return err
		}
		a.Moderators = slices.DeleteFunc(a.Moderators, func(m *Moderator) bool { return m.Name == name })
		return nil
	})
}

// Opens tells whose link a secret is of: ErrLink where it is none, or an old one.
func (b *Book) Opens(secret string) (Moderator, error) {
	a, err := b.load()
	if err != nil {
		return Moderator{}, err
	}
	if m := a.opens(secret, b.now()); m != nil {
		return *m, nil
	}
	return Moderator{}, ErrLink
}

func (a *accounts) opens(secret string, now time.Time) *Moderator {
	hash := secretHash(secret)
	for _, m := range a.Moderators {
		if m.Link != nil && same(m.Link.Hash, hash) && now.Before(m.Link.Expires) {
			return m
		}
	}
	return nil
}

// Join chooses the password of the account that a link is of. The link opens nothing
// afterwards, and every browser that is signed in to the account is signed out.
func (b *Book) Join(ctx context.Context, secret, password string) (Moderator, error) {
	m, err := b.Opens(secret)
	if err != nil {
		return m, err
	}
	if err := checkPassword(m.Name, password); err != nil {
		return m, err
	}
	hash, err := b.hasher.hash(ctx, password)
	if err != nil {
		return m, err
	}
	err = change(b.root, func(a *accounts) error {
		open := a.opens(secret, b.now()) // still: of two who use it at once one comes too late
		if open == nil {
			return ErrLink
		}
		open.Password, open.Link, open.Changed = hash, nil, open.Changed+1
		m = *open
		return nil
	})
	return m, err
}

// TokenPrefix is how tokens begin, so that scanners for leaked ones know them.
const TokenPrefix = "imgkeep_"

// NewToken makes a token of an account, which may do what its role and that of the account
// both may. valid is how long; 0: until it is dropped.
func (b *Book) NewToken(name, label string, role Role, valid time.Duration) (secret string, err error) {
	if err := checkName(label); err != nil {
		return "", err
	}
	secret = TokenPrefix + newSecret()
	err = b.change(name, func(m *Moderator) error {
		if slices.ContainsFunc(m.Tokens, func(t Token) bool { return t.Label == label }) {
			return fmt.Errorf("%s has a token %s already: remove it first, or choose another label", name, label)
		}
		if !m.Role.May(role) {
			return fmt.Errorf("%s has the role %s: a token of theirs cannot have %s", name, m.Role, role)
		}
		t := Token{Label: label, Role: role, Hash: secretHash(secret), Added: b.now().UTC().Truncate(time.Second)}
		if valid > 0 {
			t.Expires = t.Added.Add(valid)
		}
		m.Tokens = append(m.Tokens, t)
		return nil
	})
	return secret, err
}

// DropToken removes a token of an account: ErrToken where there is none of that label.
func (b *Book) DropToken(name, label string) error {
	return b.change(name, func(m *Moderator) error {
		n := len(m.Tokens)
		m.Tokens = slices.DeleteFunc(m.Tokens, func(t Token) bool { return t.Label == label })
		if len(m.Tokens) == n {
			return fmt.Errorf("%w: %s of %s", ErrToken, label, name)
		}
		return nil
	})
}

// ByToken returns whose token a secret is, with the role that both have, and its label.
// ErrToken where it is none, or has expired.
func (b *Book) ByToken(secret string) (m Moderator, label string, err error) {
	a, err := b.load()
	if err != nil {
		return m, "", err
	}
	hash := secretHash(secret)
	for _, x := range a.Moderators {
		for _, t := range x.Tokens {
			if same(t.Hash, hash) && (t.Expires.IsZero() || b.now().Before(t.Expires)) {
				m = *x
				m.Role = least(m.Role, t.Role)
				return m, t.Label, nil
			}
		}
	}
	return m, "", ErrToken
}
