package whole_test

import "imgkeep/bucket/probe/probetest"

// Short names of the parts that files are put together from.
var (
	join       = probetest.Join
	be32, le32 = probetest.BE32, probetest.LE32

	sof, sos, jpegFile          = probetest.SOF, probetest.SOS, probetest.JPEGFile
	chunk, ihdr, pngFile        = probetest.Chunk, probetest.IHDR, probetest.PNGFile
	screen, gifImage            = probetest.Screen, probetest.GIFImage
	riff, webp, vp8, vp8x, anmf = probetest.RIFF, probetest.WebP, probetest.VP8, probetest.VP8X, probetest.ANMF

	soi, iend = probetest.SOI, probetest.IEND
)

const flagAnim = 0x02 // of VP8X
