package bucket

import (
	"context"
	"fmt"
	"io"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/node"
	"imgkeep/bucket/record"
)

// openNode makes the store one of several nodes. nil: it is the only one.
func (s *Store) openNode(o *node.Options, buckets []string) (err error) {
	if o == nil {
		return nil
	}
	fresh := *o
	fresh.Removing = func(e ledger.Entry) func() {
		s.ledger.CountRemoval()
		s.noteRemoved(e)
		end := func() {}
		if o.Removing != nil {
			end = o.Removing(e)
		}
		return func() { end(); s.ledger.CountRemoval() }
	}
	fresh.OutOfTouch = func() {
		s.ledger.CountRemoval()
		if o.OutOfTouch != nil {
			o.OutOfTouch()
		}
	}
	s.node, err = node.Open(context.Background(), fresh, node.Place{
		Root: s.root, Buckets: buckets, Disk: s.disk, Index: func() *index.DB { return s.index },
		Lock: &s.removing, Now: s.now, Log: s.log,
	})
	if err != nil {
		return fmt.Errorf("join the other nodes: %w", err)
	}
	s.files, s.records, s.known = s.node.Files(), s.node, s.node.Known
	return nil
}

// noteRemoved keeps what is on its way from being kept after it was removed.
func (s *Store) noteRemoved(e ledger.Entry) {
	switch e.Op {
	case ledger.OpForget:
		s.fetches.Forget([]string{e.Image.Bucket}, e.Image.URL)
	case ledger.OpPurge:
		s.fetches.Purge([]string{e.Image.Bucket}, e.Image.Digest)
	}
}

// Node is what the store is one of; nil: it is the only one.
func (s *Store) Node() *node.Node { return s.node }

// Stored tells the cache of a node that a variant has come, and Sends that it is about to be
// sent. The only node has no cache.
func (o originals) Stored(file string) {
	if o.s.node != nil {
		o.s.node.Cache.Stored(file)
	}
}

func (o originals) Sends(file string) {
	if o.s.node != nil {
		o.s.node.Cache.Sends(file)
	}
}

// keepAdmitted keeps an image while nothing is removed, or, as one of several nodes, unless the
// log that they share says otherwise. removing is read-locked.
func (s *Store) keepAdmitted(ctx context.Context, image record.Image, from io.ReaderAt, line *ledger.Event) (record.Image, error) {
	if s.node == nil {
		return s.records.Keep(ctx, image, from, *line)
	}
	s.removing.RUnlock() // which what the log removes waits for
	defer s.removing.RLock()
	kept, err := s.records.Keep(ctx, image, from, *line)
	if err == nil && kept.Digest == image.Digest && s.kept != nil {
		s.kept(kept)
	}
	return kept, err
}
