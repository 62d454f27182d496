package account

import (
	"sync"
	"time"
)

// How long somebody stays signed in: after the last request, and in all.
const (
	SessionIdle = 12 * time.Hour
	SessionLife = 7 * 24 * time.Hour
	maxSessions = 10_000
	perAccount  = 20 // sessions
)

// Session is somebody who is signed in.
type Session struct {
	Name string
	// CSRF is what each form of theirs holds, and no other site knows.
	CSRF string

	began, seen time.Time
	changed     int // Moderator.Changed when it began
	added       time.Time
}

// Sessions are who is signed in. It may be used concurrently.
type Sessions struct {
	book *Book
	mu   sync.Mutex
	all  map[string]*Session // by the hash of the secret
}

// NewSessions returns those of accounts: nobody yet.
func NewSessions(b *Book) *Sessions { return &Sessions{book: b, all: map[string]*Session{}} }

// Begin signs somebody in, and returns the secret that their browser keeps.
func (s *Sessions) Begin(m Moderator) (secret string, session Session) {
	now := s.book.now()
	x := &Session{Name: m.Name, CSRF: newSecret(), began: now, seen: now, changed: m.Changed, added: m.Added}
	secret = newSecret()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.makeRoom(m.Name, now)
	s.all[secretHash(secret)] = x
	return secret, *x
}

// makeRoom ends sessions that are over and, where an account or all have too many, the one
// that was not used for longest.
func (s *Sessions) makeRoom(name string, now time.Time) {
	var own, any string
	owned := 0
	for key, x := range s.all {
		if x.over(now) {
			delete(s.all, key)
			continue
		}
		if any == "" || x.seen.Before(s.all[any].seen) {
			any = key
		}
		if x.Name == name {
			if owned++; own == "" || x.seen.Before(s.all[own].seen) {
				own = key
			}
		}
	}
	if owned >= perAccount {
		delete(s.all, own)
	} else if len(s.all) >= maxSessions {
		delete(s.all, any)
	}
}

func (x *Session) over(now time.Time) bool {
	return now.Sub(x.seen) > SessionIdle || now.Sub(x.began) > SessionLife
}

// Find returns who is signed in with a secret, and their account as it is now. It is not
// ok where nobody is: also where the account is gone, has another password, or
// is another one of the same name.
func (s *Sessions) Find(secret string) (x Session, m Moderator, ok bool) {
	if secret == "" {
		return x, m, false
	}
	key := secretHash(secret)
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.all[key]
	if found == nil {
		return x, m, false
	}
	now := s.book.now()
	m, err := s.book.Find(found.Name)
	if err != nil || m.Changed != found.changed || !m.Added.Equal(found.added) || found.over(now) {
		delete(s.all, key)
		return x, m, false
	}
	found.seen = now
	return *found, m, true
}

// Seen is when somebody was last seen who is signed in; zero: they are not.
func (s *Sessions) Seen(name string) (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		if x.Name == name && x.seen.After(at) {
			at = x.seen
		}
	}
	return at
}

// End signs a browser out.
func (s *Sessions) End(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, secretHash(secret))
}
