package bucket

import (
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Files of images have a modification time that follows from their name, which holds
// the digest and what was made: nginx makes its entity tag of that time and the size,
// and knows no other way. So a restored store, a second node or a variant that is made
// again has the tags of before, and a browser's copy is still good.
//
// It is no date. A copy that has lost it, as cp makes, gets it back when it is next
// served by way of the server, or by a scrub.

// stampOf is the modification time of a file of an image: a second between 1978 and
// 2012, which is never ahead of a viewer's clock.
func stampOf(path string) time.Time {
	sum := sha256.Sum256([]byte(filepath.Base(path)))
	return time.Unix(1<<28+int64(binary.BigEndian.Uint32(sum[:]))>>2, 0)
}

// stamp gives a file its modification time, or that which a link at path leads to,
// if it has another. info is what is known of it. Where the time may not be set, the tag
// is another one and all else is as ever, so it is no error.
func stamp(path string, info fs.FileInfo) {
	if info.ModTime().Equal(stampOf(path)) {
		return
	}
	path, err := filepath.EvalSymlinks(path)
	if at := stampOf(path); err == nil && !info.ModTime().Equal(at) {
		_ = os.Chtimes(path, at, at)
	}
}

// stamped opens a file of an image, with its modification time.
func stamped(path string) (*os.File, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil {
		stamp(path, info)
	}
	return f, nil
}

// changed is when a file of an image got its name or its bytes: for one that has its
// stamp, the time of its last change of any kind.
func changed(path string, info fs.FileInfo) time.Time {
	if s, ok := info.Sys().(*syscall.Stat_t); ok && info.ModTime().Equal(stampOf(path)) {
		return time.Unix(s.Ctim.Unix())
	}
	return info.ModTime()
}
