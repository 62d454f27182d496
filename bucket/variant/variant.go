package variant

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Maker makes something from an original, which is n bytes long, and returns
// its bytes; none mean that the original itself is what was to be made. It must
// read all of original. An error that wraps ErrPoison or ErrSlow is remembered. The
// end of ctx says that nobody wants the thing any more; see also Held.
type Maker func(ctx context.Context, original io.Reader, n int64) ([]byte, error)

// heldKey is of the context that Held returns.
type heldKey struct{}

// Held returns a context that ends when what a maker has returned need not be in memory
// any more: it has been stored, or thrown away. ctx is that of the maker; for any other
// it is nil.
func Held(ctx context.Context) context.Context {
	until, _ := ctx.Value(heldKey{}).(context.Context)
	return until
}

// hold returns a maker's context, and what ends the one that Held gets from it.
func hold(ctx context.Context) (context.Context, context.CancelFunc) {
	until, done := context.WithCancel(context.Background())
	return context.WithValue(ctx, heldKey{}, until), done
}

// ErrNotMade: what was asked for has not been made from the image yet.
var ErrNotMade = errors.New("not made yet")

// OpenVariant opens what was made from an image under a name, as a file of this
// format. Where it is missing it is made, by one flight for all that ask
// meanwhile, and kept: it can be made again, so a crash may lose it, but never
// leaves half of it.
//
// The original is checked against its digest while it is read: what was made
// from other bytes is thrown away, and the original repaired as by Open.
//
// The name must be safe as part of a file name. Errors are those of maker and of
// Open, and ErrPoison, ErrSlow and ErrUndecodable where earlier makers have died of
// the image or been late. Without a maker, what is missing stays so: ErrNotMade.
func (v *Variants) OpenVariant(ctx context.Context, image record.Image, name string, f probe.Format, maker Maker) (*os.File, error) {
	path := v.s.Path(image.VariantFile(name, f))
	file, err := local.OpenStamped(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	if err := v.makeBy(ctx, image, Key{name, f}, path, maker); err != nil {
		return nil, err
	}
	return local.OpenStamped(path)
}

// EnsureVariant is OpenVariant for whoever has the file sent by somebody else: it sees
// to it that the file is there, and does not open it.
func (v *Variants) EnsureVariant(ctx context.Context, image record.Image, name string, f probe.Format, maker Maker) error {
	path := v.s.Path(image.VariantFile(name, f))
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v.makeBy(ctx, image, Key{name, f}, path, maker)
	}
	if err == nil {
		local.Stamp(path, info)
	}
	return err
}

// HasVariant tells whether what was asked for has been made from an image, and is a
// file of its own: not where something else stands for it. Without either the error
// is ErrNotMade.
func (v *Variants) HasVariant(image record.Image, name string, f probe.Format) (own bool, err error) {
	path := v.s.Path(image.VariantFile(name, f))
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		_, err = os.Stat(path) // what it stands for may be gone
	} else {
		own = err == nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotMade
	}
	return own, err
}

// VariantBytes is how many bytes has what was made from an image under a name, or what
// stands for it. Where it is missing, the error is ErrNotMade.
func (v *Variants) VariantBytes(image record.Image, name string, f probe.Format) (int64, error) {
	info, err := os.Stat(v.s.Path(image.VariantFile(name, f)))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, ErrNotMade
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// makeBy makes what lies at path by a maker.
func (v *Variants) makeBy(ctx context.Context, image record.Image, thing Key, path string, maker Maker) error {
	if maker == nil {
		return ErrNotMade
	}
	return v.makeOnce(ctx, image, path, func(ctx context.Context) error { return v.make(ctx, image, thing, maker) })
}

// makeOnce makes what lies at path, in one flight for all that ask meanwhile. The
// flight ends when all of them have left before it has a decoder.
func (v *Variants) makeOnce(ctx context.Context, image record.Image, path string, make func(context.Context) error) error {
	_, err := flight.DoWanted(ctx, v.flights, "make\x00"+path, func(ctx context.Context) (struct{}, error) {
		// An earlier flight may have landed since. A link to an original that is
		// gone is not enough.
		if _, err := os.Stat(path); err == nil {
			return struct{}{}, nil
		}
		if err := v.s.Room(); err != nil {
			return struct{}{}, err
		}
		err := make(ctx)
		if errors.Is(err, blob.ErrDamaged) {
			if err = v.s.Repair(ctx, image); err == nil {
				err = make(ctx)
			}
		}
		return struct{}{}, err
	})
	return err
}

func (v *Variants) make(ctx context.Context, image record.Image, thing Key, maker Maker) error {
	ctx, done := hold(ctx)
	defer done()
	var data []byte
	err := v.readWhole(ctx, image, true, func(original io.Reader) (err error) {
		data, err = maker(ctx, original, image.Bytes)
		return err
	})
	if err != nil {
		return err
	}
	return v.store(image, Variant{Key: thing, Data: data})
}

// readWhole has an original read, and checks its digest: the bytes come before
// what reader says, which may have choked on wrong ones. Where reader decodes, it
// remembers images that end decoders, and keeps them from more.
func (v *Variants) readWhole(ctx context.Context, image record.Image, decodes bool, reader func(io.Reader) error) error {
	crashes := 0
	if decodes {
		var err error
		if crashes, err = v.decodable(image); err != nil {
			return err
		}
	}
	original, err := v.s.Open(ctx, image)
	if err != nil {
		return err
	}
	defer original.Close()
	hash := sha256.New()
	readErr := reader(io.TeeReader(original, hash))
	// A decoder that fails may have left bytes unread.
	if _, err := io.Copy(hash, original); err != nil {
		return fmt.Errorf("read the original: %w", err)
	}
	if got := record.Digest(hash.Sum(nil)); got != image.Digest {
		return fmt.Errorf("%w: its digest is %s", blob.ErrDamaged, got)
	}
	switch {
	case errors.Is(readErr, ErrPoison):
		return v.recordCrash(image, readErr)
	case errors.Is(readErr, ErrSlow):
		v.pause(image)
	case readErr == nil && decodes:
		v.Resume(image)
		if crashes > 0 {
			v.clear(image)
		}
	}
	return readErr
}

// store keeps what was made.
func (v *Variants) store(image record.Image, m Variant) error {
	path := v.s.Path(image.VariantFile(m.Name, m.Format))
	v.s.Removing().RLock()
	defer v.s.Removing().RUnlock()
	if err := v.s.StillKept(image); err != nil {
		return err
	}
	if len(m.Data) == 0 {
		target := image.File()
		if m.Like != probe.Unknown {
			target = image.VariantFile(m.Name, m.Like)
		}
		return v.link(target, path)
	}
	tmp, err := v.s.Temp("made-*")
	if err != nil {
		return err
	}
	defer tmp.Close()
	if _, err := v.s.Disk().Write(tmp, m.Data); err != nil {
		v.s.Disk().RemoveAll(tmp.Name())
		return fmt.Errorf("store what was made: %w", local.AsFull(err))
	}
	if err := local.Replace(v.s.Disk(), tmp, path); err != nil {
		return fmt.Errorf("store what was made: %w", local.AsFull(err))
	}
	return nil
}

// link lets the original, or something else that was made from it, stand for
// what would have been made. The link is symbolic, so that it cannot outlive what it
// stands for.
func (v *Variants) link(target, path string) error {
	err := v.s.Disk().Symlink(filepath.Base(target), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("store what was made: %w", local.AsFull(err))
	}
	return nil
}

// VariantNames lists the names under which something was made from an image, with their
// formats' extensions ("250x250.jpg"), in no particular order. It reads a folder
// of the store: milliseconds where that is large.
func (v *Variants) VariantNames(image record.Image) ([]string, error) {
	path := v.s.Path(image.File())
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), image.Digest.String()+".")
		if ok && e.Name() != filepath.Base(path) {
			names = append(names, name)
		}
	}
	return names, nil
}
