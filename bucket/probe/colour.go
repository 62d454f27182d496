package probe

// A Colour is what an image says of its colours, beside or in the place of a profile: what
// a decoder has to know, and libraries do not tell. Its zero value says nothing.
type Colour struct {
	// Lossless: the pixels were coded as they were, or at least with all of their colours,
	// as far as the coding says so: a WebP of VP8L alone, an AVIF of RGB or with colours in
	// full resolution, a JPEG XL that is not of XYB (which may be a JPEG in another packing).
	// Other formats say nothing here.
	Lossless bool
	// Gray: a JPEG XL is.
	Gray bool
	// Profile: an AVIF or HEIC has an ICC profile.
	Profile bool
	// Primaries and Transfer (ITU-T H.273) of an AVIF or HEIC, of its container, or else of
	// its coded image if that is AV1; and of a JPEG XL. 0: not said, or not by numbers.
	Primaries, Transfer int
	// Peak is how bright the brightest pixel of an AVIF or HEIC is (clli), in cd/m². 0: not
	// said. The screen that it was made on (mdcv) does not count, as in Chromium.
	Peak float64
}

// ColourOf looks into a whole image. What is broken says what was found before.
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
