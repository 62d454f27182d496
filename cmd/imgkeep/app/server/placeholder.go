package server

import (
	"bytes"
	"fmt"
	"os"

	"imgkeep/bucket/probe"
)

// Placeholder is an image that replaces those that cannot be shown.
type Placeholder struct {
	data        []byte
	contentType string
}

const maxPlaceholder = 1 << 20

// LoadPlaceholder reads a placeholder from a file: an image of an accepted type,
// of at most 1 MiB.
func LoadPlaceholder(path string) (*Placeholder, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxPlaceholder {
		return nil, fmt.Errorf("%s has %d bytes: a placeholder has at most %d", path, info.Size(), maxPlaceholder)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	image, err := probe.Read(bytes.NewReader(data), probe.Limits{Formats: probe.Web()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &Placeholder{data: data, contentType: image.Format.ContentType()}, nil
}
