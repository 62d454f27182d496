package scrub

import (
	"context"
	"errors"

	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// blockDifferences are the differences in blocks between index and journal.
type blockDifferences struct {
	broken    []record.Finding
	unindexed []ledger.Entry // blocks that the index lacks
	extra     []record.Block // without a line
}

func (d blockDifferences) none() bool {
	return len(d.broken)+len(d.unindexed)+len(d.extra) == 0
}

// blocks compares the blocks of the index with their journal.
func (c *run) blocks(ctx context.Context) error {
	d, err := compareBlocks(ctx, c.s)
	if err != nil || d.none() {
		return err
	}
	// Once more, while no block is added or lifted.
	c.s.Removing().Lock()
	defer c.s.Removing().Unlock()
	if d, err = compareBlocks(ctx, c.s); err != nil {
		return err
	}
	for _, f := range d.broken {
		c.found(f)
	}
	for _, line := range d.unindexed {
		f := record.Finding{Kind: record.Unindexed, Path: line.Place(), URL: line.Image.URL, Detail: "the index does not block the " + line.Block.Kind + " " + line.Block.Subject}
		if c.Repair {
			c.s.Ledger().CountRemoval()
			f.SetRepair("blocked", c.s.Commit(index.Change{Block: &line.Block}, nil))
		}
		c.found(f)
	}
	for _, block := range d.extra {
		f := record.Finding{Kind: record.Unjournaled, Path: record.IndexFile, Detail: "no line of the journal blocks the " + block.Kind + " " + block.Subject + ": 'imgkeep reindex' would lift that"}
		if c.Repair {
			f.SetRepair("written to the journal", c.s.Commit(index.Change{Block: &block}, ledger.BlockEvent(ledger.OpBlock, block)))
		}
		c.found(f)
	}
	return nil
}

func compareBlocks(ctx context.Context, s Store) (d blockDifferences, err error) {
	type subject struct{ kind, subject string }
	journaled := map[subject]ledger.Entry{}
	for line, err := range s.Ledger().Since("", record.Position{}) {
		if err == nil {
			err = ctx.Err()
		}
		switch at := (subject{line.Block.Kind, line.Block.Subject}); {
		case err != nil:
			return d, err
		case line.Torn:
		case line.Broken != nil:
			d.broken = append(d.broken, line.Finding())
		case line.Op == ledger.OpBlock:
			journaled[at] = line
		default:
			delete(journaled, at)
		}
	}
	for block, err := range s.Index().Blocks() {
		at := subject{block.Kind, block.Subject}
		_, ok := journaled[at]
		switch {
		case errors.Is(err, index.ErrDamaged):
			d.broken = append(d.broken, record.Finding{Kind: record.Disagreement, Path: record.IndexFile, Detail: err.Error()})
		case err != nil:
			return d, err
		case ok:
			delete(journaled, at)
		default:
			d.extra = append(d.extra, block)
		}
	}
	for _, line := range journaled {
		d.unindexed = append(d.unindexed, line)
	}
	return d, nil
}
