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

// Sweep removes the links that have expired and those folders that are empty, and
// counts the rest. It returns how many links went. Run does this at the right
// moments.
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
	// What nobody will name any more: undated links, and dated ones that have
	// expired. Somebody may just be making an undated one, and tries again.
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

// trim removes links at random until there are no more than allowed: another
// process has made some, or fewer are allowed than before.
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

// Drop removes all links, and returns how many there were. They are out of reach
// at once; the rest of the work takes as long as there are links.
func (h *Hot) Drop() (int, error) {
	h.walking.Lock()
	defer h.walking.Unlock()
	return h.drop()
}

// drop is Drop, with walking held.
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

// detach moves all buckets to where nginx can't look, with mu held: that is one
// step for each, however many links there are. The next sweep, of whichever
// process, removes them.
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

// walker goes through folders and asks for each symbolic link in them whether to
// remove it. Folders left empty are removed. It goes on after an error, and keeps
// the last.
type walker struct {
	remove        func(folder int, name string) bool
	kept, removed int
	err           error
}

// walk returns whether the folder is gone. What disappears meanwhile is none of
// its business: other processes sweep too.
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
	// Whoever has put a link into it meanwhile keeps it.
	err = os.Remove(path)
	return err == nil || !errors.Is(err, syscall.ENOTEMPTY) && w.failed(err)
}

// failed notes an error, unless it says that something is gone.
func (w *walker) failed(err error) (gone bool) {
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	w.err = err
	return false
}
