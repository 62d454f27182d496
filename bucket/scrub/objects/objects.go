// Package objects scrubs what several nodes share in an object store, and the local files of the
// node that does it.
//
// It promises to report what is damaged or missing, and what nothing refers to; to change nothing
// unless it is asked to repair; and never to delete an original that a live record may refer to.
// Nodes may work meanwhile: what changes during the run is not reported. Most originals it asks
// only for their length and checksum, as the object store has them, and reads a sample. It cannot
// tell what a record was before somebody has overwritten it with another that is well-formed.
package objects

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/extsort"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/pace"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

const (
	// Fresh is the least age of an original without a record that counts as an orphan: a node that
	// keeps it may be about to write the record.
	Fresh = 7 * 24 * time.Hour
	// Sample is of how many originals one is read.
	Sample = 100
	// perRequest is what a request counts for, in bytes, where there is a rate.
	perRequest = 64 << 10
	workers    = 32
)

// Node is what is scrubbed.
type Node struct {
	Ledger  *shared.Ledger
	Root    string // of the local files
	Buckets []string
	// Forget drops the local files of a digest.
	Forget func(ctx context.Context, image record.Image) error
	Now    func() time.Time
}

// run is a run of Run.
type run struct {
	Node
	scrub.Options
	blobs  *object.Blobs
	pace   pace.Pace
	begun  time.Time
	report scrub.Report
}

// Run compares records with originals, and local files with their digests. It reads one in Sample
// originals, and each whose checksum the object store does not report. Of Options it uses Rate, in
// bytes a second, where a request counts as 64 KiB, Repair, Found, Progress and Memory. It lists
// the whole store: a request for each record and for each original.
//
// With Repair it writes a missing or damaged original again, from this node's local file if that
// is intact, and only over exactly what it found; deletes originals that a removal has left; and
// drops damaged local files, which are fetched again on request.
func Run(ctx context.Context, n Node, o scrub.Options) (_ scrub.Report, err error) {
	start := time.Now()
	tmp := filepath.Join(n.Root, record.TmpDir)
	r := run{Node: n, Options: o, begun: n.Now(), blobs: object.NewBlobs(n.Ledger.Objects, tmp)}
	r.pace.Rate = o.Rate
	r.report.Found = map[record.Kind]int{}
	if err := n.Ledger.CatchUp(ctx); err != nil {
		return r.report, err
	}
	for _, bucket := range n.Buckets {
		if err := r.bucket(ctx, bucket); err != nil {
			return r.report, fmt.Errorf("bucket %s: %w", bucket, err)
		}
		if err := r.local(ctx, bucket); err != nil {
			return r.report, fmt.Errorf("local files of bucket %s: %w", bucket, err)
		}
	}
	r.report.Seconds = time.Since(start).Seconds()
	return r.report, nil
}

func (r *run) found(f record.Finding) {
	r.report.Found[f.Kind]++
	if !f.Repaired {
		r.report.Remain++
	}
	if r.Found != nil {
		r.Found(f)
	}
}

func (r *run) progress(stage string) {
	if r.Progress != nil {
		r.Progress(record.Progress{Stage: stage, Done: int64(r.report.Files)})
	}
}

// asked counts a request.
func (r *run) asked(ctx context.Context) error {
	r.report.Files++
	return r.pace.Took(ctx, perRequest)
}

// wanted is an original that a live record names, as it is sorted: by digest.
const wantedBytes = 32 + 8 + 8 + 1

func encode(i record.Image) []byte {
	b := append(make([]byte, 0, wantedBytes), i.Digest[:]...)
	b = binary.BigEndian.AppendUint64(b, i.Generation)
	b = binary.BigEndian.AppendUint64(b, uint64(i.Bytes))
	return append(b, byte(i.Format))
}

func decode(bucket string, b []byte) record.Image {
	i := record.Image{Bucket: bucket, Digest: record.Digest(b[:32]), Generation: binary.BigEndian.Uint64(b[32:]), Bytes: int64(binary.BigEndian.Uint64(b[40:]))}
	i.Info = probe.Info{Format: probe.Format(b[48])}
	return i
}

// bucket compares the records of a bucket with its originals.
func (r *run) bucket(ctx context.Context, bucket string) error {
	want := extsort.New(filepath.Join(r.Root, record.TmpDir), wantedBytes, r.Memory)
	defer want.Close()
	for record, err := range r.Ledger.Records(ctx, bucket, workers) {
		if err == nil {
			err = r.asked(ctx)
		}
		if err != nil {
			return err
		}
		r.progress("records of " + bucket)
		if record.Entry.Broken != nil {
			r.found(record.Entry.Finding())
			continue
		}
		image, live, err := r.Ledger.Standing(ctx, record)
		if err == nil && live {
			err = want.Add(encode(image))
		}
		if err != nil {
			return err
		}
	}
	// Both go by digest: what is only on one side is missing, or an orphan.
	next := reader{r: want.Sorted(), bucket: bucket}
	next.advance()
	for folder, err := range object.Shards(ctx, r.Ledger.Objects, object.Originals(bucket)) {
		if err != nil {
			return err
		}
		there, err := r.look(ctx, bucket, folder)
		if err != nil {
			return err
		}
		r.progress("originals of " + bucket)
		for _, l := range there {
			for next.ok && bytes.Compare(next.image.Digest[:], l.image.Digest[:]) < 0 {
				if err := r.missing(ctx, next.image); err != nil {
					return err
				}
				next.advance()
			}
			if err := r.original(ctx, l, &next); err != nil {
				return err
			}
		}
	}
	for ; next.ok; next.advance() {
		if err := r.missing(ctx, next.image); err != nil {
			return err
		}
	}
	return next.r.Err()
}

// reader goes through what is wanted, each once.
type reader struct {
	r      *extsort.Reader
	bucket string
	image  record.Image
	ok     bool
}

func (r *reader) advance() {
	for was, had := r.image, r.ok; ; {
		if r.ok = r.r.Next(); !r.ok {
			return
		}
		if r.image = decode(r.bucket, r.r.Record()); !had || r.image.Digest != was.Digest {
			return
		}
	}
}

// looked is an original that was listed, and what the object store tells of it.
type looked struct {
	image record.Image
	info  object.Info
	err   error
}

// look asks for all originals of a folder.
func (r *run) look(ctx context.Context, bucket, folder string) ([]looked, error) {
	images, err := r.blobs.ListShard(ctx, bucket, folder)
	if err != nil {
		return nil, err
	}
	all, places := make([]looked, len(images)), make(chan struct{}, workers)
	var work sync.WaitGroup
	defer work.Wait()
	for n, image := range images {
		if err := r.asked(ctx); err != nil {
			return nil, err
		}
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			info, err := r.Ledger.Objects.Stat(ctx, object.Key(image))
			all[n] = looked{image, info, err}
		})
	}
	work.Wait()
	return all, nil
}

// original judges one that is there.
func (r *run) original(ctx context.Context, l looked, next *reader) error {
	if errors.Is(l.err, object.ErrAbsent) {
		return nil // removed meanwhile, or missing, as will be seen
	}
	if l.err != nil {
		return l.err
	}
	gen, err := r.Ledger.Generation(l.image.Bucket, l.image.Digest)
	if err != nil {
		return err
	}
	isWanted := next.ok && next.image.Digest == l.image.Digest
	switch {
	case l.image.Generation < gen: // nobody uses the name again
		f := record.Finding{Kind: record.HalfRemoved, Path: object.Key(l.image), Detail: "it was removed, and is there; nobody sees it"}
		if r.Repair {
			f.SetRepair("deleted", r.blobs.Remove(ctx, l.image))
		}
		r.found(f)
		return nil
	case !isWanted || next.image.Generation != l.image.Generation || next.image.Format != l.image.Format:
		if age := r.begun.Sub(l.info.Modified); l.info.Modified.IsZero() || age >= Fresh {
			r.found(record.Finding{Kind: record.Orphan, Path: object.Key(l.image), Detail: fmt.Sprintf("no record refers to it; 'imgkeep purge %s' deletes it", l.image.Digest)})
		}
		return nil
	}
	image := next.image
	next.advance()
	r.report.Images++
	return r.compare(ctx, image, l.info)
}

// compare compares an original with its record.
func (r *run) compare(ctx context.Context, image record.Image, info object.Info) error {
	detail := ""
	switch {
	case info.Bytes != image.Bytes:
		detail = fmt.Sprintf("it has %d bytes, and had %d", info.Bytes, image.Bytes)
	case info.Digest != (record.Digest{}) && info.Digest != image.Digest:
		detail = "its checksum is that of " + info.Digest.String()
	case info.Digest == (record.Digest{}) || rand.N(Sample) == 0:
		r.report.Bytes += image.Bytes
		err := r.blobs.FetchTo(ctx, image, writer{ctx, &r.pace})
		if err != nil && !errors.Is(err, blob.ErrDamaged) {
			return err
		}
		if err != nil {
			detail = err.Error()
		}
	}
	if detail == "" {
		return nil
	}
	if gone, err := r.removed(ctx, image); err != nil || gone {
		return err
	}
	r.rewrite(ctx, image, record.Finding{Kind: record.Corrupt, Path: object.Key(image), Detail: detail})
	return nil
}

// writer throws away at a pace.
type writer struct {
	ctx  context.Context
	pace *pace.Pace
}

func (w writer) Write(p []byte) (int, error) { return len(p), w.pace.Took(w.ctx, len(p)) }

// removed tells whether an original was removed since it was looked for.
func (r *run) removed(ctx context.Context, image record.Image) (bool, error) {
	if err := r.Ledger.CatchUp(ctx); err != nil {
		return false, err
	}
	gen, err := r.Ledger.Generation(image.Bucket, image.Digest)
	return gen != image.Generation, err
}

// missing tells of an original that was not listed, if it is still not there.
func (r *run) missing(ctx context.Context, image record.Image) error {
	r.report.Images++
	if err := r.asked(ctx); err != nil {
		return err
	}
	_, err := r.Ledger.Objects.Stat(ctx, object.Key(image))
	if !errors.Is(err, object.ErrAbsent) {
		return err
	}
	if gone, err := r.removed(ctx, image); err != nil || gone {
		return err
	}
	r.rewrite(ctx, image, record.Finding{Kind: record.Missing, Path: object.Key(image), Detail: "a record refers to it, and there is no such object"})
	return nil
}

// rewrite writes an original again, if this node has it, and tells of it.
func (r *run) rewrite(ctx context.Context, image record.Image, f record.Finding) {
	if r.Repair {
		f.SetRepair("written again", r.put(ctx, image))
	}
	r.found(f)
}

// errNotHere: a node has no whole copy.
var errNotHere = errors.New("this node has no whole copy: scrub on the others too")

func (r *run) put(ctx context.Context, image record.Image) error {
	path := filepath.Join(r.Root, image.File())
	digest, n, err := local.HashFile(path, true)
	if err != nil || digest != image.Digest || n != image.Bytes {
		return errNotHere
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return r.blobs.Put(ctx, image, struct{ io.ReaderAt }{file})
}

// local compares the local files of a bucket with their digests.
func (r *run) local(ctx context.Context, bucket string) error {
	files := local.New(local.OS{}, r.Root, r.Now)
	for image, err := range files.List(ctx, bucket) {
		if err != nil {
			return err
		}
		digest, n, err := local.HashFile(filepath.Join(r.Root, image.File()), true)
		if errors.Is(err, os.ErrNotExist) {
			continue // it had to leave
		}
		r.report.Files++
		r.report.Bytes += n
		if waitErr := r.pace.Took(ctx, int(n)); waitErr != nil {
			return waitErr
		}
		r.progress("local files of " + bucket)
		if err == nil && digest == image.Digest {
			continue
		}
		f := record.Finding{Kind: record.Corrupt, Path: image.File(), Detail: fmt.Sprintf("this node's copy has the digest %s", digest)}
		if err != nil {
			f.Detail = "this node's copy cannot be read: " + err.Error()
		}
		if r.Repair {
			f.SetRepair("dropped", r.Forget(ctx, image))
		}
		r.found(f)
	}
	return nil
}
