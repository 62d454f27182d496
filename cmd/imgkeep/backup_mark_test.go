package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// A backup leaves its time in the store, and the server's metrics tell it; a link that
// somebody put in the place of that file is not followed.
func TestBackupIsNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.start()
	defer s.stop()
	known := func() float64 { return w.metric("imgkeep_backup_ended_timestamp_seconds") }
	if got := known(); got != 0 {
		t.Errorf("without a backup: %v", got)
	}
	other := filepath.Join(w.dir, "other")
	if err := os.WriteFile(other, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	mark := filepath.Join(w.root(), "backup.last")
	if err := os.Symlink(other, mark); err != nil {
		t.Fatal(err)
	}
	if _, errs, status := w.imgkeep("backup", filepath.Join(w.dir, "backup")); status != 0 || len(errs) > 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	if info, err := os.Lstat(mark); err != nil || !info.Mode().IsRegular() {
		t.Errorf("%v, %v", info, err)
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "another's" {
		t.Errorf("the file behind the link: %s, %v", text, err)
	}
	if age := time.Since(time.Unix(int64(known()), 0)); age < -time.Second || age > patience.Of(t) {
		t.Errorf("after a backup its age is %v", age)
	}
}

// A server that starts below its floor says so at once, not at the first image.
func TestStartBelowFloor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"store.min_free": "1000TiB"})
	s := w.start()
	defer s.stop()
	line := s.logged("nothing new is kept until this is repaired; kept images are served")
	if text, _ := line["error"].(string); !strings.Contains(text, "store.min_free is 1099511627776000") {
		t.Errorf("%v", line)
	}
}
