package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/bucket/scrub"
	"imgkeep/scripts/tempdir"
)

// care does what the plan names, and says each of its steps as far as it tells.
func (c *crasher) care(o Options) error {
	told := func(p record.Progress) { c.say("progress", p.Stage, fmt.Sprint(p.Done)) }
	ctx, b := context.Background(), backup.Options{Root: o.Root, Dir: c.plan.Backup}
	b.Progress = told
	switch c.plan.Care {
	case "backup":
		_, err := backup.Run(ctx, b)
		return err
	case "restore":
		_, _, err := backup.Restore(ctx, b)
		return err
	case "reindex":
		_, err := reindex.Run(ctx, reindex.Options{Root: o.Root, Progress: told})
		return err
	}
	o.disk = localtest.Sparse{Disk: local.OS{}}
	s, err := Open(o)
	if err != nil {
		return err
	}
	c.say("progress open")
	switch c.plan.Care {
	case "compact":
		for range 20 {
			if _, _, err := s.Compact(); err != nil {
				return err
			}
			c.say("progress compacted")
		}
	case "repair":
		_, err = scrub.Run(ctx, s.Maintenance(), scrub.Options{Repair: true, Exclusive: true, Progress: told})
	}
	return errors.Join(err, s.Close(ctx))
}

// The process dies during maintenance, after any number of its steps, and repeatedly. Nothing
// that was kept is lost, and the same work can be done afterwards.
func TestCrashDuringMaintenance(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCrashSite(t)
	c.run(t, crashPlan{Load: 8}, 150)
	c.check(t)
	kept := make([]string, 0, len(c.kept))
	for url := range c.kept {
		kept = append(kept, url)
	}
	dir, again := filepath.Join(tempdir.New(t), "backup"), filepath.Join(tempdir.New(t), "again")
	done := func(root string) bool {
		_, err := os.Stat(filepath.Join(root, record.IndexFile))
		return err == nil && !backup.RestoreUnfinished(root)
	}
	for _, care := range []string{"reindex", "compact", "repair", "backup", "restore"} {
		for range 6 {
			killAfter := 1 + random.IntN(65) // it tells of so much
			plan := crashPlan{Care: care, Backup: dir}
			if care == "restore" {
				if done(again) {
					os.RemoveAll(again)
				}
				whole := c.root
				c.root = again
				c.run(t, plan, killAfter)
				c.root = whole
				continue
			}
			if care == "repair" {
				for range 10 {
					c.spoil(t, kept[random.IntN(len(kept))])
				}
			}
			c.run(t, plan, killAfter)
			switch care {
			case "backup":
				if _, err := os.Stat(dir); err == nil {
					soundBackup(t, dir)
				}
				continue
			case "repair":
				continue // what is left to repair is not as it should be
			}
			if c.check(t); t.Failed() {
				t.Fatalf("%s, seed %d", care, seed)
			}
		}
		switch care {
		case "repair":
			s := c.open(t, "i")
			r, err := scrub.Run(t.Context(), s.Maintenance(), scrub.Options{Repair: true, Exclusive: true})
			if err != nil || r.Remain > 0 {
				t.Errorf("repairing at last: %+v, %v", r, err)
			}
			s.Close(t.Context())
			clear(c.damaged)
		case "backup":
			_, f := backUp(t, c.root, dir)
			f.want(t)
		case "restore":
			if !done(again) {
				_, f := restore(t, dir, again)
				f.want(t)
			}
			c.root = again
		}
	}
	c.checkAll(t)
}

// spoil puts other bytes in the place of an original, or removes it.
func (c *crashSite) spoil(t *testing.T, url string) {
	t.Helper()
	body := crashBody(url)
	path := filepath.Join(c.root, record.Image{Bucket: "i", Digest: sha256.Sum256(body), Info: probe.Info{Format: probe.PNG}}.File())
	c.damaged[url] = true
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if len(body)%2 == 0 {
		if err := os.WriteFile(path, make([]byte, len(body)), local.ImageMode); err != nil {
			t.Fatal(err)
		}
	}
}
