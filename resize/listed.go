package resize

import (
	"fmt"
	"slices"
	"strings"
)

// Listed are the pictures that may be asked for: presets, and sizes of which each
// side is listed. The zero Listed has none.
type Listed struct {
	Sides   []int    // in pixels
	Presets []string // their names
}

// Check returns nil for the name of a preset, and for the canonical spelling of a
// Size of which each side that is not free is listed: one that is not refuses the
// whole. Its error is one line, whatever the name is.
func (l Listed) Check(name string) error {
	if slices.Contains(l.Presets, name) {
		return nil
	}
	size, err := ParseSize(name)
	switch {
	case err != nil && len(l.Presets) > 0:
		return fmt.Errorf("%s is none of the presets %s, and no height x width, as in 250x250, 150x, x200", quote(name), strings.Join(l.Presets, ", "))
	case err != nil:
		return fmt.Errorf("%s is no height x width, as in 250x250, 150x, x200", quote(name))
	}
	for _, side := range []int{size.Height, size.Width} {
		if side != 0 && !slices.Contains(l.Sides, side) {
			return fmt.Errorf("%d, of %s, is not one of the sizes %v", side, name, l.Sides)
		}
	}
	return nil
}
