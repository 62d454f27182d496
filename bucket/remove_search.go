package bucket

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// in returns the buckets of these names, or all.
func (s *Store) in(names []string) ([]string, error) {
	if len(names) == 0 {
		return s.bucketNames(), nil
	}
	for _, name := range names {
		if !s.Has(name) {
			return nil, ErrNoBucket
		}
	}
	return names, nil
}

// digestsOf returns the digests of what is kept under a URL, blocked or not: one,
// unless buckets have different bytes.
func (s *Store) digestsOf(url string, buckets []string) ([]record.Digest, error) {
	names, err := s.in(buckets)
	if err != nil {
		return nil, err
	}
	var digests []record.Digest
	for _, name := range names {
		i, err := s.index.Image(name, url)
		if errors.Is(err, index.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, s.unlessClosed(err)
		}
		if !slices.Contains(digests, record.Digest(i.Digest)) {
			digests = append(digests, i.Digest)
		}
	}
	return digests, nil
}

// urlLists are URLs that were found to have some bytes, by bucket and digest: to read
// the journals for them takes long.
type urlLists map[urlList][]string

type urlList struct {
	bucket string
	digest record.Digest
}

// name notes that these bytes, if they have a single URL in a bucket, have this one: urlsOf
// sees whether that is so.
func (known urlLists) name(url string, digests []record.Digest, buckets []string) {
	if url == "" {
		return
	}
	for _, d := range digests {
		for _, b := range buckets {
			if _, ok := known[urlList{b, d}]; !ok {
				known[urlList{b, d}] = []string{url}
			}
		}
	}
}

// searchAll is search for several digests.
func (s *Store) searchAll(ctx context.Context, digests []record.Digest, buckets []string, known urlLists) (all []record.Removed, err error) {
	if _, err := s.in(buckets); err != nil {
		return nil, err
	}
	for _, d := range digests {
		found, err := s.search(ctx, Target{Digest: d}, buckets, known)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// search finds what a removal of a URL or a digest takes away.
func (s *Store) search(ctx context.Context, t Target, buckets []string, known urlLists) ([]record.Removed, error) {
	names, err := s.in(buckets)
	if err != nil {
		return nil, err
	}
	var found []record.Removed
	for _, name := range names {
		r := record.Removed{Bucket: name, URLs: []string{}, Files: []string{}, Sizes: []string{}}
		digest := t.Digest
		if t.URL != "" {
			i, err := s.index.Image(name, t.URL)
			if errors.Is(err, index.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, s.unlessClosed(err)
			}
			digest = i.Digest
		}
		e, err := s.index.Entry(name, digest)
		switch {
		case errors.Is(err, index.ErrNotFound):
			ok, err := s.stray(&r, digest)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
		case err != nil:
			return nil, s.unlessClosed(err)
		default:
			r.Image, r.Bytes = index.RecordOf(name, t.URL, e.Image), e.Bytes
			if t.URL != "" {
				r.URLs, r.Left = []string{t.URL}, int(max(e.Refs, 1)-1)
			} else if r.URLs, err = s.urlsOf(ctx, name, digest, e.Refs, known); err != nil {
				return nil, err
			}
		}
		r.Digest = digest.String()
		files, err := local.FilesOf(s.root, name, digest)
		if err != nil {
			return nil, err
		}
		if r.Left == 0 {
			r.Files = append(r.Files, files...)
		}
		for _, file := range files {
			base := filepath.Base(file)
			if f, ok := record.ParseFile(base[:1], base[1:2], base); ok && f.Variant != "" && !slices.Contains(r.Sizes, f.Variant) {
				r.Sizes = append(r.Sizes, f.Variant)
			}
		}
		found = append(found, r)
	}
	return found, nil
}

// stray finds an original that the index does not have.
func (s *Store) stray(r *record.Removed, d record.Digest) (bool, error) {
	for _, f := range probe.Formats() {
		image := record.Image{Bucket: r.Bucket, Digest: d, Info: probe.Info{Format: f}}
		info, err := os.Lstat(s.Path(image.File()))
		if err == nil {
			r.Image, r.Bytes = image, info.Size()
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, nil
}

// urlsOf is URLs where the index counts so many. What is known, and still true, is
// not read again.
func (s *Store) urlsOf(ctx context.Context, bucket string, d record.Digest, refs uint64, known urlLists) ([]string, error) {
	k := urlList{bucket, d}
	urls, ok := known[k]
	if ok = ok && uint64(len(urls)) == refs; ok {
		for _, url := range urls {
			if ref, err := s.index.RefOf(bucket, index.KeyOf(url)); err != nil || ref != index.RefTo(d) {
				ok = false
				break
			}
		}
	}
	if ok {
		return urls, nil
	}
	urls, err := s.URLs(ctx, bucket, d)
	known[k] = urls
	return urls, err
}

// URLs lists the URLs of a bucket under which some bytes are kept, in the order
// in which they were. It looks for the digest in the text of the journal: a tenth of a
// second for some millions of lines.
func (s *Store) URLs(ctx context.Context, bucket string, d record.Digest) ([]string, error) {
	urls := []string{}
	n := 0
	for line, err := range s.linesOf(bucket, d) {
		if err != nil {
			return nil, err
		}
		if n++; n%256 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if line.Op != ledger.OpKeep || line.Image.Digest != d || slices.Contains(urls, line.Image.URL) {
			continue
		}
		ref, err := s.index.RefOf(bucket, index.KeyOf(line.Image.URL))
		if err == nil && ref == index.RefTo(d) {
			urls = append(urls, line.Image.URL)
		} else if err != nil && !errors.Is(err, index.ErrNotFound) {
			return nil, s.unlessClosed(err)
		}
	}
	slices.Reverse(urls)
	return urls, nil
}

// linesOf goes through the entries of a ledger that may be of some bytes, the last first.
func (s *Store) linesOf(bucket string, d record.Digest) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		if back, ok := s.ledger.(ledger.Backward); ok {
			for line, err := range back.Before(bucket, record.Position{}, ledger.Wanted{Any: [][]byte{[]byte(d.String())}}) {
				if !yield(line.Entry, err) {
					return
				}
			}
			return
		}
		var all []ledger.Entry
		for line, err := range s.ledger.Since(bucket, record.Position{}) {
			if err != nil {
				yield(line, err)
				return
			}
			if line.Op == ledger.OpKeep && line.Image.Digest == d {
				all = append(all, line)
			}
		}
		for _, line := range slices.Backward(all) {
			if !yield(line, nil) {
				return
			}
		}
	}
}
