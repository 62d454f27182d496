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
	"time"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Maker makes a variant of an original, which is n bytes long, and returns its bytes; none
// mean that the original itself is the variant. It must read all of original. An error that
// wraps ErrPoison or ErrSlow is remembered. The end of ctx says that nobody wants the
// variant any more; see also Held.
type Maker func(ctx context.Context, original io.Reader, n int64) ([]byte, error)

// heldKey is the context key of Held.
type heldKey struct{}

// Held returns a context that ends when the result of a maker need not be in memory any
// more: it has been stored, or discarded. ctx is that of the maker; for any other it
// returns nil.
func Held(ctx context.Context) context.Context {
	until, _ := ctx.Value(heldKey{}).(context.Context)
	return until
}

// hold returns a maker's context, and a function that ends the one that Held returns for
// it.
func hold(ctx context.Context) (context.Context, context.CancelFunc) {
	until, done := context.WithCancel(context.Background())
	return context.WithValue(ctx, heldKey{}, until), done
}

// ErrNotMade: the variant has not been made yet.
var ErrNotMade = errors.New("not made yet")

// OpenVariant opens the variant of an image under a name, as a file of this format. If it
// is missing, one flight makes it for all concurrent callers, and keeps it. A crash may
// lose a variant, since it can be made again, but never leaves half of it.
// The original is checked against its digest while it is read: a variant of wrong bytes is
// discarded, and the original is repaired as by Open.
//
// The name must be safe as part of a file name. Errors are those of maker and of Open, and
// ErrPoison, ErrSlow and ErrUndecodable if the image has crashed earlier makers or been too
// slow. Without a maker, a missing variant is ErrNotMade.
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

// ReadSmall reads a file of the store, an original or a variant, by its path below the root: all
// of it, if it fits into b. It is not ok if it does not, if it is missing, or if something is
// wrong with it: then it is to be opened.
func (v *Variants) ReadSmall(file string, b []byte) (n int, modified time.Time, ok bool) {
	return local.ReadSmall(v.s.Path(file), b)
}

// EnsureVariant is OpenVariant for hand-off to nginx: it creates the file without opening
// it.
func (v *Variants) EnsureVariant(ctx context.Context, image record.Image, name string, f probe.Format, maker Maker) error {
	v.s.Sends(image.VariantFile(name, f)) // first: from then on it stays
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

// HasVariant tells whether the variant of an image exists as a file of its own, and not as
// a link to another. If neither exists, the error is ErrNotMade.
func (v *Variants) HasVariant(image record.Image, name string, f probe.Format) (own bool, err error) {
	path := v.s.Path(image.VariantFile(name, f))
	info, err := os.Lstat(path)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		_, err = os.Stat(path) // its target may be gone
	} else {
		own = err == nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNotMade
	}
	return own, err
}

// VariantBytes is the length of the variant of an image under a name, or of what stands for
// it. If it is missing, the error is ErrNotMade.
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

// makeBy makes the variant at path with a maker.
func (v *Variants) makeBy(ctx context.Context, image record.Image, key Key, path string, maker Maker) error {
	if maker == nil {
		return ErrNotMade
	}
	return v.makeOnce(ctx, image, path, func(ctx context.Context) error {
		_, err := v.make(ctx, image, func(ctx context.Context, original io.Reader, n int64) ([]Variant, error) {
			data, err := maker(ctx, original, n)
			return []Variant{{Key: key, Data: data}}, err
		})
		return err
	})
}

// makeOnce makes the variant at path, in one flight for all concurrent callers. The flight
// ends if all of them leave before it has a decoder.
func (v *Variants) makeOnce(ctx context.Context, image record.Image, path string, make func(context.Context) error) error {
	_, err := flight.DoWanted(ctx, v.flights, "make\x00"+path, func(ctx context.Context) (struct{}, error) {
		// An earlier flight may have finished since. A link to an original that is gone
		// does not count.
		if _, err := os.Stat(path); err == nil {
			return struct{}{}, nil
		}
		return struct{}{}, v.withRepair(ctx, image, make)
	})
	return err
}

// withRepair calls make and, if the original is damaged, once more after repairing it.
func (v *Variants) withRepair(ctx context.Context, image record.Image, make func(context.Context) error) error {
	if err := v.s.Room(); err != nil {
		return err
	}
	err := make(ctx)
	if errors.Is(err, blob.ErrDamaged) {
		if err = v.s.Repair(ctx, image); err == nil {
			err = make(ctx)
		}
	}
	return err
}

// make stores what maker makes of an original, and returns the number of variants stored.
func (v *Variants) make(ctx context.Context, image record.Image, maker func(context.Context, io.Reader, int64) ([]Variant, error)) (int, error) {
	ctx, done := hold(ctx)
	defer done()
	var all []Variant
	err := v.readWhole(ctx, image, true, func(original io.Reader) (err error) {
		all, err = maker(ctx, original, image.Bytes)
		return err
	})
	if err != nil {
		return 0, err
	}
	for i, m := range all {
		if err := v.store(image, m); err != nil {
			return i, err
		}
	}
	return len(all), nil
}

// readWhole passes an original to reader, and checks its digest. A wrong digest takes
// precedence over reader's error, which wrong bytes may have caused. If reader decodes,
// readWhole records crashes, and keeps images that crash decoders from them.
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
	// A failed decoder may have left bytes unread.
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

// store keeps a result.
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
	v.s.Stored(image.VariantFile(m.Name, m.Format))
	return nil
}

// link makes the original, or another variant, stand for the variant. The link is symbolic,
// so that it cannot outlive its target.
func (v *Variants) link(target, path string) error {
	err := v.s.Disk().Symlink(filepath.Base(target), path)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("store what was made: %w", local.AsFull(err))
	}
	return nil
}

// VariantNames lists the names of the variants of an image, with their formats' extensions
// ("250x250.jpg"), in no particular order. It reads a folder of the store: milliseconds if
// that is large.
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
