package bucket

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

// The journals are the truth, and the index says how far into each of them it
// goes. It may be behind: a process died between the two, the disk has lost the
// index's last commit, an operator has put an older file in its place. So at start,
// and after a commit that has failed, what the journals have behind that is taken
// in. This reads the ends of the journals only.

// catchUpBatch is how many lines are taken in with one flush.
const catchUpBatch = 4096

// indexFile is the index as it is opened, and rebuilt.
func (s *Store) indexFile() reindex.Index {
	return reindex.Index{
		Root: s.root, Buckets: s.bucketNames(), Files: s.files, Disk: s.disk, Log: s.log,
		Options: index.Options{
			Stale: func(f record.Failure) bool { return stale(f, s.now()) },
			Aside: filepath.Join(s.root, record.TmpDir, record.IndexFile),
		},
	}
}

// catchUpAtStart takes in what the index lacks.
func (s *Store) catchUpAtStart() error {
	removed, err := s.catchUp()
	if errors.Is(err, ledger.ErrMisfit) {
		if s.index, err = s.indexFile().Refit(s.index, err); err == nil {
			removed, err = s.catchUp()
		}
	}
	if local.NoRoom(err) && !removed {
		// What is kept is served; the rest follows when there is room.
		s.behind = true
		s.log.Error("the index is behind the journals, and the disk is full", "error", err)
		return nil
	}
	return err
}

// catchUp takes in what all journals have behind the index. It tells whether that
// were removals or blocks.
func (s *Store) catchUp() (removed bool, err error) {
	for _, name := range append([]string{""}, s.bucketNames()...) {
		t := tail{s: s, bucket: name, kept: map[record.Digest]bool{}}
		if err := s.ledger.Settle(name); err != nil {
			return removed, fmt.Errorf("open the journal of %s: %w", journalName(name), err)
		}
		err := t.takeIn()
		removed = removed || t.removals
		if err != nil {
			return removed, fmt.Errorf("bring the index to the end of the journal of %s: %w", journalName(name), err)
		}
	}
	return removed, nil
}

// tail is what a journal has behind the index.
type tail struct {
	s        *Store
	bucket   string
	from     record.Position
	lines    int
	removals bool // there are removals or blocks among them
	// partial says that lines are missing or cannot be read. One of them may be
	// that of a URL that has the bytes of a removed one: no file is removed then.
	partial bool
	kept    map[record.Digest]bool // by lines that are not committed yet
}

func (t *tail) takeIn() (err error) {
	if t.from, err = t.s.index.Position(t.bucket); err != nil {
		return err
	}
	if err := t.s.ledger.Check(t.bucket, t.from); err != nil {
		return err
	}
	if err := t.survey(); err != nil || t.lines == 0 {
		return err
	}
	t.s.log.Warn("the index is behind the journal: adding the missing lines", "bucket", t.bucket, "lines", t.lines, "removals", t.removals, "whole", !t.partial)
	var changes []index.Change
	var last ledger.Entry
	for line, err := range t.s.ledger.Since(t.bucket, t.from) {
		if err != nil {
			return err
		}
		if line.Torn || errors.Is(line.Broken, ledger.ErrMonthMissing) {
			continue
		}
		if last = line; line.Broken == nil {
			changes = append(changes, t.change(line))
		}
		if len(changes) == catchUpBatch {
			if err := t.commit(changes, line); err != nil {
				return err
			}
			changes = nil
		}
	}
	if last.File == "" {
		return nil
	}
	if t.partial && t.bucket != "" {
		if changes, err = t.spare(changes); err != nil {
			return err
		}
	}
	return t.commit(changes, last)
}

// survey reads the lines, and reports those that are broken.
func (t *tail) survey() error {
	for line, err := range t.s.ledger.Since(t.bucket, t.from) {
		switch {
		case err != nil:
			return err
		case line.Torn:
			continue
		case errors.Is(line.Broken, ledger.ErrOperation):
			return fmt.Errorf("%s: %w: use the version that wrote it", line.File, line.Broken)
		case line.Broken != nil && t.bucket == "":
			return ledger.UnreadableBlock(line)
		case line.Broken != nil:
			t.s.log.Error("a line of the journal cannot be added to the index", "file", line.File, "end", line.End, "error", line.Broken)
			t.partial = true
		case line.Number == 1 && filepath.Base(line.File) != t.from.File && line.After == "":
			t.partial = true // nobody knows of a month between
		}
		t.lines++
		t.removals = t.removals || line.Op == ledger.OpForget || line.Op == ledger.OpPurge || line.Op == ledger.OpBlock
	}
	return nil
}

func (t *tail) change(line ledger.Entry) index.Change {
	spare := t.partial || t.from.File == ""
	c := index.Change{Bucket: t.bucket}
	switch line.Op {
	case ledger.OpKeep:
		c.URL, c.Keep = line.Image.URL, index.ImageOf(line.Image)
		t.kept[line.Image.Digest] = true
	case ledger.OpForget:
		c.URL, c.Forget, c.Spare = line.Image.URL, true, spare
	case ledger.OpPurge:
		// Bytes that the index does not know are for scrubbing.
		if _, err := t.s.index.Entry(t.bucket, line.Image.Digest); errors.Is(err, index.ErrNotFound) && !t.kept[line.Image.Digest] {
			spare = true
		}
		c.Purge, c.Spare = &index.Removing{Digest: line.Image.Digest, Format: line.Image.Format}, spare
	case ledger.OpBlock:
		c.Block, c.ClearClass = &line.Block, blockClears(line.Block)
	case ledger.OpUnblock:
		c.Unblock, c.ClearClass = &line.Block, unblockClears(line.Block)
	}
	return c
}

// spare gives up what an earlier process had begun to remove: of a line that
// cannot be read nobody knows that it did not keep the bytes again.
func (t *tail) spare(changes []index.Change) ([]index.Change, error) {
	all, err := t.s.index.Removing(t.bucket)
	for _, gone := range all {
		t.s.log.Warn("kept the file of an image that was being removed, because lines of the journal are missing: it is not served, and scrub reports it", "bucket", t.bucket, "digest", record.Digest(gone.Digest))
		changes = append(changes, index.Change{Bucket: t.bucket, Removed: &gone.Digest})
	}
	return changes, err
}

// commit takes lines in, up to and with the last one. A line that the index
// refuses is for scrubbing, and keeps none of the others out.
func (t *tail) commit(changes []index.Change, last ledger.Entry) error {
	at, err := t.s.ledger.PositionOf(last)
	if err != nil {
		return err
	}
	end := index.Change{Bucket: t.bucket, Position: &at}
	clear(t.kept)
	if t.removals {
		t.s.ledger.CountRemoval()
	}
	err = t.s.apply(t.s.index, append(changes, end))
	if !refusedByIndex(err) {
		return err
	}
	for _, c := range changes {
		if err := t.s.apply(t.s.index, []index.Change{c}); refusedByIndex(err) {
			t.s.log.Error("the index refuses a line of the journal", "file", last.File, "before", last.End, "error", err)
		} else if err != nil {
			return err
		}
	}
	return t.s.apply(t.s.index, []index.Change{end})
}

// refusedByIndex tells whether it was the index that could not make a change, and not the
// disk.
func refusedByIndex(err error) bool {
	return errors.Is(err, index.ErrCollision) || errors.Is(err, index.ErrDamaged)
}

// renewPause is how long after an attempt to repair the index the next one follows,
// at first and at most.
const renewPause, maxRenewPause = time.Second, time.Minute

// repairIndex has the index answer again after a failed flush, and takes in what it
// lacks after any commit that has failed. Only the committer calls it.
func (s *Store) repairIndex() error {
	select {
	case <-s.index.Damaged():
		s.node.Hold() // what it knows of removals is lost
		if err := s.indexFile().Renew(s.index); err != nil {
			return err
		}
		s.ledger.CountRemoval() // for readers that look at it
	default:
	}
	if s.index.Failed() {
		if err := s.index.Renew(filepath.Join(s.root, record.TmpDir, record.IndexFile)); err != nil {
			return err
		}
		s.log.Warn("the index was rewritten after the disk had failed to write it")
	}
	removed, err := s.catchUp()
	if err != nil {
		return err
	}
	s.behind = false
	if done, err := s.begin(); removed && err == nil {
		go func() {
			defer done()
			if s.tookIn != nil {
				s.tookIn()
			}
			s.removeLeft()
		}()
	} else if err == nil {
		done()
	}
	return nil
}
