package scrub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// compare compares the index of a bucket with its journal. It reads the index first: every
// entry then has its line, since lines are written before entries.
func (c *run) compare(ctx context.Context, b *scrubbed) error {
	links, err := c.links(b)
	if err != nil {
		return err
	}
	// The last line of a URL applies. Few have an image other than the one in the index:
	// earlier lines, and wrong ones.
	seen := make([]uint32, len(links)) // number of the last line of the URL; 0: none
	differ := map[index.Key]numberedLine{}
	purged := map[index.Ref]numberedLine{} // the last line of each
	n := 0
	for line, err := range c.s.Ledger().Since(b.name, record.Position{}) {
		if err != nil {
			return err
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n%8192 == 0 && c.Progress != nil {
			c.Progress(record.Progress{Stage: "journals", Done: int64(n)})
		}
		if line.Torn {
			continue
		}
		if !errors.Is(line.Broken, ledger.ErrMonthMissing) {
			b.end = record.Position{File: filepath.Base(line.File), Length: line.End}
		}
		if line.Broken != nil {
			c.found(line.Finding())
			continue
		}
		if line.Op == ledger.OpPurge {
			purged[index.RefTo(line.Image.Digest)] = numberedLine{line, uint32(n)}
			continue
		}
		key := index.KeyOf(line.Image.URL)
		i, ok := slices.BinarySearchFunc(links, key, func(l index.Link, k index.Key) int { return bytes.Compare(l.Key[:], k[:]) })
		if ok {
			seen[i] = uint32(n)
		}
		if ok && line.Op == ledger.OpKeep && links[i].Ref == index.RefTo(line.Image.Digest) || !ok && line.Op == ledger.OpForget {
			delete(differ, key)
		} else {
			differ[key] = numberedLine{line, uint32(n)}
		}
	}
	for i, l := range links {
		if line, ok := purged[l.Ref]; ok && seen[i] > 0 && seen[i] < line.number {
			if err := c.halfRemoved(b, l.Key, line.Entry); err != nil {
				return err
			}
		}
		if seen[i] == 0 {
			c.found(record.Finding{Kind: record.Unjournaled, Path: fmt.Sprintf("%s:%x", record.IndexFile, l.Key), Detail: "no line of the journal has this URL: 'imgkeep reindex' would forget it"})
		}
	}
	return c.compareAgain(ctx, b, differ, purged)
}

// links reads the URLs in the index.
func (c *run) links(b *scrubbed) (links []index.Link, err error) {
	b.counts = map[index.Ref]uint64{}
	for l, err := range c.s.Index().URLs(b.name) {
		if err != nil && l.Key == (index.Key{}) {
			return nil, fmt.Errorf("read the index: %w", err)
		}
		if err != nil {
			c.found(record.Finding{Kind: record.Disagreement, Path: fmt.Sprintf("%s:%x", record.IndexFile, l.Key), Detail: err.Error()})
			continue
		}
		links = append(links, l)
		b.counts[l.Ref]++
	}
	return links, nil
}

// compareAgain checks lines again that may contradict the index.
func (c *run) compareAgain(ctx context.Context, b *scrubbed, differ map[index.Key]numberedLine, purged map[index.Ref]numberedLine) error {
	for key, line := range differ {
		var err error
		switch purge, ok := purged[index.RefTo(line.Image.Digest)]; {
		case ok && purge.number > line.number: // the index does not have it, as it should be, or it was just looked at
		case line.Op == ledger.OpForget:
			err = c.halfRemoved(b, key, line.Entry)
		default:
			err = c.differs(ctx, b, key, line.Entry)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// numberedLine is a line of a journal, and its number in all of it, from 1.
type numberedLine struct {
	ledger.Entry
	number uint32
}

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
			f.SetRepair("counted anew", err)
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
