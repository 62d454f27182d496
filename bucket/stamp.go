package bucket

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"imgkeep/bucket/record"
)

// stamp gives a file its modification time, or that which a link at path leads to,
// if it has another. info is what is known of it. Where the time may not be set, the tag
// is another one and all else is as ever, so it is no error.
func stamp(path string, info fs.FileInfo) {
	if info.ModTime().Equal(record.ModTimeOf(path)) {
		return
	}
	path, err := filepath.EvalSymlinks(path)
	if at := record.ModTimeOf(path); err == nil && !info.ModTime().Equal(at) {
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
	if s, ok := info.Sys().(*syscall.Stat_t); ok && info.ModTime().Equal(record.ModTimeOf(path)) {
		return time.Unix(s.Ctim.Unix())
	}
	return info.ModTime()
}
