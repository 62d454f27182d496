package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/hook"
)

// hooks are the programs of the operator's that a server tells what it does.
type hooks struct {
	clients map[string]*hook.Client
	queues  map[string]*hook.Queue // of what is kept and what fails
	outbox  *hook.Outbox           // of removals; nil: nobody is told, or it is not open yet
}

// newHooks returns those of a configuration. Each message that is sent, and each that is
// not, is counted.
func newHooks(c config.Hooks, log *slog.Logger, now func() time.Time, sent func(kind string, err error), missed func(kind string)) (*hooks, error) {
	h := &hooks{clients: map[string]*hook.Client{}, queues: map[string]*hook.Queue{}}
	var secrets []string
	for _, s := range c.Secrets {
		secrets = append(secrets, string(s))
	}
	for kind, url := range c.ByType() {
		client, err := hook.New(hook.Options{
			URL: url, Secrets: secrets, Timeout: c.Timeout, Now: now, Log: log, Sent: func(err error) { sent(kind, err) },
		})
		if err != nil {
			return nil, config.Errorf("hooks.%s: %w (hooks.secret_files)", kind, err)
		}
		h.clients[kind] = client
		if kind != hook.Removed {
			h.queues[kind] = hook.NewQueue(kind, client, func() { missed(kind) })
		}
	}
	return h, nil
}

// watch has a store tell of what it keeps and fails to keep.
func (h *hooks) watch(o *bucket.Options) {
	if q := h.queues[hook.Kept]; q != nil {
		o.Kept = func(i record.Image) {
			width, height := i.Shown()
			q.Add(hook.KeptItem{
				Bucket: i.Bucket, URL: i.URL, Digest: i.Digest.String(), Type: i.Format.String(),
				Width: width, Height: height, Frames: i.Frames, Bytes: i.Bytes, Stored: i.Stored,
			})
		}
	}
	if q := h.queues[hook.Failed]; q != nil {
		o.Failed = func(bucket, url string, f bucket.Failure) {
			q.Add(hook.FailedItem{
				Bucket: bucket, URL: url, Class: string(f.Kind), Status: f.Status, Detail: f.Detail, Host: f.Host,
				Attempts: f.Attempts, First: f.First, Next: f.Next,
			})
		}
	}
}

// open opens the outbox of the store, which this process has open, or drops one that is
// nobody's any more.
func (h *hooks) open(root string, log *slog.Logger, now func() time.Time) (err error) {
	if h.clients[hook.Removed] == nil {
		return hook.Drop(root)
	}
	h.outbox, err = hook.OpenOutbox(root, log, now)
	return err
}

// waiting is how much waits, by type.
func (h *hooks) waiting() map[string]int {
	n := map[string]int{}
	for kind, q := range h.queues {
		n[kind] = q.Len()
	}
	if h.outbox != nil {
		n[hook.Removed] = h.outbox.Len()
	}
	return n
}

// run sends what there is to be told until ctx ends.
func (h *hooks) run(ctx context.Context, wg *sync.WaitGroup) {
	for _, q := range h.queues {
		wg.Go(func() { q.Run(ctx) })
	}
	if h.outbox != nil {
		wg.Go(func() { h.outbox.Run(ctx, h.clients[hook.Removed]) })
	}
}

// outboxOf is a hook.Outbox as control knows it; nil stays nil, which an interface with a nil
// in it would not.
func outboxOf(o *hook.Outbox) control.Outbox {
	if o == nil {
		return nil
	}
	return removals{o}
}

// removals notes removals in an outbox.
type removals struct{ outbox *hook.Outbox }

// Begin implements control.Outbox.
func (r removals) Begin(q control.RemoveRequest, by string) func(control.Removal, error) {
	end := r.outbox.Begin()
	return func(done control.Removal, err error) {
		if len(done.Images)+len(done.Blocked) == 0 && (errors.Is(err, bucket.ErrNotKept) || errors.Is(err, bucket.ErrNoBucket)) {
			end(nil) // there was nothing to remove
			return
		}
		m := hook.Removal{Op: q.Verb, URL: q.URL, Digest: q.Digest, Host: q.Host, By: by, Why: q.Why, Links: done.Links}
		for _, i := range done.Images {
			m.Images = append(m.Images, hook.RemovedImage{Bucket: i.Bucket, Digest: i.Digest, URLs: append([]string{}, i.URLs...)})
		}
		// Which links lead to a host's images nobody knows, and which to what an error has
		// left, or to what is removed where no secret is known.
		m.All = q.Host != "" || err != nil || len(done.Images) > 0 && len(done.Links) == 0
		end(&m)
	}
}
