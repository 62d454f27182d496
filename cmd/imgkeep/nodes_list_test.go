package main_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
)

// knownImage is a line of list on a node.
type knownImage struct {
	Bucket, URL, Digest, Type string
	Width                     int
	Bytes                     int64
	Stored                    time.Time
	Node                      *struct{ URLs int }
}

// listed runs list on a node, which must say that it is not all, and returns its lines.
func (n *siteNode) listed(t *testing.T, args ...string) (all []knownImage) {
	t.Helper()
	out, stderr, status := n.imgkeep(append([]string{"list"}, args...)...)
	if status != 0 || !strings.Contains(stderr, "this is what this node knows, not all that the nodes keep") {
		t.Fatalf("list %q: status %d: %s", args, status, stderr)
	}
	for line := range strings.Lines(out) {
		var e knownImage
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("list %q: %v: %s", args, err, line)
		}
		all = append(all, e)
	}
	return all
}

// A node lists and counts what it knows, and says that this is not all.
func TestNodesList(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t, nil)
	one, two := photo(t, 30, 20), photo(t, 40, 30)
	urls := []string{a.origin.serve("/1.jpg", one), a.origin.serve("/same.jpg", one), a.origin.serve("/2.jpg", two)}
	for _, u := range urls {
		a.serve.get(link("i", "full", u)).isImage("image/jpeg")
	}
	member, _, status := b.imgkeep("sign", "--by", "4711", urls[2])
	if status != 0 {
		t.Fatal("it does not sign")
	}
	b.serve.get(strings.TrimSpace(member)).isImage("image/jpeg")

	all := map[string]knownImage{}
	for _, e := range a.listed(t) {
		all[e.Digest] = e
	}
	for _, want := range []struct {
		image []byte
		width int
		urls  int
	}{{one, 30, 2}, {two, 40, 1}} {
		e := all[digest(want.image)]
		if e.Node == nil || e.Node.URLs != want.urls || e.URL != "" || e.Bucket != "i" || e.Type != "jpeg" || e.Width != want.width ||
			e.Bytes != int64(len(want.image)) || time.Since(e.Stored) > time.Hour {
			t.Errorf("%+v, want %d wide, and %d URLs", e, want.width, want.urls)
		}
	}
	for _, x := range []struct {
		args string
		a, b int
	}{
		{"", 2, 1}, {"--bucket=i", 2, 1}, {"--bucket=i --type=jpeg", 2, 1}, {"--type=jpeg", 2, 1}, {"--type=png", 0, 0},
		{"--since=1h", 2, 1}, {"--until=1h", 0, 0}, {"--by=4711", 0, 1}, {"--by=8", 0, 0}, {"--failed", 0, 0},
	} {
		if a, b := a.listed(t, strings.Fields(x.args)...), b.listed(t, strings.Fields(x.args)...); len(a) != x.a || len(b) != x.b {
			t.Errorf("%q: %d and %d, want %d and %d", x.args, len(a), len(b), x.a, x.b)
		}
	}
	if got := b.listed(t, "--by=4711", "--host=127.0.0.1"); len(got) != 1 || got[0].URL != urls[2] {
		t.Errorf("of a member: %+v", got)
	}
	if _, stderr, status := a.imgkeep("list", "--host", "127.0.0.1"); status != 1 || !strings.Contains(stderr, "the index of a node has digests and no hosts") {
		t.Errorf("by host: status %d: %s", status, stderr)
	}
	if _, stderr, status := a.imgkeep("list", "--bucket", "x"); status != 1 || !strings.Contains(stderr, "no such bucket") {
		t.Errorf("of no bucket: status %d: %s", status, stderr)
	}
	if _, stderr, status := a.imgkeep("list", "--blocked"); status != 0 || strings.Contains(stderr, "this node") {
		t.Errorf("blocks are those of all: status %d: %s", status, stderr)
	}
	a.countsAsNode(t, 2, 3)
	b.countsAsNode(t, 1, 1)
	// What one removes the other does not know any more.
	if _, stderr, status := a.imgkeep("purge", digest(two)); status != 0 {
		t.Fatal(stderr)
	}
	if got := a.listed(t); len(got) != 1 || got[0].Digest != digest(one) {
		t.Errorf("after a removal: %+v", got)
	}
	until(t, "the other node knows of it", func() bool { return len(b.listed(t)) == 0 })
	if got := b.listed(t, "--by=4711"); len(got) != 0 {
		t.Errorf("of a member, after a removal: %+v", got)
	}
}

// countsAsNode wants these figures of stats, which says that they are this node's.
func (n *siteNode) countsAsNode(t *testing.T, images, urls int) {
	t.Helper()
	out, stderr, status := n.imgkeep("stats")
	if want := fmt.Sprintf("all        %d images, %d URLs", images, urls); status != 0 || !strings.HasPrefix(out, "node       what this node knows, not all") || !strings.Contains(out, want) {
		t.Errorf("stats: status %d: %s%s, want %q", status, out, stderr, want)
	}
	out, stderr, _ = n.imgkeep("stats", "--json")
	var s struct {
		Node bool
		All  struct{ Images, URLs int }
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil || !s.Node || s.All.Images != images || s.All.URLs != urls {
		t.Errorf("%v: %s%s", err, out, stderr)
	}
}
