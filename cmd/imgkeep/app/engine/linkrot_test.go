package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"imgkeep/bucket/linkrot"
)

// A pass begins an interval after the end of the last one, over restarts; one that
// was broken off is gone on with at once.
func TestLinkRotTimer(t *testing.T) {
	const week = 7 * 24 * time.Hour
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	ended := func(ago time.Duration) *linkrot.Report {
		return &linkrot.Report{Last: &linkrot.Pass{Ended: now.Add(-ago)}}
	}
	under := ended(time.Hour)
	under.Now = &linkrot.Pass{}
	for name, tt := range map[string]struct {
		state *linkrot.Report
		fails bool
		want  []time.Duration
	}{
		"never yet":   {nil, false, []time.Duration{0, week, week}},
		"a day ago":   {ended(24 * time.Hour), false, []time.Duration{6 * 24 * time.Hour, week, week}},
		"long ago":    {ended(10 * week), false, []time.Duration{0, week, week}},
		"broken off":  {under, false, []time.Duration{0, week, week}},
		"it fails":    {nil, true, []time.Duration{0, time.Hour, time.Hour}},
		"not a whole": {&linkrot.Report{}, false, []time.Duration{0, week, week}},
	} {
		var waited []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		told := 0
		timer := linkRotTimer{
			interval: week, log: slog.New(slog.DiscardHandler), now: func() time.Time { return now },
			last:  func() (*linkrot.Report, error) { return tt.state, nil },
			ended: func(linkrot.Pass) { told++ },
			pass: func(context.Context) (linkrot.Pass, error) {
				if tt.fails {
					return linkrot.Pass{}, errors.New("the disk is full")
				}
				return linkrot.Pass{}, nil
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
