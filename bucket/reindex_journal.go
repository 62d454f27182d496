package bucket

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// maxLine is the longest line of a journal that is read, in bytes: a URL of
// imageurl.MaxLength, each byte of it escaped, and the rest.
const maxLine = 32 << 10

// journalLine is a line of a journal, as it is read back.
type journalLine struct {
	file   string // below the store's root
	number int    // from 1
	end    int64  // where the line ends in its file, its newline counted
	op     string
	image  record.Image // of keep all, of forget URL, digest and format, of purge digest and format
	block  record.Block // of block and unblock
	after  string       // of the first line of a file: the name of the file before; empty: it does not say
	// broken says why it cannot be read; torn that it is the last one and has
	// no end, as a crash leaves it: it was never acknowledged.
	broken error
	torn   bool
}

func (l journalLine) place() string {
	if errors.Is(l.broken, errMonthMissing) {
		return l.file
	}
	return fmt.Sprintf("%s:%d", l.file, l.number)
}

// finding is what to report of a line that is broken.
func (l journalLine) finding() record.Finding {
	kind := record.BrokenLine
	if errors.Is(l.broken, errMonthMissing) {
		kind = record.Missing
	}
	return record.Finding{Kind: kind, Path: l.place(), Detail: l.broken.Error()}
}

// errMonthMissing stands for a line, or many, in a file that is not there.
var errMonthMissing = errors.New("a file of the journal that the next one names is not there")

// errOperation: to pass over what a newer program has written, such as that an
// image was removed, would bring the image back.
var errOperation = errors.New("an operation that this version does not know")

// journalFiles lists the files of a bucket's journal, the oldest first, below
// root.
func journalFiles(root, bucket string) ([]string, error) {
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

// readJournalLines reads all of a bucket's journal in the order in which it was
// written. An error of the disk ends it; a line that is broken does not, nor a
// month that is missing, for which a broken line stands.
func readJournalLines(root, bucket string) iter.Seq2[journalLine, error] {
	return readJournalTail(root, bucket, record.Position{})
}

// readJournalTail reads what of a bucket's journal is behind a position.
func readJournalTail(root, bucket string, from record.Position) iter.Seq2[journalLine, error] {
	return func(yield func(journalLine, error) bool) {
		files, err := journalFiles(root, bucket)
		if err != nil {
			yield(journalLine{}, fmt.Errorf("read the journal of bucket %s: %w", bucket, err))
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
			for line, err := range readJournalFile(root, bucket, name, offset) {
				if err == nil && offset == 0 && line.number == 1 && line.after != "" && line.after != before {
					lost := journalLine{file: filepath.Join(filepath.Dir(name), filepath.Base(line.after)), broken: errMonthMissing}
					if !yield(lost, nil) {
						return
					}
				}
				if line.torn && n+1 < len(files) {
					line.torn, line.broken = false, errors.New("it is cut off, and later files follow")
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

// positionAt is the position behind the line that ends at an offset of a file of a
// journal, below root.
func positionAt(root, name string, end int64) (record.Position, error) {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return record.Position{}, err
	}
	defer f.Close()
	text := make([]byte, min(end, maxLine))
	if _, err := f.ReadAt(text, end-int64(len(text))); err != nil {
		return record.Position{}, err
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	text = text[bytes.LastIndexByte(text, '\n')+1:]
	return record.Position{File: filepath.Base(name), Length: end, Line: lineSum(text)}, nil
}

// readJournalFile reads one file of it from an offset at which a line begins. The
// lines' numbers count from there.
func readJournalFile(root, bucket, name string, from int64) iter.Seq2[journalLine, error] {
	return func(yield func(journalLine, error) bool) {
		f, err := os.Open(filepath.Join(root, name))
		if err != nil {
			yield(journalLine{}, err)
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
			yield(journalLine{}, err)
			return
		}
		in := bufio.NewReaderSize(f, maxLine)
		line := journalLine{file: name, end: from}
		for {
			line.number++
			text, err := in.ReadSlice('\n')
			line.end += int64(len(text))
			tooLong := false
			for errors.Is(err, bufio.ErrBufferFull) {
				tooLong = true
				var rest []byte
				rest, err = in.ReadSlice('\n')
				line.end += int64(len(rest))
			}
			if err != nil && err != io.EOF {
				yield(line, fmt.Errorf("read %s: %w", name, err))
				return
			}
			if err == io.EOF && len(text) == 0 {
				return
			}
			if tooLong {
				line.op, line.after, line.image, line.block, line.broken = "", "", record.Image{}, record.Block{}, fmt.Errorf("it is longer than %d bytes", maxLine)
			} else {
				if err == io.EOF && endDamaged(text) {
					text, line.end = text[:len(text)-1], line.end-1
				}
				line.parse(bucket, text)
			}
			line.torn = err == io.EOF && line.broken != nil
			if !yield(line, nil) || err == io.EOF {
				return
			}
		}
	}
}

// parse reads a line of the journal of a bucket; "" is the store's own.
func (l *journalLine) parse(bucket string, text []byte) {
	l.op, l.after, l.image, l.block = "", "", record.Image{}, record.Block{}
	e, err := parseEvent(text)
	if has, ok := checkSum(bytes.TrimSuffix(text, []byte("\n"))); err == nil && has && !ok {
		err = errors.New("its checksum is another: it is not what was written")
	}
	if err != nil {
		l.broken = err
		return
	}
	l.after = e.After
	switch l.op = e.Op; {
	case bucket != "" && e.Op == opKeep:
		l.image, l.broken = e.image(bucket)
	case bucket != "" && (e.Op == opForget || e.Op == opPurge):
		l.image, l.broken = e.removed(bucket)
	case bucket == "" && (e.Op == opBlock || e.Op == opUnblock):
		l.block, l.broken = e.block()
	default:
		l.broken = fmt.Errorf("%w: %q", errOperation, e.Op)
	}
}

func parseEvent(text []byte) (event, error) {
	var e event
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&e); err != nil {
		return e, errors.New("it is not JSON")
	}
	if rest, _ := io.ReadAll(dec.Buffered()); len(bytes.TrimSpace(rest)) > 0 {
		return e, errors.New("there is more than one value on it")
	}
	return e, nil
}

// removed reads what forgetEvent and purgeEvent have made.
func (e event) removed(bucket string) (record.Image, error) {
	image := record.Image{Bucket: bucket, URL: e.URL}
	var err error
	if image.Digest, err = record.ParseDigest(e.Digest); err != nil {
		return record.Image{}, err
	}
	if image.Format, err = probe.ParseFormat(e.Type); err != nil {
		return record.Image{}, err
	}
	if len(e.URL) > imageurl.MaxLength || (e.URL == "") != (e.Op == opPurge) {
		return record.Image{}, fmt.Errorf("its URL has %d bytes", len(e.URL))
	}
	return image, nil
}

// block reads what blockEvent has made.
func (e event) block() (record.Block, error) {
	b := record.Block{For: e.For, Since: e.Time.UTC().Truncate(time.Second), Why: e.Why, By: e.By}
	for kind, subject := range map[string]string{record.BlockURL: e.URL, record.BlockDigest: e.Digest, record.BlockHost: e.Host} {
		if subject == "" {
			continue
		}
		if b.Kind != "" {
			return record.Block{}, errors.New("it names more than one thing to block")
		}
		b.Kind, b.Subject = kind, subject
	}
	if b.Kind == "" {
		return record.Block{}, errors.New("it names nothing to block")
	}
	return b, nil
}

// image reads what keepEvent has made.
func (e event) image(bucket string) (record.Image, error) {
	digest, err := record.ParseDigest(e.Digest)
	if err != nil {
		return record.Image{}, err
	}
	format, err := probe.ParseFormat(e.Type)
	if err != nil {
		return record.Image{}, err
	}
	image := record.Image{Bucket: bucket, URL: e.URL, Digest: digest, Bytes: e.Bytes, Stored: e.Time.UTC()}
	image.Info = probe.Info{
		Format: format, Width: e.Width, Height: e.Height,
		Orientation: max(e.Orientation, 1), Frames: max(e.Frames, 1),
	}
	// The journal has them as shown; turned again they are as stored.
	image.Width, image.Height = image.Shown()
	switch {
	case e.URL == "" || len(e.URL) > imageurl.MaxLength:
		return record.Image{}, fmt.Errorf("its URL has %d bytes", len(e.URL))
	case e.Bytes <= 0 || e.Width <= 0 || e.Height <= 0 || e.Orientation < 0 || e.Orientation > 8 || e.Frames < 0:
		return record.Image{}, errors.New("its numbers cannot be an image's")
	case e.Time.IsZero():
		return record.Image{}, errors.New("it has no time")
	}
	return image, nil
}

// bucketsOnDisk are the folders of a root that hold a journal: also those of
// buckets that are not configured now, which must not be forgotten.
func bucketsOnDisk(root string) ([]string, error) {
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
