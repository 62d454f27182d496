package vips

import (
	"errors"
	"fmt"
)

// gifFrames walks the blocks of a GIF (GIF89a Specification) up to its trailer
// and counts the frames.
//
// It is needed because libvips' loader makes do with what it has: it accepts a
// GIF that ends in the middle of a frame, and takes 4,096 frames for all where
// there are more.
func gifFrames(src []byte) (frames int, err error) {
	const extension, picture, trailer = 0x21, 0x2c, 0x3b
	cut := errors.New("gif: it ends before its trailer")
	if len(src) < 13 {
		return 0, cut
	}
	at := 13 + gifColours(src[10])
	for at < len(src) {
		switch block := src[at]; block {
		case trailer:
			return frames, nil
		case extension:
			at += 2
		case picture:
			if at+10 > len(src) {
				return 0, cut
			}
			at += 11 + gifColours(src[at+9])
			frames++
		default:
			return 0, fmt.Errorf("gif: no block begins with 0x%02x", block)
		}
		// Sub-blocks, each after its length, up to one of length 0.
		for at < len(src) && src[at] != 0 {
			at += 1 + int(src[at])
		}
		at++
	}
	return 0, cut
}

// gifColours is the length of the colour table that flags announce.
func gifColours(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}
