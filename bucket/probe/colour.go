package probe

// A Colour is what an image says about its colours, besides or instead of a profile: what a
// decoder has to know, and libraries do not report. Its zero value says nothing.
type Colour struct {
	// Lossless: the coding shows that the pixels were coded exactly, or at least with all
	// of their colours: a WebP with only VP8L, an AVIF in RGB or with colours at full
	// resolution, a JPEG XL without XYB (which may be a repacked JPEG). It is not set for
	// other formats.
	Lossless bool
	// Gray: a JPEG XL is.
	Gray bool
	// Profile: an AVIF or HEIC has an ICC profile.
	Profile bool
	// Primaries and Transfer (ITU-T H.273) of an AVIF or HEIC, from its container, or else
	// from its coded image if that is AV1; and of a JPEG XL. 0: unknown, or not given as
	// numbers.
	Primaries, Transfer int
	// Peak is the brightness of the brightest pixel of an AVIF or HEIC (clli), in cd/m². 0:
	// unknown. The mastering display (mdcv) does not count, as in Chromium.
	Peak float64
}

// ColourOf examines a complete image. For a broken one it returns what it found before the
// fault.
func ColourOf(file []byte) Colour {
	s := NewScanner(Limits{})
	_, _ = s.Write(file)
	_, _ = s.Close()
	if s.heif == nil {
		return s.colour
	}
	c, at := s.heif.image.Colours, s.heif.image.First
	if s.info.Format == AVIF && c.Primaries == 0 && !c.Profile && at > 0 && at < int64(len(file)) {
		c.OfAV1(file[at:])
	}
	return Colour{Lossless: c.Lossless, Profile: c.Profile, Primaries: c.Primaries, Transfer: c.Transfer, Peak: c.Peak}
}
