package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
	"imgkeep/bucket/tags"
)

// A batch of files is flushed together: a flush for each would take most of the time.
const (
	batchFiles = 2048
	batchBytes = 256 << 20
)

// batch are files that are written, but neither flushed nor named.
type batch struct {
	images []record.Image
	bytes  int64
}

// copyFiles copies the originals of a bucket that the target does not have.
func (t *transfer) copyFiles(ctx context.Context, p *plan) error {
	if err := os.MkdirAll(filepath.Join(t.to, p.bucket), local.DirMode); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(t.to, p.bucket, record.JournalDir), local.PrivateDir); err != nil {
		return err
	}
	var b batch
	next, stop := iter.Pull2(p.files)
	defer stop()
	file, err, more := next()
	for x, y := range record.Shards {
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		folder := filepath.Join(t.to, p.bucket, x, y)
		has, sizesErr := sizes(folder)
		if sizesErr != nil {
			return sizesErr
		}
		last := record.ShardOf(record.ShardDigest(x, y))
		for ; more && err == nil && record.ShardOf(file.digest) <= last; file, err, more = next() {
			image := file.image(p.bucket)
			t.done++
			size, there := has[filepath.Base(image.File())]
			good := there && size == image.Bytes
			if good && (t.resumed || t.Verify) {
				good = t.good(image)
			}
			if good {
				continue
			}
			copied := len(b.images)
			if err := t.copyFile(ctx, p, &b, image); err != nil {
				return err
			}
			if there && !t.resumed {
				f := record.Finding{Kind: record.Corrupt, Path: image.File(), Detail: "the copy in " + t.to + " was damaged"}
				if len(b.images) > copied {
					f.SetRepair("copied again", nil)
				}
				t.found(f)
			}
			if len(b.images) >= batchFiles || b.bytes >= batchBytes {
				if err := t.flush(ctx, &b); err != nil {
					return err
				}
			}
		}
		if t.Progress != nil {
			t.Progress(record.Progress{Stage: "images", Done: t.done, Total: int64(t.report.Images)})
		}
	}
	if err != nil {
		return err
	}
	return t.flush(ctx, &b)
}

// sizes are the lengths of the files of a folder, which it makes if it is missing.
func sizes(folder string) (map[string]int64, error) {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.MkdirAll(folder, local.DirMode)
	}
	has := map[string]int64{}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			has[e.Name()] = info.Size()
		}
	}
	return has, err
}

// good tells whether the target's file is complete.
func (t *transfer) good(image record.Image) bool {
	digest, _, err := local.HashFile(filepath.Join(t.to, image.File()), false)
	return err == nil && digest == image.Digest
}

func (t *transfer) temp(n int) string {
	return filepath.Join(t.to, record.TmpDir, strconv.Itoa(n))
}

// copyFile copies an original to a temporary file. One that does not match its digest is a
// finding, and not copied.
func (t *transfer) copyFile(ctx context.Context, p *plan, b *batch, image record.Image) error {
	path := filepath.Join(t.from, image.File())
	src, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t.missing(ctx, p, image)
	}
	if err != nil {
		return err
	}
	defer src.Close()
	tmp := t.temp(len(b.images))
	hash := sha256.New()
	var n int64
	linked := false
	if t.Link {
		err := os.Link(path, tmp)
		if linked = err == nil; !linked && !errors.Is(err, unix.EXDEV) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EMLINK) {
			return err
		}
	}
	if linked {
		n, err = t.copy(hash, src)
	} else {
		var dst *os.File
		if dst, err = os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, local.PrivateFile); err != nil {
			return err
		}
		in := &source{r: src}
		n, err = t.copy(io.MultiWriter(dst, hash), in)
		if err == nil {
			err = dst.Chmod(local.ImageMode)
		}
		if closeErr := dst.Close(); err == nil {
			err = closeErr
		}
		if err != nil && in.err == nil { // of the target
			return errors.Join(err, os.Remove(tmp))
		}
	}
	detail := ""
	switch got := record.Digest(hash.Sum(nil)); {
	case err != nil:
		detail = "it cannot be read: " + err.Error()
	case n != image.Bytes:
		detail = fmt.Sprintf("it has %d bytes, and had %d", n, image.Bytes)
	case got != image.Digest:
		detail = "its digest is " + got.String()
	}
	if detail != "" {
		t.found(record.Finding{Kind: record.Corrupt, Path: image.File(), Detail: detail})
		return os.Remove(tmp)
	}
	b.images = append(b.images, image)
	b.bytes += n
	return ctx.Err()
}

// copy is io.Copy without a new buffer for each of millions of files.
func (t *transfer) copy(dst io.Writer, src io.Reader) (int64, error) {
	if t.buffer == nil {
		t.buffer = make([]byte, 128<<10)
	}
	return io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, t.buffer)
}

// missing reports an original that is not there, unless it was removed since the
// plan was made.
func (t *transfer) missing(ctx context.Context, p *plan, image record.Image) error {
	removed, err := t.removedSince(ctx, p, image.Digest)
	switch {
	case err != nil:
		return err
	case removed:
		t.vanished++
	default:
		t.found(record.Finding{Kind: record.Missing, Path: image.File(), Detail: "the journal names it, and there is no such file"})
	}
	return nil
}

// source distinguishes an error of reading from one of writing.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// flush flushes a batch to the disk, reads it back from there, and names it.
func (t *transfer) flush(ctx context.Context, b *batch) error {
	if len(b.images) == 0 {
		return nil
	}
	if err := local.SyncAll(t.to); err != nil {
		return err
	}
	for n, image := range b.images {
		if err := ctx.Err(); err != nil {
			return err
		}
		digest, _, err := local.HashFile(t.temp(n), true)
		if err == nil && digest != image.Digest {
			err = fmt.Errorf("what was written to %s reads back differently: its disk cannot be trusted", t.to)
		}
		if err != nil {
			return err
		}
		if err := os.Rename(t.temp(n), filepath.Join(t.to, image.File())); err != nil {
			return err
		}
		t.report.Copied++
		t.report.Bytes += image.Bytes
	}
	*b = batch{}
	return nil
}

// copyJournal copies the beginning of a journal, unless the target has it.
func (t *transfer) copyJournal(file string, length int64) error {
	target := filepath.Join(t.to, file)
	if info, err := os.Stat(target); err == nil && info.Size() == length {
		return nil // continues has compared them
	}
	if err := os.MkdirAll(filepath.Dir(target), local.PrivateDir); err != nil {
		return err
	}
	src, err := os.Open(filepath.Join(t.from, file))
	if err != nil {
		return err
	}
	defer src.Close()
	return local.ReplaceFile(local.OS{}, filepath.Join(t.to, record.TmpDir), target, func(w io.Writer) error {
		_, err := io.CopyN(w, src, length)
		return err
	})
}

// copyTags copies the members for whom links were signed. Additional lines of the target
// stay.
func (t *transfer) copyTags() error {
	files, err := tags.Files(t.from)
	if err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if info, err := os.Stat(filepath.Join(t.to, file)); err == nil && info.Size() > files[file] {
			continue
		}
		if err := t.copyJournal(file, files[file]); err != nil {
			return fmt.Errorf("copy %s: %w", file, local.AsFull(err))
		}
	}
	return nil
}

// equal compares the first n bytes of two files.
func equal(a, b io.Reader, n int64) (bool, error) {
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for n > 0 {
		size := min(n, int64(len(x)))
		if _, err := io.ReadFull(a, x[:size]); err != nil {
			return false, err
		}
		if _, err := io.ReadFull(b, y[:size]); err != nil {
			return false, err
		}
		if !bytes.Equal(x[:size], y[:size]) {
			return false, nil
		}
		n -= size
	}
	return true, nil
}
