package migrate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
)

// pullUnfinished marks a root to which a pull has begun and not ended.
const pullUnfinished = "pull.unfinished"

// PullUnfinished tells whether a pull to a root has begun and not ended.
func PullUnfinished(root string) bool {
	_, err := os.Lstat(filepath.Join(root, pullUnfinished))
	return err == nil
}

type pull struct {
	*mover
	files *local.Store
	now   []kept // what is live in the bucket at hand
	// backup is set where a backup is made.
	backup *backingUp
}

// kept is a live record.
type kept struct {
	image record.Image // with its generation
	from  string       // see ledger.Event
	at    uint64
}

func (k kept) event() ledger.Event {
	e := ledger.KeepEvent(k.image)
	e.From = k.from
	return *e
}

// Pull makes a store at Root, which must be empty, of what is shared: records are read before
// originals, each original is compared with its digest, the journals come when the originals that
// they name are there, and the index is made of them. Call it again after an interruption; until
// it has ended the root is marked, and must not be served from.
//
// Nodes may go on meanwhile. What they keep after their records were listed does not come; what
// they remove is left out if the log has it when the journals are written. An original that is
// missing or damaged is a finding, and its URLs are fetched again on request.
//
// The journals begin with those that were pushed. Then come the removals in the log, in its
// order, and then what else has changed: a line for each URL that is not kept any more, or that
// is kept now. It takes about 500 bytes of memory for each URL of a bucket.
func Pull(ctx context.Context, o Options) (_ Report, _ reindex.Report, err error) {
	var indexed reindex.Report
	m, err := newMover(o)
	if err != nil {
		return Report{}, indexed, err
	}
	p := &pull{mover: m, files: local.New(local.OS{}, o.Root, m.Now)}
	unlock, err := p.open()
	if err != nil {
		return Report{}, indexed, err
	}
	defer func() { err = errors.Join(err, unlock(err == nil)) }()
	if err := p.ledger.CatchUp(ctx); err != nil {
		return Report{}, indexed, err
	}
	if err := p.known(ctx); err != nil {
		return Report{}, indexed, err
	}
	if err := p.pullJournals(ctx); err != nil {
		return p.ended(), indexed, err
	}
	for _, bucket := range p.Buckets {
		if err := p.bucket(ctx, bucket); err != nil {
			return p.ended(), indexed, in(bucket, local.AsFull(err))
		}
	}
	if err := p.blocks(ctx); err != nil {
		return p.ended(), indexed, err
	}
	indexed, err = reindex.Run(ctx, reindex.Options{Root: p.Root, Progress: p.Progress})
	return p.ended(), indexed, err
}

// open marks the root, and makes its folders.
func (p *pull) open() (unlock func(whole bool) error, err error) {
	if err := os.MkdirAll(p.Root, local.DirMode); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(p.Root)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.Name() != "lost+found" && !PullUnfinished(p.Root) {
			return nil, fmt.Errorf("%s is not empty: it holds %s", p.Root, e.Name())
		}
	}
	marker, err := os.OpenFile(filepath.Join(p.Root, pullUnfinished), os.O_CREATE|os.O_RDWR, local.PrivateFile)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(marker.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		err = fmt.Errorf("another pull to %s is under way: %w", p.Root, err)
	} else {
		err = p.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, marker.Close())
	}
	return func(whole bool) error {
		var err error
		if whole {
			err = errors.Join(local.OS{}.SyncDir(p.Root), os.Remove(marker.Name()), local.OS{}.SyncDir(p.Root))
		}
		return errors.Join(err, marker.Close())
	}, nil
}

// known makes sure that all buckets that are shared come.
func (p *pull) known(ctx context.Context) error {
	for name, err := range p.Objects.List(ctx, "") {
		if err != nil {
			return err
		}
		bucket, isFolder := strings.CutSuffix(name, "/")
		if isFolder && bucket != "log" && bucket != record.JournalDir && !slices.Contains(p.Buckets, bucket) {
			return fmt.Errorf("bucket %s is in the object store, and is not configured", bucket)
		}
	}
	return nil
}

func (p *pull) prepare() error {
	if err := local.Prepare(local.OS{}, p.Root); err != nil {
		return err
	}
	if err := local.Sweep(local.OS{}, p.Root); err != nil {
		return err
	}
	for _, bucket := range p.Buckets {
		if err := local.MakeBucket(local.OS{}, p.Root, bucket); err != nil {
			return err
		}
	}
	return local.OS{}.SyncDir(p.Root)
}

// bucket brings a bucket: what is live, its originals, and what its journal lacks.
func (p *pull) bucket(ctx context.Context, bucket string) error {
	if err := p.records(ctx, bucket); err != nil {
		return err
	}
	if err := p.originals(ctx, bucket); err != nil {
		return err
	}
	// What was removed meanwhile.
	if err := p.ledger.CatchUp(ctx); err != nil {
		return err
	}
	var dead error
	p.now = slices.DeleteFunc(p.now, func(k kept) bool {
		live, err := p.live(ctx, k)
		dead = errors.Join(dead, err)
		if !live {
			p.backup.isDead(k.image.URL)
		}
		return !live
	})
	if dead != nil {
		return dead
	}
	p.report.URLs += len(p.now)
	return p.complete(ctx, bucket)
}

func (p *pull) live(ctx context.Context, k kept) (bool, error) {
	_, live, err := p.ledger.Standing(ctx, shared.Record{Entry: ledger.Entry{Image: k.image, At: k.at}})
	return live, err
}

// records reads what is live in a bucket.
func (p *pull) records(ctx context.Context, bucket string) error {
	p.now, p.done = nil, 0
	for r, err := range p.ledger.Records(ctx, bucket, p.Workers) {
		if err != nil {
			return err
		}
		p.step("records of "+bucket, 0)
		if r.Entry.Broken != nil {
			p.found(r.Entry.Finding())
			continue
		}
		image, live, err := p.ledger.Standing(ctx, r)
		if err != nil {
			return err
		}
		if live {
			p.now = append(p.now, kept{image, r.Entry.Event.From, r.Entry.At})
		} else {
			p.backup.isDead(image.URL)
		}
	}
	slices.SortFunc(p.now, func(a, b kept) int {
		return cmp.Or(a.image.Stored.Compare(b.image.Stored), strings.Compare(a.image.URL, b.image.URL))
	})
	return nil
}

// originals brings the originals of what is live, each once.
func (p *pull) originals(ctx context.Context, bucket string) error {
	order := make([]int, len(p.now)) // by digest
	for n := range order {
		order[n] = n
	}
	digest := func(n int) []byte { return p.now[n].image.Digest[:] }
	slices.SortFunc(order, func(a, b int) int { return bytes.Compare(digest(a), digest(b)) })
	order = slices.CompactFunc(order, func(a, b int) bool { return bytes.Equal(digest(a), digest(b)) })
	p.done = 0
	g := newGroup(ctx, p.Workers)
	defer g.end()
	for _, n := range order {
		k := p.now[n]
		g.do(func(ctx context.Context) error {
			defer p.step("originals of "+bucket, int64(len(order)))
			return p.original(ctx, k)
		})
	}
	return g.wait()
}

func (p *pull) original(ctx context.Context, k kept) error {
	path := filepath.Join(p.Root, k.image.File())
	if !p.has(path, k) {
		tmp, err := os.CreateTemp(filepath.Join(p.Root, record.TmpDir), "image-*")
		if err != nil {
			return err
		}
		defer tmp.Close()
		defer os.Remove(tmp.Name())
		err = p.blobs.FetchTo(ctx, k.image, tmp)
		if errors.Is(err, blob.ErrDamaged) {
			return p.damaged(ctx, k, err)
		}
		if err == nil {
			err = p.files.Put(ctx, k.image, tmp)
		}
		if err != nil {
			return err
		}
		p.copied(k)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Bytes += k.image.Bytes
	return nil
}

// damaged tells of an original that is not what it should be, unless it was removed just now.
func (p *pull) damaged(ctx context.Context, k kept, why error) error {
	if err := p.ledger.CatchUp(ctx); err != nil {
		return err
	}
	live, err := p.live(ctx, k)
	if err == nil && live {
		p.found(record.Finding{Kind: record.Missing, Path: k.image.File(), URL: k.image.URL, Detail: why.Error()})
	}
	return err
}

// pullJournals brings the journals that were pushed, in the place of those that are there.
func (p *pull) pullJournals(ctx context.Context) error {
	for _, bucket := range append([]string{""}, p.Buckets...) {
		old, err := journal.Files(p.Root, bucket)
		if err != nil {
			return err
		}
		for _, file := range old {
			if err := os.Remove(filepath.Join(p.Root, file)); err != nil {
				return err
			}
		}
		folder := journalKey(bucket, "")
		for key, err := range p.Objects.List(ctx, folder) {
			if err == nil {
				err = p.pullJournal(ctx, key, filepath.Join(p.Root, bucket, record.JournalDir, strings.TrimPrefix(key, folder)))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pull) pullJournal(ctx context.Context, key, path string) error {
	body, info, err := p.Objects.Fetch(ctx, key)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", key, err)
	}
	defer body.Close()
	return local.ReplaceFile(local.OS{}, filepath.Join(p.Root, record.TmpDir), path, func(w io.Writer) error {
		hash := sha256.New()
		n, err := io.Copy(io.MultiWriter(w, hash), body)
		switch {
		case err != nil:
			return fmt.Errorf("fetch %s: %w", key, err)
		case n != info.Bytes || info.Digest != (record.Digest{}) && record.Digest(hash.Sum(nil)) != info.Digest:
			return fmt.Errorf("fetch %s: the store sent other bytes than it has", key)
		}
		return nil
	})
}

// complete appends to the journal of a bucket what has changed since it was pushed.
func (p *pull) complete(ctx context.Context, bucket string) error {
	was, err := p.replay(ctx, bucket)
	if err != nil {
		return err
	}
	j := p.appender(bucket)
	defer j.close()
	if err := p.removals(ctx, bucket, was, &p.report.Removed, j); err != nil {
		return err
	}
	live := map[index.Key]record.Digest{}
	for _, k := range p.now {
		live[index.KeyOf(k.image.URL)] = k.image.Digest
	}
	// What a block has removed has no line of its own in the log.
	for line, err := range journal.Read(p.Root, bucket) {
		if err != nil {
			return err
		}
		if line.Broken != nil || line.Op != ledger.OpKeep {
			continue
		}
		key := index.KeyOf(line.Image.URL)
		if d, ok := was.under(key); !ok || d != line.Image.Digest || live[key] == d {
			continue
		}
		if _, isLive := live[key]; p.isLost(line.Image, isLive) {
			continue
		}
		e := ledger.RemoveEvent(ledger.OpForget, line.Image, p.Now(), "the nodes do not keep it any more", "imgkeep pull")
		was.remove(*e)
		if err := j.add(*e); err != nil {
			return err
		}
		p.report.Removed++
	}
	for _, k := range p.now {
		if d, ok := was.under(index.KeyOf(k.image.URL)); ok && d == k.image.Digest {
			continue
		}
		if err := j.add(k.event()); err != nil {
			return err
		}
	}
	return j.flush()
}

// blocks appends to the store's own journal what has changed since it was pushed.
func (p *pull) blocks(ctx context.Context) error {
	was, err := p.replay(ctx, "")
	if err != nil {
		return err
	}
	j := p.appender("")
	defer j.close()
	if err := p.removals(ctx, "", was, &p.report.Blocks, j); err != nil {
		return err
	}
	return j.flush()
}

// removals appends the removals from a bucket that the log has and the journal had not, and counts
// them; "" is blocks.
func (p *pull) removals(ctx context.Context, bucket string, was *journaled, count *int, j *appender) error {
	last, err := p.ledger.Applied()
	if err != nil {
		return err
	}
	for n := uint64(1); n <= last; n++ {
		entry, err := p.ledger.Event(ctx, n)
		if err != nil {
			return err
		}
		e := entry.Event
		if e.Bucket != bucket || was.had[nameOf(e)] {
			continue
		}
		was.remove(e)
		if err := j.add(e); err != nil {
			return err
		}
		*count++
	}
	return nil
}

// journaled is what the journal of a bucket says that was pushed.
type journaled struct {
	lines  int
	urls   map[index.Key]keptAt
	purged map[string]int    // the last line that purges a digest
	had    map[[32]byte]bool // removals and blocks
}

type keptAt struct {
	digest record.Digest
	line   int
}

func (p *pull) replay(ctx context.Context, bucket string) (*journaled, error) {
	j := &journaled{urls: map[index.Key]keptAt{}, purged: map[string]int{}, had: map[[32]byte]bool{}}
	for line, err := range journal.Read(p.Root, bucket) {
		if j.lines++; err == nil && j.lines%8192 == 0 {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		switch {
		case line.Broken != nil:
		case line.Op == ledger.OpKeep:
			j.urls[index.KeyOf(line.Image.URL)] = keptAt{line.Image.Digest, j.lines}
		default:
			j.had[nameOf(line.Event)] = true
			j.remove(line.Event)
		}
	}
	return j, nil
}

// under is what is kept under a URL.
func (j *journaled) under(key index.Key) (record.Digest, bool) {
	k, ok := j.urls[key]
	return k.digest, ok && k.line > j.purged[k.digest.String()]
}

func (j *journaled) remove(e ledger.Event) {
	j.lines++
	switch e.Op {
	case ledger.OpForget:
		delete(j.urls, index.KeyOf(e.URL))
	case ledger.OpPurge:
		j.purged[e.Digest] = j.lines
	}
}

// nameOf tells events apart, whether they stand in a journal or in the log.
func nameOf(e ledger.Event) [32]byte {
	e.After, e.Bucket, e.ID, e.At = "", "", "", 0
	text, _ := json.Marshal(e)
	return sha256.Sum256(text)
}

// appender appends events to a journal, many at once.
type appender struct {
	journals *journal.Journals
	bucket   string
	events   []*ledger.Event
}

func (p *pull) appender(bucket string) *appender {
	return &appender{journals: journal.Open(local.OS{}, p.Root, p.Buckets, p.Log), bucket: bucket}
}

func (a *appender) add(e ledger.Event) error {
	e.After, e.Bucket, e.ID, e.At = "", "", "", 0
	if a.events = append(a.events, &e); len(a.events) < batch {
		return nil
	}
	return a.flush()
}

func (a *appender) flush() error {
	if len(a.events) == 0 {
		return nil
	}
	_, err := a.journals.Add(a.bucket, a.events)
	a.events = nil
	return err
}

func (a *appender) close() { a.journals.Close() }
