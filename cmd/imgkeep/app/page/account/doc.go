// Package account knows who may use the moderators' page: their names, roles, passwords,
// tokens of the API, and who is signed in.
//
// What it promises: passwords are kept as argon2id and everything else that opens
// something as a hash, in one file that only its owner reads and that a crash leaves
// whole. At most two passwords are hashed at once, so that log-ins cannot exhaust memory.
// Guessing is slowed down by network and by account; a browser that has signed in
// to an account before is counted apart, so that strangers cannot lock its owner out. A
// name that does not exist takes as long as one that does.
//
// What it does not do: it knows no HTTP, and writes no audit log. Who is signed in is in
// memory: a restart signs everybody out.
package account

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Role is what a moderator may do. The zero value may do nothing.
type Role string

// Roles; each may do what those before it may.
const (
	View   Role = "view"   // look and search
	Remove Role = "remove" // besides, remove, block and undo, and read the audit log
	Admin  Role = "admin"  // besides, see accounts, and export the audit log
)

// Roles are all roles, that of the least rights first.
func Roles() []Role { return []Role{View, Remove, Admin} }

// ParseRole reads the name of a role.
func ParseRole(s string) (Role, error) {
	if r := Role(s); slices.Contains(Roles(), r) {
		return r, nil
	}
	return "", fmt.Errorf("%q is no role: want view, remove or admin", s)
}

// May tells whether a role has the rights of another.
func (r Role) May(other Role) bool {
	return other != "" && slices.Index(Roles(), r) >= slices.Index(Roles(), other)
}

// least is the role of fewer rights.
func least(a, b Role) Role {
	if a.May(b) {
		return b
	}
	return a
}

// What the calls say.
var (
	ErrUnknown  = errors.New("there is no such moderator")
	ErrExists   = errors.New("there is a moderator of that name already")
	ErrLink     = errors.New("this link was already used, has expired, or is invalid: ask for a new one")
	ErrPassword = errors.New("the name or the password is wrong")
	ErrBusy     = errors.New("too many people sign in at this moment: try again in a few seconds")
	ErrToken    = errors.New("there is no such token")
)

// TooManyError is the error of a log-in that is refused unseen.
type TooManyError struct {
	After time.Duration // until the next one is looked at
}

// Error says when to come again.
func (e TooManyError) Error() string {
	return fmt.Sprintf("too many attempts: try again in %d s", int(e.After.Seconds())+1)
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,31}$`)

// checkName tells what is wrong with the name of a moderator.
func checkName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q cannot be a name: want 1 to 32 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit", name)
	}
	return nil
}

// Lengths of passwords, in bytes.
const (
	MinPassword = 10
	MaxPassword = 200
)

func checkPassword(name, password string) error {
	switch {
	case len(password) < MinPassword:
		return fmt.Errorf("the password is too short: want at least %d characters", MinPassword)
	case len(password) > MaxPassword:
		return fmt.Errorf("the password is too long: want at most %d bytes", MaxPassword)
	case strings.EqualFold(strings.Repeat(name, len(password)/max(len(name), 1)), password), strings.Count(password, password[:1]) == len(password):
		return errors.New("the password is too easy: want another one")
	}
	return nil
}
