package bucket

import (
	"errors"
	"io/fs"
	"path/filepath"

	"imgkeep/bucket/record"
)

// quarantine moves what lies at a path below the root into a folder of the
// quarantine, under its path.
func (s *Store) quarantine(folder, path string) error {
	target := s.Path(filepath.Join(folder, path))
	// Whoever may read images need not read what was taken out of their midst.
	if err := s.disk.Mkdir(s.Path(record.QuarantineDir), privateDir); err != nil && !errors.Is(err, fs.ErrExist) {
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
func (s *Store) quarantineWrong(image record.Image) error {
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
	folder := record.QuarantineFolder(s.now())
	if err := s.quarantine(folder, image.File()); err != nil {
		return err
	}
	// The right bytes may have come under another URL just before.
	if moved := filepath.Join(folder, image.File()); !wrong(moved) {
		return s.disk.Rename(s.Path(moved), s.Path(image.File()))
	}
	return nil
}
