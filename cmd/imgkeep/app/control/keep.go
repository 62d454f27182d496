package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/server"
)

// Keeper keeps images that no viewer has asked for. An Outcome tells what went wrong.
type Keeper interface {
	Populate(context.Context, PopulateRequest) Outcome
	Add(AddRequest, io.Reader) Outcome
}

// StoreKeeper is a Keeper on an open store.
type StoreKeeper struct {
	Store     *bucket.Store
	Populator *server.Populator
	// Key returns the URL under which the image of a canonical one is kept.
	Key func(canonical string) string
	// BaseURL is what URLs are relative to; empty: nothing.
	BaseURL string
}

// Populate implements Keeper.
func (k *StoreKeeper) Populate(ctx context.Context, q PopulateRequest) Outcome {
	done, err := k.Populator.Populate(ctx, q.Bucket, string(q.URL), q.Sizes)
	o := Outcome{Kept: done.Fetched, Bytes: done.Bytes, Made: done.Made}
	if err != nil {
		o.Code, o.Detail, o.Stop = server.Code(err), reason(err), server.Stops(err)
	}
	return o
}

// Add implements Keeper: it keeps something under a URL as it was written. What the
// system does not let us do with one file it does not with others either.
func (k *StoreKeeper) Add(q AddRequest, bytes io.Reader) Outcome {
	canonical, err := imageurl.CanonicalAt(k.BaseURL, q.URL)
	if err != nil {
		return Outcome{Code: addCode(err), Detail: err.Error()}
	}
	var image record.Image
	var added bool
	if q.Path != "" {
		image, added, err = k.Store.AddFile(q.Bucket, k.Key(canonical), q.Path)
	} else {
		image, added, err = k.Store.Add(q.Bucket, k.Key(canonical), bytes)
	}
	if err == nil {
		return Outcome{Kept: added, Bytes: image.Bytes}
	}
	o := Outcome{Code: addCode(err), Detail: err.Error(), Stop: server.Stops(err)}
	switch {
	case q.Path == "":
	case errors.Is(err, syscall.EXDEV):
		o.Stop, o.Detail = true, "it does not lie on the store's file system: without --link it is copied"
	case errors.Is(err, fs.ErrPermission):
		o.Stop, o.Detail = true, fmt.Sprintf("%v: --link needs the owner of the files, or root", err)
	}
	return o
}

// reason is an error in a line for the operator.
func reason(err error) string {
	var f *bucket.Failure
	if errors.As(err, &f) {
		return fmt.Sprintf("%v; not tried again before %s", err, f.Next.UTC().Format(time.RFC3339))
	}
	return err.Error()
}

// CodeTaken is the code of an image whose URL has another one.
const CodeTaken = "taken"

// addCode is server.Code for what only bytes of our own can be.
func addCode(err error) string {
	for _, c := range []struct {
		err  error
		code string
	}{
		{bucket.ErrTaken, CodeTaken}, {bucket.ErrTooLarge, "too-large"},
		{probe.ErrType, "type"}, {probe.ErrPixels, "too-many-pixels"}, {probe.ErrBroken, "broken"}, {probe.ErrTruncated, "broken"},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return server.Code(err)
}
