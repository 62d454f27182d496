package main_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3/s3test"
)

// versionsOf are the versions of the originals in the object store of a test.
func versionsOf(t *testing.T, g *s3test.Gateway) []object.Version {
	t.Helper()
	all, err := g.Client(t).Versions(t.Context(), "i/o/")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What a purge leaves in a bucket with versions is deleted with --all-versions, also later by the
// digest; what is kept again, or locked, stays, and a lock is named.
func TestNodesPurgeAllVersions(t *testing.T) {
	t.Parallel()
	g := s3test.StartVersioned(t)
	n := newNode(t, g, nil, nil)
	n.serve = n.start()
	g.KeepVersions(t)
	path := link("i", "full", n.origin.serve("/a.jpg", photo(t, 30, 20)))
	keep := func() (original object.Version) {
		t.Helper()
		before := map[object.Version]bool{}
		for _, v := range versionsOf(t, g) {
			before[v] = true
		}
		n.serve.get(path).isImage("image/jpeg")
		for _, v := range versionsOf(t, g) {
			if !before[v] {
				original = v
			}
		}
		if data, err := g.ReadVersion(t, original.Key, original.ID); err != nil || len(data) == 0 {
			t.Fatalf("what was kept cannot be read as %v: %v", original, err)
		}
		return original
	}
	run := func(want int, args ...string) string {
		t.Helper()
		out, stderr, status := n.imgkeep(args...)
		if status != want {
			t.Fatalf("%q: status %d, want %d: %s%s", args, status, want, out, stderr)
		}
		return out + stderr
	}
	readable := func(v object.Version) bool {
		_, err := g.ReadVersion(t, v.Key, v.ID)
		return err == nil
	}
	digest := func(v object.Version) string {
		name := v.Key[strings.LastIndexByte(v.Key, '/')+1:]
		return name[:strings.IndexByte(name, '.')]
	}

	first := keep()
	run(0, "purge", path)
	if !readable(first) {
		t.Fatal("a purge leaves nothing: the test tests nothing")
	}
	again := keep() // of another generation
	if out := run(0, "purge", "--all-versions", "--dry-run", path); !readable(first) || !readable(again) {
		t.Errorf("a dry run deletes: %s", out)
	}
	if out := run(0, "purge", "--all-versions", path); readable(first) || readable(again) || !strings.Contains(out, "versions and delete markers deleted") {
		t.Errorf("the bytes of the first can be read: %v, of the second: %v: %s", readable(first), readable(again), out)
	}
	if left := versionsOf(t, g); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}

	third := keep()
	run(0, "purge", path)
	if run(0, "purge", "--all-versions", digest(third)); readable(third) {
		t.Error("what was purged before is not deleted by its digest")
	}
	run(1, "purge", "--all-versions", digest(third)) // nothing is left

	locked := keep()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	g.Lock(t, locked.Key, locked.ID, until)
	out := run(1, "block", "--all-versions", path)
	for _, want := range []string{"it is not served any more", locked.Key, locked.ID, "locked until " + until.Format(time.RFC3339), "blocked: url"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q: %s", want, out)
		}
	}
	if a := n.serve.get(path); a.status != http.StatusUnavailableForLegalReasons {
		t.Errorf("the block does not hold: status %d", a.status)
	}
	if !readable(locked) {
		t.Error("what is locked was deleted")
	}
}

// Where no versions are kept the flag is refused, and nothing is removed.
func TestNodesWithoutVersions(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	n := newNode(t, g, nil, nil)
	n.serve = n.start()
	alone := newWorld(t, settings{"fetch.ports": []int{n.origin.port}})
	alone.origin = n.origin
	path := link("i", "full", n.origin.serve("/a.jpg", photo(t, 30, 20)))
	for _, tt := range []struct {
		w    *world
		s    *server
		want string
	}{{n.world, n.serve, "keeps no versions"}, {alone, alone.start(), "this is the store of one machine"}} {
		tt.s.get(path).isImage("image/jpeg")
		if out, stderr, status := tt.w.imgkeep("purge", "--all-versions", path); status != 1 || !strings.Contains(stderr, tt.want) {
			t.Errorf("status %d: %s%s", status, out, stderr)
		}
		if _, stderr, status := tt.w.imgkeep("show", path); status != 0 {
			t.Errorf("it was removed all the same: %s", stderr)
		}
	}
}
