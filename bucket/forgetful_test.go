package bucket

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/index"
	"imgkeep/bucket/record"
)

// forgetfulDisk is a real disk that also keeps account of what has been flushed,
// and can write down, as a folder, what a power cut would leave of it.
//
// It is stricter than the file systems in use: the bytes of a file are safe when
// the file has been flushed, a name when its folder has, each without the other.
// A rename does not flush what it moves, and a flush of a file does not flush its
// name. bbolt flushes its own file: its content is that of the last commit, its
// name is as any other.
type forgetfulDisk struct {
	local.Disk
	base string // what the power cut can take: all below it

	mu    sync.Mutex
	root  *inode
	files map[*os.File]*inode
	index []byte // flushed content of the index
	where string // the root of the store

	phase  string                                         // what the script is about to do
	forget func(phase string, s localtest.Step) bool      // flushes that are left out
	before func(d *forgetfulDisk, s localtest.Step) error // told of each step; an error is the step's, which is not done
}

// inode is a file, a folder or a symbolic link.
type inode struct {
	dir           bool
	link          string
	isIndex       bool
	mode          fs.FileMode
	data, flushed []byte            // of a file
	names, safe   map[string]*inode // of a folder: names, and those that have been flushed
	clean         bool              // of a folder: the two are the same
}

func newDir() *inode { return &inode{dir: true, clean: true} }

func newForgetfulDisk(base, store string) *forgetfulDisk {
	d := &forgetfulDisk{base: base, where: store, root: newDir(), files: map[*os.File]*inode{}}
	d.Disk = newStepDisk(d.hook)
	return d
}

// hook tells of the step, and leaves it out or does it.
func (d *forgetfulDisk) hook(s localtest.Step, do func() error) error {
	if d.before != nil {
		if err := d.before(d, s); err != nil {
			return err
		}
	}
	return do()
}

func (d *forgetfulDisk) forgets(op, path string) bool {
	return d.forget != nil && d.forget(d.phase, localtest.Step{Op: op, Path: path})
}

// at returns the folder that a path lies in, and its last name.
func (d *forgetfulDisk) at(path string) (*inode, string) {
	rel, ok := strings.CutPrefix(path, d.base+"/")
	if !ok {
		return newDir(), "" // outside of the disk
	}
	n := d.root
	for {
		name, rest, more := strings.Cut(rel, "/")
		if !more {
			return n, name
		}
		if n = n.names[name]; n == nil {
			return newDir(), "" // there is no such folder
		}
		rel = rest
	}
}

func (d *forgetfulDisk) get(path string) *inode {
	if path == d.base {
		return d.root
	}
	n, name := d.at(path)
	return n.names[name]
}

func (d *forgetfulDisk) put(path string, n *inode) {
	dir, name := d.at(path)
	dir.set(name, n)
}

// set gives a name in a folder to a node, or to none.
func (n *inode) set(name string, child *inode) {
	if n.clean {
		n.clean, n.safe, n.names = false, n.names, maps.Clone(n.names)
	}
	if child == nil {
		delete(n.names, name)
		return
	}
	if n.names == nil {
		n.names = map[string]*inode{}
	}
	n.names[name] = child
}

// change notes a change that the real disk has made.
func (d *forgetfulDisk) change(err error, note func()) error {
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		note()
	}
	return err
}

func (d *forgetfulDisk) Mkdir(path string, mode fs.FileMode) error {
	return d.change(d.Disk.Mkdir(path, mode), func() { d.put(path, newDir()) })
}

func (d *forgetfulDisk) CreateTemp(dir, pattern string) (*os.File, error) {
	f, err := d.Disk.CreateTemp(dir, pattern)
	return f, d.change(err, func() {
		d.files[f] = &inode{mode: 0o600}
		d.put(f.Name(), d.files[f])
	})
}

func (d *forgetfulDisk) OpenAppend(path string, mode fs.FileMode) (*os.File, error) {
	f, err := d.Disk.OpenAppend(path, mode)
	return f, d.change(err, func() {
		if d.get(path) == nil {
			d.put(path, &inode{mode: mode})
		}
		d.files[f] = d.get(path)
	})
}

func (d *forgetfulDisk) Write(f *os.File, p []byte) (int, error) {
	n, err := d.Disk.Write(f, p)
	d.change(nil, func() { d.files[f].data = append(bytes.Clone(d.files[f].data), p[:n]...) })
	return n, err
}

func (d *forgetfulDisk) Truncate(f *os.File, size int64) error {
	return d.change(d.Disk.Truncate(f, size), func() { d.files[f].data = bytes.Clone(d.files[f].data[:size]) })
}

func (d *forgetfulDisk) Chmod(f *os.File, mode fs.FileMode) error {
	return d.change(d.Disk.Chmod(f, mode), func() { d.files[f].mode = mode })
}

func (d *forgetfulDisk) Sync(f *os.File) error {
	return d.change(d.Disk.Sync(f), func() {
		if !d.forgets("Sync", f.Name()) {
			d.files[f].flushed = d.files[f].data
		}
	})
}

func (d *forgetfulDisk) Link(old, path string) error {
	return d.change(d.Disk.Link(old, path), func() { d.put(path, d.get(old)) })
}

func (d *forgetfulDisk) Symlink(target, path string) error {
	return d.change(d.Disk.Symlink(target, path), func() { d.put(path, &inode{link: target}) })
}

func (d *forgetfulDisk) Rename(old, path string) error {
	return d.change(d.Disk.Rename(old, path), func() {
		d.put(path, d.get(old))
		d.put(old, nil)
	})
}

func (d *forgetfulDisk) RemoveAll(path string) error {
	return d.change(d.Disk.RemoveAll(path), func() { d.put(path, nil) })
}

func (d *forgetfulDisk) SyncDir(path string) error {
	return d.change(d.Disk.SyncDir(path), func() {
		n := d.get(path)
		if path == d.where {
			d.noteIndex(n)
		}
		if n != nil && !d.forgets("SyncDir", path) {
			n.safe, n.clean = n.names, true
		}
	})
}

func (d *forgetfulDisk) Commit(db *index.DB, changes []index.Change) error {
	return d.change(d.Disk.(stepDisk).Commit(db, changes), func() {
		if !d.forgets("Commit", "") {
			d.noteIndex(d.get(d.where))
		}
	})
}

// noteIndex takes down the index, which bbolt writes to the real disk itself.
func (d *forgetfulDisk) noteIndex(root *inode) {
	if data, err := os.ReadFile(filepath.Join(d.where, record.IndexFile)); err == nil {
		d.index = data
		if root.names[record.IndexFile] == nil {
			root.set(record.IndexFile, &inode{isIndex: true, mode: local.PrivateFile})
		}
	}
}

// A fate is what becomes of what was not flushed.
type fate struct {
	name   string
	random *rand.Rand // each name and each file by the toss of a coin
	names  bool       // unflushed names survive
	data   bool       // unflushed bytes survive
}

func fates() []fate {
	return []fate{
		{name: "nothing unflushed survives"},
		{name: "names survive, bytes do not", names: true},
		{name: "bytes survive, names do not", data: true},
		{name: "all survives", names: true, data: true},
		{name: "some survives", random: rand.New(rand.NewPCG(1, 2))},
	}
}

// of returns the names that a folder has after the power cut.
func (f fate) of(n *inode) map[string]*inode {
	switch {
	case n.clean:
		return n.names
	case f.random != nil:
		left := map[string]*inode{}
		for _, names := range []map[string]*inode{n.safe, n.names} {
			for name := range names {
				from := n.safe
				if f.random.IntN(2) == 0 {
					from = n.names
				}
				if from[name] != nil {
					left[name] = from[name]
				}
			}
		}
		return left
	case f.names:
		return n.names
	}
	return n.safe
}

// bytes returns what a file has after the power cut.
func (f fate) bytes(n *inode) []byte {
	if bytes.Equal(n.data, n.flushed) {
		return n.data
	}
	switch {
	case f.random == nil && f.data:
		return n.data
	case f.random == nil, len(n.data) <= len(n.flushed):
		return n.flushed
	}
	grown := len(n.data) - len(n.flushed)
	switch f.random.IntN(3) {
	case 0: // a part
		return n.data[:len(n.flushed)+f.random.IntN(grown+1)]
	case 1: // the length, but not the bytes
		return append(bytes.Clone(n.flushed), make([]byte, f.random.IntN(grown+1))...)
	}
	return n.data
}

// cut writes to a folder what the power cut leaves. Of the thousands of folders
// of a bucket it makes only those that are needed, and counts the others.
func (d *forgetfulDisk) cut(to string, f fate, needed map[string]bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if root := d.get(d.where); root != nil {
		d.noteIndexName(root)
	}
	return d.write(d.root, d.base, to, f, needed)
}

// noteIndexName makes the index a name that may survive, as soon as there is one.
func (d *forgetfulDisk) noteIndexName(root *inode) {
	if root.names[record.IndexFile] == nil {
		d.noteIndex(root)
	}
}

// write writes a folder, whose path on the disk is from.
func (d *forgetfulDisk) write(n *inode, from, to string, f fate, needed map[string]bool) error {
	names := f.of(n)
	rel, depth := strings.TrimPrefix(from, d.where+"/"), 0
	if rel != from {
		depth = 1 + strings.Count(rel, "/")
	}
	switch {
	case depth > 1 && strings.HasPrefix(rel, record.TmpDir+"/"):
		return nil // an unfinished bucket; not worth its thousands of folders
	case depth == 1 && rel != record.TmpDir && rel != record.JournalDir && len(names) != 64+1, depth == 2 && !strings.HasSuffix(rel, record.JournalDir) && len(names) != 64:
		return fmt.Errorf("%s has lost folders: it has %d", rel, len(names))
	}
	for name, child := range names {
		if child.dir && depth == 2 && child.names == nil && child.safe == nil && !needed[rel+"/"+name] {
			continue
		}
		below := from + "/" + name
		path := to + "/" + name
		var err error
		switch {
		case child.dir:
			if err = os.MkdirAll(path, local.DirMode); err == nil {
				err = d.write(child, below, path, f, needed)
			}
		case child.link != "":
			err = os.Symlink(child.link, path)
		case child.isIndex:
			err = os.WriteFile(path, d.index, child.mode)
		default:
			err = os.WriteFile(path, f.bytes(child), child.mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
