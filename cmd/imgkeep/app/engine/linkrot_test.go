package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"imgkeep/bucket"
)

// A pass begins an interval after the end of the last one, over restarts; one that
// was broken off is gone on with at once.
func TestLinkRotTimer(t *testing.T) {
	const week = 7 * 24 * time.Hour
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	ended := func(ago time.Duration) *bucket.LinkRot {
		return &bucket.LinkRot{Last: &bucket.LinkRotPass{Ended: now.Add(-ago)}}
	}
	under := ended(time.Hour)
	under.Now = &bucket.LinkRotPass{}
	for name, tt := range map[string]struct {
		state *bucket.LinkRot
		fails bool
		want  []time.Duration
	}{
		"never yet":   {nil, false, []time.Duration{0, week, week}},
		"a day ago":   {ended(24 * time.Hour), false, []time.Duration{6 * 24 * time.Hour, week, week}},
		"long ago":    {ended(10 * week), false, []time.Duration{0, week, week}},
		"broken off":  {under, false, []time.Duration{0, week, week}},
		"it fails":    {nil, true, []time.Duration{0, time.Hour, time.Hour}},
		"not a whole": {&bucket.LinkRot{}, false, []time.Duration{0, week, week}},
	} {
		var waited []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		timer := linkRotTimer{
			interval: week, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now },
			last:  func() (*bucket.LinkRot, error) { return tt.state, nil },
			ended: func(bucket.LinkRotPass) { told++ },
			pass: func(context.Context) (bucket.LinkRotPass, error) {
				if tt.fails {
					return bucket.LinkRotPass{}, errors.New("the disk is full")
				}
				return bucket.LinkRotPass{}, nil
			},
			wait: func(ctx context.Context, d time.Duration) error {
				if waited = append(waited, d); len(waited) == len(tt.want) {
					cancel()
				}
				return ctx.Err()
			},
		}
		timer.run(ctx)
		if fmt.Sprint(waited) != fmt.Sprint(tt.want) || (told > 0) == tt.fails {
			t.Errorf("%s: waited %v, want %v; told of %d", name, waited, tt.want, told)
		}
	}
}
