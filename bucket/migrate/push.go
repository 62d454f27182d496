package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
)

const (
	// pushFile remembers, in the root, how far into its journals it was pushed.
	pushFile = "push.json"
	// batch is how many lines are moved between two notes of how far it was.
	batch = 4096
	// few lines are left to a push after the server was stopped, and not to another round.
	few       = 1000
	maxRounds = 10
)

// ErrOtherStore: journals of another store were pushed to where a store was to be.
var ErrOtherStore = errors.New("another store was pushed there, or this one has lost lines of its journals")

// pushed is what pushFile holds.
type pushed struct {
	Name     string
	Journals map[string]record.Position // by bucket; "" is that of blocks
}

type push struct {
	*mover
	at    pushed
	again []record.Block // new where it goes, and what they hit was moved before

	lost []lost // originals that are not there
}

// lost is an original that a line names, and that was not there.
type lost struct {
	image  record.Image
	behind record.Position // the line was before this
}

// Push moves the store below Root up: blocks first, then originals, each before the record of its
// URL, and what was removed. It goes through the journals again until they have grown by few
// lines meanwhile: those are left to a Push after the server was stopped. When it is called
// again, also after an interruption, it continues where it stopped.
//
// Each original is read, compared with its digest, and sent with it, so that the object store
// compares it as well. One that is missing or damaged is a finding, and so is a URL under which
// the object store has other bytes; neither stops it. The journals go up at the end.
//
// It takes about 100 bytes of memory for each URL that is new to it.
func Push(ctx context.Context, o Options) (_ Report, err error) {
	m, err := newMover(o)
	if err != nil {
		return Report{}, err
	}
	p := &push{mover: m}
	unlock, err := p.open()
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if err := p.continues(ctx); err != nil {
		return Report{}, err
	}
	if err := p.ledger.CatchUp(ctx); err != nil {
		return Report{}, err
	}
	for round := 1; ; round++ {
		if err := p.round(ctx); err != nil {
			return p.ended(), err
		}
		if p.report.Behind, err = p.behind(); err != nil {
			return p.ended(), err
		}
		if p.report.Behind <= few || round == maxRounds {
			break
		}
	}
	if err := p.tellLost(); err != nil {
		return p.ended(), err
	}
	return p.ended(), p.pushJournals(ctx)
}

// open reads how far an earlier push was, and keeps others out.
func (p *push) open() (unlock func() error, err error) {
	names, err := journal.Buckets(p.Root)
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("there is no bucket in %s", p.Root)
	}
	for _, name := range names {
		if !slices.Contains(p.Buckets, name) {
			return nil, fmt.Errorf("bucket %s is in %s, and is not configured", name, p.Root)
		}
	}
	p.Buckets = names
	lock, err := os.OpenFile(filepath.Join(p.Root, "push.lock"), os.O_CREATE|os.O_RDWR, local.PrivateFile)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("another push of %s is under way: %w", p.Root, err)
	}
	text, err := os.ReadFile(filepath.Join(p.Root, pushFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		lock.Close()
		return nil, err
	default:
		if err := json.Unmarshal(text, &p.at); err != nil {
			p.Log.Warn("it is not known how far an earlier push was, and all is compared", "path", pushFile, "error", err)
		}
	}
	if p.Verify || p.at.Name != p.Name || p.at.Journals == nil {
		p.at = pushed{Name: p.Name, Journals: map[string]record.Position{}}
	}
	for bucket, at := range p.at.Journals {
		if err := journal.Check(p.Root, bucket, at); err != nil {
			delete(p.at.Journals, bucket) // restored from a backup, or repaired by hand
		}
	}
	return lock.Close, nil
}

// note remembers how far into the journal of a bucket all is moved.
func (p *push) note(bucket string, at record.Position) error {
	p.at.Journals[bucket] = at
	text, err := json.Marshal(p.at)
	if err != nil {
		return err
	}
	return local.WriteFile(local.OS{}, filepath.Join(p.Root, record.TmpDir), filepath.Join(p.Root, pushFile), append(text, '\n'))
}

// round moves what the journals have now and had not when the last one began.
func (p *push) round(ctx context.Context) error {
	if err := p.blocks(ctx); err != nil {
		return err
	}
	again := p.again
	p.again = nil
	for _, bucket := range p.Buckets {
		from := p.at.Journals[bucket]
		if len(again) > 0 && from != (record.Position{}) {
			// A block that leaves the image on disk: there its record is dead now.
			if err := p.bucket(ctx, bucket, record.Position{}, from, again); err != nil {
				return in(bucket, err)
			}
		}
		if err := p.bucket(ctx, bucket, from, record.Position{}, nil); err != nil {
			return in(bucket, err)
		}
	}
	return nil
}

// blocks appends to the log what is blocked here and not there, and lifts what was lifted here.
func (p *push) blocks(ctx context.Context) error {
	last, order := map[blockKey]ledger.Entry{}, []blockKey{}
	at := p.at.Journals[""]
	first := at == record.Position{}
	for line, err := range journal.ReadFrom(p.Root, "", at) {
		if err != nil {
			return err
		}
		if line.Torn {
			break
		}
		if line.Broken != nil {
			return ledger.UnreadableBlock(line)
		}
		key := blockKey{line.Block.Kind, line.Block.Subject}
		if _, ok := last[key]; !ok {
			order = append(order, key)
		}
		last[key] = line
		if at, err = journal.PositionAt(p.Root, line.File, line.End); err != nil {
			return err
		}
	}
	for _, key := range order {
		line := last[key]
		is, err := p.blocked(key)
		if err != nil {
			return err
		}
		if is == (line.Op == ledger.OpBlock) {
			continue
		}
		event := line.Event
		event.After = ""
		if _, err := p.ledger.Remove(ctx, "", event); err != nil && !errors.Is(err, shared.ErrUnfinished) {
			return fmt.Errorf("block %s %s: %w", key.kind, key.subject, err)
		}
		p.report.Blocks++
		if !first && line.Op == ledger.OpBlock {
			p.again = append(p.again, line.Block)
		}
	}
	return p.note("", at)
}

func (p *push) blocked(key blockKey) (is bool, err error) {
	err = p.ledger.State.View(func(tx shared.Tx) (err error) {
		is, err = tx.Blocked(key.kind, key.subject)
		return err
	})
	return is, err
}

// tail is what lines of a journal say in the end.
type tail struct {
	lines int
	last  map[index.Key]int // the last line of a URL
	purge map[index.Ref]int // the last line that purges a digest
	end   record.Position   // behind the last of them
}

// read reads the lines between two positions; to is the end if it is the zero value.
func (p *push) read(ctx context.Context, bucket string, from, to record.Position) (*tail, error) {
	t := &tail{last: map[index.Key]int{}, purge: map[index.Ref]int{}, end: from}
	var last ledger.Entry
	for line, err := range p.between(bucket, from, to) {
		if err != nil {
			return nil, err
		}
		if t.lines++; t.lines%8192 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if errors.Is(line.Broken, ledger.ErrOperation) {
			return nil, fmt.Errorf("%s: %w: use the version that wrote it", line.Place(), line.Broken)
		}
		if !errors.Is(line.Broken, ledger.ErrMonthMissing) {
			last = line
		}
		switch {
		case line.Broken != nil:
			p.found(line.Finding())
		case line.Op == ledger.OpPurge:
			t.purge[index.RefTo(line.Image.Digest)] = t.lines
		default:
			t.last[index.KeyOf(line.Image.URL)] = t.lines
		}
	}
	if last.File == "" {
		return t, nil
	}
	var err error
	t.end, err = journal.PositionAt(p.Root, last.File, last.End)
	return t, err
}

// between goes through the lines between two positions, without one that a crash has torn.
func (p *push) between(bucket string, from, to record.Position) func(func(ledger.Entry, error) bool) {
	return func(yield func(ledger.Entry, error) bool) {
		for line, err := range journal.ReadFrom(p.Root, bucket, from) {
			file := filepath.Base(line.File)
			if line.Torn || err == nil && to.File != "" && (file > to.File || file == to.File && line.End > to.Length) {
				return
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// bucket moves what lines of a bucket's journal say; with only, what these blocks hit of it, which
// goes without notes.
func (p *push) bucket(ctx context.Context, bucket string, from, to record.Position, only []record.Block) error {
	t, err := p.read(ctx, bucket, from, to)
	if err != nil || t.lines == 0 {
		return err
	}
	p.done = 0
	g, n := newGroup(ctx, p.Workers), 0
	defer g.end()
	for line, err := range p.between(bucket, from, t.end) {
		if err != nil {
			return err
		}
		n++
		switch {
		case line.Broken != nil:
		case line.Op == ledger.OpKeep:
			if t.last[index.KeyOf(line.Image.URL)] == n && t.purge[index.RefTo(line.Image.Digest)] < n && hitBy(only, line.Image) {
				g.do(func(ctx context.Context) error { return p.image(ctx, line, t.end) })
			}
		case only == nil:
			// What comes after it must find it done.
			if err := g.wait(); err != nil {
				return err
			}
			if line.Op == ledger.OpPurge || t.last[index.KeyOf(line.Image.URL)] == n {
				if err := p.removed(ctx, line); err != nil {
					return err
				}
			}
		}
		p.step(bucket, int64(t.lines))
		if n%batch == 0 && only == nil {
			if err := g.wait(); err != nil {
				return err
			}
			at, err := journal.PositionAt(p.Root, line.File, line.End)
			if err == nil {
				err = p.note(bucket, at)
			}
			if err != nil {
				return err
			}
		}
	}
	if err := g.wait(); err != nil || only != nil {
		return err
	}
	return p.note(bucket, t.end)
}

// image moves an image, and its record.
func (p *push) image(ctx context.Context, line ledger.Entry, end record.Position) error {
	image := line.Image
	path := filepath.Join(p.Root, image.File())
	digest, n, err := local.HashFile(path, false)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.mu.Lock()
		p.lost = append(p.lost, lost{image, end})
		p.mu.Unlock()
		return nil
	case err != nil:
		return err
	case digest != image.Digest || n != image.Bytes:
		p.found(record.Finding{Kind: record.Corrupt, Path: image.File(), URL: image.URL, Detail: fmt.Sprintf("its digest is %s, and it has %d bytes: it was not moved", digest, n)})
		return nil
	}
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed just now, and the next round reads of it
	}
	if err != nil {
		return err
	}
	defer file.Close()
	event := line.Event
	event.After = ""
	stands, err := p.ledger.Import(ctx, image, file, event)
	if err != nil {
		return fmt.Errorf("move %s: %w", image.File(), err)
	}
	if stands.Digest != image.Digest {
		p.found(record.Finding{Kind: record.Disagreement, Path: image.File(), URL: image.URL, Detail: "the object store has other bytes under this URL, which stay: " + stands.Digest.String()})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.URLs++
	p.report.Bytes += image.Bytes
	return nil
}

// removed appends to the log what was removed here, if it is still there.
func (p *push) removed(ctx context.Context, line ledger.Entry) error {
	image := line.Image
	switch line.Op {
	case ledger.OpForget:
		stands, live, err := p.ledger.Current(ctx, image.Bucket, image.URL)
		if errors.Is(err, ledger.ErrNotKept) || err == nil && (!live || stands.Digest != image.Digest) {
			return nil
		}
		if err != nil {
			return err
		}
	case ledger.OpPurge:
		gen, err := p.ledger.Generation(image.Bucket, image.Digest)
		if err != nil {
			return err
		}
		image.Generation = gen
		_, err = p.Objects.Stat(ctx, object.Key(image))
		if errors.Is(err, object.ErrAbsent) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	event := line.Event
	event.After = ""
	if _, err := p.ledger.Remove(ctx, image.Bucket, event); err != nil && !errors.Is(err, shared.ErrUnfinished) {
		return fmt.Errorf("remove %s: %w", image.File(), err)
	}
	p.report.Removed++
	return nil
}

// hitBy tells whether any of some blocks is of an image; no blocks: all are.
func hitBy(blocks []record.Block, image record.Image) bool {
	return blocks == nil || slices.ContainsFunc(blocks, func(b record.Block) bool { return hits(b, image) })
}

func hits(b record.Block, image record.Image) bool {
	switch b.Kind {
	case record.BlockURL:
		return b.Subject == image.URL
	case record.BlockDigest:
		return b.Subject == image.Digest.String()
	case record.BlockHost:
		return imageurl.NewHosts([]string{b.Subject}).Match(imageurl.HostOf(image.URL))
	}
	return false
}

// behind is how many lines are behind what was moved.
func (p *push) behind() (n int, err error) {
	for _, bucket := range append([]string{""}, p.Buckets...) {
		for _, err := range p.between(bucket, p.at.Journals[bucket], record.Position{}) {
			if err != nil {
				return 0, err
			}
			n++
		}
	}
	return n, nil
}

// tellLost tells of originals that were not there, unless they were removed meanwhile.
func (p *push) tellLost() error {
	for _, l := range p.lost {
		removed := false
		for line, err := range p.between(l.image.Bucket, l.behind, record.Position{}) {
			if err != nil {
				return err
			}
			if line.Broken == nil && line.Op != ledger.OpKeep && line.Image.Digest == l.image.Digest {
				removed = true
				break
			}
		}
		if !removed {
			p.found(record.Finding{Kind: record.Missing, Path: l.image.File(), URL: l.image.URL, Detail: "the journal names it, and there is no such file: it was not moved"})
		}
	}
	return nil
}
