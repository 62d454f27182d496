package nginx_test

import (
	"path/filepath"
	"testing"
	"time"

	"imgkeep/nginx"
)

// What links hang on may change while the tree is open: more of it leaves them, and
// less drops them; and the next process finds it so.
func TestRenew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hot")
	h := openHot(t, nginx.HotOptions{Dir: dir, Fingerprint: []string{"one"}})
	fill := func() {
		t.Helper()
		add(t, h, "i", "full", sigA, ".jpg", "/a.jpg", time.Now().Add(time.Hour))
	}
	fill()
	for _, step := range []struct {
		settings []string
		left     int
	}{{[]string{"one", "two"}, 1}, {[]string{"two", "one"}, 1}, {[]string{"two"}, 0}, {[]string{"three"}, 0}} {
		fill()
		if err := h.Renew(step.settings); err != nil || len(links(t, dir)) != step.left || h.Len() != step.left {
			t.Errorf("%v: %d links, Len %d, %v; want %d", step.settings, len(links(t, dir)), h.Len(), err, step.left)
		}
		fill()
		openHot(t, nginx.HotOptions{Dir: dir, Fingerprint: step.settings})
		if len(links(t, dir)) != 1 {
			t.Errorf("%v: the next process drops the links", step.settings)
		}
	}
}
