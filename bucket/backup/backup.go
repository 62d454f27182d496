// Package backup copies a store to a folder, and restores a store from it. Neither needs an
// open store.
//
// It promises that the folder, whenever a backup was interrupted, has all files that its
// journals name, each read back and compared with its digest; and that nothing is deleted
// from a backup except what the store's operator has removed. It does not copy the index
// and the variants, which can be made again, nor the quarantine.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

// ErrNotBackup: a folder is neither empty nor a backup.
var ErrNotBackup = errors.New("it is neither empty nor a backup of imgkeep")

const (
	manifestFile     = "backup.json"
	BackupUnfinished = "backup.unfinished"
	// restoreUnfinished marks a root in which a restore has not ended.
	restoreUnfinished = "restore.unfinished"
)

// manifest marks a folder as a backup.
type manifest struct {
	Version int       `json:"version"` // of the layout: 1
	Ended   time.Time `json:"ended"`   // the last complete backup to it
	Images  int       `json:"images"`
	Bytes   int64     `json:"bytes"`
	Of      Source    `json:"of,omitzero"` // zero: the store of one machine
}

// Options say what Run and Restore do.
type Options struct {
	Root string // of the store
	Dir  string // of the backup
	// Link makes hard links instead of copies if both are on one file system: fast and
	// small, but no help against a failing disk.
	Link bool
	// Verify also reads the existing files of the target, and copies damaged ones again;
	// without it only lengths are compared.
	Verify   bool
	Found    func(record.Finding)  // called for each finding; nil: not
	Progress func(record.Progress) // called now and then; nil: not
	Now      func() time.Time
	Memory   int // that each sorting of the journals may take, in bytes; 0: extsort.DefaultMemory
}

// Report says what Run or Restore has done.
type Report struct {
	Images  int                 `json:"images"`  // that the journals name
	Copied  int                 `json:"copied"`  // of them, now
	Removed int                 `json:"removed"` // from the backup, because they were removed from the store
	Bytes   int64               `json:"bytes"`   // copied now
	Found   map[record.Kind]int `json:"found"`
	Seconds float64             `json:"seconds"`
}

// Run copies the store at Root to a folder, which then is a store without an index:
// journals, and the originals that they name. It may run while the store is in use, needs
// no cooperation, and changes nothing in it: journals only grow, and a line is written
// after its file, so that the journals at the start of the run, and the files that they
// name, are a consistent store.
//
// It copies what the folder lacks. It first copies files, flushes them, reads them back and
// compares them with their digests, and then copies the journals: whenever it is
// interrupted, the folder has all files that its journals name, and the next Run continues.
// A missing or damaged original is a finding; copies of an earlier backup are not read
// again, unless Verify is set, and stay. What the operator removed from the store is
// deleted from the backup too, and nothing else ever is.
//
// It does not copy the index and the variants, which can be made again, the quarantine, and
// the record of recent failures. Memory does not grow with the store. It needs about 150 bytes
// for each URL in the folder meanwhile, besides the copies.
func Run(ctx context.Context, o Options) (_ Report, err error) {
	from, to, err := apart(o.Root, o.Dir)
	if err != nil {
		return Report{}, err
	}
	if err := os.MkdirAll(to, local.PrivateDir); err != nil {
		return Report{}, err
	}
	if err := isBackup(to); err != nil {
		return Report{}, err
	}
	if last, _, err := readManifest(to); err != nil {
		return Report{}, err
	} else if last.Of != (Source{}) {
		return Report{}, errOther(to, last.Of, Source{})
	}
	t, err := newTransfer(o, from, to, BackupUnfinished)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, t.unlock(err == nil)) }()
	if err := t.run(ctx); err != nil {
		return t.report, err
	}
	return t.report, t.writeManifest()
}

// Restore makes a store at Root, which must be empty, from the backup in Dir, and builds
// its index. It reads every file and compares it with its digest. After an interruption,
// call it again to continue; until it has finished the root is marked, and must not be
// served from.
func Restore(ctx context.Context, o Options) (_ Report, _ reindex.Report, err error) {
	var indexed reindex.Report
	to, from, err := apart(o.Root, o.Dir)
	if err != nil {
		return Report{}, indexed, err
	}
	if _, err := os.Stat(filepath.Join(from, manifestFile)); err != nil {
		return Report{}, indexed, fmt.Errorf("%s is no backup: %w", from, err)
	}
	if err := os.MkdirAll(to, local.DirMode); err != nil {
		return Report{}, indexed, err
	}
	if !RestoreUnfinished(to) {
		if err := isEmpty(to); err != nil {
			return Report{}, indexed, err
		}
	}
	t, err := newTransfer(o, from, to, restoreUnfinished)
	if err != nil {
		return Report{}, indexed, err
	}
	defer func() { err = errors.Join(err, t.unlock(err == nil)) }()
	if err := t.run(ctx); err != nil {
		return t.report, indexed, err
	}
	indexed, err = reindex.Run(ctx, reindex.Options{Root: to, Progress: o.Progress, Memory: o.Memory})
	return t.report, indexed, err
}

// RestoreUnfinished tells whether a restore to a root has begun and not finished.
func RestoreUnfinished(root string) bool {
	_, err := os.Lstat(filepath.Join(root, restoreUnfinished))
	return err == nil
}

// apart makes sure that neither folder contains the other.
func apart(root, dir string) (string, string, error) {
	r, err := filepath.Abs(root)
	if err != nil {
		return "", "", err
	}
	d, err := filepath.Abs(dir)
	if err != nil {
		return "", "", err
	}
	in := func(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }
	if in(r, d) || in(d, r) {
		return "", "", fmt.Errorf("the store in %s and the backup in %s must not lie in each other", r, d)
	}
	return r, d, nil
}

// isEmpty refuses a folder that contains anything except what file systems create there.
func isEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			return fmt.Errorf("%s is not empty: it holds %s", dir, e.Name())
		}
	}
	return nil
}

func isBackup(dir string) error {
	for _, name := range []string{manifestFile, BackupUnfinished} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return nil
		}
	}
	if isEmpty(dir) != nil {
		return fmt.Errorf("%s: %w", dir, ErrNotBackup)
	}
	return nil
}

// transfer copies a store from one folder to another.
type transfer struct {
	Options
	from, to string
	marker   *os.File
	resumed  bool // an earlier one was interrupted: trust none of its files
	report   Report
	done     int64
	bytes    int64 // of all that is wanted
	begun    time.Time
	again    bool // a plan is made again: its findings were reported before
	vanished int  // originals that were removed since their plan
	buffer   []byte
	of       Source
	whole    bool // a Folder has ended
}

// newTransfer marks the target as unfinished, and locks it.
func newTransfer(o Options, from, to, marker string) (*transfer, error) {
	path := filepath.Join(to, marker)
	_, err := os.Lstat(path)
	resumed := err == nil
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, local.PrivateFile)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another process works on %s: %w", to, err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &transfer{
		Options: o, from: from, to: to, marker: f, resumed: resumed, begun: time.Now(),
		report: Report{Found: map[record.Kind]int{}},
	}, nil
}

func (t *transfer) unlock(whole bool) error {
	var err error
	if whole {
		err = errors.Join(os.Remove(t.marker.Name()), local.OS{}.SyncDir(t.to))
	}
	return errors.Join(err, t.marker.Close())
}

func (t *transfer) found(f record.Finding) {
	if t.again && f.Kind == record.BrokenLine {
		return
	}
	t.report.Found[f.Kind]++
	if t.Found != nil {
		t.Found(f)
	}
}

func (t *transfer) writeManifest() error {
	t.report.Seconds = time.Since(t.begun).Seconds()
	text, err := json.MarshalIndent(manifest{1, t.Now().UTC().Truncate(time.Second), t.report.Images, t.bytes, t.of}, "", "  ")
	if err != nil {
		return err
	}
	return local.WriteFile(local.OS{}, filepath.Join(t.to, record.TmpDir), filepath.Join(t.to, manifestFile), append(text, '\n'))
}

// plan is what to copy of one bucket: its current journals, and the originals that they
// name.
type plan struct {
	bucket   string
	journals map[string]int64 // lengths
	replay   *reindex.Replay  // what the journals leave
	images   int              // of which files are to be copied
	bytes    int64            // of them
	removed  int              // that were removed, and may still be in the backup

	end  record.Position        // up to which later removals were looked for
	late map[record.Digest]bool // that was; nil: not looked yet
}

// files goes through the originals to copy, in the order of their digests.
func (p *plan) files(yield func(planned, error) bool) { p.originals(false, yield) }

// originals goes through the originals that were removed, or through all others.
func (p *plan) originals(removed bool, yield func(planned, error) bool) {
	err := p.replay.Images(func(i reindex.Replayed) (bool, error) {
		if i.Gone == removed && !yield(planned{i.Digest, i.Format, i.Bytes}, nil) {
			return false, errEnough
		}
		return false, nil
	}, nil, func(record.Digest) {})
	if err != nil && !errors.Is(err, errEnough) {
		yield(planned{}, err)
	}
}

var errEnough = errors.New("no more is wanted")

// planned is an original in a plan.
type planned struct {
	digest record.Digest
	format probe.Format
	bytes  int64
}

func (p planned) image(bucket string) record.Image {
	return record.Image{Bucket: bucket, Digest: p.digest, Info: probe.Info{Format: p.format}, Bytes: p.bytes}
}

// copyLogs copies the journals, and the members for whom links were signed.
func (t *transfer) copyLogs(plans []*plan) error {
	for _, p := range plans {
		for _, file := range slices.Sorted(keys(p.journals)) {
			if err := t.copyJournal(file, p.journals[file]); err != nil {
				return fmt.Errorf("copy %s: %w", file, local.AsFull(err))
			}
		}
	}
	return t.copyTags()
}

func (t *transfer) run(ctx context.Context) error {
	names, err := journal.Buckets(t.from)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return fmt.Errorf("there is no bucket in %s", t.from)
	}
	if err := t.lost(); err != nil {
		return err
	}
	tmp := filepath.Join(t.to, record.TmpDir)
	if err := os.RemoveAll(tmp); err != nil {
		return err
	}
	if err := os.Mkdir(tmp, local.PrivateDir); err != nil {
		return err
	}
	var plans []*plan
	defer func() {
		for _, p := range plans {
			p.replay.Close()
		}
	}()
	for _, name := range append(names, "") { // the store's own journal too
		p, err := t.plan(ctx, name)
		plans = append(plans, p)
		if err != nil {
			return err
		}
		for file, length := range p.journals {
			if err := t.continues(file, length); err != nil {
				return err
			}
		}
		t.count(p, 1)
	}
	for _, p := range plans {
		if p.bucket == "" {
			continue
		}
		if err := t.copyBucket(ctx, p); err != nil {
			return fmt.Errorf("bucket %s: %w", p.bucket, local.AsFull(err))
		}
	}
	// The names too, before a journal says that they are there.
	if err := local.SyncAll(t.to); err != nil {
		return err
	}
	if err := t.copyLogs(plans); err != nil {
		return err
	}
	// Last: if the line about it is lost, its file must still exist.
	if err := local.SyncAll(t.to); err != nil {
		return err
	}
	for _, p := range plans {
		if err := t.remove(p); err != nil {
			return err
		}
	}
	t.report.Seconds = time.Since(t.begun).Seconds()
	return local.SyncAll(t.to)
}

// remove removes from the backup what was removed from the store.
func (t *transfer) remove(p *plan) error {
	if p.removed == 0 {
		return nil
	}
	removed := func(yield func(planned, error) bool) { p.originals(true, yield) }
	for gone, err := range removed {
		if err != nil {
			return err
		}
		switch err := os.Remove(filepath.Join(t.to, gone.image(p.bucket).File())); {
		case err == nil:
			t.report.Removed++
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// count adds a plan to the figures, or subtracts it.
func (t *transfer) count(p *plan, sign int) {
	t.report.Images += sign * p.images
	t.bytes += int64(sign) * p.bytes
}

// replans is how often a plan is made again for a store from which images are removed all
// the time. After that, the journals in the backup name files that the next backup removes.
const replans = 5

// copyBucket copies the originals of a bucket. If some were removed meanwhile, it makes the
// plan again, so that the journals in the backup say so too.
func (t *transfer) copyBucket(ctx context.Context, p *plan) error {
	defer func() { t.again = false }()
	for n := 0; ; n++ {
		t.vanished = 0
		if err := t.copyFiles(ctx, p); err != nil || t.vanished == 0 || n == replans {
			return err
		}
		t.again = true
		t.count(p, -1)
		t.done -= int64(p.images)
		again, err := t.plan(ctx, p.bucket)
		p.replay.Close()
		if *p = *again; err != nil {
			return err
		}
		t.count(p, 1)
	}
}

// removedSince tells whether an original was removed since the plan was made: its line is
// written before its file is removed.
func (t *transfer) removedSince(ctx context.Context, p *plan, d record.Digest) (bool, error) {
	if p.late == nil {
		p.late = map[record.Digest]bool{}
		for file, end := range p.journals {
			if base := filepath.Base(file); base > p.end.File {
				p.end = record.Position{File: base, Length: end}
			}
		}
	}
	if p.late[d] {
		return true, nil
	}
	for line, err := range journal.ReadFrom(t.from, p.bucket, p.end) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return false, err
		}
		if line.Torn {
			break
		}
		if line.Broken == nil && line.Op != ledger.OpKeep {
			p.late[line.Image.Digest] = true
		}
		p.end = record.Position{File: filepath.Base(line.File), Length: line.End}
	}
	return p.late[d], nil
}

func keys(m map[string]int64) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// plan reads the journal of a bucket. The plan is to be closed, after an error too.
func (t *transfer) plan(ctx context.Context, name string) (*plan, error) {
	p := &plan{
		bucket: name, journals: map[string]int64{},
		replay: reindex.NewReplay(filepath.Join(t.to, record.TmpDir), t.Memory),
	}
	n := 0
	for line, err := range journal.Read(t.from, name) {
		if err != nil {
			return p, err
		}
		if n++; n%8192 == 0 {
			if err := ctx.Err(); err != nil {
				return p, err
			}
			if t.Progress != nil {
				t.Progress(record.Progress{Stage: "journals", Done: int64(n)})
			}
		}
		if line.Torn {
			continue
		}
		if !errors.Is(line.Broken, ledger.ErrMonthMissing) {
			p.journals[line.File] = line.End
		}
		if line.Broken != nil {
			t.found(line.Finding())
			continue
		}
		switch line.Op {
		case ledger.OpKeep, ledger.OpForget, ledger.OpPurge:
			if err := p.replay.Add(line.Op, line.Image); err != nil {
				return p, err
			}
		}
	}
	if err := p.replay.Sort(false); err != nil {
		return p, err
	}
	return p, p.replay.Images(func(i reindex.Replayed) (bool, error) {
		if i.Gone {
			p.removed++
		} else {
			p.images++
			p.bytes += i.Bytes
		}
		return false, nil
	}, nil, func(d record.Digest) {
		t.found(record.Finding{Kind: record.BrokenLine, Path: name + "/" + d.String(), Detail: index.ErrCollision.Error()})
	})
}

// lost makes sure that the source has every journal that the target has. A store that has
// lost one is incomplete, or it may be another store.
func (t *transfer) lost() error {
	names, err := journal.Buckets(t.to)
	if err != nil {
		return err
	}
	for _, name := range names {
		files, err := journal.Files(t.to, name)
		if err != nil {
			return err
		}
		for _, file := range files {
			if _, err := os.Stat(filepath.Join(t.from, file)); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is in %s and not in %s: either they are not of one store, which needs a new folder, or it was lost, and should be copied back", file, t.to, t.from)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// continues makes sure that a journal of the source is that of the target, with at least as
// many lines. Otherwise one of the two is damaged, or they belong to different stores, and
// neither must be overwritten.
func (t *transfer) continues(file string, length int64) error {
	old, err := os.Open(filepath.Join(t.to, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	info, err := old.Stat()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(t.from, file))
	if err != nil {
		return err
	}
	defer f.Close()
	same := info.Size() <= length
	if same {
		if same, err = equal(old, f, info.Size()); err != nil {
			return err
		}
	}
	if !same {
		return fmt.Errorf("%s in %s does not continue the one in %s: they are not of one store, or one is damaged; use a new folder", file, t.from, t.to)
	}
	return nil
}
