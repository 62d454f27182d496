package reindex

import (
	"bytes"
	"encoding/binary"
	"errors"
	"time"

	"imgkeep/bucket/extsort"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Replay finds out what the lines of a journal leave: which images, and under which URLs.
//
// What a line means depends on earlier lines of its URL and of its image. A journal may have
// tens of millions of lines, so they are sorted on disk instead of kept in maps: first by URL,
// which tells what image each URL had and when it lost it, and then by image, where only a
// purge may have ended that before.
type Replay struct {
	lines   uint32
	byURL   *extsort.Sorter // lines about a URL
	byImage *extsort.Sorter // what happened to an image
	current *extsort.Sorter // the last image of each URL; nil: not wanted

	dir    string
	memory int
}

// The records begin with what they are sorted by. Numbers are big-endian, so that bytes sort
// as they do.
const (
	halfSize  = len(index.Key{}) // of a URL's key, and of either half of a digest
	lineSize  = 4
	factsSize = 38

	// byURL: key, line, operation, digest, facts.
	urlSize = halfSize + lineSize + 1 + 2*halfSize + factsSize
	// byImage: first half of digest, line, event, second half, line before, facts.
	imageSize = halfSize + lineSize + 1 + halfSize + lineSize + factsSize
	// current: digest, line, key.
	currentSize = 2*halfSize + lineSize + halfSize
)

// What happens to an image. Some say in which line its URL got it: an image that was purged
// since has lost that URL before.
const (
	kept      = iota + 1 // under a URL, which may have had it since the line before
	replaced             // under a URL that has had it since the line before, by another
	forgotten            // under a URL that has had it since the line before
	named                // by a line about a URL that may not have had it
	purged
)

// Replayed is what a journal leaves of an image.
type Replayed struct {
	index.Entry
	// Gone says that it was removed, and that no URL has it again.
	Gone bool
}

// NewReplay is the state of an empty journal. It sorts in dir, with about so many bytes of
// memory, three times; 0: extsort.DefaultMemory. Close frees what it takes.
func NewReplay(dir string, memory int) *Replay {
	return &Replay{
		dir: dir, memory: memory,
		byURL: extsort.New(dir, urlSize, memory), byImage: extsort.New(dir, imageSize, memory),
	}
}

// Close frees memory and files.
func (j *Replay) Close() error {
	err := errors.Join(j.byURL.Close(), j.byImage.Close())
	if j.current != nil {
		err = errors.Join(err, j.current.Close())
	}
	return err
}

// Add applies a line.
func (j *Replay) Add(op string, image record.Image) error {
	j.lines++
	if op == ledger.OpPurge {
		return j.event(image.Digest, j.lines, purged, 0, facts(image))
	}
	key, what := index.KeyOf(image.URL), byte(named)
	if op == ledger.OpKeep {
		what = kept
	}
	b := make([]byte, 0, urlSize)
	b = append(b, key[:]...)
	b = binary.BigEndian.AppendUint32(b, j.lines)
	b = append(b, what)
	b = append(b, image.Digest[:]...)
	return j.byURL.Add(append(b, facts(image)...))
}

// facts are what an index knows of an image besides its digest.
func facts(i record.Image) []byte {
	site := index.SiteOfImage(i)
	b := make([]byte, 0, factsSize)
	b = binary.BigEndian.AppendUint64(b, uint64(i.Stored.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(i.Bytes))
	b = append(b, site[:]...)
	for _, n := range []int{i.Width, i.Height, i.Frames} {
		b = binary.BigEndian.AppendUint32(b, uint32(n))
	}
	return append(b, byte(i.Orientation), byte(i.Format))
}

func setFacts(i *index.Image, b []byte) {
	i.Stored = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	i.Bytes = int64(binary.BigEndian.Uint64(b[8:]))
	copy(i.Site[:], b[16:])
	i.Width, i.Height = int(binary.BigEndian.Uint32(b[24:])), int(binary.BigEndian.Uint32(b[28:]))
	i.Frames, i.Orientation = int(binary.BigEndian.Uint32(b[32:])), int(b[36])
	i.Format = formatOf(b)
}

func formatOf(facts []byte) probe.Format { return probe.Format(facts[37]) }

func (j *Replay) event(d record.Digest, line uint32, what byte, before uint32, facts []byte) error {
	b := make([]byte, 0, imageSize)
	b = append(b, d[:halfSize]...)
	b = binary.BigEndian.AppendUint32(b, line)
	b = append(b, what)
	b = append(b, d[halfSize:]...)
	b = binary.BigEndian.AppendUint32(b, before)
	return j.byImage.Add(append(b, facts...))
}

// Sort ends adding, and makes Images possible. With urls it also makes ready what Images says
// of URLs.
func (j *Replay) Sort(urls bool) error {
	if urls {
		j.current = extsort.New(j.dir, currentSize, j.memory)
	}
	var key index.Key // of the URL
	var has urlState
	r := j.byURL.Sorted()
	for r.Next() {
		b := r.Record()
		if !bytes.Equal(b[:halfSize], key[:]) {
			if err := j.setCurrent(key, has); err != nil {
				return err
			}
			key, has = index.Key(b), urlState{}
		}
		if err := j.applyToURL(&has, b[halfSize:]); err != nil {
			return err
		}
	}
	return errors.Join(r.Err(), j.setCurrent(key, has), j.byURL.Close())
}

// urlState is the image that a URL has, unless that was purged since.
type urlState struct {
	digest record.Digest
	line   uint32 // the last one that says so; 0: it has none
	facts  [factsSize]byte
}

// applyToURL applies a line about a URL: the end of its record.
func (j *Replay) applyToURL(has *urlState, b []byte) error {
	line, what := binary.BigEndian.Uint32(b), b[lineSize]
	digest, facts := record.Digest(b[lineSize+1:]), b[urlSize-halfSize-factsSize:]
	same := has.line > 0 && has.digest == digest
	before := uint32(0)
	if same {
		before = has.line
	}
	if err := j.event(digest, line, what, before, facts); err != nil {
		return err
	}
	switch {
	case what == kept:
		if has.line > 0 && !same {
			if err := j.event(has.digest, line, replaced, has.line, has.facts[:]); err != nil {
				return err
			}
		}
		*has = urlState{digest, line, [factsSize]byte(facts)}
	case has.line > 0:
		if err := j.event(has.digest, line, forgotten, has.line, has.facts[:]); err != nil {
			return err
		}
		*has = urlState{}
	}
	return nil
}

// setCurrent notes which image a URL has after all its lines.
func (j *Replay) setCurrent(key index.Key, has urlState) error {
	if j.current == nil || has.line == 0 {
		return nil
	}
	b := make([]byte, 0, currentSize)
	b = append(b, has.digest[:]...)
	b = binary.BigEndian.AppendUint32(b, has.line)
	return j.current.Add(append(b, key[:]...))
}

// Images goes through the images in the order of their digests, after Sort; it may be called
// again. yield tells whether the URLs of an image are wanted, each of which link gets, if it
// is not nil. An error of either ends it.
//
// Of two digests with the same beginning, which somebody must have made, it leaves out the
// one that came later, and calls collides.
func (j *Replay) Images(yield func(Replayed) (urls bool, err error), link func(index.Link) error, collides func(record.Digest)) error {
	var urls *extsort.Reader
	if link != nil {
		urls = j.current.Sorted()
		urls.Next()
	}
	var i *imageState // nil: before the first
	end := func() error {
		if i == nil {
			return nil
		}
		wanted, err := yield(i.replayed())
		if err == nil && link != nil {
			err = i.links(urls, wanted, link)
		}
		return err
	}
	r := j.byImage.Sorted()
	for r.Next() {
		b := r.Record()
		rest := b[halfSize+lineSize+1:]
		if i == nil || !bytes.Equal(b[:halfSize], i.digest[:halfSize]) {
			if err := end(); err != nil {
				return err
			}
			i = &imageState{}
			copy(i.digest[:], b[:halfSize])
			copy(i.digest[halfSize:], rest)
			i.info.Format = formatOf(rest[halfSize+lineSize:])
		}
		if !bytes.Equal(rest[:halfSize], i.digest[halfSize:]) {
			collides(record.Digest(append(bytes.Clone(b[:halfSize]), rest[:halfSize]...)))
			continue
		}
		rest = rest[halfSize:]
		i.apply(binary.BigEndian.Uint32(b[halfSize:]), b[halfSize+lineSize], binary.BigEndian.Uint32(rest), rest[lineSize:])
	}
	return errors.Join(r.Err(), end())
}

// imageState is what the lines of a journal so far leave of an image. The first line of its
// bytes gives their time, and the site that they count for, as in the index: the first since
// no URL had them.
type imageState struct {
	digest  record.Digest
	info    index.Image
	refs    uint64
	purged  uint32 // the last line that says that nothing refers to it
	known   bool   // a line says that it was kept, and no later line ends its entry
	removed bool   // the last line about it says that it was removed
}

func (i *imageState) apply(line uint32, what byte, before uint32, facts []byte) {
	had := before > i.purged // the URL had it, until now
	switch what {
	case kept:
		i.removed = false
		if !i.known {
			setFacts(&i.info, facts)
			i.known = true
		}
		if !had {
			i.refs++
		}
	case replaced:
		if had {
			i.refs--
		}
	case forgotten:
		if had {
			i.refs--
			i.known, i.removed = i.refs > 0, true
		}
	case named:
		i.removed = true
	case purged:
		i.purged, i.refs, i.removed, i.known = line, 0, true, false
	}
}

func (i *imageState) replayed() Replayed {
	i.info.Digest = i.digest
	return Replayed{Entry: index.Entry{Image: i.info, Refs: i.refs}, Gone: i.refs == 0 && i.removed}
}

// links reads the URLs of the image, and those of images before it, which are none's.
func (i *imageState) links(urls *extsort.Reader, wanted bool, link func(index.Link) error) error {
	for b := urls.Record(); b != nil; b = urls.Record() {
		switch order := bytes.Compare(b[:2*halfSize], i.digest[:]); {
		case order > 0:
			return nil
		case order == 0 && wanted && binary.BigEndian.Uint32(b[2*halfSize:]) > i.purged:
			if err := link(index.Link{Key: index.Key(b[2*halfSize+lineSize:]), Ref: index.RefTo(i.digest)}); err != nil {
				return err
			}
		}
		urls.Next()
	}
	return urls.Err()
}
