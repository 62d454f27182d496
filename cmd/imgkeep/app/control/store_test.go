package control_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"imgkeep/bucket"
	"imgkeep/bucket/linkrot"
	"imgkeep/cmd/imgkeep/app/control"
)

// Figures of origins are with those of the store, once there are any.
func TestStatsHasLinkRot(t *testing.T) {
	store, err := bucket.Open(bucket.Options{Root: filepath.Join(t.TempDir(), "store"), Buckets: []bucket.Bucket{{Name: "i"}}, Origin: origin{}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.Background())
	s := control.OpenStore{Store: store}
	if all, err := s.Stats(t.Context()); err != nil || all.LinkRot != nil {
		t.Errorf("before any pass: %+v, %v", all.LinkRot, err)
	}
	text := `{"last":{"began":"2026-11-18T12:00:00Z","all":{"gone":3},"buckets":{}},"at":{}}`
	if err := os.WriteFile(filepath.Join(store.Root(), linkrot.File), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := s.Stats(t.Context())
	if err != nil || all.LinkRot == nil || all.LinkRot.Last.All[linkrot.Gone] != 3 {
		t.Errorf("got %+v, %v", all.LinkRot, err)
	}
}
