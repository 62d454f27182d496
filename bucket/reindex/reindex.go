// Package reindex rebuilds the index of a store from its journals and files.
//
// It promises that the old index stays in place until the new one is complete, that removed
// images stay removed, and that it removes no file. It does not repair: it reports problems
// and skips them, unless that might show a blocked image. It cannot restore the record of
// recent failures.
package reindex

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/extsort"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/record"
)

// Options say what Run does.
type Options struct {
	Root     string
	Found    func(record.Finding)  // called for each finding; nil: not
	Progress func(record.Progress) // called now and then; nil: not

	Path string // of the new index; empty: it takes the place of the old one
	// Files is where originals lie. nil: below Root, as the rest of the store.
	Files blob.Store
	// Memory is what each sorting of the journals may take, in bytes. 0: extsort.DefaultMemory.
	Memory int
}

// Report says what Run has done.
type Report struct {
	Buckets []string            `json:"buckets"`
	Lines   int                 `json:"lines"`  // of journals, read
	Blocks  int                 `json:"blocks"` // in the new index
	URLs    int                 `json:"urls"`   // in the new index
	Images  int                 `json:"images"` // in the new index
	Found   map[record.Kind]int `json:"found"`
	Bytes   int64               `json:"bytes"`   // of the new index
	Seconds float64             `json:"seconds"` // that it took
}

// Run rebuilds the index of a store from its journals and files, and replaces the old one,
// if any, when it is complete. The store must not be open: index.ErrLocked. The index has
// all buckets that have a journal, configured or not. It cannot know which URLs failed
// recently, and which images have crashed decoders: these are tried again on request, and
// may crash two more.
//
// Images that the journals say were removed stay removed. Their files may still exist,
// because a removal was interrupted or a journal has lost lines; nobody sees them, and they
// are findings: Run removes no file. It ignores a last line that a crash has torn. Further
// findings are broken lines, which are skipped, missing months of a journal, missing
// originals, whose URLs are not indexed and so are fetched again on request, and orphans.
// Run fails at a line with an operation that this version does not know, and at a broken
// line in the journal of blocks: skipping it might show a blocked image.
//
// Memory does not grow with the store, only with the number of blocks and of sites. It needs
// about 250 bytes for each URL in {root}/tmp meanwhile, besides the room of the new index.
func Run(ctx context.Context, o Options) (_ Report, err error) {
	start := time.Now()
	if o.Files == nil {
		o.Files = local.New(local.OS{}, o.Root, time.Now)
	}
	r := run{Options: o, tmp: filepath.Join(o.Root, record.TmpDir), report: Report{Found: map[record.Kind]int{}}}
	if r.report.Buckets, err = journal.Buckets(o.Root); err != nil {
		return r.report, err
	}
	path := o.Path
	if path == "" {
		path = filepath.Join(o.Root, record.IndexFile)
	}
	rebuilding, err := index.Rebuild(path)
	if err != nil {
		return r.report, err
	}
	defer func() { err = errors.Join(err, rebuilding.Close()) }()
	if err := os.Mkdir(r.tmp, local.PrivateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return r.report, err
	}
	var contents []index.Content
	for _, name := range r.report.Buckets {
		c, done, err := r.bucket(ctx, name)
		defer done()
		if err != nil {
			return r.report, err
		}
		contents = append(contents, c)
	}
	blocks, at, err := r.blocks(ctx)
	if err != nil {
		return r.report, err
	}
	r.progress("index", 0, 0, false)
	if err := rebuilding.Replace(filepath.Join(r.tmp, record.IndexFile), contents, blocks, at); err != nil {
		return r.report, fmt.Errorf("write the new index: %w", local.AsFull(err))
	}
	info, err := os.Stat(path)
	if err != nil {
		return r.report, err
	}
	r.report.Bytes, r.report.Seconds = info.Size(), time.Since(start).Seconds()
	return r.report, nil
}

type run struct {
	Options
	tmp    string
	report Report
}

func (r *run) found(f record.Finding) {
	r.report.Found[f.Kind]++
	if r.Found != nil {
		r.Found(f)
	}
}

func (r *run) progress(stage string, done, total int64, bytes bool) {
	if r.Progress != nil {
		r.Progress(record.Progress{Stage: stage, Done: done, Total: total, Bytes: bytes})
	}
}

func (r *run) bucket(ctx context.Context, name string) (_ index.Content, done func() error, err error) {
	j := NewReplay(r.tmp, r.Memory)
	links := extsort.New(r.tmp, linkSize, r.Memory)
	done = func() error { return errors.Join(j.Close(), links.Close()) }
	at, err := r.read(ctx, name, j)
	if err == nil {
		err = j.Sort(true)
	}
	if err != nil {
		return index.Content{}, done, err
	}
	return index.Content{
		Bucket: name, Position: at,
		Images: func(yield func(index.Entry, error) bool) {
			if err := r.images(ctx, name, j, links, yield); err != nil && !errors.Is(err, errStopped) {
				yield(index.Entry{}, err)
			}
		},
		URLs: func(yield func(index.Link, error) bool) {
			all := links.Sorted()
			for all.Next() {
				r.report.URLs++
				b := all.Record()
				if !yield(index.Link{Key: index.Key(b), Ref: index.Ref(b[halfSize:])}, nil) {
					return
				}
			}
			if all.Err() != nil {
				yield(index.Link{}, all.Err())
			}
		},
	}, done, nil
}

// linkSize is the length of a record of a URL: its key, and the image it refers to.
const linkSize = 2 * halfSize

var errStopped = errors.New("no more is wanted")

// images compares what the journal leaves with the originals that exist. It yields those
// that both have, and adds their URLs to links.
func (r *run) images(ctx context.Context, name string, j *Replay, links *extsort.Sorter, yield func(index.Entry, error) bool) error {
	originals, stop := iter.Pull2(r.Files.List(ctx, name))
	defer stop()
	shard := 0
	original, err, more := originals()
	orphan := func() {
		r.found(record.Finding{Kind: record.Orphan, Path: original.File(), Detail: "no line of the journal names it: its URL is not known"})
		original, err, more = originals()
	}
	image := func(i Replayed) (urls bool, _ error) {
		for more && err == nil && bytes.Compare(original.Digest[:], i.Digest[:]) < 0 {
			orphan()
		}
		present := false
		for more && err == nil && original.Digest == i.Digest {
			if original.Format != i.Format {
				orphan()
				continue
			}
			present = true
			original, err, more = originals()
		}
		if err != nil {
			return false, err
		}
		if n := record.ShardOf(i.Digest); n/64 != shard/64 {
			shard = n
			r.progress("folders", int64(n), int64(len(record.ShardNames)*len(record.ShardNames)), false)
			if ctx.Err() != nil {
				return false, ctx.Err()
			}
		}
		file := record.Image{Bucket: name, Digest: i.Digest, Info: i.Info}.File()
		switch {
		case present && i.Gone:
			r.found(record.Finding{Kind: record.HalfRemoved, Path: file, Detail: "the journal says that it was removed, and it is there: nobody sees it; 'imgkeep purge' with its digest removes it"})
			return false, nil
		case !present && i.Refs > 0:
			r.found(record.Finding{Kind: record.Missing, Path: file, Detail: "the journal names it; its URLs are not indexed"})
			return false, nil
		case !present:
			return false, nil
		case !yield(i.Entry, nil):
			return false, errStopped
		}
		r.report.Images++
		return true, nil
	}
	b := make([]byte, linkSize)
	link := func(l index.Link) error {
		copy(b, l.Key[:])
		copy(b[halfSize:], l.Ref[:])
		return links.Add(b)
	}
	collides := func(d record.Digest) {
		r.found(record.Finding{Kind: record.BrokenLine, Path: name + "/" + d.String(), Detail: index.ErrCollision.Error()})
	}
	if err := j.Images(image, link, collides); err != nil {
		return err
	}
	for more && err == nil {
		orphan()
	}
	return err
}

// read reads the journal of a bucket, and returns where it ends.
func (r *run) read(ctx context.Context, name string, j *Replay) (at record.Position, err error) {
	var total, before int64
	files, err := journal.Files(r.Root, name)
	if err != nil {
		return at, err
	}
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(r.Root, f)); err == nil {
			total += info.Size()
		}
	}
	file, end := "", int64(0)
	var last ledger.Entry
	for line, err := range journal.Read(r.Root, name) {
		if err != nil {
			return at, err
		}
		if line.File != file {
			file, before = line.File, before+end
		}
		end = line.End
		r.report.Lines++
		if r.report.Lines%8192 == 0 {
			if err := ctx.Err(); err != nil {
				return at, err
			}
			r.progress("journals", before+end, total, true)
		}
		if line.Broken == nil {
			if err := j.Add(line.Op, line.Image); err != nil {
				return at, err
			}
		}
		switch err := line.Broken; {
		case line.Torn:
			continue
		case errors.Is(err, ledger.ErrOperation):
			return at, fmt.Errorf("%s: %w: use the version that wrote it", line.Place(), err)
		case err != nil:
			r.found(line.Finding())
		}
		if !errors.Is(line.Broken, ledger.ErrMonthMissing) {
			last = line
		}
	}
	if last.File == "" {
		return at, nil
	}
	return journal.PositionAt(r.Root, last.File, last.End)
}

// blocks reads the store's own journal.
func (r *run) blocks(ctx context.Context) (_ []record.Block, at record.Position, err error) {
	type subject struct{ kind, subject string }
	blocks := map[subject]record.Block{}
	var last ledger.Entry
	for line, err := range journal.Read(r.Root, "") {
		if err != nil {
			return nil, at, err
		}
		if r.report.Lines++; r.report.Lines%8192 == 0 && ctx.Err() != nil {
			return nil, at, ctx.Err()
		}
		switch of := (subject{line.Block.Kind, line.Block.Subject}); {
		case line.Torn:
			continue
		case errors.Is(line.Broken, ledger.ErrOperation):
			return nil, at, fmt.Errorf("%s: %w: use the version that wrote it", line.Place(), line.Broken)
		case line.Broken != nil:
			return nil, at, ledger.UnreadableBlock(line)
		case line.Op == ledger.OpBlock:
			blocks[of] = line.Block
		default:
			delete(blocks, of)
		}
		last = line
	}
	r.report.Blocks = len(blocks)
	if last.File != "" {
		at, err = journal.PositionAt(r.Root, last.File, last.End)
	}
	return slices.Collect(maps.Values(blocks)), at, err
}
