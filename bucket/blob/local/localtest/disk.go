package localtest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// A step is a call of a disk that changes something.
type Step struct {
	Op   string // the name of the method
	Path string // what it changes; of Link and Rename the new name
}

// Disk is a disk that tells a hook about each step. The hook does the step by
// calling do, or does not, and says what the caller is told. A Write that is not
// done has written half.
type Disk struct {
	local.Disk
	Hook func(s Step, do func() error) error
}

// New is a real disk under a hook, without the folders that nothing is put
// into.
func New(hook func(Step, func() error) error) Disk {
	return Disk{Disk: Sparse{local.OS{}}, Hook: hook}
}

func (d Disk) Mkdir(path string, mode fs.FileMode) error {
	return d.Hook(Step{"Mkdir", path}, func() error { return d.Disk.Mkdir(path, mode) })
}

// CreateTemp and OpenAppend hand out no file together with an error.
func (d Disk) CreateTemp(dir, pattern string) (f *os.File, err error) {
	err = d.Hook(Step{"CreateTemp", dir}, func() error {
		f, err = d.Disk.CreateTemp(dir, pattern)
		return err
	})
	if err != nil && f != nil {
		f.Close()
		os.Remove(f.Name())
		return nil, err
	}
	return f, err
}

func (d Disk) OpenAppend(path string, mode fs.FileMode) (f *os.File, err error) {
	err = d.Hook(Step{"OpenAppend", path}, func() error {
		f, err = d.Disk.OpenAppend(path, mode)
		return err
	})
	if err != nil && f != nil {
		f.Close()
		return nil, err
	}
	return f, err
}

func (d Disk) Write(f *os.File, p []byte) (int, error) {
	n := 0
	err := d.Hook(Step{"Write", f.Name()}, func() (err error) {
		n, err = d.Disk.Write(f, p)
		return err
	})
	if err != nil && n == 0 {
		n, _ = d.Disk.Write(f, p[:len(p)/2])
	}
	return n, err
}

func (d Disk) Truncate(f *os.File, size int64) error {
	return d.Hook(Step{"Truncate", f.Name()}, func() error { return d.Disk.Truncate(f, size) })
}

func (d Disk) Chmod(f *os.File, mode fs.FileMode) error {
	return d.Hook(Step{"Chmod", f.Name()}, func() error { return d.Disk.Chmod(f, mode) })
}

func (d Disk) Sync(f *os.File) error {
	return d.Hook(Step{"Sync", f.Name()}, func() error { return d.Disk.Sync(f) })
}

func (d Disk) Link(old, path string) error {
	return d.Hook(Step{"Link", path}, func() error { return d.Disk.Link(old, path) })
}

func (d Disk) Symlink(target, path string) error {
	return d.Hook(Step{"Symlink", path}, func() error { return d.Disk.Symlink(target, path) })
}

func (d Disk) Rename(old, path string) error {
	return d.Hook(Step{"Rename", path}, func() error { return d.Disk.Rename(old, path) })
}

func (d Disk) RemoveAll(path string) error {
	return d.Hook(Step{"RemoveAll", path}, func() error { return d.Disk.RemoveAll(path) })
}

func (d Disk) SyncDir(path string) error {
	return d.Hook(Step{"SyncDir", path}, func() error { return d.Disk.SyncDir(path) })
}

func (d Disk) Allocate(path string, size int64, mode fs.FileMode) error {
	return d.Hook(Step{"Allocate", path}, func() error { return d.Disk.Allocate(path, size, mode) })
}

func (d Disk) Room(path string) (r local.Room, err error) {
	err = d.Hook(Step{"Room", path}, func() error {
		r, err = d.Disk.Room(path)
		return err
	})
	return r, err
}

// Fault makes the n-th step fail, counted from when it is armed.
type Fault struct {
	mu      sync.Mutex
	n       int   // steps to go; 0 or less: not armed
	err     error // what the step says
	done    bool  // the step is done all the same
	forever bool  // so do all that follow, until it is disarmed
	hit     *Step // the first that failed
	trace   []Step
}

func (f *Fault) Arm(n int, err error, done, forever bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.err, f.done, f.forever, f.hit, f.trace = n, err, done, forever, nil, nil
}

// Disarm returns the step that failed, or nil.
func (f *Fault) Disarm() *Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = 0
	return f.hit
}

func (f *Fault) Steps() []Step {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trace
}

func (f *Fault) Hook(s Step, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trace = append(f.trace, s)
	if f.n <= 0 {
		return do()
	}
	if f.n--; f.n > 0 {
		return do()
	}
	if f.hit == nil {
		f.hit = &s
	}
	if f.forever {
		f.n = 1
	}
	if f.done {
		do() // what it says does not reach the caller
	}
	return &fs.PathError{Op: s.Op, Path: s.Path, Err: f.err}
}

// Sparse is a disk that makes a folder of a bucket when something is put into it: making,
// walking and removing all 4,096 of them would take more time than most tests. Tests of the
// layout use local.OS.
type Sparse struct{ local.Disk }

func (d Sparse) Mkdir(path string, mode fs.FileMode) error {
	if isUnfinishedFolder(path) {
		return nil
	}
	return d.Disk.Mkdir(path, mode)
}

func (d Sparse) SyncDir(path string) error {
	if isUnfinishedFolder(path) {
		return nil
	}
	return d.Disk.SyncDir(path)
}

func (d Sparse) Link(old, path string) error {
	return inFolder(path, func() error { return d.Disk.Link(old, path) })
}

func (d Sparse) Symlink(target, path string) error {
	return inFolder(path, func() error { return d.Disk.Symlink(target, path) })
}

func (d Sparse) Rename(old, path string) error {
	return inFolder(path, func() error { return d.Disk.Rename(old, path) })
}

// inFolder makes the folder of a path where that is what is missing.
func inFolder(path string, put func() error) error {
	err := put()
	if folder := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && len(filepath.Base(folder)) == 1 {
		if err := os.MkdirAll(folder, local.DirMode); err != nil {
			return err
		}
		return put()
	}
	return err
}

// isUnfinishedFolder tells of tmp/bucket/A and tmp/bucket/A/B.
func isUnfinishedFolder(path string) bool {
	above := filepath.Dir(filepath.Dir(path))
	return len(filepath.Base(path)) == 1 && (filepath.Base(above) == record.TmpDir || filepath.Base(filepath.Dir(above)) == record.TmpDir)
}
