package server

import (
	"context"
	"errors"
	"slices"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/bucket/variant"
	"imgkeep/resize"
	"imgkeep/sign"
)

// delivery is what a link shows: an image, or a variant of it.
type delivery struct {
	image    record.Image
	uncached bool          // the image is not kept
	size     string        // as links have it
	name     string        // under which the variant is kept; empty: the original
	format   probe.Format  // of what is sent
	target   resize.Target // how to make it, if it takes decoding

	accepted  []string   // by the viewer, of the formats in which the size is offered
	converted *rendition // the variant that they get instead; nil: none
	fallback  bool       // without a failure they would get another variant
}

// decide finds the image that a request asks for, keeps it if it is not kept yet, and
// decides what of it is sent.
func (s *Server) decide(ctx context.Context, q *request) (delivery, error) {
	q.removals = s.opts.Store.Removals()
	image, err := s.opts.Store.FindFrom(q.link.Bucket, q.url, q.source)
	if errors.Is(err, bucket.ErrNotKept) {
		if q.link.Proxy {
			return delivery{uncached: true}, nil
		}
		image, err = s.fetch(ctx, q)
	}
	if err != nil {
		return delivery{}, err
	}
	return s.delivery(image, q.link.Size, q.accepted)
}

// fetch keeps the image of a request. Requests that wait for the same image will all want
// their sizes at the same moment, so each joins the others first.
func (s *Server) fetch(ctx context.Context, q *request) (record.Image, error) {
	q.cacheStatus = Cold
	if q.link.Size != sign.SizeFull && q.link.Size != sign.SizeInfo {
		q.pending = s.coalescer.join(imageKey{q.link.Bucket, q.url}, q.link.Size, q.accepted)
	}
	image, err := s.opts.Store.KeepFrom(ctx, q.link.Bucket, q.url, q.source)
	if err == nil {
		q.fetched = &image
	}
	return image, err
}

// delivery is what a checked size stands for.
func (s *Server) delivery(image record.Image, size string, accepted []string) (delivery, error) {
	d := delivery{image: image, size: size, format: image.Format, accepted: accepted}
	switch size {
	case sign.SizeInfo:
		return d, nil
	case sign.SizeFull:
		if s.strips(image.Bucket) {
			d.name = variant.Stripped
		}
		return d, nil
	}
	plain, converted, err := s.variants(size, image, accepted)
	if err != nil {
		return d, err
	}
	d.name, d.format, d.target, d.converted = plain.Name, plain.Format, plain.target, converted
	return d, nil
}

// path is where the file is, below the store's root.
func (d delivery) path() string {
	if d.name == "" {
		return d.image.File()
	}
	return d.image.VariantFile(d.name, d.format)
}

// strips tells whether images of a bucket are served without metadata.
func (s *Server) strips(bucket string) bool { return slices.Contains(s.opts.Stripped, bucket) }
