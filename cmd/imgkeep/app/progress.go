package app

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"

	"imgkeep/bucket/record"
)

// plainEvery is how often a line reports progress without a terminal.
const plainEvery = 30 * time.Second

// progress shows the progress of work: as a bar with rate and time left on a terminal,
// otherwise as a line now and then.
type progress struct {
	w        io.Writer
	terminal bool
	now      func() time.Time
	stage    string
	bar      *progressbar.ProgressBar
	last     time.Time

	note string // besides figures, after the stage
	its  bool   // also shows things a second
}

func newProgress(w io.Writer, now func() time.Time) *progress {
	p := &progress{w: w, now: now, last: now()}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) show(x record.Progress) {
	if !p.terminal {
		if p.now().Sub(p.last) >= plainEvery {
			p.last = p.now()
			fmt.Fprintln(p.w, "imgkeep: "+plain(x)+p.note)
		}
		return
	}
	if p.bar == nil || p.stage != x.Stage {
		p.clear()
		total := x.Total
		if total <= 0 {
			total = -1 // unknown: a spinner
		}
		p.stage = x.Stage
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionSetDescription(x.Stage),
			progressbar.OptionShowBytes(x.Bytes),
			progressbar.OptionUseIECUnits(true),
			progressbar.OptionShowCount(),
			p.rate(),
			progressbar.OptionSetPredictTime(true),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(),
			progressbar.OptionClearOnFinish(),
		)
	}
	if x.Total > 0 && p.bar.GetMax64() != x.Total {
		p.bar.ChangeMax64(x.Total)
	}
	if p.note != "" {
		p.bar.Describe(x.Stage + p.note)
	}
	p.bar.Set64(x.Done)
}

func (p *progress) rate() progressbar.Option {
	if p.its {
		return progressbar.OptionShowIts()
	}
	return func(*progressbar.ProgressBar) {}
}

// clear removes the bar, before other output and at the end.
func (p *progress) clear() {
	if p.bar != nil {
		p.bar.Clear()
	}
}

func plain(x record.Progress) string {
	number := func(n int64) string {
		if x.Bytes {
			return humanize.IBytes(uint64(max(n, 0)))
		}
		return humanize.Comma(n)
	}
	if x.Total <= 0 {
		return fmt.Sprintf("%s: %s", x.Stage, number(x.Done))
	}
	return fmt.Sprintf("%s: %s of %s, %d%%", x.Stage, number(x.Done), number(x.Total), 100*x.Done/x.Total)
}
