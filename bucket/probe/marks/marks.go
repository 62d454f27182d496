// Package marks has the numbers that identify the parts of image files, for all code that
// walks such files: code that judges them, removes parts, or decodes.
//
// It promises that they are those of the standards. It reads no file, and does not say
// which order parts may have.
package marks

// First bytes.
const (
	EXIF          = "Exif\x00\x00"                         // of a segment of a JPEG
	PNG           = "\x89PNG\r\n\x1A\n"                    // of a PNG
	JXLCodestream = "\xFF\x0A"                             // of a JPEG XL without boxes
	JXLBoxes      = "\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A" // of one in boxes
)

// Markers of a JPEG, by their names in ITU-T T.81.
const (
	TEM  = 0x01
	SOF0 = 0xC0 // baseline
	SOF1 = 0xC1 // extended sequential
	SOF2 = 0xC2 // progressive
	DHT  = 0xC4
	RST0 = 0xD0
	RST7 = 0xD7
	SOI  = 0xD8
	EOI  = 0xD9
	SOS  = 0xDA
	DNL  = 0xDC
	DRI  = 0xDD
	DHP  = 0xDE
	EXP  = 0xDF
	APP0 = 0xE0
	APP1 = 0xE1
	JPG0 = 0xF0
	LS   = 0xF7 // JPG7, which JPEG-LS (T.87) calls SOF55
	COM  = 0xFE
)

// Alone reports whether a marker stands among the data of a JPEG without a segment, or is
// no marker but a byte 0xFF of the data.
func Alone(marker byte) bool {
	return marker == 0 || marker == TEM || marker >= RST0 && marker <= RST7
}

// Blocks of a GIF (GIF89a Specification) by their first byte, and two of its extensions.
const (
	Padding   = 0x00 // of some writers, between blocks
	Extension = 0x21
	Picture   = 0x2C
	Trailer   = 0x3B

	Control     = 0xF9
	Application = 0xFF
)

// Colours returns the bytes of the colour table that the flags of a GIF announce.
func Colours(flags byte) int64 {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}
