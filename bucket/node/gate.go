package node

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync/atomic"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger"
)

// gate is an object store whose errors say that it is away, and that is asked nothing while
// the reader of the log finds it so.
type gate struct {
	objects object.Store
	away    *atomic.Bool
}

// poller marks the requests of the reader of the log.
type poller struct{}

// errWaiting: nobody has asked.
var errWaiting = errors.New("it has not answered lately")

// pass asks, unless it is known to be in vain.
func (g gate) pass(ctx context.Context, ask func() error) error {
	if g.away.Load() && ctx.Value(poller{}) == nil {
		return awayError{errWaiting}
	}
	err := ask()
	for _, answer := range []error{object.ErrExists, object.ErrChanged, object.ErrAbsent, object.ErrTooLong, object.ErrNoVersions, object.ErrHeld} {
		if errors.Is(err, answer) {
			return err
		}
	}
	if err == nil || errors.Is(ctx.Err(), context.Canceled) {
		return err
	}
	return awayError{err}
}

// awayError is an error of the object store, or of the way there.
type awayError struct{ error }

func (e awayError) Unwrap() []error { return []error{ledger.ErrAway, e.error} }

func (e awayError) Error() string { return ledger.ErrAway.Error() + ": " + e.error.Error() }

func (g gate) Create(ctx context.Context, key string, c object.Content) error {
	return g.pass(ctx, func() error { return g.objects.Create(ctx, key, c) })
}

func (g gate) Replace(ctx context.Context, key string, c object.Content, tag string) error {
	return g.pass(ctx, func() error { return g.objects.Replace(ctx, key, c, tag) })
}

func (g gate) Put(ctx context.Context, key string, c object.Content) error {
	return g.pass(ctx, func() error { return g.objects.Put(ctx, key, c) })
}

func (g gate) Read(ctx context.Context, key string, max int64) (data []byte, tag string, err error) {
	err = g.pass(ctx, func() error {
		data, tag, err = g.objects.Read(ctx, key, max)
		return err
	})
	return data, tag, err
}

func (g gate) Fetch(ctx context.Context, key string) (body io.ReadCloser, info object.Info, err error) {
	err = g.pass(ctx, func() error {
		body, info, err = g.objects.Fetch(ctx, key)
		return err
	})
	return body, info, err
}

func (g gate) Stat(ctx context.Context, key string) (info object.Info, err error) {
	err = g.pass(ctx, func() error {
		info, err = g.objects.Stat(ctx, key)
		return err
	})
	return info, err
}

func (g gate) Remove(ctx context.Context, key string) error {
	return g.pass(ctx, func() error { return g.objects.Remove(ctx, key) })
}

func (g gate) List(ctx context.Context, folder string) iter.Seq2[string, error] {
	return g.objects.List(ctx, folder)
}

func (g gate) CheckVersions(ctx context.Context) error {
	return g.pass(ctx, func() error { return object.CheckVersions(ctx, g.objects) })
}

func (g gate) Versions(ctx context.Context, prefix string) (all []object.Version, err error) {
	err = g.versioned(ctx, func(s object.Versioned) error {
		all, err = s.Versions(ctx, prefix)
		return err
	})
	return all, err
}

func (g gate) RemoveVersion(ctx context.Context, v object.Version) error {
	return g.versioned(ctx, func(s object.Versioned) error { return s.RemoveVersion(ctx, v) })
}

// versioned is pass for a store that keeps versions.
func (g gate) versioned(ctx context.Context, ask func(object.Versioned) error) error {
	s, ok := g.objects.(object.Versioned)
	if !ok {
		return object.ErrNoVersions
	}
	return g.pass(ctx, func() error { return ask(s) })
}
