// Package tags remembers for which members of a site links were signed: see sign.Signer.Tag.
// So all images of a member can be found, and removed.
//
// It is a log in the root of a store, {root}/.tags/2026-11.ndjson: a line for each member and
// image, written before the image is shown for the first time by a link of theirs. A line
// may come twice, and stands for an image that is kept no more until somebody looks.
//
// What it promises: what Note has taken is found, also after the process was killed. After
// a power cut the last lines may be missing; nginx' links are gone then as well, so that
// the next view writes them again. It never has a request fail, nor wait for a flush.
//
// What it does not do: it checks no tag, and is no index: who asks for a member reads all
// of it, some seconds for millions of lines.
package tags

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"imgkeep/bucket/record"
)

const (
	folder = ".tags"
	// maxSeen is how many members and images are remembered as written. Beyond it some
	// are written again.
	maxSeen = 1 << 20
	// maxLine bounds a line, in bytes: a link has at most 4,096.
	maxLine = 16 << 10
)

// Entry is a line: a member, and an image that a link of theirs has shown.
type Entry struct {
	Time   time.Time `json:"time"` // of the first view
	By     string    `json:"by"`
	Bucket string    `json:"bucket"`
	URL    string    `json:"url"` // under which it is kept
}

// Image is an image of a bucket, by its URL.
type Image struct{ Bucket, URL string }

// Book is the log of a store. It may be used concurrently.
type Book struct {
	dir  string
	now  func() time.Time
	log  *slog.Logger
	seed maphash.Seed

	mu     sync.Mutex
	most   int
	seen   map[uint64]struct{}
	file   *os.File // of this month; nil: none is open
	name   string
	failed bool // the last line could not be written
}

// Open returns the log of a store. It makes nothing before there is something to note.
func Open(root string, now func() time.Time, log *slog.Logger) *Book {
	return &Book{dir: filepath.Join(root, folder), now: now, log: log, seed: maphash.MakeSeed(), most: maxSeen, seen: map[uint64]struct{}{}}
}

// Files are the files of the log of a store, below its root, with their lengths: they are
// only ever added to.
func Files(root string) (map[string]int64, error) {
	paths, err := filepath.Glob(filepath.Join(root, folder, "*"+record.JournalExt))
	if err != nil {
		return nil, err
	}
	files := map[string]int64{}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		files[filepath.Join(folder, filepath.Base(path))] = info.Size()
	}
	return files, nil
}

// Load reads what is there, so that it is not written again. What comes meanwhile may be.
func (b *Book) Load(ctx context.Context) error {
	for e, err := range b.entries(ctx) {
		if err != nil {
			return err
		}
		b.mu.Lock()
		b.isNew(e)
		b.mu.Unlock()
	}
	return nil
}

// isNew tells whether an entry was not seen, and remembers it.
func (b *Book) isNew(e Entry) bool {
	h := maphash.String(b.seed, e.By+"\n"+e.Bucket+"\n"+e.URL)
	if _, seen := b.seen[h]; seen {
		return false
	}
	if len(b.seen) >= b.most {
		clear(b.seen)
	}
	b.seen[h] = struct{}{}
	return true
}

// Note notes that a link of a member shows an image. An error is logged, once until it is
// over: the image is shown all the same.
func (b *Book) Note(by, bucket, url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := Entry{b.now().UTC().Truncate(time.Second), by, bucket, url}
	if !b.isNew(e) {
		return
	}
	err := b.write(e)
	if err != nil && !b.failed {
		b.log.Error("cannot record the member of an image: list --by will not find it", "folder", b.dir, "error", err)
	}
	if err != nil { // the next view tries again
		clear(b.seen)
	}
	b.failed = err != nil
}

func (b *Book) write(e Entry) error {
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if name := e.Time.Format("2006-01") + record.JournalExt; b.file == nil || name != b.name {
		if err := b.open(name); err != nil {
			return err
		}
	}
	_, err = b.file.Write(append(line, '\n'))
	if err != nil { // half a line may be there
		b.file.Close()
		b.file = nil
	}
	return err
}

// open opens a file for appending. A line that a crash or a full disk has cut off is ended.
func (b *Book) open(name string) error {
	if b.file != nil {
		b.file.Close()
		b.file = nil
	}
	if err := os.Mkdir(b.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(filepath.Join(b.dir, name), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	last := []byte{'\n'}
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		_, err = f.ReadAt(last, info.Size()-1)
		if err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if last[0] != '\n' {
		if _, err := f.Write([]byte{'\n'}); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	b.file, b.name = f, name
	return nil
}

// Of returns the images of members.
func (b *Book) Of(ctx context.Context, members []string) (map[Image]bool, error) {
	wanted := map[string]bool{}
	for _, by := range members {
		wanted[by] = true
	}
	images := map[Image]bool{}
	for e, err := range b.entries(ctx) {
		if err != nil {
			return nil, err
		}
		if wanted[e.By] {
			images[Image{e.Bucket, e.URL}] = true
		}
	}
	return images, nil
}

// Members returns the members of images, each once.
func (b *Book) Members(ctx context.Context, images []Image) (map[Image][]string, error) {
	all := map[Image]map[string]bool{}
	for _, i := range images {
		all[i] = map[string]bool{}
	}
	members := map[Image][]string{}
	if len(all) == 0 {
		return members, nil
	}
	for e, err := range b.entries(ctx) {
		if err != nil {
			return nil, err
		}
		if i := (Image{e.Bucket, e.URL}); all[i] != nil && !all[i][e.By] {
			all[i][e.By] = true
			members[i] = append(members[i], e.By)
		}
	}
	return members, nil
}

// entries goes through all lines, the oldest first. Those that are none are passed over: a
// crash may have cut one off.
func (b *Book) entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		files, err := filepath.Glob(filepath.Join(b.dir, "*"+record.JournalExt))
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, file := range files { // sorted
			if !b.lines(ctx, file, yield) {
				return
			}
		}
	}
}

func (b *Book) lines(ctx context.Context, file string, yield func(Entry, error) bool) bool {
	f, err := os.Open(file)
	if err != nil {
		return yield(Entry{}, err)
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, maxLine)
	for n := 1; ; n++ {
		line, err := r.ReadSlice('\n')
		long := false
		for errors.Is(err, bufio.ErrBufferFull) {
			long = true
			_, err = r.ReadSlice('\n')
		}
		var e Entry
		if !long && len(bytes.TrimSpace(line)) > 0 && json.Unmarshal(line, &e) == nil && e.By != "" && !yield(e, nil) {
			return false
		}
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return yield(Entry{}, err)
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return yield(Entry{}, context.Cause(ctx))
		}
	}
}

// Close closes the file that is open.
func (b *Book) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.file == nil {
		return nil
	}
	err := b.file.Close()
	b.file = nil
	return err
}
