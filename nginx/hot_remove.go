package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// removingFile exists while a removal runs whose links still have to go. A process that
// finds it at its start drops all links, because the process that created it has died.
const removingFile = ".removing"

// BeginRemoval is called before a removal of files to which links may lead, and EndRemoval
// after it, whatever its outcome, to remove these links. After a crash in between, the next
// OpenHot removes them. If BeginRemoval fails, a crash is not covered; call EndRemoval all
// the same.
func (h *Hot) BeginRemoval() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removing++
	err := h.markRemoving()
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed the tree
		if err = h.establish(false); err == nil {
			err = h.markRemoving()
		}
	}
	for tries := 0; errors.Is(err, syscall.ENOSPC) && tries < 16 && h.evict() > 0; tries++ {
		err = h.markRemoving()
	}
	if err != nil {
		return fmt.Errorf("hot links: cannot note a removal in %s: %w", h.dir, bare(err))
	}
	return nil
}

// markRemoving creates the file. Its date is far in the future, because sweeps remove
// expired links by their times.
func (h *Hot) markRemoving() error {
	path := filepath.Join(h.dir, removingFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	never := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	return os.Chtimes(path, never, never)
}

// EndRemoval removes the links to files for whose path leads returns true, or all links,
// and returns how many went. Afterwards no AddWhile creates one if its still returns false
// by now. It looks at every link: 250,000 take about half a second.
//
// If an earlier EndRemoval has failed, it removes all links.
func (h *Hot) EndRemoval(all bool, leads func(target string) bool) (gone int, err error) {
	h.walking.Lock()
	defer h.walking.Unlock()
	// While mu is held, no AddWhile is between its question and its link: a link from an
	// earlier answer exists now, and the walk sees it.
	h.mu.Lock()
	all = all || h.unfinished
	h.mu.Unlock()
	if all {
		gone, err = h.drop()
	} else {
		gone, err = h.withdraw(leads)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.removing--
	h.unfinished = err != nil
	if h.removing == 0 && !h.unfinished {
		err = os.Remove(filepath.Join(h.dir, removingFile))
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return gone, fmt.Errorf("hot links: not all could be taken from %s: %w", h.dir, bare(err))
	}
	return gone, nil
}

// withdraw removes the links that lead to chosen files. The caller holds walking.
func (h *Hot) withdraw(leads func(target string) bool) (int, error) {
	buf := make([]byte, unix.PathMax)
	w := walker{remove: func(folder int, name string) bool {
		n, err := unix.Readlinkat(folder, name, buf)
		return err == nil && leads(string(buf[:n]))
	}}
	for _, bucket := range names(h.dir) {
		w.walk(filepath.Join(h.dir, bucket))
	}
	h.mu.Lock()
	h.count -= w.removed
	h.mu.Unlock()
	return w.removed, bare(w.err)
}

// finishRemoval drops all links if a process has died during a removal.
func (h *Hot) finishRemoval() error {
	unlock, err := lockFolder(h.dir)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(h.dir, removingFile)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	h.log.Warn("hot links: a removal was broken off; dropping all links", "folder", h.dir)
	if _, err := h.detach(); err != nil {
		return err
	}
	return os.Remove(path)
}

// Targets are the files to which the hot links of a signature lead, in any size, in the
// tree of a folder. All belong to one image, unless somebody has tampered with the tree. It
// returns none if there is no tree. It changes nothing.
func Targets(dir, bucket, signature string) (targets []string, err error) {
	if !isName(bucket) || !isSignature(signature) {
		return nil, errors.New("hot links: no such bucket or signature can be")
	}
	for _, size := range names(filepath.Join(dir, bucket)) {
		stem := filepath.Join(dir, bucket, size, signature[:2], signature[2:])
		for _, ext := range extensions {
			target, err := os.Readlink(stem + ext)
			if err == nil && target != passOver {
				targets = append(targets, target)
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, bare(err)
			}
		}
	}
	return targets, nil
}
