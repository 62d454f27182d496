package whole_test

import "imgkeep/bucket/probe/probetest"

// Short names of the parts that files are put together from.
var (
	join                         = probetest.Join
	be16, be32, le16, le24, le32 = probetest.BE16, probetest.BE32, probetest.LE16, probetest.LE24, probetest.LE32

	segment, sof, sos, jpegFile = probetest.Segment, probetest.SOF, probetest.SOS, probetest.JPEGFile
	chunk, ihdr, pngFile        = probetest.Chunk, probetest.IHDR, probetest.PNGFile
	screen, gifImage            = probetest.Screen, probetest.GIFImage
	riff, webp, vp8, vp8x, anmf = probetest.RIFF, probetest.WebP, probetest.VP8, probetest.VP8X, probetest.ANMF

	soi, eoi, idat, iend = probetest.SOI, probetest.EOI, probetest.IDAT, probetest.IEND
)

const flagAnim = 0x02 // of VP8X
