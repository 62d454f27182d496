package query

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
)

// RecentFilter selects what Recent returns. Empty fields select all.
type RecentFilter struct {
	Filter
	Text     string `json:"text,omitempty"`      // that the URL holds
	MinBytes int64  `json:"min_bytes,omitempty"` // of the original
	MaxBytes int64  `json:"max_bytes,omitempty"` // 0: no limit
	MinSide  int    `json:"min_side,omitempty"`  // the longer side, in pixels
	MaxSide  int    `json:"max_side,omitempty"`  // 0: no limit
	// Limit is the most entries, 1 to MaxRecent; 0: DefaultRecent.
	Limit int `json:"limit,omitempty"`
	// Before is where to continue: Recent.Next of the page before. Empty: the newest.
	Before string `json:"before,omitempty"`
	// Budget bounds the time of the search. 0: DefaultBudget.
	Budget time.Duration `json:"budget,omitempty"`
}

// Limits of a page.
const (
	DefaultRecent = 60
	MaxRecent     = 500
	DefaultBudget = 60 * time.Millisecond
)

// Recent is a page of kept images, the newest first.
type Recent struct {
	Items []RecentEntry `json:"items"`
	// Next is where the next page begins; empty: there is none.
	Next string `json:"next,omitempty"`
	// Partial says that the time was up before the page was full; Looked is how far back it
	// has searched.
	Partial bool      `json:"partial,omitempty"`
	Looked  time.Time `json:"looked,omitzero"`
}

// RecentEntry is an image under a URL.
type RecentEntry struct {
	Entry
	URLs  int           `json:"urls"`            // that have the same bytes, in this bucket
	Block *record.Block `json:"block,omitempty"` // that stands against it; nil: none
}

// ErrBackward: the ledger of the store cannot be read from its end.
var ErrBackward = errors.New("this store cannot be read from its end")

// ErrCursor: Before does not come from Recent.
var ErrCursor = errors.New("there is no such page")

// LatestKept returns the images that were kept last. It reads the journals from their ends,
// so its time does not depend on the size of the store; if the filter selects little, it
// searches as long as the budget allows, and says how far it has come.
func LatestKept(ctx context.Context, s Store, f RecentFilter) (Recent, error) {
	page := Recent{Items: []RecentEntry{}}
	ctx, names, done, err := begin(ctx, s, f.Filter)
	if err != nil {
		return page, err
	}
	defer done()
	back, ok := s.Ledger().(ledger.Backward)
	if !ok {
		return page, ErrBackward
	}
	cursors, err := parseCursors(f.Before)
	if err != nil {
		return page, err
	}
	limit := cmp.Or(f.Limit, DefaultRecent)
	if limit < 1 || limit > MaxRecent {
		return page, fmt.Errorf("a page has 1 to %d items, not %d", MaxRecent, limit)
	}
	deadline := time.Now().Add(cmp.Or(f.Budget, DefaultBudget))
	m := newMerger(back, names, cursors, f)
	defer m.stop()
	chooses, seen := f.chooses(), map[index.Key]bool{}
	for len(page.Items) < limit {
		e, ok, err := m.next()
		if err != nil || ctx.Err() != nil {
			return page, cmp.Or(err, context.Cause(ctx))
		}
		if !ok {
			return page, nil
		}
		if !e.Image.Stored.IsZero() {
			page.Looked = e.Image.Stored
		}
		if e.Op == ledger.OpKeep && chooses(e.Image) && !seen[index.KeyOf(e.Image.URL)] {
			item, ok, err := recentOf(s, e.Image)
			if err != nil {
				return page, err
			}
			if ok {
				seen[index.KeyOf(e.Image.URL)] = true
				page.Items = append(page.Items, item)
			}
		}
		if time.Now().After(deadline) && len(page.Items) < limit {
			page.Partial = true
			break
		}
	}
	page.Next = m.cursors()
	return page, nil
}

// recentOf is the entry of a URL, if it still has this image.
func recentOf(s Store, i record.Image) (item RecentEntry, ok bool, err error) {
	ref, err := s.Index().RefOf(i.Bucket, index.KeyOf(i.URL))
	if errors.Is(err, index.ErrNotFound) || err == nil && ref != index.RefTo(i.Digest) {
		return item, false, nil
	}
	if err != nil {
		return item, false, err
	}
	item.Entry = entryOf(i)
	e, err := s.Index().Entry(i.Bucket, i.Digest)
	if err != nil && !errors.Is(err, index.ErrNotFound) {
		return item, false, err
	}
	item.URLs = int(e.Refs)
	item.Block, err = blockOf(s, i.URL, i.Digest)
	return item, err == nil, err
}

func entryOf(i record.Image) Entry {
	e := Entry{
		Bucket: i.Bucket, URL: i.URL, Digest: i.Digest.String(), Type: i.Format.String(),
		Frames: i.Frames, Bytes: i.Bytes, Stored: i.Stored,
	}
	e.Width, e.Height = i.Shown()
	return e
}

// blockOf is the block of a URL, its host or its bytes; nil: none.
func blockOf(s Store, url string, d record.Digest) (*record.Block, error) {
	if !s.Index().HasBlocks() {
		return nil, nil
	}
	for _, subject := range [][2]string{{record.BlockURL, url}, {record.BlockDigest, d.String()}} {
		b, err := s.Index().Block(subject[0], subject[1])
		if err == nil {
			return &b, nil
		}
		if !errors.Is(err, index.ErrNotFound) {
			return nil, err
		}
	}
	return blockOfHost(s, imageurl.HostOf(url))
}

// blockOfHost is the quarantine of a host; nil: there is none.
func blockOfHost(s Store, host string) (*record.Block, error) {
	if host == "" || !s.Index().HasBlocks() {
		return nil, nil
	}
	patterns := []string{host}
	for _, parent, ok := strings.Cut(host, "."); ok; _, parent, ok = strings.Cut(parent, ".") {
		patterns = append(patterns, "*."+parent)
	}
	for _, p := range patterns {
		b, err := s.Index().Block(record.BlockHost, p)
		if err == nil {
			return &b, nil
		}
		if !errors.Is(err, index.ErrNotFound) {
			return nil, err
		}
	}
	return nil, nil
}

// chooses tells which images the filter selects.
func (f RecentFilter) chooses() func(record.Image) bool {
	basic := f.chooser()
	return func(i record.Image) bool {
		w, h := i.Shown()
		side := max(w, h)
		return basic(i) && strings.Contains(i.URL, f.Text) &&
			i.Bytes >= f.MinBytes && (f.MaxBytes == 0 || i.Bytes <= f.MaxBytes) &&
			side >= f.MinSide && (f.MaxSide == 0 || side <= f.MaxSide)
	}
}

// wanted are texts that the journal lines of selected images contain.
func (f RecentFilter) wanted() ledger.Wanted {
	w := ledger.Wanted{}
	var always [][]byte // that every line must hold
	always = append(always, []byte(`"op":"`+ledger.OpKeep+`"`))
	if f.Text != "" {
		w.Any = [][]byte{quoted(f.Text)}
	}
	var hosts [][]byte
	for _, h := range f.Hosts {
		hosts = append(hosts, quoted(strings.TrimPrefix(h, "*.")))
	}
	if len(w.Any) == 0 {
		w.Any = hosts
	}
	var until []byte
	if !f.Until.IsZero() {
		until = []byte(f.Until.UTC().Format(time.RFC3339))
	}
	w.Line = func(line []byte) bool {
		const before, length = len(`{"time":"`), len("2026-11-28T12:00:00Z")
		if until != nil && len(line) > before+length && line[before+length] == '"' && bytes.Compare(line[before:before+length], until) >= 0 {
			return false
		}
		for _, text := range always {
			if !bytes.Contains(line, text) {
				return false
			}
		}
		if n := numberIn(line, `"bytes":`); n < f.MinBytes || f.MaxBytes > 0 && n > f.MaxBytes {
			return false
		}
		return len(hosts) == 0 || slices.ContainsFunc(hosts, func(h []byte) bool { return bytes.Contains(line, h) })
	}
	return w
}

// numberIn is the number after a key of a line. No text in the line can contain the key:
// its quotes would be escaped. 0 if there is none.
func numberIn(line []byte, key string) (n int64) {
	at := bytes.Index(line, []byte(key))
	if at < 0 {
		return 0
	}
	for _, c := range line[at+len(key):] {
		if c < '0' || c > '9' || n > 1<<53 {
			break
		}
		n = 10*n + int64(c-'0')
	}
	return n
}

// quoted is a text as it stands within a string of JSON.
func quoted(s string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return []byte(s)
	}
	return bytes.TrimSuffix(bytes.TrimPrefix(b.Bytes(), []byte(`"`)), []byte("\"\n"))
}

// merger reads the journals of several buckets backwards, the newest event of all first.
type merger struct {
	sources map[string]*source
	since   time.Time
}

// source is the journal of one bucket.
type source struct {
	pull  func() (ledger.Earlier, error, bool)
	end   func()
	at    record.Position // of what was taken last
	head  *ledger.Earlier // that is not taken yet
	ended bool
}

// slack is how far the clock may have been set back between two lines.
const slack = 24 * time.Hour

func newMerger(back ledger.Backward, names []string, at map[string]record.Position, f RecentFilter) *merger {
	m := &merger{sources: map[string]*source{}, since: f.Since}
	wanted := f.wanted()
	for _, name := range names {
		at, ok := at[name]
		if f.Before != "" && !ok {
			continue // it had ended
		}
		x := &source{at: at}
		x.pull, x.end = iter.Pull2(back.Before(name, at, wanted))
		m.sources[name] = x
	}
	return m
}

func (m *merger) stop() {
	for _, x := range m.sources {
		x.end()
	}
}

// next returns the newest remaining event, or one without an Op if some journal has nothing
// wanted for a while.
func (m *merger) next() (e ledger.Earlier, ok bool, err error) {
	var newest *source
	for _, name := range slices.Sorted(maps.Keys(m.sources)) {
		x := m.sources[name]
		if x.head == nil && !x.ended {
			e, err, ok := x.pull()
			if err != nil {
				return e, false, err
			}
			switch old := !e.Image.Stored.IsZero() && e.Image.Stored.Before(m.since.Add(-slack)); {
			case !ok || old:
				x.ended = true
			case e.Op == "":
				x.at = e.At
				return e, true, nil
			default:
				x.head = &e
			}
		}
		if x.head != nil && (newest == nil || x.head.Image.Stored.After(newest.head.Image.Stored)) {
			newest = x
		}
	}
	if newest == nil {
		return e, false, nil
	}
	e, newest.head = *newest.head, nil
	newest.at = e.At
	return e, true, nil
}

// cursors say where to continue: "i:2026-11.ndjson:123,f:…" in base64url; "" at the end of
// all.
func (m *merger) cursors() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m.sources)) {
		if x := m.sources[name]; !x.ended || x.head != nil {
			all = append(all, fmt.Sprintf("%s:%s:%d", name, x.at.File, x.at.Length))
		}
	}
	return encodeCursor(strings.Join(all, ","))
}

func encodeCursor(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

var cursorForm = regexp.MustCompile(`^([a-z0-9]{1,16}):((?:\d{4,5}-\d\d\.ndjson)?):(\d{1,18})$`)

func parseCursors(s string) (map[string]record.Position, error) {
	all := map[string]record.Position{}
	if s == "" {
		return all, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(text) > 4096 {
		return nil, ErrCursor
	}
	for part := range strings.SplitSeq(string(text), ",") {
		found := cursorForm.FindStringSubmatch(part)
		if found == nil {
			return nil, ErrCursor
		}
		var at record.Position
		at.File = found[2]
		if _, err := fmt.Sscan(found[3], &at.Length); err != nil {
			return nil, ErrCursor
		}
		all[found[1]] = at
	}
	return all, nil
}

// RecentFailures is a page of failures; the one that began last comes first.
type RecentFailures struct {
	Items []FailureDetails `json:"items"`
	Next  string           `json:"next,omitempty"` // as Recent.Next
	All   int              `json:"all"`            // how many the filter chooses
}

// LatestFailures returns the failures that began last. Of f it uses what Failures uses,
// Text, Limit and Before. It goes through all failures, of which a bucket remembers a bounded
// number.
func LatestFailures(ctx context.Context, s Store, f RecentFilter, classes []fetch.ErrorKind) (RecentFailures, error) {
	page := RecentFailures{Items: []FailureDetails{}}
	limit := min(cmp.Or(f.Limit, DefaultRecent), MaxRecent)
	newer := func(a, b failed) int {
		return cmp.Or(b.First.Compare(a.First), strings.Compare(a.bucket, b.bucket), bytes.Compare(a.Key[:], b.Key[:]))
	}
	var before *failed
	if f.Before != "" {
		var err error
		if before, err = parseFailed(f.Before); err != nil {
			return page, err
		}
	}
	var newest []failed // in their order
	for x, err := range failures(ctx, s, f.Filter, classes) {
		if err != nil {
			return page, err
		}
		if f.Text != "" && !strings.Contains(x.URL, f.Text) {
			continue
		}
		page.All++
		if before != nil && newer(*before, x) >= 0 || len(newest) > limit && newer(newest[limit], x) <= 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(newest, x, newer)
		newest = slices.Insert(newest, at, x)
		newest = newest[:min(len(newest), limit+1)]
	}
	if len(newest) > limit {
		newest = newest[:limit]
		last := newest[limit-1]
		page.Next = fmt.Sprintf("%d.%s.%x", last.First.Unix(), last.bucket, last.Key[:])
	}
	for _, x := range newest {
		page.Items = append(page.Items, x.details())
	}
	return page, nil
}

// parseFailed reads RecentFailures.Next.
func parseFailed(s string) (*failed, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return nil, ErrCursor
	}
	seconds, err := strconv.ParseInt(parts[0], 10, 64)
	if err != nil {
		return nil, ErrCursor
	}
	x := &failed{bucket: parts[1]}
	x.First = time.Unix(seconds, 0).UTC()
	if n, err := hex.Decode(x.Key[:], []byte(parts[2][:min(len(parts[2]), 2*len(x.Key))])); err != nil || n != len(x.Key) {
		return nil, ErrCursor
	}
	return x, nil
}
