package bucket

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/flight"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/whole"
	"imgkeep/bucket/record"
)

// What Add says of bytes that it does not keep, besides the errors of package
// probe and those of Keep.
var (
	// ErrTooLarge: more bytes than the bucket's images may have.
	ErrTooLarge = errors.New("larger than images of this bucket may be")
	// ErrTaken: other bytes are kept under the URL.
	ErrTaken = errors.New("another image is kept under this URL")
)

// Add keeps bytes that somebody has under a canonical URL, as if they had been
// fetched from it: checked, digested and made durable in the same way. The origin
// is not asked; a failure that stands against the URL is forgotten.
//
// Where the same bytes are kept under the URL already nothing is done, and added
// is false. Other bytes are not replaced: ErrTaken. An error of r is returned
// wrapped.
func (s *Store) Add(bucket, url string, r io.Reader) (_ record.Image, added bool, err error) {
	return s.add(bucket, url, s.bring(r))
}

// bring brings what a reader has.
func (s *Store) bring(r io.Reader) bringer {
	return func(b Bucket, seen io.Writer) (tmp *os.File, n int64, err error) {
		if tmp, err = s.temp("added-*"); err != nil {
			return nil, 0, err
		}
		if b.MaxBytes > 0 {
			r = &limited{r: r, left: b.MaxBytes}
		}
		n, err = io.Copy(io.MultiWriter(local.Writer{Disk: s.disk, File: tmp}, seen), r)
		return tmp, n, err
	}
}

// AddFile is Add for a file that somebody has on the store's file system. It is not
// copied: the store gets another name of it, a hard link, and the caller may remove path or
// keep it. Nobody may write to the file any more: it is made read-only (mode 0444), gets the
// time that the store gives its files (see record.ModTimeOf), and is not changed otherwise.
// That it may be linked, and changed so, is up to the system: errors wrap
// fs.ErrPermission, or syscall.EXDEV where it lies on another file system.
func (s *Store) AddFile(bucket, url, path string) (_ record.Image, added bool, err error) {
	return s.add(bucket, url, func(b Bucket, seen io.Writer) (*os.File, int64, error) {
		// A name of our own first: what is looked at is then what is kept, whatever
		// path becomes meanwhile.
		tmp, err := s.tempLink(path)
		if err != nil {
			return nil, 0, err
		}
		var r io.Reader = tmp
		if b.MaxBytes > 0 {
			r = &limited{r: r, left: b.MaxBytes}
		}
		n, err := io.Copy(seen, r)
		return tmp, n, err
	})
}

// tempLink makes another name of a file in tmp, and opens it.
func (s *Store) tempLink(path string) (*os.File, error) {
	tmp, err := s.temp("linked-*")
	if err != nil {
		return nil, err
	}
	tmp.Close()
	name := tmp.Name() // which nobody else has
	if err := s.disk.RemoveAll(name); err != nil {
		return nil, err
	}
	if err := s.disk.Link(path, name); err != nil {
		return nil, err
	}
	info, err := os.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil {
		tmp, err = local.OpenFile(name)
	}
	if err != nil {
		s.disk.RemoveAll(name)
		return nil, err
	}
	return tmp, nil
}

// A bringer brings an image: a file in tmp, and its bytes to seen.
type bringer func(b Bucket, seen io.Writer) (tmp *os.File, n int64, err error)

// add keeps what bring brings.
func (s *Store) add(bucket, url string, bring bringer) (_ record.Image, added bool, err error) {
	done, err := s.begin()
	if err != nil {
		return record.Image{}, false, err
	}
	defer done()
	c := s.settings.Load()
	b, ok := c.buckets[bucket]
	if !ok {
		return record.Image{}, false, ErrNoBucket
	}
	if c.denied != nil && c.denied(imageurl.HostOf(url)) {
		return record.Image{}, false, ErrDenied
	}
	if err := s.blockedURL(url); err != nil {
		return record.Image{}, false, err
	}
	under, landed := s.fetches.Begin(bucket, url)
	defer landed()
	if err := s.hasRoom(); err != nil {
		return record.Image{}, false, err
	}
	tmp, image, err := s.receive(c, b, bring)
	if tmp != nil {
		defer tmp.Close()
		defer s.disk.RemoveAll(tmp.Name())
	}
	if err != nil {
		return record.Image{}, false, err
	}
	image.Bucket, image.URL, image.Stored = bucket, url, s.now().UTC().Truncate(time.Second)
	return s.settle(image, func() error {
		print, err := s.looks.LockLooked(s.life, &s.removing, image, tmp)
		if err != nil {
			return err
		}
		defer s.removing.RUnlock()
		if err := s.admit(bucket, url, image.Digest, url); err != nil {
			return err
		}
		if err := s.admitLook(image, print); err != nil {
			return err
		}
		if s.fetches.Removed(under, image.Digest) {
			return errJustRemoved
		}
		claimed, err := s.quotas.Claim(image)
		defer claimed()
		if err != nil {
			return err
		}
		stands, err := s.keepAdmitted(s.life, image, tmp, ledger.KeepEvent(image))
		if err == nil && stands.Digest != image.Digest {
			err = ErrTaken
		}
		if err != nil {
			return err
		}
		s.looks.Note(image, print)
		return nil
	})
}

// receive has an image brought, looks at it and takes its digest. The file is the caller's
// to close and remove, also after an error; nil: there is none.
func (s *Store) receive(c *settings, b Bucket, bring bringer) (tmp *os.File, image record.Image, err error) {
	hash := sha256.New()
	scanner := probe.NewScanner(c.limits)
	// The scanner last: what it refuses has been written for nothing, but an
	// error of the disk is not taken for the image's.
	var refusal error
	tmp, n, err := bring(b, io.MultiWriter(hash, recordingWriter{scanner, &refusal}))
	switch {
	case refusal != nil:
		return tmp, image, refusal
	case errors.Is(err, ErrTooLarge):
		return tmp, image, ErrTooLarge
	case err != nil:
		return tmp, image, fmt.Errorf("store the image: %w", local.AsFull(err))
	}
	info, err := scanner.Close()
	if errors.Is(err, probe.ErrTruncated) {
		err = whole.Check(tmp, n, info)
	}
	return tmp, record.Image{Digest: record.Digest(hash.Sum(nil)), Info: info, Bytes: n}, err
}

// LookAt has a decoder look at the bytes of an image, which is not kept. Its errors are those
// of Add, and lookalike.ErrOff.
func (s *Store) LookAt(ctx context.Context, r io.Reader) (p likeness.Print, err error) {
	done, err := s.begin()
	if err != nil {
		return p, err
	}
	defer done()
	if s.looks == nil {
		return p, lookalike.ErrOff
	}
	if err := s.hasRoom(); err != nil {
		return p, err
	}
	c := s.settings.Load()
	var widest Bucket // of those whose images it may be compared with
	for i, b := range slices.Collect(maps.Values(c.buckets)) {
		if i == 0 || b.MaxBytes == 0 || widest.MaxBytes > 0 && b.MaxBytes > widest.MaxBytes {
			widest = b
		}
	}
	tmp, image, err := s.receive(c, widest, s.bring(r))
	if tmp != nil {
		defer tmp.Close()
		defer s.disk.RemoveAll(tmp.Name())
	}
	if err != nil {
		return p, err
	}
	return s.looks.Print(ctx, image, tmp, false)
}

// settle keeps an image by keep unless something is kept under its URL. It is
// done in the flight of the URL, one at a time with fetches of it: what a viewer
// has been shown is not replaced.
func (s *Store) settle(image record.Image, keep func() error) (_ record.Image, added bool, err error) {
	for {
		old, err := s.records.Find(s.life, image.Bucket, image.URL)
		switch {
		case err == nil && old.Digest == image.Digest:
			return old, false, nil
		case err == nil:
			return record.Image{}, false, ErrTaken
		case !errors.Is(err, ErrNotKept):
			return record.Image{}, false, err
		}
		// A flight that is under way is joined, whatever comes of it.
		_, err = flight.Do(context.Background(), s.flights, keepKey(image.Bucket, image.URL), func(context.Context) (record.Image, error) {
			added = true
			return image, keep()
		})
		if added && err != nil {
			return record.Image{}, false, err
		}
		if added {
			return image, true, nil
		}
	}
}

// limited reads at most left bytes, and says ErrTooLarge where there are more.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return n, ErrTooLarge
	}
	return n, err
}

// recordingWriter writes to a scanner, and notes what it says.
type recordingWriter struct {
	scanner *probe.Scanner
	refusal *error
}

func (v recordingWriter) Write(p []byte) (int, error) {
	n, err := v.scanner.Write(p)
	*v.refusal = err
	return n, err
}
