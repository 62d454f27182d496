package fetch

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"syscall"

	"imgkeep/bucket/fetch/place"
	"imgkeep/bucket/imageurl"
)

// localScheme begins URLs of files in Options.LocalRoot: local:///path.
const localScheme = "local:"

func isLocal(raw string) bool {
	return len(raw) >= len(localScheme) && strings.EqualFold(raw[:len(localScheme)], localScheme)
}

// fetchLocal reads a file below the local root. os.Root stays inside that folder whatever
// ".." or a symbolic link says, even while others change it; it follows a link that stays
// inside. Whatever is mounted or hard-linked into the folder belongs to it.
func (f *Fetcher) fetchLocal(ctx context.Context, r Request, dst io.Writer) (Result, error) {
	if f.root == nil {
		return Result{}, errorf(Refused, "", "local files are not served: there is no local_root")
	}
	name, err := localName(r.URL)
	if err != nil {
		return Result{}, err
	}
	if len(r.Hosts) > 0 {
		return Result{}, errorf(Refused, "", "a local file is not on the bucket's list of hosts")
	}
	p := f.placeFor(r)
	defer p.Release()
	if c := f.claimOnLocal(); !p.Holds(c) {
		if err := f.enter(ctx, p, c, ""); err != nil {
			return Result{}, err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, f.o.Timeout, errTimeout)
	defer cancel()
	file, size, err := f.openLocal(name)
	if err != nil {
		return Result{}, err
	}
	defer file.Close()
	a := answer{length: size, body: file}
	info, n, err := a.receive(ctx, r, dst)
	if err != nil {
		return Result{}, err
	}
	return Result{Info: info, Bytes: n, FinalURL: (&url.URL{Scheme: "local", Path: "/" + name}).String()}, nil
}

// claimOnLocal is one on the folder, which is a site.
func (f *Fetcher) claimOnLocal() place.Claim {
	return place.Claim{Site: localScheme, PerSite: f.usual.perHost}
}

// localName returns the path of a local URL below the root. There is one way to
// write each path: no empty, "." or ".." element, no query.
func localName(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || len(raw) > imageurl.MaxRedirect {
		return "", errorf(Refused, "", "not a valid local URL")
	}
	name, rooted := strings.CutPrefix(u.Path, "/")
	if !rooted || u.Opaque != "" || u.Host != "" || u.User != nil || u.RawQuery != "" || u.ForceQuery {
		return "", errorf(Refused, "", "local URL is not of the form local:///path")
	}
	if !fs.ValidPath(name) || name == "." || strings.ContainsRune(name, 0) {
		return "", errorf(Refused, "", "local URL has an empty, . or .. element in its path")
	}
	return name, nil
}

// openLocal opens a regular file. It checks the type before opening, because opening a
// device may have effects; and again afterwards, because the file may have been replaced.
// O_NONBLOCK keeps a FIFO without a writer from blocking for ever.
func (f *Fetcher) openLocal(name string) (file *os.File, size int64, err error) {
	info, err := f.root.Stat(name)
	if err != nil {
		return nil, 0, localError(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errorf(Refused, "", "local path is not a regular file")
	}
	if file, err = f.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0); err != nil {
		return nil, 0, localError(err)
	}
	if info, err = file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, 0, errorf(Refused, "", "local path is not a regular file")
	}
	return file, info.Size(), nil
}

// localError keeps the kernel's word and drops the path, which an fs.PathError
// shows.
func localError(err error) error {
	var errno syscall.Errno
	switch {
	case !errors.As(err, &errno):
		// os.Root's own errors: the path leads out of the folder.
		return errorf(Refused, "", "local path leads out of local_root")
	case errno == syscall.ENOENT, errno == syscall.ENOTDIR:
		return errorf(Gone, "", "no such local file")
	case errno == syscall.ELOOP:
		return errorf(Refused, "", "local path has too many symbolic links")
	}
	return errorf(Failed, "", "local file: %w", errno)
}
