package bucket

import (
	"errors"
	"io/fs"
	"path/filepath"
	"time"
)

// quarantineDir holds, below the root, what was taken out of the store: a folder
// for each run of scrubbing and each time of healing, in which things have their
// old paths. Nothing of it is ever served, nor removed but by whoever purges the
// bytes.
const quarantineDir = "quarantine"

// quarantineOf is the folder, below the root, for what is taken out at a time.
func quarantineOf(at time.Time) string {
	return filepath.Join(quarantineDir, at.UTC().Format("20060102T150405Z"))
}

// quarantine moves what lies at a path below the root into a folder of the
// quarantine, under its path.
func (s *Store) quarantine(folder, path string) error {
	target := s.Path(filepath.Join(folder, path))
	// Whoever may read images need not read what was taken out of their midst.
	if err := s.disk.Mkdir(s.Path(quarantineDir), privateDir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := makeRoot(s.disk, filepath.Dir(target)); err != nil {
		return err
	}
	if err := s.disk.Rename(s.Path(path), target); err != nil {
		return err
	}
	return s.disk.SyncDir(filepath.Dir(target))
}

// quarantineWrong takes an original out of the store if its bytes are not those
// of its name: from then on they are served to nobody, also not by a web server
// that has them under another name.
func (s *Store) quarantineWrong(image Image) error {
	wrong := func(path string) bool {
		digest, _, err := hashFile(s.Path(path), false)
		return err == nil && digest != image.Digest // an error says nothing about the bytes
	}
	// What comes back below must not be what a purge has passed over meanwhile.
	s.removing.RLock()
	defer s.removing.RUnlock()
	if !wrong(image.File()) {
		return nil
	}
	folder := quarantineOf(s.now())
	if err := s.quarantine(folder, image.File()); err != nil {
		return err
	}
	// The right bytes may have come under another URL just before.
	if moved := filepath.Join(folder, image.File()); !wrong(moved) {
		return s.disk.Rename(s.Path(moved), s.Path(image.File()))
	}
	return nil
}
