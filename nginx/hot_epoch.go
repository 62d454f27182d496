package nginx

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// epochFile holds what the links of the tree hang on. While it is missing, the
// links may hang on anything, and are dropped by whoever finds it so.
const epochFile = ".epoch"

const epochHeader = "imgkeep hot links 1\n"

// epoch are truncated digests, in order. They are short, and made of digests
// already, so that the file tells nothing about a secret.
type epoch []string

func newEpoch(components []string) epoch {
	var e epoch
	for _, c := range components {
		sum := sha256.Sum256([]byte("imgkeep hot\x00" + c))
		e = append(e, hex.EncodeToString(sum[:12]))
	}
	slices.Sort(e)
	return slices.Compact(e)
}

// includes tells whether nothing of old is missing.
func (e epoch) includes(old epoch) bool {
	for _, c := range old {
		if _, ok := slices.BinarySearch(e, c); !ok {
			return false
		}
	}
	return true
}

func (h *Hot) epochPath() string { return filepath.Join(h.dir, epochFile) }

// readEpoch reads the epoch in place. It is not known if there is none, or one
// that this release does not understand.
func (h *Hot) readEpoch() (e epoch, known bool, err error) {
	b, err := os.ReadFile(h.epochPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	text, known := strings.CutPrefix(string(b), epochHeader)
	e = strings.Fields(text)
	slices.Sort(e)
	return e, known, nil
}

// Renew replaces HotOptions.Epoch. If something of it is gone, all links are
// dropped; they have no effect any more when it returns.
func (h *Hot) Renew(components []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.epoch, h.superseded = newEpoch(components), false
	if err := h.establish(true); err != nil {
		return fmt.Errorf("hot links: folder %s: %w", h.dir, err)
	}
	return nil
}

// establish makes sure that the tree exists and that its links hang on nothing
// but our epoch, or finds that a newer process has put another one in place. It
// holds a lock on the folder, so that of two processes one is first. opening
// tells that ours is the newer. It runs with mu held, or before anybody else
// knows the tree.
//
// The order is: remove the epoch, drop the links, write the epoch. A crash leaves
// no epoch, and so makes the next process drop all. A process with the earlier
// epoch that adds a link meanwhile finds its epoch gone, waits for the lock, and
// removes the link.
func (h *Hot) establish(opening bool) error {
	if err := h.makeRoot(); err != nil {
		return err
	}
	unlock, err := lockFolder(h.dir)
	if err != nil {
		return err
	}
	defer unlock()
	if err := h.mkdirs(tmpDir, 0o700); err != nil {
		return bare(err)
	}
	there, known, err := h.readEpoch()
	if err != nil {
		return bare(err)
	}
	added, lost := known && h.epoch.includes(there), known && !h.epoch.includes(there)
	switch {
	case added && there.includes(h.epoch):
		// Nothing has changed.
	case added && opening:
		// What links hang on is still there, and more.
		err = h.writeEpoch()
	case lost && !opening && there.includes(h.epoch):
		// A newer process knows more, and lets our links live.
	case known && !opening:
		h.superseded = true
		h.log.Warn("hot links: another imgkeep with other secrets has taken the folder; this one makes no more links", "folder", h.dir)
		return nil
	default:
		err = h.replaceEpoch()
	}
	if err == nil {
		h.current, err = os.Lstat(h.epochPath())
	}
	return bare(err)
}

func (h *Hot) replaceEpoch() error {
	if err := os.Remove(h.epochPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h.at("epoch removed")
	if _, err := h.detach(); err != nil {
		return err
	}
	h.at("dropped")
	return h.writeEpoch()
}

// makeRoot makes the folder of the tree, or takes one that is there.
func (h *Hot) makeRoot() error {
	if err := checkOwners(h.dir); err != nil {
		return err
	}
	if err := os.Mkdir(h.dir, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return bare(err)
	}
	switch info, err := os.Lstat(h.dir); {
	case err != nil:
		return bare(err)
	case !info.IsDir():
		return errors.New("it is not a folder")
	case info.Mode().Perm() != 0o711:
		if err := os.Chmod(h.dir, 0o711); err != nil {
			return fmt.Errorf("its mode is %v and cannot be made 0711: %w", info.Mode().Perm(), bare(err))
		}
	}
	return checkOwners(h.dir) // it may have been made by somebody else just now
}

// isCurrent tells whether the epoch in place lets our links live, with mu held.
func (h *Hot) isCurrent() (bool, error) {
	info, err := os.Lstat(h.epochPath())
	if err == nil && h.current != nil && os.SameFile(info, h.current) && info.ModTime().Equal(h.current.ModTime()) {
		return true, nil
	}
	// Another process has opened the tree, or somebody has removed it.
	if err := h.establish(false); err != nil {
		return false, err
	}
	return !h.superseded, nil
}

// writeEpoch replaces the epoch in one step.
func (h *Hot) writeEpoch() error {
	temp := h.epochPath() + ".new"
	if err := os.WriteFile(temp, []byte(epochHeader+strings.Join(h.epoch, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, h.epochPath())
}

// lockFolder waits until no other process holds the folder.
func lockFolder(path string) (unlock func(), err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
