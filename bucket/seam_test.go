package bucket

import (
	"io/fs"
	"os"
	"sync"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/index"
)

// A step is a call of a disk that changes something.
type step struct {
	op   string // the name of the method
	path string // what it changes; of Link and Rename the new name
}

// stepDisk is a disk that tells a hook about each step. The hook does the step by
// calling do, or does not, and says what the caller is told. A Write that is not
// done has written half.
type stepDisk struct {
	local.Disk
	hook func(s step, do func() error) error
}

// newStepDisk is a real disk under a hook, without the folders that nothing is put
// into.
func newStepDisk(hook func(step, func() error) error) stepDisk {
	return stepDisk{Disk: sparseDisk{local.OS{}}, hook: hook}
}

func (d stepDisk) Mkdir(path string, mode fs.FileMode) error {
	return d.hook(step{"Mkdir", path}, func() error { return d.Disk.Mkdir(path, mode) })
}

// CreateTemp and OpenAppend hand out no file together with an error.
func (d stepDisk) CreateTemp(dir, pattern string) (f *os.File, err error) {
	err = d.hook(step{"CreateTemp", dir}, func() error {
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

func (d stepDisk) OpenAppend(path string, mode fs.FileMode) (f *os.File, err error) {
	err = d.hook(step{"OpenAppend", path}, func() error {
		f, err = d.Disk.OpenAppend(path, mode)
		return err
	})
	if err != nil && f != nil {
		f.Close()
		return nil, err
	}
	return f, err
}

func (d stepDisk) Write(f *os.File, p []byte) (int, error) {
	n := 0
	err := d.hook(step{"Write", f.Name()}, func() (err error) {
		n, err = d.Disk.Write(f, p)
		return err
	})
	if err != nil && n == 0 {
		n, _ = d.Disk.Write(f, p[:len(p)/2])
	}
	return n, err
}

func (d stepDisk) Truncate(f *os.File, size int64) error {
	return d.hook(step{"Truncate", f.Name()}, func() error { return d.Disk.Truncate(f, size) })
}

func (d stepDisk) Chmod(f *os.File, mode fs.FileMode) error {
	return d.hook(step{"Chmod", f.Name()}, func() error { return d.Disk.Chmod(f, mode) })
}

func (d stepDisk) Sync(f *os.File) error {
	return d.hook(step{"Sync", f.Name()}, func() error { return d.Disk.Sync(f) })
}

func (d stepDisk) Link(old, path string) error {
	return d.hook(step{"Link", path}, func() error { return d.Disk.Link(old, path) })
}

func (d stepDisk) Symlink(target, path string) error {
	return d.hook(step{"Symlink", path}, func() error { return d.Disk.Symlink(target, path) })
}

func (d stepDisk) Rename(old, path string) error {
	return d.hook(step{"Rename", path}, func() error { return d.Disk.Rename(old, path) })
}

func (d stepDisk) RemoveAll(path string) error {
	return d.hook(step{"RemoveAll", path}, func() error { return d.Disk.RemoveAll(path) })
}

func (d stepDisk) SyncDir(path string) error {
	return d.hook(step{"SyncDir", path}, func() error { return d.Disk.SyncDir(path) })
}

func (d stepDisk) Allocate(path string, size int64, mode fs.FileMode) error {
	return d.hook(step{"Allocate", path}, func() error { return d.Disk.Allocate(path, size, mode) })
}

func (d stepDisk) Room(path string) (r local.Room, err error) {
	err = d.hook(step{"Room", path}, func() error {
		r, err = d.Disk.Room(path)
		return err
	})
	return r, err
}

func (d stepDisk) Commit(db *index.DB, changes []index.Change) error {
	return d.hook(step{"Commit", ""}, func() error { return db.Apply(changes) })
}

// fault makes the n-th step fail, counted from when it is armed.
type fault struct {
	mu      sync.Mutex
	n       int   // steps to go; 0 or less: not armed
	err     error // what the step says
	done    bool  // the step is done all the same
	forever bool  // so do all that follow, until it is disarmed
	hit     *step // the first that failed
	trace   []step
}

func (f *fault) arm(n int, err error, done, forever bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n, f.err, f.done, f.forever, f.hit, f.trace = n, err, done, forever, nil, nil
}

// disarm returns the step that failed, or nil.
func (f *fault) disarm() *step {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n = 0
	return f.hit
}

func (f *fault) steps() []step {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trace
}

func (f *fault) hook(s step, do func() error) error {
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
	return &fs.PathError{Op: s.op, Path: s.path, Err: f.err}
}
