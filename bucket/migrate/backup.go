package migrate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/record"
)

// backingUp is what a pull to a backup remembers besides.
type backingUp struct {
	first bool // no backup to the folder has ended before
	// dead are the URLs that have a record and are not kept, as the log says; of what has no
	// record nobody has said so.
	dead map[index.Key]bool
	lost map[index.Key]bool // that have none, and were kept

	images, copied, removed int
	bytes                   int64 // copied
}

// Backup copies what is shared to the folder Root, from which backup.Restore makes a store of one
// machine. Records are read before originals, and journals name only originals that are there,
// whenever it was interrupted; the next Backup goes on. Name tells the object store from others.
//
// It fetches the originals that the folder lacks, by name and length; with Verify it reads those that
// are there and fetches the damaged ones again. The journals go on from those in the folder: what was
// removed, by whom, and what is new. An original goes only if the log has removed it: one that the
// object store has lost is a finding, and the folder's copy stays. A log that is not the one of the
// last backup is an error, before anything changes.
//
// The first Backup to a folder begins its journals with those that were pushed, as Pull; what is
// pushed later is not added to them. It takes as much memory as Pull.
func Backup(ctx context.Context, o Options) (_ backup.Report, err error) {
	m, err := newMover(o)
	if err != nil {
		return backup.Report{}, err
	}
	if err := m.ledger.CatchUp(ctx); err != nil {
		return backup.Report{}, err
	}
	f, err := backup.OpenFolder(backup.Options{Dir: o.Root, Now: m.Now}, backup.Source{Name: o.Name})
	if err != nil {
		return backup.Report{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := m.continuesLog(ctx, f.Last); err != nil {
		return backup.Report{}, err
	}
	p := &pull{mover: m, files: local.New(local.OS{}, o.Root, m.Now), backup: &backingUp{first: f.Last == (backup.Source{})}}
	if err := p.backUp(ctx); err != nil {
		return backup.Report{}, err
	}
	of, err := m.source(ctx)
	if err != nil {
		return backup.Report{}, err
	}
	b := p.backup
	return f.End(of, backup.Report{Images: b.images, Copied: b.copied, Removed: b.removed, Bytes: b.bytes, Found: p.report.Found}, p.report.Bytes)
}

// continuesLog makes sure that the log has what a backup knows of it.
func (m *mover) continuesLog(ctx context.Context, last backup.Source) error {
	if last.Log == 0 {
		return nil
	}
	entry, err := m.ledger.Event(ctx, last.Log)
	if errors.Is(err, ledger.ErrNotKept) || err == nil && entry.ID != last.ID {
		return fmt.Errorf("%s lacks removals that the backup in %s has, or is another store: use a new folder", m.Name, m.Root)
	}
	return err
}

// source is what is backed up, as far as its log was read.
func (m *mover) source(ctx context.Context) (of backup.Source, err error) {
	of.Name = m.Name
	if of.Log, err = m.ledger.Applied(); err != nil || of.Log == 0 {
		return of, err
	}
	entry, err := m.ledger.Event(ctx, of.Log)
	of.ID = entry.ID
	return of, err
}

func (p *pull) backUp(ctx context.Context) error {
	if err := p.prepare(); err != nil {
		return err
	}
	if err := p.known(ctx); err != nil {
		return err
	}
	if p.backup.first {
		if err := p.pullJournals(ctx); err != nil {
			return err
		}
	}
	for _, bucket := range p.Buckets {
		p.backup.dead, p.backup.lost = map[index.Key]bool{}, map[index.Key]bool{}
		err := p.bucket(ctx, bucket)
		if err == nil {
			err = p.removeGone(ctx, bucket)
		}
		if err != nil {
			return in(bucket, local.AsFull(err))
		}
	}
	return p.blocks(ctx)
}

// isDead notes that a URL is not kept because the log says so.
func (b *backingUp) isDead(url string) {
	if b != nil {
		b.dead[index.KeyOf(url)] = true
	}
}

// isLost tells whether the object store has no record of what a backup has and nothing has removed,
// and reports it once.
func (p *pull) isLost(i record.Image, live bool) bool {
	key, b := index.KeyOf(i.URL), p.backup
	if b == nil || b.first || live || b.dead[key] {
		return false
	}
	if !b.lost[key] {
		b.lost[key] = true
		p.found(record.Finding{Kind: record.Missing, Path: i.File(), URL: i.URL, Detail: "the object store has no record of it: the backup keeps its copy"})
	}
	return true
}

// has tells whether a folder has an original, of which a backup trusts the length, since it was
// compared when it came.
func (p *pull) has(path string, k kept) bool {
	if p.backup == nil || p.Verify {
		digest, n, err := local.HashFile(path, false)
		return err == nil && digest == k.image.Digest && n == k.image.Bytes
	}
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && info.Size() == k.image.Bytes
}

// copied counts an original that has come.
func (p *pull) copied(k kept) {
	if p.backup == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backup.copied++
	p.backup.bytes += k.image.Bytes
}

// removeGone deletes the originals to which nothing in the journal of a bucket refers any more.
func (p *pull) removeGone(ctx context.Context, bucket string) error {
	now, err := p.replay(ctx, bucket)
	if err != nil {
		return err
	}
	named := map[record.Digest]bool{}
	for key, at := range now.urls {
		if _, ok := now.under(key); ok {
			named[at.digest] = true
		}
	}
	p.backup.images += len(named)
	for image, err := range p.had(ctx, bucket) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if named[image.Digest] {
			continue
		}
		switch err := os.Remove(filepath.Join(p.Root, image.File())); {
		case err == nil:
			p.backup.removed++
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return nil
}

// had are the originals that the folder may have: those that its journal names, and after a first
// backup that was interrupted, whose journals are gone, all that are there.
func (p *pull) had(ctx context.Context, bucket string) iter.Seq2[record.Image, error] {
	if p.backup.first {
		return p.files.List(ctx, bucket)
	}
	return func(yield func(record.Image, error) bool) {
		for line, err := range journal.Read(p.Root, bucket) {
			if err == nil && (line.Broken != nil || line.Op != ledger.OpKeep) {
				continue
			}
			if !yield(line.Image, err) || err != nil {
				return
			}
		}
	}
}
