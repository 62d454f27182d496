// Package likeness tells pictures that look alike, by their PDQ hashes.
//
// PDQ is the perceptual hash that Meta has published (hashing.pdf of its repository
// ThreatExchange): 256 bits, of which pictures that look alike differ in few, and others
// in half; and a quality from 0 to 100, which says how much there is to see. Of a picture
// that is turned or mirrored the hash is another one, so a Print has all eight.
//
// What it promises: on the same pixels the bits are those of Meta's own program. A print
// of little quality, or of a picture with a side below 5 pixels, matches nothing: a blank
// page looks like all blank pages. Text of a hash has one spelling.
//
// What it does not do: it decodes no image files and does no I/O, but for the readers and
// writers of lists of hashes that callers hand it. Which pixels a hash is made of is up to
// the decoder: it shrinks a picture first to at most 512 pixels wide and high, so that all
// decoders see the same. Hashes of a store are kept by [imgkeep/bucket/lookalike].
//
// It is no defence against somebody who tries: a crop, a frame drawn around, or a large
// sticker makes another picture of it.
package likeness
