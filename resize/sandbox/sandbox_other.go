//go:build !linux

package sandbox

import (
	"errors"
	"runtime"
)

// Layers are those of Linux; none can be set here.
func Layers(Limits) []Layer {
	var all []Layer
	for _, name := range []string{"descriptors", "folder", "landlock", "limits", "seccomp"} {
		all = append(all, Layer{name, func() error { return errors.New("there is none for " + runtime.GOOS) }})
	}
	return all
}
