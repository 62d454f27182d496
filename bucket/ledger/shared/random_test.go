package shared_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/shared"
	"imgkeep/bucket/ledger/shared/sharedtest"
	"imgkeep/bucket/record"
)

var errKilled = errors.New("killed")

// chance is a run in which requests of several nodes are carried out in an order that a
// number says: each waits until it is picked. Some are lost, come late, or kill who asks.
type chance struct {
	*world
	rng     *rand.Rand
	waiting []*parked
	late    []func() error
	answers []answer
	faults  int  // that are left
	dirty   bool // a fault may have left bytes that only a scrub finds
}

type parked struct {
	of string
	do func() error
	to chan error
}

// answer is what a node has answered, while the log had from to to entries.
type answer struct {
	url, digest string
	from, to    int
	who         string
	stale       bool // the node had not read the log to its head when it was asked
}

// entries are those of the log.
func (c *chance) entries() (all []ledger.Entry) {
	for n := 1; ; n++ {
		text, _, err := c.store.Read(c.Context(), fmt.Sprintf("log/%010d", n), 1<<20)
		if err != nil {
			return all
		}
		var e ledger.Entry
		if e.ParseShared(text); e.Broken != nil {
			c.Fatal(e.Broken)
		}
		all = append(all, e)
	}
}

// hits tells whether an entry hits a record, as the package's documentation has it.
func hits(e ledger.Entry, url, digest string) bool {
	switch e.Op {
	case ledger.OpForget:
		return e.Image.URL == url
	case ledger.OpPurge:
		return e.Image.Digest.String() == digest
	case ledger.OpBlock:
		return e.Block.Kind == record.BlockURL && e.Block.Subject == url || e.Block.Kind == record.BlockDigest && e.Block.Subject == digest
	}
	return false
}

// isBlocked tells whether a URL or digest is, after these entries.
func isBlocked(entries []ledger.Entry, url, digest string) bool {
	var blocks = map[string]bool{}
	for _, e := range entries {
		if e.Op == ledger.OpBlock || e.Op == ledger.OpUnblock {
			blocks[e.Block.Subject] = e.Op == ledger.OpBlock
		}
	}
	return blocks[url] || blocks[digest]
}

// generationOf is the last entry that removes bytes.
func generationOf(entries []ledger.Entry, digest string) (gen int) {
	for n, e := range entries {
		if (e.Op == ledger.OpPurge || e.Op == ledger.OpBlock) && hits(e, "", digest) {
			gen = n + 1
		}
	}
	return gen
}

// check compares the store with what must hold at any time: a live record has its bytes.
func (c *chance) check() {
	entries, keys := c.entries(), map[string]bool{}
	for _, k := range c.store.Keys() {
		keys[k] = true
	}
	for k := range keys {
		if kind(k) != "record" {
			continue
		}
		text, _, err := c.store.Read(c.Context(), k, 1<<20)
		if err != nil {
			c.Fatal(err)
		}
		var e ledger.Entry
		e.ParseShared(text)
		digest, live := e.Image.Digest.String(), true
		for _, of := range entries[min(int(e.At), len(entries)):] {
			live = live && !hits(of, e.Image.URL, digest)
		}
		e.Image.Generation = uint64(generationOf(entries, digest))
		if live && !keys[object.Key(e.Image)] {
			c.Fatalf("a live record of %s has no bytes at %s", e.Image.URL, object.Key(e.Image))
		}
	}
}

// carry carries out one request that waits, or one that is late.
func (c *chance) carry() bool {
	if len(c.late) > 0 && c.rng.IntN(4) == 0 {
		i := c.rng.IntN(len(c.late))
		do := c.late[i]
		c.late = append(c.late[:i], c.late[i+1:]...)
		do()
		c.check()
		return true
	}
	if len(c.waiting) == 0 {
		return false
	}
	i := c.rng.IntN(len(c.waiting))
	p := c.waiting[i]
	c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
	fault := 9
	if c.faults > 0 {
		fault = c.rng.IntN(10)
	}
	writes := !strings.Contains(p.of, "Read")
	switch {
	case fault == 0 && writes: // done, and the answer is lost
		c.faults--
		p.do()
		p.to <- object.ErrUnclear
	case fault == 1 && writes: // it comes later
		c.faults, c.dirty = c.faults-1, true
		c.late = append(c.late, p.do)
		p.to <- object.ErrUnclear
	case fault == 2: // never
		c.faults, c.dirty = c.faults-1, true
		p.to <- object.ErrUnclear
	case fault == 3: // and who has asked dies
		c.faults, c.dirty = c.faults-1, true
		if c.rng.IntN(2) == 0 {
			p.do()
		}
		p.to <- errKilled
	default:
		p.to <- p.do()
	}
	c.check()
	return true
}

func (c *chance) answered(who string, i record.Image, from int, stale bool) {
	c.answers = append(c.answers, answer{i.URL, i.Digest.String(), from, len(c.entries()), who, stale})
}

// keeper keeps one image, and finds it.
func (c *chance) keeper(n *node, url, text string) {
	from := len(c.entries())
	if i, err := n.keepErr(url, text); err == nil {
		c.answered(n.name+" keeps", i, from, false)
	}
	applied, _ := n.Applied()
	from = len(c.entries())
	if i, err := n.Find(c.Context(), "i", url); err == nil {
		c.answered(n.name+" finds", i, int(applied), int(applied) < from)
	}
}

// verify compares all answers with each other and with the log.
func (c *chance) verify() {
	entries := c.entries()
	for x, a := range c.answers {
		shown := false
		for k := a.from; k <= a.to; k++ {
			shown = shown || !isBlocked(entries[:k], a.url, a.digest)
		}
		if !shown {
			c.Errorf("%s %s, which was blocked all the time", a.who, a.url)
		}
		for _, b := range c.answers[:x] {
			if a.url != b.url || a.digest == b.digest || a.stale || b.stale {
				continue
			}
			removed := false
			for _, e := range entries[min(a.from, b.from):max(a.to, b.to)] {
				removed = removed || hits(e, a.url, a.digest) || hits(e, a.url, b.digest)
			}
			if !removed {
				c.Errorf("%s one digest of %s and %s another, and nothing was removed between", a.who, a.url, b.who)
			}
		}
	}
}

var texts = []string{"one", "two"}

func anyRemoval(rng *rand.Rand) (string, *ledger.Event) {
	url, text := []string{urlA, urlB}[rng.IntN(2)], texts[rng.IntN(2)]
	switch rng.IntN(6) {
	case 0:
		return "i", forget(url, text)
	case 1:
		return "i", purge(text)
	case 2:
		return "", block(record.BlockURL, url)
	case 3:
		return "", block(record.BlockDigest, digestOf(text))
	case 4:
		return "", unblock(record.BlockURL, url)
	}
	return "", unblock(record.BlockDigest, digestOf(text))
}

// run is one run.
func (c *chance) run() {
	states := []*sharedtest.Memory{{}, {}}
	var nodes []*node
	for i, name := range []string{"a", "b"} {
		states[i].Commit = func() error {
			if c.faults > 0 && c.rng.IntN(40) == 0 {
				c.faults, c.dirty = c.faults-1, true
				return errKilled
			}
			return nil
		}
		nodes = append(nodes, c.unstarted(name, states[i]))
	}
	c.setHook(func(name string, r objecttest.Request, do func() error) error {
		p := &parked{r.String(), do, make(chan error)}
		c.waiting = append(c.waiting, p)
		return <-p.to
	})
	running := 0
	start := func(work func()) {
		running++
		go func() {
			work()
			running--
		}()
		synctest.Wait()
	}
	for _, n := range nodes {
		for range 2 {
			url, text := []string{urlA, urlA, urlB}[c.rng.IntN(3)], texts[c.rng.IntN(2)]
			start(func() { c.keeper(n, url, text) })
		}
		bucket, event := anyRemoval(c.rng)
		start(func() { _, _ = n.Remove(c.Context(), bucket, *event) })
		start(func() {
			for range 2 {
				_ = n.CatchUp(c.Context())
				_ = n.Finish(c.Context())
			}
		})
	}
	for running > 0 || len(c.late) > 0 {
		if !c.carry() && running > 0 {
			c.Fatal("nobody asks for anything, and not all have ended")
		}
		synctest.Wait() // until all others wait as well
	}
	c.setHook(nil)
	c.faults = 0
	for i, name := range []string{"a", "b"} { // all start again, and agree
		n := c.node(name, states[i])
		for _, url := range []string{urlA, urlB} {
			if i, err := n.Find(c.Context(), "i", url); err == nil {
				c.answered(name+" finds in the end", i, len(c.entries()), false)
				if err := n.files.Stat(c.Context(), i); err != nil {
					c.Errorf("%s has found %s, and not its bytes: %v", name, url, err)
				}
			} else if !errors.Is(err, ledger.ErrNotKept) && !errors.Is(err, shared.ErrBlocked) {
				c.Error(err)
			}
		}
	}
	c.check()
	c.verify()
	if c.dirty { // else nothing is to be left for a sweep
		if _, err := nodes[0].Sweep(c.Context(), "i"); err != nil {
			c.Error(err)
		}
		c.check()
	}
	entries := c.entries()
	for _, text := range texts {
		for gen := range generationOf(entries, digestOf(text)) {
			i := image("", text)
			i.Generation = uint64(gen)
			if err := nodes[0].files.Stat(c.Context(), i); err == nil {
				c.Errorf("left is %s", object.Key(i))
			}
		}
	}
}

// TestRandom runs two nodes that keep, find and remove a few of the same things, with requests
// in any order, lost, late, or the last of who asks. What the model asserts must hold. A run
// that fails can be repeated by its number.
func TestRandom(t *testing.T) {
	runs := uint64(5000)
	if testing.Short() {
		runs = 200
	}
	seed := rand.Uint64N(1 << 40)
	for n := range runs {
		ok := t.Run(fmt.Sprint(seed+n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed+n, 0))
				c := &chance{world: newWorld(t), rng: rng, faults: rng.IntN(4)}
				c.run()
			})
		})
		if !ok {
			break
		}
	}
}
