package journal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// HasLines tells whether there is a line in any journal below a root.
func HasLines(root string) (bool, error) {
	names, err := Buckets(root)
	if err != nil {
		return false, err
	}
	for _, name := range append(names, "") {
		files, err := Files(root, name)
		if err != nil {
			return false, err
		}
		for _, file := range files {
			if info, err := os.Stat(filepath.Join(root, file)); err != nil || info.Size() > 0 {
				return true, err
			}
		}
	}
	return false, nil
}

// Check tells whether a position is one of this journal: ledger.ErrMisfit if not. The zero
// position always is.
func Check(root, bucket string, at record.Position) error {
	if at.File == "" {
		return nil
	}
	file := filepath.Join(bucket, record.JournalDir, at.File)
	got, err := PositionAt(root, file, at.Length)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("%w: the index goes up to byte %d of %s, which ends before that", ledger.ErrMisfit, at.Length, file)
	case err == nil && got != at:
		err = fmt.Errorf("%w: another line ends at byte %d of %s", ledger.ErrMisfit, at.Length, file)
	}
	if errors.Is(err, ledger.ErrMisfit) {
		return fmt.Errorf("%w; if the journal was damaged or lost lines, restore it from a backup; if the index belongs to another store, run 'imgkeep reindex'", err)
	}
	return err
}

// MaxLine is the longest line of a journal that is read, in bytes: a URL of
// imageurl.MaxLength, each byte of it escaped, and the rest.
const MaxLine = 32 << 10

// Files lists the files of a bucket's journal, the oldest first, as paths relative to root.
// A bucket without a journal has none.
func Files(root, bucket string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(root, bucket, record.JournalDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		// Whatever it is: a journal that cannot be read is an error, and one
		// that is passed over would be images that are forgotten.
		if strings.HasSuffix(e.Name(), record.JournalExt) {
			files = append(files, filepath.Join(bucket, record.JournalDir, e.Name()))
		}
	}
	slices.Sort(files)
	return files, nil
}

// Read reads all of a bucket's journal in the order in which it was
// written. An error of the disk ends it; a line that is broken does not, nor a
// month that is missing, for which a broken line stands.
func Read(root, bucket string) iter.Seq2[ledger.Entry, error] {
	return ReadFrom(root, bucket, record.Position{})
}

// ReadFrom reads what of a bucket's journal is behind a position.
func ReadFrom(root, bucket string, from record.Position) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		files, err := Files(root, bucket)
		if err != nil {
			yield(ledger.Entry{}, fmt.Errorf("read the journal: %w", err))
			return
		}
		before := ""
		for n, name := range files {
			base, offset := filepath.Base(name), int64(0)
			switch {
			case base < from.File:
				before = base
				continue
			case base == from.File:
				offset = from.Length
			}
			for line, err := range readFile(root, bucket, name, offset) {
				if err == nil && offset == 0 && line.Number == 1 && line.After != "" && line.After != before {
					lost := ledger.Entry{File: filepath.Join(filepath.Dir(name), filepath.Base(line.After)), Broken: ledger.ErrMonthMissing}
					if !yield(lost, nil) {
						return
					}
				}
				if line.Torn && n+1 < len(files) {
					line.Torn, line.Broken = false, errors.New("it is cut off, and later files follow")
				}
				if !yield(line, err) || err != nil {
					return
				}
			}
			before = base
		}
	}
}

// lineSum is what a position remembers of a line.
func lineSum(line []byte) uint64 {
	sum := sha256.Sum256(bytes.TrimSuffix(line, []byte("\n")))
	return binary.BigEndian.Uint64(sum[:])
}

// PositionAt is the position behind the line that ends at an offset of a journal's file, which
// is named relative to root. The error is io.EOF if the file ends before.
func PositionAt(root, name string, end int64) (record.Position, error) {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return record.Position{}, err
	}
	defer f.Close()
	text := make([]byte, min(end, MaxLine))
	if _, err := f.ReadAt(text, end-int64(len(text))); err != nil {
		return record.Position{}, err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	return record.Position{File: filepath.Base(name), Length: end, Line: lineSum(text)}, nil
}

// readFile reads one file of it from an offset at which a line begins. The
// lines' numbers count from there.
func readFile(root, bucket, name string, from int64) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		f, err := os.Open(filepath.Join(root, name))
		if err != nil {
			yield(ledger.Entry{}, err)
			return
		}
		defer f.Close()
		if from > 0 { // where the line before had no end, and has got one since
			var edge [2]byte
			if n, _ := f.ReadAt(edge[:], from-1); n == 2 && edge[0] != '\n' && edge[1] == '\n' {
				from++
			}
		}
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			yield(ledger.Entry{}, err)
			return
		}
		in := bufio.NewReaderSize(f, MaxLine)
		line := ledger.Entry{File: name, End: from}
		for {
			line.Number++
			text, err := in.ReadSlice('\n')
			line.End += int64(len(text))
			tooLong := false
			for errors.Is(err, bufio.ErrBufferFull) {
				tooLong = true
				var rest []byte
				rest, err = in.ReadSlice('\n')
				line.End += int64(len(rest))
			}
			if err != nil && err != io.EOF {
				yield(line, fmt.Errorf("read %s: %w", name, err))
				return
			}
			if err == io.EOF && len(text) == 0 {
				return
			}
			if tooLong {
				line.Op, line.After, line.Image, line.Block, line.Event = "", "", record.Image{}, record.Block{}, ledger.Event{}
				line.Broken = fmt.Errorf("it is longer than %d bytes", MaxLine)
			} else {
				if err == io.EOF && ledger.EndDamaged(text) {
					text, line.End = text[:len(text)-1], line.End-1
				}
				line.Parse(bucket, text)
			}
			line.Torn = err == io.EOF && line.Broken != nil
			if !yield(line, nil) || err == io.EOF {
				return
			}
		}
	}
}

// Buckets are the folders of a root that hold a journal: also those of
// buckets that are not configured now, which must not be forgotten.
func Buckets(root string) ([]string, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name() == record.TmpDir || e.Name() == record.QuarantineDir {
			continue
		}
		info, err := os.Stat(filepath.Join(root, e.Name(), record.JournalDir))
		if err == nil && info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}
