package probe

import (
	"errors"
	"fmt"

	"imgkeep/bucket/probe/heif"
)

// AVIF (AV1 Image File Format 1.1) and HEIC, the same with HEVC, are HEIF files
// (ISO/IEC 23008-12), which are chains of boxes (ISO/IEC 14496-12): ftyp with its
// brands, meta with a table of items and their properties, mdat with their bytes.
// See package heif for what is read of meta. The boxes may come in any order. Where meta comes behind mdat,
// nothing is known of the image before it: the limits are held against it only
// then, and an image in tiles is refused, since what says how they lie is past.
//
// The image is complete when the bytes of all items are there, those of
// thumbnails, alpha and EXIF too. What else the boxes hold does not matter.
//
// Sizes are those in the table. The coded image has its own, which only a decoder reads: if
// they differ, it fails, after it has allocated the memory.
//
// Only still images are accepted. A sequence is a video, whose frames are not counted here:
// its brand alone makes it refused, even if the file also has a still picture.

type heifState struct {
	end   int64 // offset behind the last byte of all items; 0: not known yet
	image heif.Image
}

// heifMaxMeta bounds the meta box. A photo of 48 tiles has 4 KB; most is for
// colour profiles.
const heifMaxMeta = 64 << 10

// heifStart is called after size and kind of the ftyp box.
func heifStart(s *Scanner, _ []byte) error {
	n := int(s.magic[3]) - 8
	if n < 8 || n%4 != 0 {
		return fmt.Errorf("%w: an ftyp box of %d bytes", ErrType, n+8)
	}
	s.heif = new(heifState)
	return s.gather(n, heifBrands)
}

// heifBrands receives the major brand, a version and the compatible brands.
func heifBrands(s *Scanner, b []byte) error {
	format, sequence := Unknown, ""
	for i := 0; i < len(b); i += 4 {
		if i == 4 {
			continue // the version
		}
		switch brand := string(b[i : i+4]); brand {
		case "avis", "msf1", "hevc", "hevx":
			sequence = brand
		case "avif":
			format = AVIF
		case "heic", "heix":
			format = HEIC
		}
	}
	if format == Unknown {
		return fmt.Errorf("%w: an ftyp box of brand %q", ErrType, b[:4])
	}
	if err := s.accept(format); err != nil {
		return err
	}
	if sequence != "" {
		return s.unsupported("an image sequence (brand %s)", sequence)
	}
	s.box.body = heifBody
	return nextBox(s, nil)
}

func heifBody(s *Scanner, n int64) error {
	switch kind := string(s.box.kind[:]); {
	case n == boxEndless && kind == "meta":
		return s.rest(heifMaxMeta, heifMetaBox)
	case n == boxEndless:
		return s.broken("it ends with a %q box, before any meta box", kind)
	case kind == "ftyp":
		return s.broken("two ftyp boxes")
	case kind == "meta" && n > heifMaxMeta:
		return s.unsupported("a meta box of %d bytes, over %d", n, heifMaxMeta)
	case kind == "meta":
		return s.gather(int(n), heifMetaBox)
	}
	return s.skip(n, nextBox)
}

// heifMetaBox receives the body of the meta box.
func heifMetaBox(s *Scanner, b []byte) error {
	coded := heif.AV1
	if s.info.Format == HEIC {
		coded = heif.HEVC
	}
	image, err := heif.Read(b, coded, heif.Limits{Shown: s.size, Each: s.within})
	s.heif.image = image
	if image.Orientation > 0 {
		s.info.Orientation = image.Orientation
	}
	if err != nil {
		return s.heifFault(err)
	}
	s.heif.end = max(image.End, s.off)
	if at := image.Grid.At; at > 0 {
		if at < s.off {
			return s.unsupported("tiles whose arrangement comes before the meta box")
		}
		return s.skip(at-s.off, heifArrangement)
	}
	return s.skip(s.heif.end-s.off, heifEnd)
}

func heifArrangement(s *Scanner, _ []byte) error {
	return s.take(s.heif.image.Grid.Length, heifTiles)
}

// heifTiles receives the arrangement of an image in tiles.
func heifTiles(s *Scanner, b []byte) error {
	if err := s.heif.image.Grid.Check(b); err != nil {
		return s.heifFault(err)
	}
	return s.skip(max(0, s.heif.end-s.off), heifEnd)
}

// heifFault makes a verdict of what is wrong with a table. A limit that does not hold
// has one already.
func (s *Scanner) heifFault(err error) error {
	f, ok := errors.AsType[*heif.Fault](err)
	switch {
	case !ok:
		return err
	case f.Unsupported:
		return s.unsupported("%s", f.Detail)
	}
	return s.broken("%s", f.Detail)
}

func heifEnd(s *Scanner, _ []byte) error { return s.done() }

// heifCutOff is the verdict on an image that ended after n bytes.
func (s *Scanner) heifCutOff(n int64) error {
	if s.heif.end == 0 {
		return fmt.Errorf("%w: %s ends after %d bytes, before its meta box does", ErrTruncated, s.info.Format, n)
	}
	return fmt.Errorf("%w: %s ends after %d of the %d bytes that its items reach to", ErrTruncated, s.info.Format, n, s.heif.end)
}
