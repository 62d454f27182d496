package trend

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/record"
)

func rootOf(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, record.TmpDir), 0o700); err != nil {
		t.Fatal(err)
	}
	return root
}

// Samples say what happened in each interval, and outlive the process; what was counted
// before it began does not count.
func TestTrend(t *testing.T) {
	root := rootOf(t)
	synctest.Test(t, func(t *testing.T) {
		var counts atomic.Pointer[Counts]
		counts.Store(&Counts{Warm: 100, Cold: 10, Hot: 5, FetchWait: time.Minute})
		open := func() *Trend {
			trend, err := Open(root, func() Counts { return *counts.Load() }, time.Now)
			if err != nil {
				t.Fatal(err)
			}
			return trend
		}
		trend := open()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			trend.Run(ctx, func(err error) { t.Error(err) })
			close(ended)
		}()
		time.Sleep(Every - time.Second)
		counts.Store(&Counts{Warm: 107, Cold: 11, Failed: 2, Hot: 6, FetchWait: time.Minute + 1500*time.Millisecond})
		time.Sleep(2 * time.Second)
		time.Sleep(Every)
		cancel()
		<-ended
		all := trend.Samples()
		if len(all) != 3 || all[0].Warm != 7 || all[0].Cold != 1 || all[0].Failed != 2 || all[0].Hot != 6 || all[0].FetchWait != 1.5 || all[1].Warm != 0 || all[1].Hot != 6 {
			t.Errorf("%+v", all)
		}
		if again := open().Samples(); !slices.Equal(again, all) {
			t.Errorf("after a restart: %+v", again)
		}
	})
}

// A week of samples is remembered, and no more; the file is written once an hour.
func TestTrendIsBounded(t *testing.T) {
	root := rootOf(t)
	n := 0
	trend, err := Open(root, func() Counts { n++; return Counts{Warm: uint64(n)} }, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i := range Most + 10 {
		trend.sample()
		if want := (i+1)%perFile == 0; trend.due() != want {
			t.Fatalf("after %d samples it is due: %v", i+1, !want)
		}
		if trend.due() {
			if trend.unsent = 0; i == Most+perFile-1 || i < perFile {
				if err := trend.write(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := trend.write(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(root, File))
	if err != nil || info.Size() > 400<<10 || info.Mode().Perm() != 0o600 || len(trend.Samples()) != Most {
		t.Errorf("%d samples, %v, %v", len(trend.Samples()), info.Size(), err)
	}
}

// A file that cannot be read is an error, and no reason not to go on.
func TestTrendDamaged(t *testing.T) {
	for _, text := range []string{"{", `{"a":1}`, strings.Repeat(" ", maxFile+1)} {
		root := rootOf(t)
		if err := os.WriteFile(filepath.Join(root, File), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		trend, err := Open(root, func() Counts { return Counts{} }, time.Now)
		if err == nil || len(trend.Samples()) != 0 {
			t.Errorf("%.10q: %v", text, err)
		}
		trend.sample()
		if err := trend.write(); err != nil {
			t.Error(err)
		}
	}
}
