package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"io"
	"os"

	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/resize"
)

// newPresets are the presets of a configuration, with the pictures of their
// watermarks. Decoders open no file and have no fonts, so a picture is read here,
// once, and a text is drawn here.
func newPresets(c config.Config) (map[string]*resize.Preset, error) {
	all := map[string]*resize.Preset{}
	for i, p := range c.Presets {
		d := p.Definition(c.Resize.Quality, c.Resize.AVIFQuality)
		if d.Watermark != nil {
			if err := setWatermark(d.Watermark, p.Watermark); err != nil {
				return nil, usagef("presets[%d].watermark: preset %q: %w", i, p.Name, err)
			}
		}
		all[p.Name] = &d
	}
	return all, nil
}

func setWatermark(w *resize.Watermark, c config.Watermark) error {
	if c.Text != "" {
		picture, err := drawText(c.Text, c.Colour)
		if err != nil {
			return fmt.Errorf("text %q: %w", c.Text, err)
		}
		w.Format, w.Picture = probe.PNG.String(), picture
		return nil
	}
	f, err := os.Open(c.Picture)
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	defer f.Close()
	if w.Picture, err = io.ReadAll(io.LimitReader(f, resize.MaxWatermark+1)); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	if len(w.Picture) > resize.MaxWatermark {
		return fmt.Errorf("picture: %s has more than %d bytes", c.Picture, resize.MaxWatermark)
	}
	info, err := probe.Read(bytes.NewReader(w.Picture), probe.Limits{Formats: probe.Web(), MaxPixels: maxMarkPixels})
	if errors.Is(err, probe.ErrPixels) {
		return fmt.Errorf("picture: %s has more than %d pixels", c.Picture, maxMarkPixels)
	}
	if err != nil {
		return fmt.Errorf("picture: %s: %w", c.Picture, err)
	}
	w.Format = info.Format.String()
	return nil
}

// tryMarks has the decoders put each watermark onto a picture that is sound: one
// that they cannot read would fail every image later, as if that were at fault.
func tryMarks(ctx context.Context, pool *resize.Pool, c config.Config, presets map[string]*resize.Preset) error {
	for i, p := range c.Presets {
		preset := presets[p.Name]
		if preset.Watermark == nil {
			continue
		}
		var sound bytes.Buffer
		if err := png.Encode(&sound, image.NewGray(image.Rect(0, 0, 64, 64))); err != nil {
			return err
		}
		_, err := pool.Resize(ctx, &sound, int64(sound.Len()), resize.Job{
			Format: probe.PNG.String(), Targets: []resize.Target{{Preset: preset}},
		})
		if err != nil {
			return usagef("presets[%d].watermark: preset %q: it cannot be drawn: %w", i, p.Name, err)
		}
	}
	return nil
}

// maxMarkPixels bounds a watermark, since it is decoded again with every picture.
const maxMarkPixels = 4_000_000
