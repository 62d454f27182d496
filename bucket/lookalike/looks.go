package lookalike

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
)

// Store is what Looks need of an open store.
type Store interface {
	// Begin announces work, until done. Its context also ends when the store closes.
	Begin(ctx context.Context) (_ context.Context, done func(), err error)
	Root() string
	Buckets() []string
	Now() time.Time
	Log() *slog.Logger
	Index() *index.DB
	Ledger() ledger.Ledger
	// Removing is locked while something is removed, and read-locked while something is
	// kept that must not be removed in between.
	Removing() *sync.RWMutex
	Commit(c index.Change, e *ledger.Event) error
	OpenFile(ctx context.Context, image record.Image) (*os.File, error)
}

// Reader has a decoder look at an image, of whose bytes src has as many as image says. The
// error wraps ErrNoPrint or ErrPoison where it is the image's. In the background it waits
// behind all that somebody waits for. It may be called concurrently.
type Reader func(ctx context.Context, image record.Image, src io.ReaderAt, background bool) (likeness.Print, error)

var (
	// ErrOff: the store knows nothing of how images look.
	ErrOff = errors.New("images are not compared here: set likeness to on")
	// ErrUnknown: nothing is kept whose looks are asked for.
	ErrUnknown = errors.New("not kept, so how it looks is not known")
	// ErrFaint: there is too little to see in an image to tell what looks like it.
	ErrFaint = fmt.Errorf("there is too little to see in the image to tell what looks like it: its quality is below %d", likeness.MinQuality)
	// ErrNoPrint: no decoder can read the image, so no size can be made of it either.
	ErrNoPrint = errors.New("no decoder can read the image")
	// ErrPoison: the image crashes decoders, or takes them longer than they have.
	ErrPoison = errors.New("the image crashes decoders")
	// ErrNotAllowed: nothing has been let through that could be taken back.
	ErrNotAllowed = errors.New("not let through")
)

// Looks are all that a store knows of how images look. They may be used concurrently. Nil
// ones know nothing, and block nothing.
type Looks struct {
	Book     *Book
	Refusals *Refusals
	Blocked  Blocklist
	refused  atomic.Uint64
	s        Store
	read     Reader
	// unwritten tells that the last hash could not be written.
	unwritten atomic.Bool
}

// Open opens those of a store, of whose blocks it takes in those that are its own. nil for
// read: they are nil; then a warning tells of blocks that do not hold.
func Open(s Store, read Reader) (*Looks, error) {
	l := &Looks{s: s, read: read}
	hashes := 0
	for b, err := range s.Index().Blocks() {
		if err == nil && b.Kind == record.BlockSimilar {
			hashes++
			err = l.set(b)
		}
		if err != nil {
			return nil, err
		}
	}
	if read == nil {
		if hashes > 0 {
			s.Log().Warn("likeness is off: what looks like a blocked image is kept and shown", "hashes", hashes)
		}
		return nil, nil
	}
	var err error
	if l.Book, err = openBook(s.Root()); err != nil {
		return nil, err
	}
	if l.Refusals, err = openRefusals(s.Root()); err != nil {
		return nil, errors.Join(err, l.Book.Close())
	}
	return l, nil
}

// Close closes the files.
func (l *Looks) Close() error {
	if l == nil {
		return nil
	}
	return l.Book.Close()
}

// Figures are how many images are known and can match, how many hashes are blocked, and how
// many images were refused since the store was opened.
type Figures struct {
	Known, Matching, Blocked int
	Refused                  uint64
}

// Figures returns them.
func (l *Looks) Figures() Figures {
	return Figures{l.Book.Len(), l.Book.Matching(), l.Blocked.Len(), l.refused.Load()}
}

// Blocks tells whether anything is blocked by how it looks.
func (l *Looks) Blocks() bool { return l != nil && l.Blocked.Len() > 0 }

// Changed tells of a block that the index has taken in, and of one that it has dropped;
// nil: there is none.
func (l *Looks) Changed(block, unblock *record.Block) {
	if block != nil && block.Kind == record.BlockSimilar {
		if err := l.set(*block); err != nil {
			l.s.Log().Error("a block by likeness does not hold", "hash", block.Subject, "error", err)
		}
	}
	if unblock != nil && unblock.Kind == record.BlockSimilar {
		if h, err := likeness.ParseHash(unblock.Subject); err == nil {
			l.Blocked.Remove(h)
		}
	}
}

func (l *Looks) set(b record.Block) error {
	h, err := likeness.ParseHash(b.Subject)
	if err == nil {
		err = l.Blocked.Set(h, b.Within)
	}
	return err
}

// Print has a decoder look at an image. One that no decoder can read has the zero print,
// which matches nothing: it is not an error here.
func (l *Looks) Print(ctx context.Context, image record.Image, src io.ReaderAt, background bool) (likeness.Print, error) {
	if l == nil {
		return likeness.Print{}, ErrOff
	}
	p, err := l.read(ctx, image, src, background)
	if errors.Is(err, ErrNoPrint) {
		l.s.Log().Debug("an image has no hash", "bucket", image.Bucket, "digest", image.Digest, "error", err)
		return likeness.Print{}, nil
	}
	return p, err
}

// PrintOf has a decoder look at bytes that are kept, and notes their hash. ErrUnknown where
// there are none.
func (l *Looks) PrintOf(ctx context.Context, d record.Digest, background bool) (p likeness.Print, err error) {
	if l == nil {
		return p, ErrOff
	}
	for _, name := range l.s.Buckets() {
		e, err := l.s.Index().Entry(name, d)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err != nil {
			return p, err
		}
		image := index.RecordOf(name, "", e.Image)
		f, err := l.s.OpenFile(ctx, image)
		if err != nil {
			return p, err
		}
		defer f.Close()
		if p, err = l.Print(ctx, image, f, background); err == nil {
			l.NoteFound(image, p)
		}
		return p, err
	}
	return p, ErrUnknown
}

// Wants tells whether a decoder that has the image should also make its hash.
func (l *Looks) Wants(d record.Digest) bool { return l != nil && !l.Book.Has(d) }

// Note notes how an image looks that cannot be removed meanwhile. nil: that is not known.
func (l *Looks) Note(image record.Image, p *likeness.Print) {
	if l == nil || p == nil {
		return
	}
	err := l.Book.Put(image.Digest, *p)
	if failed := err != nil; l.unwritten.Swap(failed) != failed && failed {
		// Once: on a full disk each decode would say so.
		l.s.Log().Error("hashes of images are not kept: 'imgkeep likeness index' finds them again", "bucket", image.Bucket, "digest", image.Digest, "error", err)
	}
}

// NoteFound is Note for an image that was found. If it has been removed since, or if
// something is just being removed, nothing is noted.
func (l *Looks) NoteFound(image record.Image, p likeness.Print) {
	if l == nil || !l.s.Removing().TryRLock() {
		return
	}
	defer l.s.Removing().RUnlock()
	if _, err := l.s.Index().Entry(image.Bucket, image.Digest); err == nil {
		l.Note(image, &p)
	}
}

// Forget drops the hash of an image that is removed from a bucket, unless another has it.
// Nothing is kept meanwhile.
func (l *Looks) Forget(bucket string, d record.Digest) error {
	if l == nil {
		return nil
	}
	for _, name := range l.s.Buckets() {
		if name == bucket {
			continue
		}
		if _, err := l.s.Index().Entry(name, d); !errors.Is(err, index.ErrNotFound) {
			return err
		}
	}
	return l.Book.Remove(d)
}

// LockLooked locks removing, to read, once it is known how an image looks, if anything is
// blocked by that; the print is nil where nothing is. So a block that lands while a decoder
// works is not passed over. After an error it is not locked.
func (l *Looks) LockLooked(ctx context.Context, removing *sync.RWMutex, image record.Image, file io.ReaderAt) (p *likeness.Print, err error) {
	for {
		removing.RLock()
		if p != nil || !l.Blocks() {
			return p, nil
		}
		removing.RUnlock()
		made, err := l.Print(ctx, image, file, false)
		if err != nil {
			return nil, err
		}
		p = &made
	}
}

// Refuses tells why an image that looks so must not be kept, and puts it on the list of
// those; nil: it may be kept.
func (l *Looks) Refuses(image record.Image, p *likeness.Print) (cause, err error) {
	if l == nil || p == nil {
		return nil, nil
	}
	like, ok := l.Blocked.Match(*p)
	if !ok {
		return nil, nil
	}
	_, err = l.s.Index().Block(record.BlockExcept, image.Digest.String())
	if err == nil || !errors.Is(err, index.ErrNotFound) {
		return nil, err
	}
	r := Refusal{
		Time: l.s.Now().UTC().Truncate(time.Second), Bucket: image.Bucket, URL: image.URL, Digest: image.Digest.String(),
		Hash: p.Hash().String(), Quality: p.Quality, Like: like.Hash.String(), Distance: like.Distance, Turned: like.Turned,
	}
	l.refused.Add(1)
	if err := l.Refusals.Add(r); err != nil {
		l.s.Log().Error("a refused image is not on the list", "bucket", r.Bucket, "digest", r.Digest, "error", err)
	}
	l.s.Log().Info("refused: it looks like a blocked image", "bucket", r.Bucket, "digest", r.Digest, "like", r.Like, "distance", r.Distance)
	turned := ""
	if r.Turned {
		turned = ", turned or mirrored"
	}
	return fmt.Errorf("it looks like a blocked image: %d bits from %s%s", r.Distance, r.Like, turned), nil
}

// Refused goes through the images that were refused lately, the latest first.
func (l *Looks) Refused() iter.Seq2[Refusal, error] {
	return func(yield func(Refusal, error) bool) {
		if l == nil {
			return
		}
		for _, r := range l.Refusals.All() {
			b, err := l.s.Index().Block(record.BlockSimilar, r.Like)
			if err == nil {
				r.Of, r.Why = b.For, b.Why
			} else if errors.Is(err, index.ErrNotFound) {
				err = nil // it has been lifted
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// ToBlock returns the hashes that are to be blocked: these, and those of bytes that are
// kept. ErrFaint where one would match nothing, ErrTooMany where there is no room for them.
func (l *Looks) ToBlock(ctx context.Context, hashes []likeness.Hash, of []record.Digest) ([]likeness.Hash, error) {
	if l == nil {
		return nil, ErrOff
	}
	if len(hashes)+len(of) == 0 {
		return nil, ErrUnknown
	}
	for _, d := range of {
		h, quality, ok := l.Book.Get(d)
		if !ok {
			p, err := l.PrintOf(ctx, d, false)
			if err != nil {
				return nil, err
			}
			h, quality = p.Hash(), p.Quality
		}
		if quality < likeness.MinQuality {
			return nil, ErrFaint
		}
		hashes = append(hashes, h)
	}
	return hashes, l.Blocked.Room(len(hashes))
}

// By says who changes something, and why, for the journal.
type By struct{ Who, Why string }

// Allow lets bytes through for good, whatever they look like, or with undo not any more:
// ErrNotAllowed where they were not. They need not be kept. It is flushed when it returns.
func (l *Looks) Allow(ctx context.Context, d record.Digest, undo bool, by By) error {
	if l == nil {
		return ErrOff
	}
	_, done, err := l.s.Begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	b := record.Block{Kind: record.BlockExcept, Subject: d.String(), Since: l.s.Now().UTC().Truncate(time.Second), Why: by.Why, By: by.Who}
	l.s.Removing().Lock()
	defer l.s.Removing().Unlock()
	_, err = l.s.Index().Block(b.Kind, b.Subject)
	switch {
	case err != nil && !errors.Is(err, index.ErrNotFound):
		return err
	case undo && err != nil:
		return ErrNotAllowed
	case undo:
		err = l.change(index.Change{Unblock: &b}, ledger.BlockEvent(ledger.OpUnblock, b))
	default:
		err = l.change(index.Change{Block: &b, ClearClass: SimilarClass}, ledger.BlockEvent(ledger.OpBlock, b))
	}
	if err != nil {
		return err
	}
	return l.Refusals.Allow(d, !undo)
}

// SimilarClass is the kind of failure of images that were refused.
const SimilarClass = "similar"

// change commits a change of what may be shown. Nothing is kept meanwhile.
func (l *Looks) change(c index.Change, e *ledger.Event) error {
	l.s.Ledger().CountRemoval()
	defer l.s.Ledger().CountRemoval()
	return l.s.Commit(c, e)
}

// atOnce is how many blocks of a list are committed together.
const atOnce = 256

// Block blocks hashes, each within its distance, but those that are blocked so already. It
// returns how many it has blocked, which are durable, also those beside an error.
func (l *Looks) Block(ctx context.Context, hashes []likeness.Listed, by By) (added int, err error) {
	if l == nil {
		return 0, ErrOff
	}
	ctx, done, err := l.s.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	for ; len(hashes) > 0 && err == nil; hashes = hashes[min(atOnce, len(hashes)):] {
		if err = ctx.Err(); err == nil {
			var n int
			n, err = l.blockSome(hashes[:min(atOnce, len(hashes))], by)
			added += n
		}
	}
	return added, err
}

func (l *Looks) blockSome(hashes []likeness.Listed, by By) (added int, err error) {
	l.s.Removing().Lock()
	defer l.s.Removing().Unlock()
	if err := l.Blocked.Room(len(hashes)); err != nil {
		return 0, err
	}
	since := l.s.Now().UTC().Truncate(time.Second)
	var wg sync.WaitGroup
	errs := make([]error, len(hashes))
	for i, h := range hashes {
		if h.Within < 0 || h.Within > likeness.MaxWithin {
			return 0, fmt.Errorf("a distance of %d is not from 0 to %d", h.Within, likeness.MaxWithin)
		}
		if within, ok := l.Blocked.Get(h.Hash); ok && within == h.Within {
			continue
		}
		b := record.Block{Kind: record.BlockSimilar, Subject: h.Hash.String(), Within: h.Within, Since: since, Why: by.Why, By: by.Who}
		added++
		wg.Go(func() {
			errs[i] = l.change(index.Change{Block: &b}, ledger.BlockEvent(ledger.OpBlock, b))
		})
	}
	wg.Wait()
	for _, e := range errs {
		if e != nil {
			added--
			err = e
		}
	}
	return added, err
}
