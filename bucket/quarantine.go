package bucket

import (
	"path/filepath"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// quarantineWrong takes an original out of the store if its bytes are not those
// of its name: from then on they are served to nobody, also not by a web server
// that has them under another name.
func (s *Store) quarantineWrong(image record.Image) error {
	wrong := func(path string) bool {
		digest, _, err := local.HashFile(s.Path(path), false)
		return err == nil && digest != image.Digest // an error says nothing about the bytes
	}
	// What comes back below must not be what a purge has passed over meanwhile.
	s.removing.RLock()
	defer s.removing.RUnlock()
	if !wrong(image.File()) {
		return nil
	}
	folder := record.QuarantineFolder(s.now())
	if err := local.Quarantine(s.disk, s.root, folder, image.File()); err != nil {
		return err
	}
	// The right bytes may have come under another URL just before.
	if moved := filepath.Join(folder, image.File()); !wrong(moved) {
		return s.disk.Rename(s.Path(moved), s.Path(image.File()))
	}
	return nil
}
