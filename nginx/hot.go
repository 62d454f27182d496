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
	// Dir is the absolute path of the tree, on tmpfs: links must not survive a reboot. It
	// and the folders in it have mode 0711, so that nginx can follow a link whose name it
	// knows, while other local users cannot list signatures. Its parent must exist, and
	// nginx must be able to enter it.
	Dir string
	// MaxLinks is how many links may exist. 0: any number. A link takes about 1.1 KB of
	// kernel memory and one inode of the tmpfs; systemd gives /run 800,000 inodes. An image
	// that is no JPEG takes one more for each commoner type: a PNG two links, a WebP three. If
	// inodes run out, links are evicted as if this limit were reached.
	MaxLinks int
	// Fingerprint is the fingerprint of the settings that issued the links, one string each: for
	// every secret that verifies, a digest of it and of everything else that decides
	// whether and how long its links live. If a string of an earlier start is missing, all
	// links are dropped. Order does not matter. The file holds truncated digests of the
	// strings only.
	Fingerprint []string
	// Now and After are the clock; nil is the system's.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
	// Logger receives what Run reports, and when all links were dropped. nil: slog.Default().
	Logger *slog.Logger
}

// Hot is the tree of hot links. All methods may be called concurrently, and
// several processes may have the same tree open.
type Hot struct {
	dir         string
	max         int
	fingerprint fingerprint
	now         func() time.Time
	after       func(time.Duration) <-chan time.Time
	log         *slog.Logger
	id          string       // of this Hot among all that ever had the tree open
	step        func(string) // called between the steps of Add; nil outside of tests

	wake chan struct{} // Run has something to do before its timer

	walking sync.Mutex // one walk at a time; taken before mu

	mu         sync.Mutex
	current    fs.FileInfo        // of the fingerprint file that ours was checked against; nil: never
	superseded bool               // a newer process has other secrets: create no more links
	count      int                // links that exist
	added      int                // links ever created, so that a walk knows of those created meanwhile
	uniques    int                // temporary names given out
	drops      int                // how often all links were dropped
	removing   int                // removals that have begun and not ended
	unfinished bool               // a removal has left links that it should have removed
	next       time.Time          // no known link expires before; zero: no link is known
	swept      time.Time          // when the last whole walk began
	target     [unix.PathMax]byte // of the link that look has read
}

// Folders of the tree whose names no bucket can have, and that nobody else may enter.
const (
	tmpDir     = ".tmp"     // links that do not have their final name yet
	droppedDir = ".dropped" // buckets whose links are being removed
)

// OpenHot opens the tree, or creates it. When it returns, no link is left that an earlier
// process made with a secret that is no longer in Fingerprint. Links that have expired meanwhile
// are still there, and Len and MaxLinks do not count existing links yet: call Run, which
// begins with a look at all of them.
func OpenHot(o HotOptions) (*Hot, error) {
	if !isPath(o.Dir) {
		return nil, fmt.Errorf("hot links: folder %q: want a clean absolute path of letters, digits and ./_@+-", o.Dir)
	}
	if o.MaxLinks < 0 {
		return nil, fmt.Errorf("hot links: at most %d: want 0 or more", o.MaxLinks)
	}
	h := &Hot{
		dir:         o.Dir,
		max:         o.MaxLinks,
		fingerprint: newFingerprint(o.Fingerprint),
		now:         o.Now,
		after:       o.After,
		log:         o.Logger,
		id:          strconv.FormatUint(rand.Uint64(), 36),
		wake:        make(chan struct{}, 1),
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

// Len is the number of links that this process knows. It includes links of earlier
// processes once Run or Sweep has looked.
func (h *Hot) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return max(h.count, 0)
}

// Add creates the link, in a size or a [VariantDir] of it, by which nginx serves target,
// the absolute path of a stored file, to every holder of the signature, until expires. It
// replaces an existing link. If the tree is full, it evicts the links of a random shard:
// those in demand come back at their next view. It creates no link that has expired, none
// once a process with newer secrets has opened the tree, and none if eviction makes no
// room; none of these is an error. The names of more common types, which nginx tries before,
// become links as well.
//
// Errors never contain the signature. The caller continues without the link.
func (h *Hot) Add(bucket, size, signature, ext, target string, expires time.Time) error {
	return h.AddWhile(bucket, size, signature, ext, target, expires, func() bool { return true })
}

// AddWhile is Add for a decision that may be out of date: still says whether it holds. If
// it does not, no link is created, and that is no error. A link that is created is visible
// to every EndRemoval, Renew and Drop that begins after the call of still.
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
	folder := h.dir + "/" + bucket + "/" + size + "/" + signature[:2]
	if _, same := h.look(folder+"/"+signature[2:]+ext, target, expires); same { // the others were made before it
		return nil
	}
	for _, earlier := range extensions[:slices.Index(extensions, ext)] {
		if err := h.add(folder, signature[2:]+earlier, passOver, expires); err != nil {
			return err
		}
	}
	return h.add(folder, signature[2:]+ext, target, expires)
}

// passOver is the target of the names that nginx tries before that of a link: a folder that it
// can open, and no file to send. nginx remembers what is there, not what is not: if it did, a
// link that was just made would not be hot until it forgets. Looking for a name that is not
// there takes it a sixth of the time that an image takes.
const passOver = "/"

// add creates a link, or replaces it. The caller holds mu.
func (h *Hot) add(folder, name, target string, expires time.Time) error {
	path := folder + "/" + name
	exists, same := h.look(path, target, expires)
	if same || !exists && !h.makeRoom() {
		return nil
	}
	err := h.place(folder, path, target, expires)
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
	// A sweep at the end of the week, or a drop after a change of secrets, may have passed
	// this folder before the link was in it. But then the clock, or the fingerprint, has
	// changed by now.
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

// look tells whether there is a link, and whether it is the one that is wanted: nginx asks for
// one that is there until it notices. The caller holds mu.
func (h *Hot) look(path, target string, expires time.Time) (exists, same bool) {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return false, false
	}
	if !time.Unix(st.Mtim.Unix()).Equal(expires) {
		return true, false
	}
	n, err := unix.Readlink(path, h.target[:])
	return true, err == nil && string(h.target[:max(n, 0)]) == target
}

func (h *Hot) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("hot links: cannot make one in %s: %w", h.dir, bare(err))
}

// place creates the link under a temporary name, dates it, and only then gives it its final
// name: an undated link would never expire.
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
	// Used after it was changed, by its dates: otherwise the kernel would note each use of a link
	// that was changed in the future, for which it walks the folders with locks.
	used, changed := unix.NsecToTimespec(expires.Add(time.Second).UnixNano()), unix.NsecToTimespec(expires.UnixNano())
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, temp, []unix.Timespec{used, changed}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
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

// unique returns a name that no process has used. The caller holds mu.
func (h *Hot) unique() string {
	h.uniques++
	return h.id + "-" + strconv.Itoa(h.uniques)
}

func (h *Hot) at(step string) {
	if h.step != nil {
		h.step(step)
	}
}

// mkdirs creates a folder below the tree, and its parents. The umask must not lock nginx
// out.
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

// remove removes a link. The caller holds mu.
func (h *Hot) remove(path string) bool {
	if os.Remove(path) != nil {
		return false
	}
	h.count--
	return true
}

// makeRoom makes room for one more link. The caller holds mu.
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
	// There is nothing to remove: others have removed it, so links are counted again.
	h.swept = time.Time{}
	h.rouse()
	return false
}

// evict empties a random shard: the same two characters of the signature in all buckets and
// sizes, so that every link is equally likely to go. It returns how many links went. The
// caller holds mu.
func (h *Hot) evict() int {
	var sizes []string
	for _, bucket := range names(h.dir) {
		for _, size := range names(filepath.Join(h.dir, bucket)) {
			sizes = append(sizes, filepath.Join(h.dir, bucket, size))
		}
	}
	// Empty shards are removed, so they are not chosen again. A link that cannot be removed
	// must not keep this loop going.
	for range 100 {
		shard := choose(sizes)
		if len(shard) == 0 {
			return 0
		}
		gone := 0
		for _, f := range shard {
			for _, name := range names(f) {
				if h.remove(filepath.Join(f, name)) {
					gone++
				}
			}
			os.Remove(f)
		}
		if gone > 0 {
			return gone
		}
	}
	return 0
}

// choose picks at random a name that is in one of the folders, and returns its paths in all
// of them. It returns none if the folders are empty.
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

// names lists a folder, without names that start with a dot. A folder that does not exist
// is empty.
func names(folder string) []string {
	f, err := os.Open(folder)
	if err != nil {
		return nil
	}
	defer f.Close()
	all, _ := f.Readdirnames(-1)
	return slices.DeleteFunc(all, func(name string) bool { return strings.HasPrefix(name, ".") })
}

// rouse makes Run check the time again.
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
	// recheck is how often all links are checked although none is known to expire, to find
	// links that another process made, and to count again.
	recheck = 10 * time.Minute
	// retry is the pause before a failed removal is tried again.
	retry = time.Minute
)

// Run removes links when they expire, until ctx ends. It begins with a look at all existing
// links.
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

// checkLink refuses values that could lead out of the tree or are not a link.
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
