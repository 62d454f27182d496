package bucket

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"imgkeep/bucket/probe"
)

// Making names something that is made from an image: see OpenMade.
type Making struct {
	Name   string
	Format probe.Format
}

// MakeAhead makes from an image what is missing of the things named, from one
// reading of it, before somebody asks. maker gets those that are missing and
// returns their bytes in the same order, as a Maker does. It returns how many it
// has made; errors are those of OpenMade. After an error none is promised.
//
// It does not wait for flights of OpenMade, nor they for it: at worst a thing is
// made twice, and the second takes the place of the first.
func (s *Store) MakeAhead(ctx context.Context, image Image, things []Making,
	maker func(ctx context.Context, original io.Reader, n int64, missing []Making) ([][]byte, error)) (made int, err error) {
	missing, err := s.missing(image, things)
	if err != nil || len(missing) == 0 {
		return 0, err
	}
	return fly(ctx, s, fmt.Sprintf("ahead\x00%s\x00%v", image.File(), missing), func(ctx context.Context) (int, error) {
		made, err := s.makeAll(ctx, image, missing, maker)
		if errors.Is(err, errDamaged) {
			if err = s.heal(ctx, image); err == nil {
				made, err = s.makeAll(ctx, image, missing, maker)
			}
		}
		return made, err
	})
}

// missing are those things that are not there. A link to an original that is
// gone is not enough.
func (s *Store) missing(image Image, things []Making) ([]Making, error) {
	var missing []Making
	for _, m := range things {
		_, err := os.Stat(s.Path(image.MadeFile(m.Name, m.Format)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, m)
		case err != nil:
			return nil, err
		}
	}
	return missing, nil
}

func (s *Store) makeAll(ctx context.Context, image Image, missing []Making,
	maker func(context.Context, io.Reader, int64, []Making) ([][]byte, error)) (int, error) {
	if err := s.hasRoom(); err != nil {
		return 0, err
	}
	var data [][]byte
	err := s.readWhole(ctx, image, true, func(original io.Reader) (err error) {
		data, err = maker(ctx, original, image.Bytes, missing)
		return err
	})
	if err != nil {
		return 0, err
	}
	for i, m := range missing {
		if err := s.storeMade(image, s.Path(image.MadeFile(m.Name, m.Format)), data[i]); err != nil {
			return i, err
		}
	}
	return len(missing), nil
}
