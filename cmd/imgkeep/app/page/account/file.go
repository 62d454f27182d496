package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// File is the name of the file of accounts, in the store's root.
const File = "moderators.json"

// Moderator is an account.
type Moderator struct {
	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	Added    time.Time `json:"added"`
	Password string    `json:"password,omitempty"` // its hash; empty: none was chosen yet
	// Changed is counted up with what signs everybody out who has signed in as them.
	Changed int     `json:"changed,omitempty"`
	Link    *Link   `json:"link,omitempty"` // nil: none is open
	Tokens  []Token `json:"tokens,omitempty"`
}

// Link is a link by which a password is chosen, once.
type Link struct {
	Hash    string    `json:"hash"`
	Expires time.Time `json:"expires"`
}

// Token opens the API.
type Token struct {
	Label   string    `json:"label"`
	Role    Role      `json:"role"`
	Hash    string    `json:"hash"`
	Added   time.Time `json:"added"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// accounts are what the file holds.
type accounts struct {
	// Key makes what browsers are known by.
	Key        []byte       `json:"key"`
	Moderators []*Moderator `json:"moderators"`
}

func (a *accounts) find(name string) (*Moderator, error) {
	for _, m := range a.Moderators {
		if m.Name == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrUnknown, name)
}

// maxFile bounds the file, in bytes: some ten thousand accounts.
const maxFile = 8 << 20

func read(path string) (*accounts, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &accounts{}, nil
	}
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%s has more than %d bytes: it is not what this program wrote", path, maxFile)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	a := &accounts{}
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("%s cannot be read (%w): restore it from a backup, or remove it and add the moderators again", path, err)
	}
	return a, nil
}

// change changes the file: one process at a time, and a crash leaves what was there or
// what is there now.
func change(root string, do func(*accounts) error) error {
	path := filepath.Join(root, File)
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	a, err := read(path)
	if err != nil {
		return err
	}
	if len(a.Key) == 0 {
		a.Key = random(32)
	}
	if err := do(a); err != nil {
		return err
	}
	text, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		return err
	}
	tmp := filepath.Join(root, record.TmpDir)
	if err := os.MkdirAll(tmp, local.PrivateDir); err != nil { // in a store that was never opened
		return err
	}
	return local.WriteFile(local.OS{}, tmp, path, append(text, '\n'))
}
