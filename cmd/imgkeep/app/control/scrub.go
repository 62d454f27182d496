package control

import (
	"context"
	"errors"

	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

var (
	errScrubbing = errors.New("a scrub is already running; try again later")
	errGaveWay   = errors.New("stopped for a scrub that was requested")
)

// Scrub implements Service. It takes the place of the server's own scrub.
func (l *Local) Scrub(ctx context.Context, q ScrubRequest, each Each) (scrub.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := l.jobs.beginScrub(ctx); err != nil {
		return scrub.Report{}, err
	}
	defer l.jobs.endScrub()
	var enough error // of each
	tell := func(e Event) {
		if each == nil || enough != nil {
			return
		}
		if enough = each(e); enough != nil {
			cancel(enough)
		}
	}
	l.opts.Log.Info("scrub begins", "rate", q.Rate, "repair", q.Repair)
	removed := false
	report, err := l.scrubStore(ctx, scrub.Options{
		Rate: q.Rate, Repair: q.Repair, Exclusive: l.opts.Exclusive,
		Found: func(f record.Finding) {
			removed = removed || f.Kind == record.HalfRemoved && f.Repaired
			tell(Event{Finding: &f})
		},
		Progress: func(p record.Progress) { tell(Event{Progress: &p}) },
	})
	if enough != nil {
		err = enough
	}
	l.log(err, "scrub ends", "found", report.Found, "remain", report.Remain)
	if removed && l.opts.Hot != nil { // a removal that was broken off has been finished
		err = errors.Join(err, dropHotLinks(l.opts.Hot))
	}
	if q.Repair {
		err = errors.Join(err, l.audit(Change{Op: "scrub --repair", What: report}, err))
	}
	return report, err
}

// ScrubOwn scrubs the store of the server's own accord, until it ends or somebody asks
// for a scrub.
func (l *Local) ScrubOwn(ctx context.Context, o scrub.Options) (scrub.Report, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	select {
	case l.jobs.scrubbing <- struct{}{}:
	default:
		return scrub.Report{}, errScrubbing
	}
	defer l.jobs.endScrub()
	l.jobs.setOwn(cancel)
	defer func() { l.jobs.setOwn(nil) }()
	return l.scrubStore(ctx, o)
}

func (l *Local) scrubStore(ctx context.Context, o scrub.Options) (scrub.Report, error) {
	report, err := l.opts.Store.Scrub(ctx, o)
	if err == nil && l.opts.Scrubbed != nil {
		l.opts.Scrubbed(report)
	}
	return report, err
}

// beginScrub ends the server's own scrub, if that is under way, and waits for its end.
func (j *jobs) beginScrub(ctx context.Context) error {
	if end := j.setOwn(nil); end != nil {
		end(errGaveWay)
		select {
		case j.scrubbing <- struct{}{}:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	select {
	case j.scrubbing <- struct{}{}:
		return nil
	default:
		return errScrubbing
	}
}

func (j *jobs) endScrub() { <-j.scrubbing }

// setOwn notes what ends the server's own scrub, and returns what did before.
func (j *jobs) setOwn(cancel context.CancelCauseFunc) (old context.CancelCauseFunc) {
	j.mu.Lock()
	defer j.mu.Unlock()
	old, j.own = j.own, cancel
	return old
}
