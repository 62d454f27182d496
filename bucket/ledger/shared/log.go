package shared

import (
	"context"
	"errors"
	"fmt"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// next applies the entry of the log that follows, and tells whether there was one.
func (l *Ledger) next(ctx context.Context) (more bool, err error) {
	mark, err := l.applied()
	if err != nil {
		return false, err
	}
	e, err := l.entry(ctx, mark.Number+1)
	if errors.Is(err, object.ErrAbsent) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, l.apply(mark.Number+1, e)
}

// catchUpTo reads the log up to an entry, which must be there.
func (l *Ledger) catchUpTo(ctx context.Context, n uint64) error {
	for {
		mark, err := l.applied()
		if err != nil || mark.Number >= n {
			return err
		}
		more, err := l.next(ctx)
		if err != nil {
			return err
		}
		if !more {
			return fmt.Errorf("%w: a record knows of entry %d of the log of removals, and the object store has only %d", ledger.ErrMisfit, n, mark.Number)
		}
	}
}

// apply takes an entry of the log into the state, if it is the next.
func (l *Ledger) apply(n uint64, e ledger.Entry) error {
	defer l.Removing(e)()
	return l.State.Update(func(tx Tx) error {
		mark, err := tx.Applied()
		if err != nil || mark.Number != n-1 {
			return err // somebody else was faster
		}
		if err := l.effect(tx, n, e); err != nil {
			return err
		}
		return tx.SetApplied(record.Mark{Number: n, ID: e.ID})
	})
}

// effect is what an entry does.
func (l *Ledger) effect(tx Tx, n uint64, e ledger.Entry) error {
	digest, format := record.Digest{}, probe.Unknown
	subject := record.Subject{Bucket: e.Image.Bucket}
	switch e.Op {
	case ledger.OpForget:
		subject.Kind, subject.Name = record.BlockURL, e.Image.URL
	case ledger.OpPurge:
		subject.Kind, subject.Name = record.BlockDigest, e.Image.Digest.String()
		digest, format = e.Image.Digest, e.Image.Format
	case ledger.OpBlock:
		subject.Kind, subject.Name = e.Block.Kind, e.Block.Subject
		if err := tx.Block(e.Block); err != nil {
			return err
		}
		if e.Block.Kind == record.BlockDigest {
			var err error
			if digest, err = record.ParseDigest(e.Block.Subject); err != nil {
				return fmt.Errorf("entry %d of the log: %w", n, err)
			}
		}
	case ledger.OpUnblock:
		return tx.Unblock(e.Block.Kind, e.Block.Subject)
	default:
		return fmt.Errorf("entry %d of the log: %w: %q", n, ledger.ErrOperation, e.Op)
	}
	if digest != (record.Digest{}) {
		killed, err := l.names(tx, subject.Bucket, digest, format)
		if err == nil {
			err = tx.SetPending(record.Pending{Number: n, Originals: killed})
		}
		if err != nil {
			return err
		}
	}
	return tx.SetHit(subject, n)
}

// names are the originals of a digest before an entry that hits it: in a bucket, or all where
// that is "", and of all formats where none is known.
func (l *Ledger) names(tx Tx, bucket string, d record.Digest, format probe.Format) (images []record.Image, err error) {
	buckets, formats := l.Buckets, probe.Formats()
	if bucket != "" {
		buckets = []string{bucket}
	}
	if format != probe.Unknown {
		formats = []probe.Format{format}
	}
	for _, bucket := range buckets {
		gen, err := generation(tx, bucket, d)
		if err != nil {
			return nil, err
		}
		for _, f := range formats {
			images = append(images, record.Image{Bucket: bucket, Digest: d, Info: probe.Info{Format: f}, Generation: gen})
		}
	}
	return images, nil
}

// Finish deletes the originals whose names the log has killed. It may be called at any time,
// any number of times.
func (l *Ledger) Finish(ctx context.Context) error {
	var pending []record.Pending
	err := l.State.View(func(tx Tx) (err error) {
		pending, err = tx.Pending()
		return err
	})
	var errs []error
	for _, p := range pending {
		errs = append(errs, l.finish(ctx, p))
	}
	return errors.Join(append(errs, err)...)
}

func (l *Ledger) finish(ctx context.Context, p record.Pending) error {
	for _, image := range p.Originals {
		if err := l.Files.Remove(ctx, image); err != nil {
			return fmt.Errorf("delete %s: %w", object.Key(image), err)
		}
	}
	return l.State.Update(func(tx Tx) error { return tx.ClearPending(p.Number) })
}

// Sweep deletes the originals of a bucket whose names the log has killed and that are there all
// the same: a node that has crashed, or a request that came late, has left them. It returns how
// many. It goes through all originals, which nothing else does; a name that is dead is never
// used again, so that it may run at any time.
func (l *Ledger) Sweep(ctx context.Context, bucket string) (deleted int, err error) {
	if err := l.CatchUp(ctx); err != nil {
		return 0, err
	}
	for image, err := range l.Files.List(ctx, bucket) {
		if err != nil {
			return deleted, fmt.Errorf("list the originals of %s: %w", bucket, err)
		}
		gen, err := l.Generation(bucket, image.Digest)
		if err != nil {
			return deleted, err
		}
		if image.Generation >= gen {
			continue
		}
		if err := l.Files.Remove(ctx, image); err != nil {
			return deleted, fmt.Errorf("delete %s: %w", object.Key(image), err)
		}
		deleted++
	}
	return deleted, nil
}

// Remove appends an event to the log: that a URL was forgotten or bytes purged in a bucket, or
// that something is blocked, or is no more, in all. When it returns without an error no node
// that has read the log to its number, which it returns, shows what was removed, and the bytes
// are deleted. ErrUnfinished says that only these are not. Any other error leaves open whether
// the event was appended: it may be tried again, which does no harm.
//
// Removing a URL deletes no bytes: no node knows all URLs that have them.
func (l *Ledger) Remove(ctx context.Context, bucket string, event ledger.Event) (n uint64, err error) {
	event.Bucket, event.ID = bucket, newID()
	c, err := content(&event)
	if err != nil {
		return 0, err
	}
	if n, err = l.append(ctx, event.ID, c); err != nil {
		return 0, fmt.Errorf("append to the log of removals: %w", err)
	}
	if err := l.catchUpTo(ctx, n); err != nil {
		return n, err
	}
	var mine []record.Pending
	err = l.State.View(func(tx Tx) error {
		pending, err := tx.Pending()
		for _, p := range pending {
			if p.Number == n {
				mine = append(mine, p)
			}
		}
		return err
	})
	if err != nil {
		return n, err
	}
	for _, p := range mine {
		if err := l.finish(ctx, p); err != nil {
			return n, fmt.Errorf("%w: %w", ErrUnfinished, err)
		}
	}
	return n, nil
}

// append appends an entry to the log, and returns its number.
func (l *Ledger) append(ctx context.Context, id string, c object.Content) (uint64, error) {
	for unanswered := 0; ; {
		mark, err := l.applied()
		if err != nil {
			return 0, err
		}
		n := mark.Number + 1
		err = l.Objects.Create(ctx, logKey(n), c)
		if err == nil {
			return n, nil
		}
		if !errors.Is(err, object.ErrExists) && !errors.Is(err, object.ErrUnclear) {
			return 0, err
		}
		e, readErr := l.entry(ctx, n)
		switch {
		case errors.Is(readErr, object.ErrAbsent):
			if unanswered++; unanswered >= maxAgain {
				return 0, err
			}
		case readErr != nil:
			return 0, errors.Join(err, readErr)
		case e.ID == id:
			return n, nil
		default:
			if err := l.apply(n, e); err != nil {
				return 0, err
			}
		}
	}
}
