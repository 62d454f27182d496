package bucket

import (
	"context"
	"crypto/sha256"
	"imgkeep/bucket/blob/local"
	"strings"
	"testing"

	"imgkeep/bucket/ledger"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/bucket/scrub"
)

// removes removes in each way.
func (c *crasher) removes() {
	url := func(k int) string { return crashURL(c.plan.Round, "r", k) }
	ctx := context.Background()
	for k := range 3 {
		if image, ok := c.keep(url(k)); ok {
			c.make(image, "250x250", crashMade(url(k), "250x250"))
		}
	}
	c.keep(url(0) + "?again")
	c.remove(url(0), func() error { _, err := c.store.Forget(ctx, url(0), RemoveOptions{}); return err })
	c.remove(url(0)+"?again", func() error { _, err := c.store.Forget(ctx, url(0)+"?again", RemoveOptions{}); return err })
	c.remove(url(1), func() error {
		_, err := c.store.Purge(ctx, Target{Digest: sha256.Sum256(crashBody(url(1)))}, RemoveOptions{})
		return err
	})
	c.say("keeping again", url(1))
	c.keep(url(1))
	c.remove(url(2), func() error { _, err := c.store.Block(ctx, Target{URL: url(2)}, RemoveOptions{}); return err })
	c.keep(url(2)) // which must not be
	c.keep(url(2) + "?again")
}

func (c *crasher) remove(url string, do func() error) {
	c.say("removing", url)
	if do() == nil {
		c.say("removed", url)
	}
}

// checkRemoved checks that nothing is left of an image that the journal says was
// removed, once the store is open: of the files of those that were only about to
// be kept, one may be.
func (c *crashSite) checkRemoved(t *testing.T, s *Store, url string) {
	t.Helper()
	digest := record.Digest(sha256.Sum256(crashBody(url)))
	if _, err := s.index.Entry("i", digest); err == nil || c.again[strings.TrimSuffix(url, "?again")] {
		return // another URL has it
	}
	last := ""
	for _, e := range readJournal(t, c.root, "i") {
		if e.Digest == digest.String() {
			last = e.Op
		}
	}
	files, err := local.FilesOf(s.Root(), "i", digest)
	if err != nil || last != "" && last != ledger.OpKeep && len(files) > 0 {
		t.Errorf("%s was removed, and there are %v, %v", url, files, err)
	}
}

// checkScrubbed has what is half removed completed, and the index made anew: what
// was acknowledged stays kept, or stays away.
func (c *crashSite) checkScrubbed(t *testing.T) {
	t.Helper()
	s := c.open(t, "i")
	if _, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Repair: true, Exclusive: true}); err != nil {
		t.Fatal(err)
	}
	if r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Exclusive: true}); err != nil || len(r.Found) > 0 {
		t.Errorf("scrubbed again: %+v, %v", r, err)
	}
	s.Close(t.Context())
	if r, err := reindex.Run(t.Context(), reindex.Options{Root: c.root}); err != nil || len(r.Found) > 0 {
		t.Errorf("reindexed: %+v, %v", r, err)
	}
	s = c.open(t, "i")
	defer s.Close(t.Context())
	for url := range c.removed {
		if _, err := s.Find("i", url); err == nil {
			t.Errorf("%s was removed, and is back", url)
		}
	}
	for url := range c.kept {
		if _, err := s.Find("i", url); err != nil {
			t.Errorf("%s was kept: %v", url, err)
		}
	}
}
