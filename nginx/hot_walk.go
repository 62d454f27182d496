package nginx

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sweep removes expired links and empty folders, and counts the rest. It returns how many
// links went. Run calls it at the right moments.
func (h *Hot) Sweep() (int, error) {
	h.walking.Lock()
	defer h.walking.Unlock()
	now := h.now()
	h.mu.Lock()
	added, drops := h.added, h.drops
	h.swept, h.next = now, time.Time{}
	h.mu.Unlock()

	w := walker{}
	var next time.Time
	w.remove = func(folder int, name string) bool {
		var st unix.Stat_t
		if unix.Fstatat(folder, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil {
			return false // gone meanwhile
		}
		expires := time.Unix(st.Mtim.Unix())
		if !expires.After(now) {
			return true
		}
		if next.IsZero() || expires.Before(next) {
			next = expires
		}
		return false
	}
	for _, bucket := range names(h.dir) {
		w.walk(filepath.Join(h.dir, bucket))
	}
	removed, kept := w.removed, w.kept
	// What will never get its final name: undated links, and dated ones that have expired.
	// If another process is about to date one, it tries again.
	w.walk(filepath.Join(h.dir, tmpDir))
	purge(filepath.Join(h.dir, droppedDir), &w)
	if w.err != nil {
		next = now.Add(retry)
	}

	h.mu.Lock()
	if h.drops == drops {
		h.count = kept + h.added - added
	}
	if h.next.IsZero() || !next.IsZero() && next.Before(h.next) {
		h.next = next
	}
	h.mu.Unlock()
	h.trim()
	return removed, bare(w.err)
}

// trim removes links at random until no more than allowed are left: another process has
// created some, or the limit is lower than before.
func (h *Hot) trim() {
	for h.max > 0 {
		h.mu.Lock()
		more := h.count > h.max && h.evict() > 0
		h.mu.Unlock()
		if !more {
			return
		}
	}
}

// Drop removes all links, and returns how many there were. nginx cannot reach them from the
// start; the rest of the work takes time in proportion to their number.
func (h *Hot) Drop() (int, error) {
	h.walking.Lock()
	defer h.walking.Unlock()
	return h.drop()
}

// drop is Drop. The caller holds walking.
func (h *Hot) drop() (int, error) {
	h.mu.Lock()
	folders, err := h.detach()
	h.mu.Unlock()
	var w walker
	for _, f := range folders {
		purge(f, &w)
	}
	return w.removed, bare(errors.Join(err, w.err))
}

// detach moves all buckets to where nginx cannot look: one step for each bucket, however
// many links it has. The next sweep of any process removes them. The caller holds mu.
func (h *Hot) detach() (folders []string, err error) {
	h.drops++
	h.count = 0
	if err := h.mkdirs(droppedDir, 0o700); err != nil {
		return nil, err
	}
	for _, bucket := range names(h.dir) {
		to := filepath.Join(h.dir, droppedDir, h.unique())
		switch err := os.Rename(filepath.Join(h.dir, bucket), to); {
		case err == nil:
			folders = append(folders, to)
		case !errors.Is(err, fs.ErrNotExist):
			return folders, err
		}
	}
	return folders, nil
}

func purge(folder string, w *walker) {
	all := walker{remove: func(int, string) bool { return true }}
	all.walk(folder)
	w.removed += all.removed
	if all.err != nil {
		w.err = all.err
	}
}

// walker goes through folders and asks for each symbolic link whether to remove it. It
// removes folders that it leaves empty. It continues after an error, and keeps the last.
type walker struct {
	remove        func(folder int, name string) bool
	kept, removed int
	err           error
}

// walk returns whether the folder is gone. It ignores what disappears meanwhile, because
// other processes sweep too.
func (w *walker) walk(path string) (gone bool) {
	f, err := os.Open(path)
	if err != nil {
		return w.failed(err)
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if errors.Is(err, syscall.ENOTDIR) {
		return false // not ours
	}
	if err != nil {
		return w.failed(err)
	}
	left, fd := len(entries), int(f.Fd())
	for _, e := range entries {
		switch {
		case e.IsDir():
			if w.walk(filepath.Join(path, e.Name())) {
				left--
			}
		case e.Type()&fs.ModeSymlink == 0:
			// Not ours.
		case !w.remove(fd, e.Name()):
			w.kept++
		default:
			switch err := unix.Unlinkat(fd, e.Name(), 0); {
			case err == nil:
				w.removed++
				left--
			case w.failed(err):
				left--
			}
		}
	}
	if left > 0 {
		return false
	}
	// If a process has put a link into it meanwhile, it stays.
	err = os.Remove(path)
	return err == nil || !errors.Is(err, syscall.ENOTEMPTY) && w.failed(err)
}

// failed notes an error, unless the error says that something does not exist.
func (w *walker) failed(err error) (gone bool) {
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	w.err = err
	return false
}
