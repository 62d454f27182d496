package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"imgkeep/bucket/index"
)

// done notes that a repair was made, or why it was not.
func (f *Finding) done(what string, err error) {
	f.Repair, f.Repaired = what, err == nil
	if err != nil {
		f.Repair = "not " + what + ": " + err.Error()
	}
}

// compare compares the index of a bucket with its journal. The index is read
// first: what it has then has its line, since lines are written before entries.
func (c *scrubbing) compare(ctx context.Context, b *scrubbed) error {
	var links []index.Link
	b.counts = map[index.Ref]uint64{}
	for l, err := range c.s.index.URLs(b.name) {
		if err != nil && l.Key == (index.Key{}) {
			return fmt.Errorf("read the index: %w", err)
		}
		if err != nil {
			c.found(Finding{Kind: Disagreement, Path: fmt.Sprintf("%s:%x", indexFile, l.Key), Detail: err.Error()})
			continue
		}
		links = append(links, l)
		b.counts[l.Ref]++
	}
	seen := make([]bool, len(links))
	// The last line of a URL holds. Those whose image is not what the index
	// has are few: earlier ones, and those that are wrong.
	differ := map[index.Key]journalLine{}
	n := 0
	for line, err := range readJournalLines(c.s.root, b.name) {
		if err != nil {
			return err
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if n%8192 == 0 && c.Progress != nil {
			c.Progress(Progress{Stage: "journals", Done: int64(n)})
		}
		if line.torn {
			continue
		}
		if line.broken != nil {
			c.found(Finding{Kind: BrokenLine, Path: line.place(), Detail: line.broken.Error()})
			continue
		}
		key := index.KeyOf(line.image.URL)
		i, ok := slices.BinarySearchFunc(links, key, func(l index.Link, k index.Key) int { return bytes.Compare(l.Key[:], k[:]) })
		if ok {
			seen[i] = true
		}
		if ok && links[i].Ref == refOf(line.image.Digest) {
			delete(differ, key)
		} else {
			differ[key] = line
		}
	}
	for i, l := range links {
		if !seen[i] {
			c.found(Finding{Kind: Unjournaled, Path: fmt.Sprintf("%s:%x", indexFile, l.Key), Detail: "no line of the journal has this URL: 'imgkeep reindex' would forget it"})
		}
	}
	for key, line := range differ {
		if err := c.differs(ctx, b, key, line); err != nil {
			return err
		}
	}
	return nil
}

// differs looks again at a URL of which index and journal say different things.
func (c *scrubbing) differs(ctx context.Context, b *scrubbed, key index.Key, line journalLine) error {
	f := Finding{Kind: Unindexed, Path: line.place(), URL: line.image.URL, Detail: "the index does not have it"}
	ref, err := c.s.index.RefOf(b.name, key)
	switch {
	case errors.Is(err, index.ErrNotFound):
	case err != nil:
		return err
	case ref == refOf(line.image.Digest):
		return nil
	default:
		f.Kind, f.Detail = Disagreement, fmt.Sprintf("the index has an image whose digest begins with %x", ref[:6])
	}
	// In a store that is in use the entry may be a moment behind its line.
	if !c.Alone && c.s.now().Sub(line.image.Stored) < fresh {
		b.unindexed[line.image.Digest] = true
		return nil
	}
	if _, err := os.Lstat(c.s.Path(line.image.File())); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// It is fetched anew when it is asked for, which nothing hinders.
		f.Kind, f.Detail = Missing, "the journal has it, the index does not, and there is no such file"
		c.found(f)
		return nil
	}
	b.unindexed[line.image.Digest] = true
	if c.Repair {
		_, detail, err := c.check(ctx, line.image)
		if err != nil {
			return err
		}
		if detail != "" {
			err = errors.New(detail)
		} else {
			err = c.s.commit(index.Change{Bucket: b.name, URL: line.image.URL, Keep: line.image.entry()}, nil)
		}
		f.done("indexed", err)
	}
	c.found(f)
	return nil
}

// recount looks again at counts of URLs that were wrong: in a store that is in
// use they change while they are compared.
func (c *scrubbing) recount(b *scrubbed) error {
	if len(b.miscount) == 0 {
		return nil
	}
	had, got := map[Digest]uint64{}, map[index.Ref]uint64{}
	for _, d := range b.miscount {
		if e, err := c.s.index.Entry(b.name, d); err == nil {
			had[d] = e.Refs
			got[refOf(d)] = 0
		}
	}
	for l, err := range c.s.index.URLs(b.name) {
		if err != nil {
			continue // reported before
		}
		if n, ok := got[l.Ref]; ok {
			got[l.Ref] = n + 1
		}
	}
	var wrong [][32]byte
	for _, d := range b.miscount {
		e, err := c.s.index.Entry(b.name, d)
		if err == nil && e.Refs == had[d] && e.Refs != got[refOf(d)] {
			wrong = append(wrong, d)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	var err error
	if c.Repair {
		err = c.s.index.Recount(b.name, wrong)
	}
	for _, d := range wrong {
		f := Finding{
			Kind: References, Path: b.name + "/" + Digest(d).String(),
			Detail: fmt.Sprintf("%d URLs refer to it, and the index says %d", got[refOf(d)], had[d]),
		}
		if c.Repair {
			f.done("counted anew", err)
		}
		c.found(f)
	}
	return nil
}

// mend fetches damaged originals again. Their URLs stand in the journal.
func (c *scrubbing) mend(ctx context.Context, b *scrubbed) error {
	if len(b.damaged) == 0 {
		return nil
	}
	urls := map[Digest][]string{}
	for _, d := range b.damaged {
		urls[d.entry.Digest] = nil
	}
	for line, err := range readJournalLines(c.s.root, b.name) {
		if err != nil {
			return err
		}
		list, ok := urls[line.image.Digest]
		if line.broken != nil || !ok || slices.Contains(list, line.image.URL) {
			continue
		}
		ref, err := c.s.index.RefOf(b.name, index.KeyOf(line.image.URL))
		if err == nil && ref == refOf(line.image.Digest) {
			urls[line.image.Digest] = append(list, line.image.URL)
		}
	}
	for _, d := range b.damaged {
		if err := c.mendOne(ctx, b, d, urls[d.entry.Digest]); err != nil {
			return err
		}
	}
	return nil
}

func (c *scrubbing) mendOne(ctx context.Context, b *scrubbed, d damaged, urls []string) error {
	image := imageFrom(b.name, "", d.entry.Image)
	// A viewer may have had it fetched meanwhile, or an operator removed it.
	if e, err := c.s.index.Entry(b.name, image.Digest); err != nil || e.Refs == 0 {
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
	if f.Kind == Corrupt {
		// Wrong bytes are not served; there they can be looked at.
		if err := c.s.quarantine(c.quarantine, image.File()); err != nil {
			f.done("repaired", err)
			c.found(f)
			return nil
		}
	}
	err := errors.New("no line of the journal names its URL")
	for _, url := range urls {
		image.URL, f.URL = url, url
		if err = c.s.heal(ctx, image); err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if err == nil {
		f.done("fetched again", nil)
	} else {
		f.Repair = "not fetched again: " + err.Error()
		if f.Kind == Corrupt {
			f.Repair += "; moved to " + c.quarantine
		}
	}
	c.found(f)
	return nil
}

// isolate moves what nothing refers to out of the store. In a store that is in
// use somebody may be about to refer to it, so that it stays.
func (c *scrubbing) isolate(f *Finding) {
	switch {
	case !c.Repair:
	case !c.Alone:
		f.Repair = "not moved while the server runs: it does no harm where it is"
	default:
		c.move(f)
	}
}

// move moves a file to the quarantine, under its path.
func (c *scrubbing) move(f *Finding) {
	f.done("moved to "+c.quarantine, c.s.quarantine(c.quarantine, f.Path))
}
