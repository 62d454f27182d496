package scrub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// halfRemoved checks a URL again that the journal says was removed and that is still in the
// index: because of a crash or a failed disk. The removal was not acknowledged.
func (c *run) halfRemoved(b *scrubbed, key index.Key, line ledger.Entry) error {
	c.s.Removing().Lock()
	defer c.s.Removing().Unlock()
	ref, err := c.s.Index().RefOf(b.name, key)
	if errors.Is(err, index.ErrNotFound) || errors.Is(err, index.ErrDamaged) || err == nil && ref != index.RefTo(line.Image.Digest) {
		return nil // it has changed since, or is reported as damaged
	}
	if err != nil {
		return err
	}
	if changed, err := c.changedSince(b, key, line.Image.Digest); err != nil || changed {
		return err
	}
	f := record.Finding{Kind: record.HalfRemoved, Path: line.Place(), URL: line.Image.URL, Detail: "the journal says that it was removed, and the index has it"}
	if c.Repair {
		change := index.Change{Bucket: b.name, URL: line.Image.URL, Forget: true}
		if line.Op == ledger.OpPurge {
			change = index.Change{Bucket: b.name, Purge: &index.Removing{Digest: line.Image.Digest, Format: line.Image.Format}}
		}
		err := c.s.CommitWithReserve(change, nil)
		c.s.Ledger().CountRemoval() // for readers that look at it
		if err == nil {
			err = c.s.FinishRemovals(b.name)
		}
		f.SetRepair("removed", err)
	}
	c.found(f)
	return nil
}

// changedSince tells whether the journal has a later line about a URL, or a purge of its
// bytes, after the compared ones. Nothing is removed meanwhile.
func (c *run) changedSince(b *scrubbed, key index.Key, d record.Digest) (bool, error) {
	for line, err := range c.s.Ledger().Since(b.name, b.end) {
		if err != nil {
			return false, err
		}
		if line.Broken != nil {
			continue
		}
		if line.Op == ledger.OpPurge && line.Image.Digest == d || line.Op != ledger.OpPurge && index.KeyOf(line.Image.URL) == key {
			return true, nil
		}
	}
	return false, nil
}

// removing checks what is removed except for its files.
func (c *run) removing(b *scrubbed) error {
	c.s.Removing().Lock()
	defer c.s.Removing().Unlock()
	all, err := c.s.Index().Removing(b.name)
	if errors.Is(err, index.ErrDamaged) {
		c.found(record.Finding{Kind: record.Disagreement, Path: record.IndexFile, Detail: err.Error()})
		err = nil
	}
	if err != nil || len(all) == 0 {
		return err
	}
	if c.Repair {
		err = c.s.FinishRemovals(b.name)
	}
	for _, gone := range all {
		image := record.Image{Bucket: b.name, Digest: gone.Digest}
		image.Format = gone.Format
		f := record.Finding{Kind: record.HalfRemoved, Path: image.File(), Detail: "it was removed, and its files could not be"}
		if c.Repair {
			f.SetRepair("removed", err)
		}
		c.found(f)
	}
	return nil
}

// differs checks a URL again for which index and journal differ.
func (c *run) differs(ctx context.Context, b *scrubbed, key index.Key, line ledger.Entry) error {
	f := record.Finding{Kind: record.Unindexed, Path: line.Place(), URL: line.Image.URL, Detail: "the index does not have it"}
	ref, err := c.s.Index().RefOf(b.name, key)
	switch {
	case errors.Is(err, index.ErrNotFound):
	case errors.Is(err, index.ErrDamaged):
		return nil // reported as that
	case err != nil:
		return err
	case ref == index.RefTo(line.Image.Digest):
		return nil
	default:
		f.Kind, f.Detail = record.Disagreement, fmt.Sprintf("the index has an image whose digest begins with %x", ref[:6])
	}
	// In a store in use, the entry may be a moment later than its line.
	if !c.Exclusive && c.s.Now().Sub(line.Image.Stored) < fresh {
		b.unindexed[line.Image.Digest] = true
		return nil
	}
	c.s.Removing().RLock()
	defer c.s.Removing().RUnlock()
	if changed, err := c.changedSince(b, key, line.Image.Digest); err != nil || changed {
		return err
	}
	if _, err := os.Lstat(c.s.Path(line.Image.File())); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// It is fetched again on request, which nothing prevents.
		f.Kind, f.Detail = record.Missing, "the journal has it, the index does not, and there is no such file"
		c.found(f)
		return nil
	}
	b.unindexed[line.Image.Digest] = true
	if c.Repair {
		_, detail, err := c.check(ctx, line.Image)
		if err != nil {
			return err
		}
		if detail != "" {
			err = errors.New(detail)
		} else {
			err = c.s.Commit(index.Change{Bucket: b.name, URL: line.Image.URL, Keep: index.ImageOf(line.Image)}, nil)
		}
		f.SetRepair("indexed", err)
	}
	c.found(f)
	return nil
}

// recount checks wrong counts of URLs again: in a store in use they change during the
// comparison.
func (c *run) recount(b *scrubbed) error {
	if len(b.miscount) == 0 {
		return nil
	}
	had, got := map[record.Digest]uint64{}, map[index.Ref]uint64{}
	for _, d := range b.miscount {
		if e, err := c.s.Index().Entry(b.name, d); err == nil {
			had[d] = e.Refs
			got[index.RefTo(d)] = 0
		}
	}
	for l, err := range c.s.Index().URLs(b.name) {
		if err != nil {
			return nil // which was reported, and may be one that is missing
		}
		if n, ok := got[l.Ref]; ok {
			got[l.Ref] = n + 1
		}
	}
	var wrong [][32]byte
	for _, d := range b.miscount {
		e, err := c.s.Index().Entry(b.name, d)
		if err == nil && e.Refs == had[d] && e.Refs != got[index.RefTo(d)] {
			wrong = append(wrong, d)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	var err error
	if c.Repair {
		err = c.s.Index().Recount(b.name, wrong)
	}
	for _, d := range wrong {
		f := record.Finding{
			Kind: record.References, Path: b.name + "/" + record.Digest(d).String(),
			Detail: fmt.Sprintf("%d URLs refer to it, and the index says %d", got[index.RefTo(d)], had[d]),
		}
		if c.Repair {
			f.SetRepair("counted again", err)
		}
		c.found(f)
	}
	return nil
}

// repair fetches damaged originals again. Their URLs are in the journal.
func (c *run) repair(ctx context.Context, b *scrubbed) error {
	if len(b.damaged) == 0 {
		return nil
	}
	urls := map[record.Digest][]string{}
	for _, d := range b.damaged {
		urls[d.entry.Digest] = nil
	}
	for line, err := range c.s.Ledger().Since(b.name, record.Position{}) {
		if err != nil {
			return err
		}
		list, ok := urls[line.Image.Digest]
		if line.Broken != nil || line.Op != ledger.OpKeep || !ok || slices.Contains(list, line.Image.URL) {
			continue
		}
		ref, err := c.s.Index().RefOf(b.name, index.KeyOf(line.Image.URL))
		if err == nil && ref == index.RefTo(line.Image.Digest) {
			urls[line.Image.Digest] = append(list, line.Image.URL)
		}
	}
	for _, d := range b.damaged {
		if err := c.repairOne(ctx, b, d, urls[d.entry.Digest]); err != nil {
			return err
		}
	}
	return nil
}

func (c *run) repairOne(ctx context.Context, b *scrubbed, d damaged, urls []string) error {
	image := index.RecordOf(b.name, "", d.entry.Image)
	// A viewer may have caused a fetch meanwhile, or an operator may have removed it.
	if e, err := c.s.Index().Entry(b.name, image.Digest); err != nil || e.Refs == 0 {
		return nil
	}
	if _, detail, err := c.check(ctx, image); err != nil || detail == "" {
		return err
	}
	f := d.Finding
	if len(urls) > 0 {
		f.URL = urls[0]
	}
	if !c.Repair {
		c.found(f)
		return nil
	}
	if f.Kind == record.Corrupt {
		// Wrong bytes are not served; in the quarantine they can be examined.
		if err := local.Quarantine(c.s.Disk(), c.s.Root(), c.quarantine, image.File()); err != nil {
			f.SetRepair("repaired", err)
			c.found(f)
			return nil
		}
	}
	err := errors.New("no line of the journal names its URL")
	for _, url := range urls {
		image.URL, f.URL = url, url
		if err = c.s.Repair(ctx, image); err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err == nil {
		f.SetRepair("fetched again", nil)
	} else {
		f.Repair = "not fetched again: " + err.Error()
		if f.Kind == record.Corrupt {
			f.Repair += "; moved to " + c.quarantine
		}
	}
	c.found(f)
	return nil
}

// isolate moves unreferenced files out of the store. In a store in use, somebody may be
// about to refer to one, so it stays.
func (c *run) isolate(f *record.Finding) {
	switch {
	case !c.Repair:
	case !c.Exclusive:
		f.Repair = "not moved while the server runs: it does no harm where it is"
	default:
		c.move(f)
	}
}

// move moves a file to the quarantine, under its path.
func (c *run) move(f *record.Finding) {
	f.SetRepair("moved to "+c.quarantine, local.Quarantine(c.s.Disk(), c.s.Root(), c.quarantine, f.Path))
}
