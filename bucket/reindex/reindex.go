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
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/probe"
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
// It takes about 250 bytes of memory for each URL.
func Run(ctx context.Context, o Options) (_ Report, err error) {
	start := time.Now()
	if o.Files == nil {
		o.Files = local.New(local.OS{}, o.Root, time.Now)
	}
	r := run{Options: o, report: Report{Found: map[record.Kind]int{}}}
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
	tmp := filepath.Join(o.Root, record.TmpDir)
	if err := os.Mkdir(tmp, local.PrivateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return r.report, err
	}
	var contents []index.Content
	for _, name := range r.report.Buckets {
		c, err := r.bucket(ctx, name)
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
	if err := rebuilding.Replace(filepath.Join(tmp, record.IndexFile), contents, blocks, at); err != nil {
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

// Replay is the state that the journal of a bucket describes, in little memory.
type Replay struct {
	images []journaledImage
	number map[index.Ref]uint32 // of an image in images
	urls   map[index.Key]journaledURL
	lines  uint32
	at     record.Position // where it ends
}

type journaledImage struct {
	digest        record.Digest
	stored, bytes int64
	site          index.Site
	width, height int32
	frames        int32
	refs          uint32
	purged        uint32 // the number of the last line that says that nothing refers to it
	format        probe.Format
	orientation   uint8
	known         bool // a line says that it was kept, and no later line ends its entry
	present       bool
	removed       bool // the last line about it says that it was removed
}

type journaledURL struct {
	image  uint32
	number uint32 // of its line
}

// NewReplay is the state of an empty journal.
func NewReplay() *Replay {
	return &Replay{number: map[index.Ref]uint32{}, urls: map[index.Key]journaledURL{}}
}

// under returns the image that a URL has now; nil: none.
func (j *Replay) under(key index.Key) *journaledImage {
	u, ok := j.urls[key]
	if !ok || u.number < j.images[u.image].purged {
		return nil
	}
	return &j.images[u.image]
}

func (i *journaledImage) info() probe.Info {
	return probe.Info{Format: i.format, Width: int(i.width), Height: int(i.height), Orientation: int(i.orientation), Frames: int(i.frames)}
}

// Add applies a line. The first line of some bytes gives their time, and the site that they
// count for, as in the index: the first since no URL had them.
func (j *Replay) Add(op string, image record.Image) error {
	j.lines++
	n, ok := j.number[index.RefTo(image.Digest)]
	if ok && j.images[n].digest != image.Digest {
		return index.ErrCollision
	}
	if !ok {
		n = uint32(len(j.images))
		j.number[index.RefTo(image.Digest)] = n
		j.images = append(j.images, journaledImage{digest: image.Digest, format: image.Format})
	}
	i := &j.images[n]
	if op == ledger.OpPurge {
		i.purged, i.refs, i.removed, i.known = j.lines, 0, true, false
		return nil
	}
	key := index.KeyOf(image.URL)
	was := j.under(key)
	if op == ledger.OpForget {
		i.removed = true
		if was != nil {
			delete(j.urls, key)
			was.refs--
			was.known, was.removed = was.refs > 0, true
		}
		return nil
	}
	i.removed = false
	if !i.known {
		i.stored, i.bytes, i.known = image.Stored.Unix(), image.Bytes, true
		i.width, i.height, i.frames = int32(image.Width), int32(image.Height), int32(image.Frames)
		i.format, i.orientation, i.site = image.Format, uint8(image.Orientation), index.SiteOfImage(image)
	}
	if was != i {
		if was != nil {
			was.refs--
		}
		i.refs++
		j.urls[key] = journaledURL{n, j.lines}
	}
	return nil
}

// Gone goes through the images that were removed and that no URL has again.
func (j *Replay) Gone(yield func(record.Digest, probe.Format) bool) {
	for _, i := range j.images {
		if i.refs == 0 && i.removed && !yield(i.digest, i.format) {
			return
		}
	}
}

// IsGone tells whether an image is one of those.
func (j *Replay) IsGone(d record.Digest) bool {
	n, ok := j.number[index.RefTo(d)]
	return ok && j.images[n].refs == 0 && j.images[n].removed
}

// links are the URLs of images that are present, in the order of their keys.
func (j *Replay) links() []index.Link {
	all := make([]index.Link, 0, len(j.urls))
	for key := range j.urls {
		if i := j.under(key); i != nil && i.present {
			all = append(all, index.Link{Key: key, Ref: index.RefTo(i.digest)})
		}
	}
	slices.SortFunc(all, func(a, b index.Link) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	return all
}

func (r *run) bucket(ctx context.Context, name string) (index.Content, error) {
	j, err := r.read(ctx, name)
	if err != nil {
		return index.Content{}, err
	}
	if err := r.look(ctx, name, j); err != nil {
		return index.Content{}, err
	}
	links := j.links()
	order := make([]uint32, 0, len(j.images))
	for n := range j.images {
		i := &j.images[n]
		switch {
		case i.present && i.refs == 0 && i.removed:
			image := record.Image{Bucket: name, Digest: i.digest, Info: i.info()}
			r.found(record.Finding{Kind: record.HalfRemoved, Path: image.File(), Detail: "the journal says that it was removed, and it is there: nobody sees it; 'imgkeep purge' with its digest removes it"})
		case i.present:
			order = append(order, uint32(n))
		}
	}
	slices.SortFunc(order, func(a, b uint32) int {
		return bytes.Compare(j.images[a].digest[:], j.images[b].digest[:])
	})
	r.report.URLs += len(links)
	r.report.Images += len(order)
	return index.Content{
		Bucket: name, Position: j.at,
		Images: func(yield func(index.Entry) bool) {
			for _, n := range order {
				i := &j.images[n]
				image := index.Image{Digest: i.digest, Info: i.info(), Bytes: i.bytes, Stored: time.Unix(i.stored, 0), Site: i.site}
				if !yield(index.Entry{Image: image, Refs: uint64(i.refs)}) {
					return
				}
			}
		},
		URLs: slices.Values(links),
	}, nil
}

// read reads the journal of a bucket.
func (r *run) read(ctx context.Context, name string) (*Replay, error) {
	var total, before int64
	files, err := journal.Files(r.Root, name)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if info, err := os.Stat(filepath.Join(r.Root, f)); err == nil {
			total += info.Size()
		}
	}
	j := NewReplay()
	file, end := "", int64(0)
	var last ledger.Entry
	for line, err := range journal.Read(r.Root, name) {
		if err != nil {
			return nil, err
		}
		if line.File != file {
			file, before = line.File, before+end
		}
		end = line.End
		r.report.Lines++
		if r.report.Lines%8192 == 0 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			r.progress("journals", before+end, total, true)
		}
		if line.Broken == nil {
			line.Broken = j.Add(line.Op, line.Image)
		}
		switch err := line.Broken; {
		case line.Torn:
			continue
		case errors.Is(err, ledger.ErrOperation):
			return nil, fmt.Errorf("%s: %w: use the version that wrote it", line.Place(), err)
		case err != nil:
			r.found(line.Finding())
		}
		if !errors.Is(line.Broken, ledger.ErrMonthMissing) {
			last = line
		}
	}
	if last.File == "" {
		return j, nil
	}
	j.at, err = journal.PositionAt(r.Root, last.File, last.End)
	return j, err
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

// look finds out which originals exist.
func (r *run) look(ctx context.Context, name string, j *Replay) error {
	shard := 0
	for image, err := range r.Files.List(ctx, name) {
		if err != nil {
			return err
		}
		if n := record.ShardOf(image.Digest); n/64 != shard/64 {
			shard = n
			r.progress("folders", int64(n), int64(len(record.ShardNames)*len(record.ShardNames)), false)
		}
		k, known := j.number[index.RefTo(image.Digest)]
		if !known || j.images[k].digest != image.Digest || j.images[k].format != image.Format {
			r.found(record.Finding{Kind: record.Orphan, Path: image.File(), Detail: "no line of the journal names it: its URL is not known"})
			continue
		}
		j.images[k].present = true
	}
	for k := range j.images {
		i := &j.images[k]
		if !i.present && i.refs > 0 {
			image := record.Image{Bucket: name, Digest: i.digest, Info: i.info()}
			r.found(record.Finding{Kind: record.Missing, Path: image.File(), Detail: "the journal names it; its URLs are not indexed"})
		}
	}
	return nil
}
