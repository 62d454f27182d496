package bucket

import (
	"bytes"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/ledger/ledgertest"
	"imgkeep/bucket/record"
)

// The only node of a store passes the suite that several nodes pass.
func TestRecords(t *testing.T) {
	ledgertest.RunRecords(t, func(t testing.TB) ledgertest.RecordsPlace {
		root := t.TempDir()
		var fails atomic.Bool
		disk := localtest.Sparse{Disk: localtest.New(func(s localtest.Step, do func() error) error {
			if fails.Load() && (s.Op == "Write" || s.Op == "Sync") {
				return syscall.EIO
			}
			return do()
		})}
		return ledgertest.RecordsPlace{
			Nodes: 1, Fail: fails.Store,
			Open: func(t testing.TB, _ int) ledgertest.Node {
				s, err := Open(Options{Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "f"}, {Name: "i"}}, disk: disk, sparse: true})
				if err != nil {
					t.Fatal(err)
				}
				return ledgertest.Node{
					Records: s.records,
					Bytes:   func(i record.Image) (io.ReadCloser, error) { return s.Open(t.Context(), i) },
					Forget: func(i record.Image) error {
						_, err := s.Forget(t.Context(), i.URL, RemoveOptions{})
						return err
					},
					Close: func() {
						if err := s.Close(t.Context()); err != nil {
							t.Error(err)
						}
					},
				}
			},
		}
	})
}

// A full disk is told to callers, and logged by whoever answers them, once; what else is wrong
// with a journal is an error in the log, also when the disk of another journal is full.
func TestCommitFailedLevel(t *testing.T) {
	for _, c := range []struct {
		name string
		fail map[string]error // by bucket
		want string
	}{
		{"all full", map[string]error{"f": syscall.ENOSPC, "i": syscall.EDQUOT}, "DEBUG"},
		{"one full", map[string]error{"f": syscall.ENOSPC}, "DEBUG"},
		{"one full, another broken", map[string]error{"f": syscall.ENOSPC, "i": syscall.EIO}, "ERROR"},
		{"one broken", map[string]error{"i": syscall.EIO}, "ERROR"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log bytes.Buffer
			var fails atomic.Bool
			busy, let := make(chan struct{}), make(chan struct{})
			root := t.TempDir()
			disk := localtest.New(func(s localtest.Step, do func() error) error {
				bucket, rest, _ := strings.Cut(strings.TrimPrefix(s.Path, root+"/"), "/")
				if s.Op != "Write" || filepath.Dir(rest) != record.JournalDir {
					return do()
				}
				if bucket == "first" {
					close(busy)
					<-let
				}
				if err := c.fail[bucket]; fails.Load() && err != nil {
					return err
				}
				return do()
			})
			s, err := Open(Options{
				Root: root, Origin: newOrigin(), Buckets: []Bucket{{Name: "f"}, {Name: "first"}, {Name: "i"}}, disk: disk, sparse: true,
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			})
			if err != nil {
				t.Fatal(err)
			}
			fails.Store(true)
			commit := func(bucket string) {
				image := record.Image{Bucket: bucket, URL: "https://example.com/", Digest: record.Digest{1}, Bytes: 1}
				s.commit(index.Change{Bucket: bucket, URL: image.URL, Keep: index.ImageOf(image)}, ledger.KeepEvent(image))
			}
			var all sync.WaitGroup
			all.Go(func() { commit("first") })
			<-busy
			all.Go(func() { commit("f") })
			all.Go(func() { commit("i") })
			for len(s.commits) < 2 { // which then are one group
				time.Sleep(time.Millisecond)
			}
			close(let)
			all.Wait()
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if want := "level=" + c.want + ` msg="commit failed" changes=2`; strings.Count(log.String(), want) != 1 {
				t.Errorf("want %s: %s", want, log.String())
			}
		})
	}
}
