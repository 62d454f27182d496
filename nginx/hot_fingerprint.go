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

// fingerprintFile holds the fingerprint of the settings that issued the links. If it is
// missing, nobody knows which settings issued them, and the process that finds this drops
// all links.
const fingerprintFile = ".epoch"

// fingerprintHeader names the layout of the tree, too: releases with another one drop its links,
// which they would not find again to remove them. In layout 1 each had two folders of one
// character.
const fingerprintHeader = "imgkeep hot links 2\n"

// fingerprint are truncated digests, sorted. They are short, and digests of digests, so
// that the file reveals nothing about a secret.
type fingerprint []string

func newFingerprint(components []string) fingerprint {
	var e fingerprint
	for _, c := range components {
		sum := sha256.Sum256([]byte("imgkeep hot\x00" + c))
		e = append(e, hex.EncodeToString(sum[:12]))
	}
	slices.Sort(e)
	return slices.Compact(e)
}

// includes tells whether everything in old is still there.
func (e fingerprint) includes(old fingerprint) bool {
	for _, c := range old {
		if _, ok := slices.BinarySearch(e, c); !ok {
			return false
		}
	}
	return true
}

func (h *Hot) fingerprintPath() string { return filepath.Join(h.dir, fingerprintFile) }

// readFingerprint reads the file. ok is false if it is missing, or this release does not
// understand it.
func (h *Hot) readFingerprint() (e fingerprint, known bool, err error) {
	b, err := os.ReadFile(h.fingerprintPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	text, known := strings.CutPrefix(string(b), fingerprintHeader)
	e = strings.Fields(text)
	slices.Sort(e)
	return e, known, nil
}

// Renew replaces HotOptions.Fingerprint. If a string is gone, it drops all links: none has an
// effect any more when it returns.
func (h *Hot) Renew(components []string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fingerprint, h.superseded = newFingerprint(components), false
	if err := h.establish(true); err != nil {
		return fmt.Errorf("hot links: folder %s: %w", h.dir, err)
	}
	return nil
}

// establish makes sure that the tree exists and that only settings of our fingerprint
// issued its links, or finds that a newer process has written another one. It locks the
// folder, so that two processes take turns. opening says that ours is the newer. The caller
// holds mu, or nobody else knows the tree yet.
//
// The order is: remove the file, drop the links, write the file. A crash leaves no file,
// and so makes the next process drop all links. A process with the earlier fingerprint that
// adds a link meanwhile finds its file gone, waits for the lock, and removes the link.
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
	there, known, err := h.readFingerprint()
	if err != nil {
		return bare(err)
	}
	added, lost := known && h.fingerprint.includes(there), known && !h.fingerprint.includes(there)
	switch {
	case added && there.includes(h.fingerprint):
		// Nothing has changed.
	case added && opening:
		// All settings that issued links are still there, and more.
		err = h.writeFingerprint()
	case lost && !opening && there.includes(h.fingerprint):
		// A newer process knows more, and lets our links live.
	case known && !opening:
		h.superseded = true
		h.log.Warn("hot links: another imgkeep with other secrets has taken the folder; this one makes no more links", "folder", h.dir)
		return nil
	default:
		err = h.replaceFingerprint()
	}
	if err == nil {
		h.current, err = os.Lstat(h.fingerprintPath())
	}
	return bare(err)
}

func (h *Hot) replaceFingerprint() error {
	if err := os.Remove(h.fingerprintPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	h.at("fingerprint removed")
	if _, err := h.detach(); err != nil {
		return err
	}
	h.at("dropped")
	return h.writeFingerprint()
}

// makeRoot creates the folder of the tree, or accepts an existing one.
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
	return checkOwners(h.dir) // somebody else may have created it just now
}

// isCurrent tells whether the fingerprint on disk lets our links live. The caller holds mu.
func (h *Hot) isCurrent() (bool, error) {
	info, err := os.Lstat(h.fingerprintPath())
	if err == nil && h.current != nil && os.SameFile(info, h.current) && info.ModTime().Equal(h.current.ModTime()) {
		return true, nil
	}
	// Another process has opened the tree, or somebody has removed it.
	if err := h.establish(false); err != nil {
		return false, err
	}
	return !h.superseded, nil
}

// writeFingerprint replaces the fingerprint in one step.
func (h *Hot) writeFingerprint() error {
	temp := h.fingerprintPath() + ".new"
	if err := os.WriteFile(temp, []byte(fingerprintHeader+strings.Join(h.fingerprint, "\n")+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, h.fingerprintPath())
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
