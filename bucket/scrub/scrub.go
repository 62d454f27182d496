// Package scrub checks a whole store: bytes that do not match their digest, and differences
// between files, index and journals.
//
// It promises to report and to change nothing unless it is asked to repair; never to delete
// bytes of an original, but to move them to the quarantine; and that the store may be in
// use meanwhile. It ignores differences that exist only for a moment, and cannot restore
// what the origin no longer has.
package scrub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/extsort"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Store is the part of an open store that Run needs.
type Store interface {
	// Begin announces the run, until done. Its context also ends when the store closes.
	Begin(ctx context.Context) (_ context.Context, done func(), err error)
	Root() string
	Path(file string) string // of a file below the root
	Buckets() []string
	Sparse() bool // folders of a bucket may be missing
	Now() time.Time
	Disk() local.Disk
	Index() *index.DB
	Ledger() ledger.Ledger
	// Removing is locked while something is removed, and read-locked while something is
	// kept that must not be removed in between.
	Removing() *sync.RWMutex
	Commit(c index.Change, e *ledger.Event) error
	CommitWithReserve(c index.Change, e *ledger.Event) error // for removals
	FinishRemovals(bucket string) error
	Repair(ctx context.Context, image record.Image) error // from its origin
}

// Options say what Run does.
type Options struct {
	Rate   int64 // bytes of originals read in a second; 0: as fast as it goes
	Repair bool
	// Exclusive says that nobody else uses the store, because a command has opened it for this:
	// files that another user could be about to refer to may then be moved too.
	Exclusive bool
	Found     func(record.Finding)  // called for each finding; nil: not
	Progress  func(record.Progress) // called now and then; nil: not
	// Memory is what each sorting of URLs may take, in bytes. 0: extsort.DefaultMemory.
	Memory int

	pace pace.Pace // of reading, by Rate
}

// Report says what Run has found.
type Report struct {
	Images  int                 `json:"images"` // in the index
	Bytes   int64               `json:"bytes"`  // of originals, read
	Files   int                 `json:"files"`  // looked at
	Found   map[record.Kind]int `json:"found"`
	Remain  int                 `json:"remain"` // findings that have not been repaired
	Seconds float64             `json:"seconds"`
}

const (
	// fresh is the least age of an unreferenced file that counts as an orphan in a store in
	// use: it may be about to be named.
	fresh = time.Hour
	// StaleWork is the least age of abandoned unfinished work: no fetch takes so long.
	StaleWork = 24 * time.Hour
)

// Run checks the whole store: it reads every original and compares it with its digest, and
// compares files, index and journals with each other, also for what is removed and blocked.
// The store may be in use meanwhile; changes during the run are not reported. An unreadable
// entry of the index is a finding. Memory grows with what is found and with what was purged,
// and not with the store. It needs about 100 bytes for each URL in {root}/tmp meanwhile.
//
// With Repair it fetches a missing or corrupt original again, whatever failures are
// recorded, if the origin still gives the same bytes; it indexes what the journal has and
// the index lacks; drops what can be made again; and moves the rest to {root}/quarantine,
// into a folder of this run. It never deletes bytes of an original. An original that cannot
// be fetched again stays in the index: its links answer ErrLost, until the origin has it
// again. Its variants are kept and served.
func Run(ctx context.Context, s Store, o Options) (_ Report, err error) {
	ctx, done, err := s.Begin(ctx)
	if err != nil {
		return Report{}, err
	}
	defer done()

	start := time.Now()
	c := run{Options: o, s: s, begun: s.Now(), buffer: make([]byte, 128<<10), report: Report{Found: map[record.Kind]int{}}}
	c.pace.Rate = o.Rate
	c.quarantine = record.QuarantineFolder(c.begun)
	names := s.Buckets()
	for _, name := range names {
		for e, err := range s.Index().Images(name) {
			if err == nil {
				c.images++
				c.bytes += e.Bytes
			}
		}
	}
	c.report.Images = c.images
	if err := c.blocks(ctx); err != nil {
		return c.report, errors.Join(err, context.Cause(ctx))
	}
	for _, name := range names {
		if err := c.bucket(ctx, name); err != nil {
			return c.report, errors.Join(err, context.Cause(ctx))
		}
	}
	if err := c.leftovers(); err != nil {
		return c.report, err
	}
	c.report.Seconds = time.Since(start).Seconds()
	return c.report, nil
}

// run is one pass.
type run struct {
	Options
	s          Store
	begun      time.Time
	quarantine string // below the root
	images     int    // in all buckets, when it began
	bytes      int64
	buffer     []byte // for reading originals
	report     Report
}

// scrubbed is what a run knows of the current bucket.
type scrubbed struct {
	name      string
	unindexed map[record.Digest]bool // in the journal, and not in the index
	damaged   []damaged              // originals to be fetched again
	miscount  []record.Digest
	compared  *comparison
	counts    *extsort.Reader // of compared
	end       record.Position // up to which the journal was read
}

// refs returns how many URLs refer to an image. It is called in the order of the digests.
func (b *scrubbed) refs(d record.Digest) (n uint64, err error) {
	for r := b.counts.Record(); r != nil; r = b.counts.Record() {
		order := bytes.Compare(r, d[:refSize])
		if order > 0 {
			break
		}
		if order == 0 {
			n++
		}
		b.counts.Next()
	}
	return n, b.counts.Err()
}

// damaged is an original that is missing or corrupt.
type damaged struct {
	record.Finding
	entry index.Entry
}

func (c *run) found(f record.Finding) {
	c.report.Found[f.Kind]++
	if !f.Repaired {
		c.report.Remain++
	}
	if c.Found != nil {
		c.Found(f)
	}
}

func (c *run) bucket(ctx context.Context, name string) error {
	b := &scrubbed{name: name, unindexed: map[record.Digest]bool{}, compared: c.newComparison()}
	defer b.compared.close()
	if err := c.removing(b); err != nil {
		return err
	}
	if err := c.compare(ctx, b); err != nil {
		return err
	}
	b.counts = b.compared.counts.Sorted()
	b.counts.Next()
	next, stop := iter.Pull2(c.s.Index().Images(name))
	defer stop()
	e, err, more := next()
	// This is the order of the digests, so that index and folders are read in parallel.
	for x, y := range record.Shards {
		if err := ctx.Err(); err != nil {
			return err
		}
		var entries []index.Entry
		for more && (err != nil || record.ShardOf(e.Digest) <= record.ShardOf(record.ShardDigest(x, y))) {
			switch {
			case err == nil:
				entries = append(entries, e)
			case e.Digest == [32]byte{}:
				return fmt.Errorf("read the index: %w", err)
			default:
				c.found(record.Finding{Kind: record.Disagreement, Path: name + "/" + record.Digest(e.Digest).String(), Detail: err.Error()})
			}
			e, err, more = next()
		}
		if err := c.folder(ctx, b, x, y, entries); err != nil {
			return err
		}
	}
	if err := c.foreigners(b); err != nil {
		return err
	}
	if err := c.recount(b); err != nil {
		return err
	}
	return c.repair(ctx, b)
}

// folder checks one of the 4,096 folders. The entries were read before, so their files must
// exist.
func (c *run) folder(ctx context.Context, b *scrubbed, x, y string, entries []index.Entry) error {
	path := filepath.Join(b.name, x, y)
	files, err := os.ReadDir(c.s.Path(path))
	if errors.Is(err, fs.ErrNotExist) && c.s.Sparse() {
		// Nothing was ever stored in it.
	} else if errors.Is(err, fs.ErrNotExist) {
		f := record.Finding{Kind: record.Missing, Path: path, Detail: "the folder is not there: nothing can be kept in it"}
		if c.Repair {
			err := os.MkdirAll(c.s.Path(path), local.DirMode)
			f.SetRepair("made again", err)
		}
		c.found(f)
	} else if err != nil {
		return err
	}
	originals := map[string]fs.DirEntry{}
	for _, f := range files {
		c.report.Files++
		if p, ok := record.ParseFile(x, y, f.Name()); ok && p.Variant == "" {
			originals[f.Name()] = f
		}
	}
	known := map[string]bool{}
	for _, e := range entries {
		image := index.RecordOf(b.name, "", e.Image)
		name := filepath.Base(image.File())
		known[name] = true
		n, err := b.refs(image.Digest)
		if err == nil {
			err = c.original(ctx, b, e, n, image, originals[name])
		}
		if err != nil {
			return err
		}
		if n != e.Refs {
			b.miscount = append(b.miscount, image.Digest)
		}
	}
	for _, f := range files {
		p, ok := record.ParseFile(x, y, f.Name())
		file := filepath.Join(path, f.Name())
		switch {
		case !ok:
			c.foreign(file, "no name of the store's")
		case p.Variant != "":
			c.size(b, file, p, f, known)
		case !known[f.Name()]:
			if err := c.orphan(b, file, p, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// original checks the original of an entry, to which n URLs refer; file is nil if there is
// none.
func (c *run) original(ctx context.Context, b *scrubbed, e index.Entry, n uint64, image record.Image, file fs.DirEntry) error {
	f := record.Finding{Kind: record.Missing, Path: image.File()}
	// If the count in the index is wrong, or the journal is about to add to it, its zero is
	// not reliable.
	if e.Refs == 0 && n == 0 && !b.unindexed[image.Digest] {
		if file != nil && c.Exclusive { // in use, somebody may be about to refer to it
			u := record.Finding{Kind: record.Unreferenced, Path: image.File(), Detail: "no URL refers to it"}
			c.isolate(&u)
			c.found(u)
		}
		return nil
	}
	switch {
	case file == nil:
		f.Detail = "the index has it, and there is no such file"
	case !file.Type().IsRegular():
		f.Kind, f.Detail = record.Corrupt, "it is no regular file"
	default:
		n, detail, err := c.check(ctx, image)
		if err != nil {
			return err
		}
		if detail == "" {
			if n != image.Bytes {
				c.found(record.Finding{Kind: record.Disagreement, Path: image.File(), Detail: fmt.Sprintf("it is what its name says and has %d bytes, and the index says %d: run 'imgkeep reindex'", n, image.Bytes)})
			}
			return nil
		}
		f.Kind, f.Detail = record.Corrupt, detail
	}
	b.damaged = append(b.damaged, damaged{f, e})
	return nil
}

// check reads an original and returns its length and what is wrong with it. The digest
// decides: it is the name.
func (c *run) check(ctx context.Context, image record.Image) (n int64, detail string, err error) {
	f, err := os.Open(c.s.Path(image.File()))
	if errors.Is(err, fs.ErrPermission) {
		return 0, "", err // this says nothing about the image
	}
	if err != nil {
		return 0, err.Error(), nil
	}
	defer f.Close()
	hash := sha256.New()
	n, err = io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{c.pace.Reader(ctx, f)}, c.buffer)
	c.report.Bytes += n
	if c.Progress != nil {
		c.Progress(record.Progress{Stage: "originals", Done: c.report.Bytes, Total: max(c.bytes, c.report.Bytes), Bytes: true})
	}
	if ctx.Err() != nil {
		return n, "", context.Cause(ctx)
	}
	switch got := record.Digest(hash.Sum(nil)); {
	case err != nil:
		return n, "it cannot be read: " + err.Error(), nil
	case got == image.Digest:
		if info, err := f.Stat(); err == nil {
			local.Stamp(f.Name(), info)
		}
		return n, "", nil
	case n != image.Bytes:
		return n, fmt.Sprintf("it has %d bytes, and had %d", n, image.Bytes), nil
	default:
		return n, "its digest is " + got.String(), nil
	}
}

// orphan checks an original that the index lacks.
func (c *run) orphan(b *scrubbed, file string, p record.File, f fs.DirEntry) error {
	if b.unindexed[p.Digest] {
		return nil // reported with its line of the journal
	}
	if _, err := c.s.Index().Entry(b.name, p.Digest); errors.Is(err, index.ErrDamaged) {
		return nil // reported as that
	} else if !errors.Is(err, index.ErrNotFound) {
		return err // it has come meanwhile, or with another format
	}
	info, err := f.Info()
	if err != nil || !c.Exclusive && c.s.Now().Sub(local.Changed(file, info)) < fresh {
		return nil // removed meanwhile, or about to be named
	}
	found := record.Finding{Kind: record.Orphan, Path: file, Detail: "neither index nor journal has it: its URL is not known"}
	c.isolate(&found)
	c.found(found)
	return nil
}

// hasOriginal tells whether an original of these bytes is among the names.
func hasOriginal(names map[string]bool, d record.Digest) bool {
	for _, f := range probe.Formats() {
		if names[d.String()+f.Ext()] {
			return true
		}
	}
	return false
}

// size checks a variant of an original.
func (c *run) size(b *scrubbed, file string, p record.File, f fs.DirEntry, known map[string]bool) {
	original := p.Digest.String() + p.Format.Ext()
	isLink := f.Type()&fs.ModeSymlink != 0
	found := record.Finding{Path: file}
	switch {
	case !isLink && !f.Type().IsRegular():
		c.foreign(file, "it is neither a file nor a link")
		return
	case isLink:
		target, err := os.Readlink(c.s.Path(file))
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		// It may also stand for a variant in another format under its name.
		if target != original && !p.MayStandFor(target) {
			found.Kind, found.Detail = record.Foreign, fmt.Sprintf("it leads to %q, not to its original", target)
		} else if _, err := os.Stat(c.s.Path(file)); errors.Is(err, fs.ErrNotExist) {
			found.Kind, found.Detail = record.Dangling, "what it leads to is not there"
		} else {
			return
		}
	default:
		info, err := f.Info()
		switch _, entryErr := c.s.Index().Entry(b.name, p.Digest); {
		case err != nil:
			return
		case info.Size() == 0:
			found.Kind, found.Detail = record.Corrupt, "a size without bytes"
		case !hasOriginal(known, p.Digest) && errors.Is(entryErr, index.ErrNotFound) && !b.unindexed[p.Digest]:
			found.Kind, found.Detail = record.LooseSize, "the index does not have its original"
			for _, f := range probe.Formats() { // a size may be of another than its original
				if _, err := os.Lstat(c.s.Path(filepath.Join(filepath.Dir(file), p.Digest.String()+f.Ext()))); err == nil {
					return // an orphan: reported as that, and both stay together
				}
			}
			if c.Repair {
				c.move(&found)
			}
			c.found(found)
			return
		default:
			return
		}
	}
	if c.Repair { // it has no bytes of its own, and is made again on request
		found.SetRepair("removed", os.Remove(c.s.Path(file)))
	}
	c.found(found)
}

func (c *run) foreign(file, detail string) {
	f := record.Finding{Kind: record.Foreign, Path: file, Detail: detail}
	if c.Repair {
		c.move(&f)
	}
	c.found(f)
}

// foreigners checks the entries of a bucket besides its folders.
func (c *run) foreigners(b *scrubbed) error {
	isShard := func(e fs.DirEntry) bool {
		folder := e.IsDir() || e.Type()&fs.ModeSymlink != 0 // an operator's, on a disk with more room
		return folder && len(e.Name()) == 1 && strings.Contains(record.ShardNames, e.Name())
	}
	top, err := os.ReadDir(c.s.Path(b.name))
	if err != nil {
		return err
	}
	for _, e := range top {
		path := filepath.Join(b.name, e.Name())
		if !isShard(e) {
			if e.Name() != record.JournalDir {
				c.foreign(path, "no name of the store's")
			}
			continue
		}
		inside, err := os.ReadDir(c.s.Path(path))
		if err != nil {
			return err
		}
		for _, e := range inside {
			if !isShard(e) {
				c.foreign(filepath.Join(path, e.Name()), "no name of the store's")
			}
		}
	}
	return nil
}

// leftovers checks unfinished work. Recent work may still be in progress.
func (c *run) leftovers() error {
	entries, err := os.ReadDir(c.s.Path(record.TmpDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // gone meanwhile
		}
		since := info.ModTime()
		if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Nlink > 1 {
			since = time.Unix(s.Ctim.Unix()) // it has just got its name, and the time that goes with that
		}
		if c.s.Now().Sub(since) < StaleWork {
			continue
		}
		f := record.Finding{Kind: record.Leftover, Path: filepath.Join(record.TmpDir, e.Name()), Detail: "unfinished since " + since.UTC().Format(time.RFC3339)}
		if c.Repair {
			f.SetRepair("removed", os.RemoveAll(c.s.Path(f.Path)))
		}
		c.found(f)
	}
	return nil
}
