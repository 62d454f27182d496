package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

// A scrub begins when the last one that ended is an interval ago, whatever
// restarts there were; one that fails is tried again sooner.
func TestScrubTimer(t *testing.T) {
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	last := filepath.Join(t.TempDir(), "last")
	fails := false
	start := func(scrubs int) (waited []time.Duration) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := 0
		s := scrubTimer{
			interval: 24 * time.Hour, last: last, log: slog.New(slog.DiscardHandler),
			scrub: func(context.Context, func(record.Finding)) (scrub.Report, error) {
				now = now.Add(time.Hour) // that it takes
				if done++; done == scrubs {
					cancel()
				}
				if fails {
					return scrub.Report{}, errors.New("failed")
				}
				return scrub.Report{}, nil
			},
			now: func() time.Time { return now },
			wait: func(ctx context.Context, d time.Duration) error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				waited = append(waited, d)
				now = now.Add(d)
				return nil
			},
		}
		s.run(ctx)
		return waited
	}
	want := func(what string, got []time.Duration, want ...time.Duration) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: waited %v, want %v", what, got, want)
		}
	}
	want("a new store", start(2), 24*time.Hour, 24*time.Hour)
	now = now.Add(10 * time.Hour)
	want("restarted after ten hours", start(1), 14*time.Hour)
	now = now.Add(1000 * time.Hour)
	want("restarted after long", start(1), 0)
	fails = true
	want("failing", start(3), 24*time.Hour, time.Hour, time.Hour)
	fails = false
	want("failing forgets nothing", start(1), 0)
}

// What no decoder has seen is looked at some time after the start, and then day by day, at
// a rate; sooner after an error.
func TestLookTimer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var waited []time.Duration
	runs := 0
	timer := lookTimer{
		log: slog.New(slog.DiscardHandler),
		index: func(_ context.Context, o lookalike.IndexOptions) (lookalike.IndexReport, error) {
			if o.Rate != lookRate {
				t.Errorf("%d images a second", o.Rate)
			}
			if runs++; runs == 2 {
				return lookalike.IndexReport{}, errors.New("the disk is gone")
			}
			return lookalike.IndexReport{Added: 1}, nil
		},
		wait: func(_ context.Context, d time.Duration) error {
			if waited = append(waited, d); runs == 3 {
				return context.Canceled
			}
			return nil
		},
	}
	timer.run(ctx)
	if want := []time.Duration{lookFirst, lookInterval, retryFailed, lookInterval}; !slices.Equal(waited, want) {
		t.Errorf("waited %v, want %v", waited, want)
	}
}
