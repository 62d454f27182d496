package shared

import (
	"context"
	"errors"
	"fmt"
	"io"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// What a keeper does after it has compared a record with what it knows.
type verdict int

const (
	adopt   verdict = iota // it is live: it stands
	replace                // it was dead when the keeper began
	again                  // what the keeper began with is old
)

// keeper is one attempt of Keep.
type keeper struct {
	*Ledger
	ctx   context.Context
	image record.Image // that is to be kept, with the generation of its name
	from  io.ReaderAt
	event ledger.Event
	k     uint64 // that was applied when the attempt began

	imported bool // it was kept before, and a block does not prevent it
}

// standing is a record that was found or written.
type standing struct {
	image record.Image
	at    uint64
}

// Keep keeps an image under its URL, of which event tells and from has the bytes, and returns
// the image that stands there now: another's if that was faster. When it returns without an
// error all nodes find it, until it is removed. ErrBlocked, ErrBusy, or an error of the store,
// after which it is kept or not.
//
// Where nobody interferes that is two objects created, and one read of the log that finds no
// more.
func (l *Ledger) Keep(ctx context.Context, image record.Image, from io.ReaderAt, event ledger.Event) (record.Image, error) {
	return l.keep(ctx, keeper{image: image, from: from, event: event})
}

func (l *Ledger) keep(ctx context.Context, k keeper) (record.Image, error) {
	k.Ledger, k.ctx = l, ctx
	for range maxAgain {
		attempt := k
		kept, err := attempt.attempt()
		if errors.Is(err, errAgain) {
			continue
		}
		return kept, err
	}
	return record.Image{}, ErrBusy
}

// errAgain: what the attempt knew is old.
var errAgain = errors.New("begin again")

// attempt is one from the beginning. Bytes that it has put under a name that died meanwhile
// it deletes.
func (k *keeper) attempt() (kept record.Image, err error) {
	if err := k.begin(); err != nil {
		return record.Image{}, err
	}
	defer func() {
		// Also where another's record stands: these bytes are nobody's then.
		if cleanErr := k.clean(); cleanErr != nil {
			k.Log.Error("bytes that nothing refers to are left until the next scrub", "original", object.Key(k.image), "error", cleanErr)
		}
	}()
	if err := k.Files.Put(k.ctx, k.image, k.from); err != nil {
		return record.Image{}, fmt.Errorf("put %s: %w", object.Key(k.image), err)
	}
	stands, err := k.write()
	if err != nil {
		return record.Image{}, err
	}
	// That there is no more in the log is the moment at which it is decided.
	if err := k.CatchUp(k.ctx); err != nil {
		return record.Image{}, err
	}
	return k.enter(stands)
}

// begin takes what is known now, all of one moment.
func (k *keeper) begin() error {
	return k.State.View(func(tx Tx) error {
		is, err := blocked(tx, k.image)
		if err != nil {
			return err
		}
		if is && !k.imported {
			return ErrBlocked
		}
		mark, err := tx.Applied()
		if err != nil {
			return err
		}
		k.k = mark.Number
		k.image, err = original(tx, k.image)
		return err
	})
}

// clean deletes the bytes of the attempt, if their name is dead.
func (k *keeper) clean() error {
	gen, err := k.Generation(k.image.Bucket, k.image.Digest)
	if err != nil || k.image.Generation >= gen {
		return err
	}
	return k.Files.Remove(context.WithoutCancel(k.ctx), k.image)
}

// write writes the record of the URL, unless a live one stands there, and returns what stands.
func (k *keeper) write() (standing, error) {
	k.event.Bucket, k.event.At = k.image.Bucket, k.k
	c, err := content(&k.event)
	if err != nil {
		return standing{}, err
	}
	key, mine := recordKey(k.image.Bucket, k.image.URL), standing{k.image, k.k}
	for range maxAgain {
		err := k.Objects.Create(k.ctx, key, c)
		for err != nil {
			if !errors.Is(err, object.ErrExists) && !errors.Is(err, object.ErrChanged) && !errors.Is(err, object.ErrUnclear) {
				return standing{}, fmt.Errorf("write %s: %w", key, err)
			}
			there, tag, readErr := k.read()
			if errors.Is(readErr, object.ErrAbsent) {
				break // create it again
			}
			if readErr != nil {
				return standing{}, errors.Join(err, readErr)
			}
			what, judgeErr := k.judge(there)
			switch {
			case judgeErr != nil:
				return standing{}, judgeErr
			case what == adopt:
				return there, nil
			case what == again:
				return standing{}, errAgain
			}
			err = k.Objects.Replace(k.ctx, key, c, tag)
		}
		if err == nil {
			return mine, nil
		}
	}
	return standing{}, ErrBusy
}

func (k *keeper) read() (standing, string, error) {
	image, at, tag, err := k.readRecord(k.ctx, k.image.Bucket, k.image.URL)
	return standing{image, at}, tag, err
}

// judge compares a record with what is known. A record that knows more of the log than this
// node makes it read on.
func (k *keeper) judge(there standing) (what verdict, err error) {
	mark, err := k.applied()
	if err != nil {
		return again, err
	}
	if there.at > mark.Number {
		return again, k.catchUpTo(k.ctx, there.at)
	}
	err = k.State.View(func(tx Tx) error {
		last, err := hit(tx, there.image)
		switch {
		case last <= there.at:
			what = adopt
		case last <= k.k:
			what = replace
		default: // it was hit after the attempt began, or before and after
			what = again
		}
		return err
	})
	return what, err
}

// enter enters what stands into the state, if it does so still, and returns it.
func (k *keeper) enter(s standing) (kept record.Image, err error) {
	err = k.State.Update(func(tx Tx) error {
		is, err := blocked(tx, s.image)
		if err != nil {
			return err
		}
		if is && !k.imported {
			return ErrBlocked
		}
		last, err := hit(tx, s.image)
		if err != nil {
			return err
		}
		if last > s.at {
			return errAgain
		}
		if kept, err = original(tx, s.image); err != nil {
			return err
		}
		return tx.Enter(kept, s.at)
	})
	return kept, err
}
