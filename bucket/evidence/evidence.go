// Package evidence puts what a store has of some images into a file, before somebody
// removes them: the bytes as they came, the URLs under which they are kept, when each was
// stored, and what the journals and the audit log say of them.
//
// It promises that a bundle is whole: Write returns no error only if each original was read
// to its end and had the digest that its name says. A bundle is a zip archive, with the sums
// of all that is in it, so that any system opens it and anybody can check it later.
//
// What it does not do: it changes nothing in the store, which need not be open, and signs
// nothing. The caller, who provides the writer, makes the file durable.
package evidence

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
)

// ErrDamaged: an original is missing, or is not what its name says, so that there is no
// evidence of it.
var ErrDamaged = errors.New("the stored original is missing or damaged, so there is no evidence of it")

// Options say what Write puts into a bundle.
type Options struct {
	Root   string // of the store
	Audit  string // the path of the audit log; a file that is not there has no lines
	Images []query.ImageDetails
	// Names are what the operator has asked for; By who they are, Why the reason that they
	// gave. All three may be empty.
	Names   []string
	By, Why string
	Program string // with its version
	Now     time.Time
}

// Bundle is the document evidence.json in a bundle.
type Bundle struct {
	Made    time.Time `json:"made"`
	By      string    `json:"by,omitempty"`
	Why     string    `json:"why,omitempty"`
	Names   []string  `json:"names"`
	Program string    `json:"program"`
	Images  []Image   `json:"images"`
}

// Image is an image of a bucket in a bundle.
type Image struct {
	Path   string    `json:"path"`   // of its bytes, in the bundle
	SHA256 string    `json:"sha256"` // of them, hexadecimal
	Bucket string    `json:"bucket"`
	Digest string    `json:"digest"` // as the store calls it
	Type   string    `json:"type"`
	Width  int       `json:"width"`
	Height int       `json:"height"`
	Frames int       `json:"frames"`
	Bytes  int64     `json:"bytes"`
	Stored time.Time `json:"stored"`
	URLs   []string  `json:"urls"`
	Sizes  []string  `json:"sizes"` // that were made of it; they are not in the bundle
}

// maxLine bounds a line of a log, in bytes. Journals have shorter ones.
const maxLine = 4 << 20

// Write writes a bundle to w. Memory does not depend on the images.
func Write(ctx context.Context, w io.Writer, o Options) error {
	b := bundle{ctx: ctx, o: o, zip: zip.NewWriter(w)}
	doc := Bundle{Made: o.Now.UTC(), By: o.By, Why: o.Why, Names: append([]string{}, o.Names...), Program: o.Program, Images: []Image{}}
	for _, image := range o.Images {
		in, err := b.image(image)
		if err != nil {
			return err
		}
		doc.Images = append(doc.Images, in)
	}
	if err := b.logs(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	if err := b.add("evidence.json", zip.Deflate, bytes.NewReader(append(text, '\n'))); err != nil {
		return err
	}
	sums := slices.Clone(b.sums)
	if err := b.add("SHA256SUMS", zip.Deflate, strings.NewReader(strings.Join(sums, ""))); err != nil {
		return err
	}
	return b.zip.Close()
}

// bundle is one that is being written.
type bundle struct {
	ctx  context.Context
	o    Options
	zip  *zip.Writer
	sums []string // lines as sha256sum writes them
	last [sha256.Size]byte
}

// add adds a file, and its sum.
func (b *bundle) add(name string, method uint16, r io.Reader) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	f, err := b.zip.CreateHeader(&zip.FileHeader{Name: name, Method: method, Modified: b.o.Now.UTC()})
	if err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, sum), r); err != nil {
		return err
	}
	sum.Sum(b.last[:0])
	b.sums = append(b.sums, hex.EncodeToString(b.last[:])+"  "+name+"\n")
	return nil
}

// image adds the bytes of an image.
func (b *bundle) image(i query.ImageDetails) (Image, error) {
	in := Image{
		Path: path.Join("images", i.Bucket, filepath.Base(i.File)), Bucket: i.Bucket, Digest: i.Digest, Type: i.Type,
		Width: i.Width, Height: i.Height, Frames: i.Frames, Bytes: i.Bytes, Stored: i.Stored,
		URLs: append([]string{}, i.URLs...), Sizes: append([]string{}, i.Variants...),
	}
	digest, err := record.ParseDigest(i.Digest)
	if err != nil {
		return in, err
	}
	f, err := os.OpenInRoot(b.o.Root, i.File)
	if errors.Is(err, fs.ErrNotExist) {
		return in, fmt.Errorf("%s/%s: %w", i.Bucket, i.Digest, ErrDamaged)
	}
	if err != nil {
		return in, err
	}
	defer f.Close()
	if err := b.add(in.Path, zip.Store, f); err != nil {
		return in, err
	}
	if b.last != digest {
		return in, fmt.Errorf("%s/%s: %w", i.Bucket, i.Digest, ErrDamaged)
	}
	in.SHA256 = hex.EncodeToString(b.last[:])
	return in, nil
}

// logs adds the lines of the journals and of the audit log that are about the images.
func (b *bundle) logs() error {
	digests, urls := map[string]bool{}, map[string]bool{}
	folders := []string{record.JournalDir} // that of blocks
	for _, i := range b.o.Images {
		digests[i.Digest] = true
		for _, u := range i.URLs {
			urls[u] = true
		}
		if folder := filepath.Join(i.Bucket, record.JournalDir); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	about := func(line []byte) bool { return about(line, digests, urls) }
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(b.o.Root, folder, "*"+record.JournalExt))
		if err != nil {
			return err
		}
		for _, file := range files { // sorted
			if err := b.lines(file, path.Join("journal", filepath.ToSlash(filepath.Dir(folder)), filepath.Base(file)), about); err != nil {
				return err
			}
		}
	}
	err := b.lines(b.o.Audit, "audit.ndjson", about)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// about tells whether a line of a log, which is JSON, is about one of the images.
func about(line []byte, digests, urls map[string]bool) bool {
	var fields any
	return json.Unmarshal(line, &fields) == nil && mentions(fields, digests, urls)
}

// mentions tells whether a text in a JSON value is one of the digests or URLs.
func mentions(v any, digests, urls map[string]bool) bool {
	switch v := v.(type) {
	case string:
		return digests[v] || urls[v]
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return mentions(x, digests, urls) })
	case map[string]any:
		for _, x := range v {
			if mentions(x, digests, urls) {
				return true
			}
		}
	}
	return false
}

// lines adds the lines of a log that are about the images, as they stand there. A line that
// is too long to be read is an error, since it may be about them.
func (b *bundle) lines(file, name string, about func([]byte) bool) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var found bytes.Buffer
	s := bufio.NewScanner(f)
	s.Buffer(nil, maxLine)
	for n := 0; s.Scan(); n++ {
		if n%4096 == 0 && b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if about(s.Bytes()) {
			found.Write(s.Bytes())
			found.WriteByte('\n')
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if found.Len() == 0 {
		return nil
	}
	return b.add(name, zip.Deflate, &found)
}
