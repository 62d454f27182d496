package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// localKeeper keeps images that no viewer has asked for, in a store that this
// process has open. It is what the admin socket answers with.
type localKeeper struct {
	store     *bucket.Store
	populator *server.Populator
	same      sameImage
	base      string // what URLs are relative to; empty: nothing
}

// newKeeper returns a keeper. pool may be nil: then it makes no sizes.
func newKeeper(c config.Config, presets map[string]*resize.Preset, store *bucket.Store, pool *resize.Pool, now func() time.Time) (localKeeper, error) {
	o := sizeOptions(c, presets)
	o.Store, o.Now = store, now
	decoders := 0
	if pool != nil {
		o.Resizer = pool
		decoders = pool.Stats().Workers
	}
	populator, err := server.NewPopulator(o, decoders)
	return localKeeper{store, populator, newSameImage(c), c.Fetch.BaseURL}, err
}

func (k localKeeper) Populate(ctx context.Context, q control.PopulateRequest) control.Outcome {
	done, err := k.populator.Populate(ctx, q.Bucket, string(q.URL), q.Sizes)
	o := control.Outcome{Kept: done.Fetched, Bytes: done.Bytes, Made: done.Made}
	if err != nil {
		o.Code, o.Detail, o.Stop = server.Code(err), reason(err), server.Stops(err)
	}
	return o
}

func (k localKeeper) Add(name, url string, r io.Reader) control.Outcome {
	return k.added(url, func(url string) (bucket.Image, bool, error) { return k.store.Add(name, url, r) })
}

// Link keeps a file by another name of it, see bucket.Store.AddFile. What the system
// does not let us do with one it does not with others either.
func (k localKeeper) Link(name, url, path string) control.Outcome {
	var refused error
	o := k.added(url, func(url string) (image bucket.Image, added bool, err error) {
		image, added, err = k.store.AddFile(name, url, path)
		refused = err
		return image, added, err
	})
	switch {
	case errors.Is(refused, syscall.EXDEV):
		o.Stop, o.Detail = true, "it does not lie on the store's file system: without --link it is copied"
	case errors.Is(refused, fs.ErrPermission):
		o.Stop, o.Detail = true, fmt.Sprintf("%v: --link needs the owner of the files, or root", refused)
	}
	return o
}

// added keeps something under a URL as it was written.
func (k localKeeper) added(url string, add func(canonical string) (bucket.Image, bool, error)) control.Outcome {
	url, err := bucket.CanonicalAt(k.base, url)
	if err != nil {
		return control.Outcome{Code: addCode(err), Detail: err.Error()}
	}
	image, added, err := add(k.same.key(url))
	if err != nil {
		return control.Outcome{Code: addCode(err), Detail: err.Error(), Stop: server.Stops(err)}
	}
	return control.Outcome{Kept: added, Bytes: image.Bytes}
}

// reason is an error in a line for the operator.
func reason(err error) string {
	var f *bucket.Failure
	if errors.As(err, &f) {
		return fmt.Sprintf("%v; not tried again before %s", err, f.Next.UTC().Format(time.RFC3339))
	}
	return err.Error()
}

// taken is the code of an image whose URL has another one.
const taken = "taken"

// addCode is server.Code for what only bytes of our own can be.
func addCode(err error) string {
	for _, c := range []struct {
		err  error
		code string
	}{
		{bucket.ErrTaken, taken}, {bucket.ErrTooLarge, "too-large"},
		{probe.ErrType, "type"}, {probe.ErrPixels, "too-many-pixels"}, {probe.ErrBroken, "broken"}, {probe.ErrTruncated, "broken"},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return server.Code(err)
}

// keeper keeps images: by the server, where one runs, or by this process. An
// error means that it could not even be tried.
type keeper interface {
	Populate(context.Context, control.PopulateRequest) (control.Outcome, error)
	Add(ctx context.Context, bucket, url string, image io.Reader) (control.Outcome, error)
	// Ran notes the end of a run in the audit log. What is added with a context of
	// control.InRun is not noted before.
	Ran(context.Context, control.Run) error
}

// here is a localKeeper as a keeper.
type here struct {
	localKeeper
	audit *control.Audit
	by    control.Caller
}

func (h here) Populate(ctx context.Context, q control.PopulateRequest) (control.Outcome, error) {
	o := h.localKeeper.Populate(ctx, q)
	return o, ctx.Err()
}

func (h here) Add(ctx context.Context, bucket, url string, image io.Reader) (control.Outcome, error) {
	o := h.localKeeper.Add(bucket, url, image)
	if control.IsInRun(ctx) {
		return o, nil
	}
	return o, h.audit.Added(h.by, bucket, url, o)
}

func (h here) Ran(_ context.Context, run control.Run) error { return h.audit.Ran(h.by, run) }

// withKeeper has images kept. A store is made where there is none; decoders are
// started if sizes are to be made.
//
// as says what root does in a store of somebody else: becomeOwner, or what it does
// instead.
func (a *app) withKeeper(ctx context.Context, c config.Config, sizes bool, as func(root string) error, work func(keeper) error) (err error) {
	client, err := control.Dial(ctx, c.AdminSocket())
	if err == nil {
		return work(client)
	}
	if !errors.Is(err, control.ErrNoServer) {
		return err
	}
	if err := as(c.Root); err != nil {
		return err
	}
	presets, err := newPresets(c)
	if err != nil {
		return err
	}
	var pool *resize.Pool
	if sizes {
		if pool, err = newPool(c, newLogger(a.Stderr, c.Log)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, pool.Close()) }()
	}
	store, err := a.openStore(c)
	if err != nil {
		return inUse(c, err)
	}
	defer func() { err = errors.Join(err, store.Close(context.Background())) }()
	k, err := newKeeper(c, presets, store, pool, a.Now)
	if err != nil {
		return err
	}
	return work(here{k, a.audit(c), a.caller})
}
