package heif

// Of an HEIF image the parts that lie outside of its clean aperture (clap) are cut
// off, it is turned in quarters (irot) and mirrored (imir), in the order in which
// the item has these properties (ISO/IEC 23008-12, 6.5; MIAF wants them in this
// order). Decoders do so by themselves, and skip the orientation in EXIF.

// turns are what the EXIF orientations 1 to 8 do to a point: x and y, counted from
// the middle to the right and down, become ax+by and cx+dy.
var turns = [...][4]int{
	{1, 0, 0, 1}, {-1, 0, 0, 1}, {-1, 0, 0, -1}, {1, 0, 0, -1},
	{0, 1, 1, 0}, {0, -1, 1, 0}, {0, -1, -1, 0}, {0, 1, -1, 0},
}

// then is the orientation of an image that is turned by one, and then by another.
func then(first, second int) int {
	p, q := turns[first-1], turns[second-1]
	both := [4]int{q[0]*p[0] + q[1]*p[2], q[0]*p[1] + q[1]*p[3], q[2]*p[0] + q[3]*p[2], q[2]*p[1] + q[3]*p[3]}
	for i, t := range turns {
		if t == both {
			return i + 1
		}
	}
	return 1 // never: they are a group
}

// transform returns the size of what is left of an image, and which way it is
// turned then.
func (t *table) transform(item *item, width, height int64) (w, h int64, orientation int, err error) {
	orientation = 1
	seen := map[string]bool{}
	for _, p := range item.properties {
		switch p.kind {
		case "clap", "irot", "imir":
		default:
			continue
		}
		if seen[p.kind] || p.kind == "clap" && len(seen) > 0 {
			return 0, 0, 0, unsupported("turned, mirrored or cut twice, or cut after that")
		}
		seen[p.kind] = true
		f := fields{rest: p.body}
		switch p.kind {
		case "clap":
			if width, height, err = t.cut(p, width, height); err != nil {
				return 0, 0, 0, err
			}
			continue
		case "irot": // anticlockwise
			orientation = then(orientation, [...]int{1, 8, 3, 6}[f.uint(1)&3])
		case "imir":
			orientation = then(orientation, [...]int{4, 2}[f.uint(1)&1])
		}
		if f.short {
			return 0, 0, 0, broken("an empty %s property", p.kind)
		}
	}
	return width, height, orientation, nil
}

// cut reads a clean aperture: its size, and how far its middle is from that of the
// image, each as a fraction. It must be of whole pixels, and within the image.
func (t *table) cut(p property, width, height int64) (w, h int64, err error) {
	f := fields{rest: p.body}
	sides := [2]int64{width, height}
	var left [2]int64
	for i := range sides {
		n, d := int64(f.uint(4)), int64(f.uint(4))
		if f.short || d == 0 || n%d != 0 || n/d < 1 || n/d > sides[i] {
			return 0, 0, unsupported("a clean aperture of %d/%d pixels of %d", n, d, sides[i])
		}
		left[i] = sides[i] - n/d
		sides[i] = n / d
	}
	for i := range sides {
		n, d := int64(int32(f.uint(4))), int64(f.uint(4))
		if f.short || d == 0 || max(2*n, -2*n) > left[i]*d {
			return 0, 0, unsupported("a clean aperture that is %d/%d pixels off the middle", n, d)
		}
	}
	return sides[0], sides[1], nil
}
