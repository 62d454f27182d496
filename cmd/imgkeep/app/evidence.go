package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"

	"imgkeep/bucket/evidence"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

// evidenceFile is the file of --evidence. It is created first, while the process may still
// be root, and never replaces a file.
type evidenceFile struct {
	app    *app
	path   string // absolute
	file   *os.File
	folder *os.File // that contains it
	sum    hash.Hash
	whole  bool // completely written and flushed
}

// openEvidence creates the file; nil without --evidence.
func (a *app) openEvidence(path string, dryRun bool) (*evidenceFile, error) {
	if path == "" {
		return nil, nil
	}
	if dryRun {
		return nil, usageError(errors.New("--evidence and --dry-run do not go together: nothing would be removed, and nothing written"))
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("--evidence: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		err = fmt.Errorf("%s is there already, and may be evidence of something else: name another file", path)
	}
	if err != nil {
		folder.Close()
		return nil, fmt.Errorf("--evidence: %w", err)
	}
	return &evidenceFile{app: a, path: path, file: file, folder: folder, sum: sha256.New()}, nil
}

// removal is a request, with the argument that it comes from.
type removal struct {
	arg     string
	request control.RemoveRequest
}

// take writes and flushes the bundle of what requests would remove, and returns requests
// that remove exactly that: by the digests in the bundle. After an error nothing may be
// removed.
func (e *evidenceFile) take(ctx context.Context, s control.Service, c config.Config, requests []control.RemoveRequest, args []string) (all []removal, err error) {
	defer func() {
		if e.whole = err == nil; err != nil {
			err = fmt.Errorf("nothing was removed: %w", err)
		}
	}()
	o := evidence.Options{
		Root: c.Root, Audit: engine.AuditPath(c), By: e.app.caller.Who, Program: e.app.version(), Now: e.app.Now(),
	}
	for i, q := range requests {
		arg := asTyped(args[i])
		o.Names, o.Why = append(o.Names, arg), q.Why
		images, err := planned(ctx, s, q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", arg, err)
		}
		for _, image := range images {
			if slices.ContainsFunc(o.Images, func(x query.ImageDetails) bool { return x.Bucket == image.Bucket && x.Digest == image.Digest }) {
				continue // another argument names it too
			}
			o.Images = append(o.Images, image)
			by := q
			by.URL, by.Digest, by.Named, by.Buckets = "", image.Digest, control.Named{}, []string{image.Bucket}
			all = append(all, removal{arg, by})
		}
	}
	if err := evidence.Write(ctx, io.MultiWriter(e.file, e.sum), o); err != nil {
		return nil, err
	}
	if err := errors.Join(e.file.Sync(), e.file.Close(), e.folder.Sync(), e.folder.Close()); err != nil {
		return nil, err
	}
	for i := range all {
		all[i].request.Evidence = e.path + " sha256:" + hex.EncodeToString(e.sum.Sum(nil))
	}
	return all, nil
}

// planned are the images that a request would remove.
func planned(ctx context.Context, s control.Service, q control.RemoveRequest) (images []query.ImageDetails, err error) {
	q.DryRun = true
	plan, err := s.Remove(ctx, q)
	if err != nil {
		return nil, err
	}
	for _, i := range plan.Images {
		details, err := s.Show(ctx, control.ShowRequest{Digest: i.Digest})
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(details.Images, func(x query.ImageDetails) bool { return x.Bucket == i.Bucket && x.Digest == i.Digest })
		if at < 0 {
			return nil, fmt.Errorf("%s/%s is not kept any more: try again", i.Bucket, i.Digest)
		}
		images = append(images, details.Images[at])
	}
	if len(images) == 0 {
		return nil, errors.New("no image of it is kept, so there is no evidence")
	}
	return images, nil
}

// discard removes the file, unless it is complete: otherwise it is no evidence.
func (e *evidenceFile) discard() error {
	if e == nil || e.whole {
		return nil
	}
	e.file.Close()
	e.folder.Close()
	if err := os.Remove(e.path); err != nil {
		return fmt.Errorf("the file of evidence is incomplete, and cannot be removed: %w", err)
	}
	return nil
}
