package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// What a hash of a password costs: as RFC 9106 and OWASP ask for at least, several times
// over.
const (
	hashMemory  = 32 << 10 // KiB
	hashPasses  = 2
	hashThreads = 1
	hashLength  = 32
	saltLength  = 16
)

// hasher hashes passwords, so many at once.
type hasher struct {
	slots    chan struct{}
	patience time.Duration // how long one waits for a slot
	memory   uint32        // in KiB; hashMemory but in tests
}

func newHasher() *hasher {
	return &hasher{slots: make(chan struct{}, 2), patience: 5 * time.Second, memory: hashMemory}
}

// form is how a hash is written down.
func (h *hasher) form(salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, hashPasses, hashThreads, encode(salt), encode(key))
}

// take waits for a slot: ErrBusy where there is none in time.
func (h *hasher) take(ctx context.Context) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, h.patience)
	defer cancel()
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ErrBusy
	}
}

// hash is the form in which a password is kept.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	release, err := h.take(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	salt := random(saltLength)
	key := argon2.IDKey([]byte(password), salt, hashPasses, h.memory, hashThreads, hashLength)
	return h.form(salt, key), nil
}

// absent is what a password is compared with where there is none to compare it with: it
// fits no password, and takes as long.
func (h *hasher) absent() string { return h.form(make([]byte, saltLength), make([]byte, hashLength)) }

var errForm = errors.New("a password is kept in a form that this version does not know")

// matches tells whether a password is the one of a hash; "" is that of nobody.
func (h *hasher) matches(ctx context.Context, password, kept string) (bool, error) {
	release, err := h.take(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	known := kept != ""
	if !known {
		kept = h.absent()
	}
	var version int
	var memory, passes uint32
	var threads uint8
	parts := strings.Split(kept, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return false, errForm
	}
	if _, err := fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=%d", &version, &memory, &passes, &threads); err != nil || version != argon2.Version || memory > 1<<20 || passes == 0 || passes > 100 || threads == 0 {
		return false, errForm
	}
	salt, err := base64.RawURLEncoding.DecodeString(parts[4])
	if err != nil {
		return false, err
	}
	want, err := base64.RawURLEncoding.DecodeString(parts[5])
	if err != nil {
		return false, err
	}
	got := argon2.IDKey([]byte(password), salt, passes, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

// random returns so many bytes that nobody can guess.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return b
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// newSecret is something that nobody can guess, and secretHash how it is kept: it has 256
// bits, and needs no slow hash.
func newSecret() string { return encode(random(32)) }

func secretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return encode(sum[:])
}

// same compares in a time that tells nothing.
func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
