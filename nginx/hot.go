package nginx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HotOptions are the options of OpenHot.
type HotOptions struct {
	// Dir is the absolute path of the tree, on tmpfs: links must not outlive a
	// reboot. It and the folders in it are made with mode 0711, so that nginx can
	// follow a link whose name it has been told, while other local users can't
	// list signatures. Its parent must exist and let nginx through.
	Dir string
	// MaxLinks is how many links may exist. 0: any number. A link takes about 1.1
	// KB of the kernel's memory and an inode of the tmpfs, of which systemd gives
	// /run 800,000. When those run out, links make room for each other as if this
	// limit had been reached.
	MaxLinks int
	// Epoch are the facts that links hang on, one string for each: for every
	// secret that verifies, a digest of it and of everything else that decides
	// whether and how long its links live. If one that was there at an earlier
	// start is missing, all links are dropped. Order does not matter. The strings
	// are kept only as truncated digests.
	Epoch []string
	// Now and After are the clock; nil is the system's.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
	// Logger is told what Run finds. nil: slog.Default().
	Logger *slog.Logger
}

// Hot is the tree of hot links. All methods may be called concurrently, and
// several processes may have the same tree open.
type Hot struct {
	dir   string
	max   int
	epoch epoch
	now   func() time.Time
	after func(time.Duration) <-chan time.Time
	log   *slog.Logger
	id    string       // of this Hot among all that ever had the tree open
	step  func(string) // called between the steps of Add; nil but in tests

	wake chan struct{} // Run has something to do before its timer

	walking sync.Mutex // one walk at a time; taken before mu

	mu         sync.Mutex
	current    fs.FileInfo // of the epoch file that ours was checked against; nil: never
	superseded bool        // a newer process has other secrets: make no more links
	count      int         // links that exist
	added      int         // links ever made, so that a walk knows of those made meanwhile
	uniques    int         // temporary names given out
	drops      int         // how often all links were dropped
	removing   int         // removals that have begun and not ended
	unfinished bool        // links are left that a removal was to take away
	next       time.Time   // no link is known to expire before; zero: none is known at all
	swept      time.Time   // when the last whole walk began
}

// Folders of the tree that no bucket can be called and nobody else may enter.
const (
	tmpDir     = ".tmp"     // links that have no name yet
	droppedDir = ".dropped" // buckets whose links are being removed
)

// OpenHot opens the tree, or makes it. When it returns, no link is left that an
// earlier process made with a secret that is no longer in Epoch. Links that have
// expired meanwhile are still there, and Len and MaxLinks know nothing of those
// that are: the caller is to call Run, which begins by looking.
func OpenHot(o HotOptions) (*Hot, error) {
	if !isPath(o.Dir) {
		return nil, fmt.Errorf("hot links: folder %q: want a clean absolute path of letters, digits and ./_@+-", o.Dir)
	}
	if o.MaxLinks < 0 {
		return nil, fmt.Errorf("hot links: at most %d: want 0 or more", o.MaxLinks)
	}
	h := &Hot{
		dir:   o.Dir,
		max:   o.MaxLinks,
		epoch: newEpoch(o.Epoch),
		now:   o.Now,
		after: o.After,
		log:   o.Logger,
		id:    strconv.FormatUint(rand.Uint64(), 36),
		wake:  make(chan struct{}, 1),
	}
	if h.now == nil {
		h.now = time.Now
	}
	if h.after == nil {
		h.after = time.After
	}
	if h.log == nil {
		h.log = slog.Default()
	}
	if err := h.establish(true); err != nil {
		return nil, fmt.Errorf("hot links: folder %s: %w", h.dir, err)
	}
	if err := h.finishRemoval(); err != nil {
		return nil, fmt.Errorf("hot links: folder %s: %w", h.dir, bare(err))
	}
	return h, nil
}

// Len is the number of links, as far as this process knows: of those that were
// there before, once Run or Sweep has looked.
func (h *Hot) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(h.count, 0)
}

// Add makes the link, in a size or a [Class] of it, by which nginx serves target, the absolute path of a stored
// file, to whoever has the signature, until expires. A link that is there already
// is replaced. If the tree is full, the links of a random shard make room: those
// that are in demand come back at their next view. A link that has expired is not
// made, nor is any once a process with newer secrets has opened the tree; neither
// is an error.
//
// Errors never name the signature. The caller goes on without the link.
func (h *Hot) Add(bucket, size, signature, ext, target string, expires time.Time) error {
	return h.AddWhile(bucket, size, signature, ext, target, expires, func() bool { return true })
}

// AddWhile is Add for a decision that may be out of date: still says whether it
// holds. Where it does not, no link is made, which is no error. A link that is made
// because it did is there for every EndRemoval, Renew and Drop that begins after
// still was asked.
func (h *Hot) AddWhile(bucket, size, signature, ext, target string, expires time.Time, still func() bool) error {
	if err := checkLink(bucket, size, signature, ext, target); err != nil {
		return err
	}
	if !expires.After(h.now()) {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.superseded || !still() {
		return nil
	}
	folder := filepath.Join(h.dir, bucket, size, signature[:1], signature[1:2])
	path := filepath.Join(folder, signature[2:]+ext)

	info, err := os.Lstat(path)
	exists := err == nil
	if exists && info.ModTime().Equal(expires) {
		if t, err := os.Readlink(path); err == nil && t == target {
			return nil
		}
	}
	if !exists && !h.makeRoom() {
		return nil
	}
	err = h.place(folder, path, target, expires)
	if errors.Is(err, fs.ErrNotExist) { // somebody has removed the tree
		if _, err = h.isCurrent(); err == nil {
			err = h.place(folder, path, target, expires)
		}
	}
	// tmpfs bounds the number of inodes too. One shard may free fewer than a link
	// and its folders need.
	for tries := 0; errors.Is(err, syscall.ENOSPC) && tries < 16 && h.evict() > 0; tries++ {
		err = h.place(folder, path, target, expires)
	}
	if err != nil {
		return h.failed(err)
	}
	// Whoever sweeps at the end of the week, or drops all because secrets have
	// changed, may have passed this folder before the link was in it. But then
	// the clock, or the epoch, has changed by now.
	current, err := h.isCurrent()
	if !current || !expires.After(h.now()) {
		os.Remove(path)
		if exists {
			h.count--
		}
		return h.failed(err)
	}
	if !exists {
		h.count++
		h.added++
	}
	if h.next.IsZero() || expires.Before(h.next) {
		h.next = expires
		h.rouse()
	}
	return nil
}

func (h *Hot) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("hot links: cannot make one in %s: %w", h.dir, bare(err))
}

// place makes the link under a temporary name, dates it, and only then gives it
// its own: an undated link would never expire.
func (h *Hot) place(folder, path, target string, expires time.Time) error {
	var err error
	for range 10 {
		temp := filepath.Join(h.dir, tmpDir, h.unique())
		if err = h.make(temp, folder, path, target, expires); err == nil {
			return nil
		}
		os.Remove(temp)
		// A sweep, of any process, removes empty folders and undated temporary links.
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := h.mkdirs(tmpDir, 0o700); err != nil {
			return err
		}
	}
	return err
}

func (h *Hot) make(temp, folder, path, target string, expires time.Time) error {
	if err := os.Symlink(target, temp); err != nil {
		return err
	}
	h.at("linked")
	at := unix.NsecToTimespec(expires.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, temp, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	h.at("dated")
	err := os.Rename(temp, path)
	if errors.Is(err, fs.ErrNotExist) {
		rel, _ := filepath.Rel(h.dir, folder)
		if err := h.mkdirs(rel, 0o711); err != nil {
			return err
		}
		h.at("foldered")
		err = os.Rename(temp, path)
	}
	h.at("named")
	return err
}

// unique is a name that no process has given to anything, with mu held.
func (h *Hot) unique() string {
	h.uniques++
	return h.id + "-" + strconv.Itoa(h.uniques)
}

func (h *Hot) at(step string) {
	if h.step != nil {
		h.step(step)
	}
}

// mkdirs makes a folder below the tree, and those above it. The umask must not
// keep nginx out.
func (h *Hot) mkdirs(rel string, mode fs.FileMode) error {
	path := filepath.Join(h.dir, rel)
	err := os.Mkdir(path, mode)
	if above := filepath.Dir(rel); errors.Is(err, fs.ErrNotExist) && above != "." {
		if err := h.mkdirs(above, mode); err != nil {
			return err
		}
		err = os.Mkdir(path, mode)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// remove removes a link, with mu held.
func (h *Hot) remove(path string) bool {
	if os.Remove(path) != nil {
		return false
	}
	h.count--
	return true
}

// makeRoom sees to it that one more link may be made, with mu held.
func (h *Hot) makeRoom() bool {
	if h.max == 0 {
		return true
	}
	for range 64 {
		if h.count < h.max {
			return true
		}
		if h.evict() == 0 {
			break
		}
	}
	if h.count < h.max {
		return true
	}
	// There is nothing to remove: others have, and it is time to count anew.
	h.swept = time.Time{}
	h.rouse()
	return false
}

// evict empties a random shard: the same two characters of the signature in all
// buckets and sizes, so that every link is as likely to go as any other. It runs
// with mu held and returns how many links went.
func (h *Hot) evict() int {
	var sizes []string
	for _, bucket := range names(h.dir) {
		for _, size := range names(filepath.Join(h.dir, bucket)) {
			sizes = append(sizes, filepath.Join(h.dir, bucket, size))
		}
	}
	// Empty shards are removed, and do not come up again. What cannot be removed
	// must not keep us here.
	for range 100 {
		first := choose(sizes)
		second := choose(first)
		if len(first) == 0 {
			return 0
		}
		gone := 0
		for _, f := range second {
			for _, name := range names(f) {
				if h.remove(filepath.Join(f, name)) {
					gone++
				}
			}
			os.Remove(f)
		}
		for _, f := range first {
			os.Remove(f)
		}
		if gone > 0 {
			return gone
		}
	}
	return 0
}

// choose chooses a name at random that is in one of the folders, and returns its
// paths in all of them. Empty folders have none.
func choose(folders []string) []string {
	var there []string
	for _, f := range folders {
		there = append(there, names(f)...)
	}
	if len(there) == 0 {
		return nil
	}
	chosen := there[rand.IntN(len(there))]
	var paths []string
	for _, f := range folders {
		paths = append(paths, filepath.Join(f, chosen))
	}
	return paths
}

// names lists a folder, without what starts with a dot. A folder that is gone is
// empty.
func names(folder string) []string {
	f, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer f.Close()
	all, _ := f.Readdirnames(-1)
	return slices.DeleteFunc(all, func(name string) bool { return strings.HasPrefix(name, ".") })
}

// rouse has Run look at the time anew.
func (h *Hot) rouse() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

const (
	// poll bounds how late Run notices that the wall clock has jumped, or that
	// the machine has slept: timers stand still meanwhile.
	poll = 5 * time.Second
	// recheck is how often everything is looked at though nothing is known to
	// expire: for links that another process made, and to count anew.
	recheck = 10 * time.Minute
	// retry is how soon it is tried again to remove what could not be removed.
	retry = time.Minute
)

// Run removes links at the instant at which they expire, until ctx ends. It
// begins by looking at all links that are there.
func (h *Hot) Run(ctx context.Context) {
	for ctx.Err() == nil {
		now := h.now()
		h.mu.Lock()
		next, swept := h.next, h.swept
		h.mu.Unlock()
		expired := !next.IsZero() && !now.Before(next)
		if expired || swept.IsZero() || now.Sub(swept) >= recheck || now.Before(swept) {
			n, err := h.Sweep()
			if err != nil {
				h.log.Error("hot links: not all that have expired could be removed; trying again", "folder", h.dir, "error", err)
			} else if n > 0 {
				h.log.Info("hot links expired", "removed", n, "left", h.Len(), "seconds", h.now().Sub(now))
			}
			h.mu.Lock()
			next = h.next
			h.mu.Unlock()
			now = h.now()
		}
		wait := poll
		if !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		select {
		case <-ctx.Done():
		case <-h.wake:
		case <-h.after(wait):
		}
	}
}

// checkLink refuses what could lead out of the tree or is not a link.
func checkLink(bucket, size, signature, ext, target string) error {
	switch {
	case !isName(bucket) || "/"+bucket+"/" == InternalPrefix:
		return fmt.Errorf("hot links: bucket %q is not a name", bucket)
	case !isVariantDir(size):
		return fmt.Errorf("hot links: size %q is not one of an image", size)
	case !isSignature(signature):
		return errors.New("hot links: the signature is not 16 characters of base64url")
	case contentTypes[ext] == "":
		return fmt.Errorf("hot links: extension %q: want one of %s", ext, strings.Join(extensions, " "))
	case !filepath.IsAbs(target) || filepath.Clean(target) != target || strings.ContainsRune(target, 0):
		return fmt.Errorf("hot links: target %q: want a clean absolute path", target)
	}
	return nil
}

func isSignature(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) == 16
}

// bare strips the path, which holds the signature, from an error.
func bare(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}
