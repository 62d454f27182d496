package likeness

const (
	// even is how much the pixels of a bar may differ from its first, out of 255: what a
	// JPEG makes of one colour.
	even = 12
	// other is how much a pixel that is none of a bar differs from it, blend how many rows
	// at the end of a bar may be half of it, as resizing makes them, and after those a third
	// of the pixels of a row must be other ones. A sky that ends slowly, or an object before a
	// white ground, is no bar: where that ends would be another row in each copy.
	other, blend = 32, 2
)

// trim returns what is left of a picture when uniform bars at its edges are cut off, as
// letterboxing and frames of one colour make them. A picture that is all of one colour is
// left as it is, and so is one of which less than MinSide would be left. The pixels may be
// those of p.
func trim(p Pixels) Pixels {
	if p.Width < 1 || p.Height < 1 || len(p.Data) < p.Width*p.Height*p.Bands {
		return p
	}
	b := box{0, 0, p.Width, p.Height}
	b.top, b.bottom = p.bars(b, false)
	if b.top >= b.bottom {
		return p
	}
	b.left, b.right = p.bars(b, true)
	if b.right-b.left < MinSide || b.bottom-b.top < MinSide || b == (box{0, 0, p.Width, p.Height}) {
		return p
	}
	out := Pixels{Width: b.right - b.left, Height: b.bottom - b.top, Bands: p.Bands}
	for y := b.top; y < b.bottom; y++ {
		out.Data = append(out.Data, p.Data[p.at(b.left, y):p.at(b.right, y)]...)
	}
	return out
}

type box struct{ left, top, right, bottom int }

// bars returns where what is no bar begins and ends within a box: its rows, or columns.
func (p Pixels) bars(b box, columns bool) (from, to int) {
	first, end := b.top, b.bottom
	if columns {
		first, end = b.left, b.right
	}
	from, to = first, end
	for from < end && p.differ(b, columns, from, first, even) == 0 {
		from++
	}
	if from == end {
		return from, from // all is of one colour
	}
	for to > from && p.differ(b, columns, to-1, end-1, even) == 0 {
		to--
	}
	long := b.right - b.left
	if columns {
		long = b.bottom - b.top
	}
	if 3*p.differ(b, columns, min(from+blend, end-1), first, other) < long {
		from = first
	}
	if 3*p.differ(b, columns, max(to-1-blend, first), end-1, other) < long {
		to = end
	}
	return from, to
}

// differ is how many pixels of a row or column of a box differ by more than so much from the
// one in which another begins.
func (p Pixels) differ(b box, column bool, line, of, much int) (n int) {
	at, ref, step, long := p.at(b.left, line), p.at(b.left, of), p.Bands, b.right-b.left
	if column {
		at, ref, step, long = p.at(line, b.top), p.at(of, b.top), p.at(0, 1), b.bottom-b.top
	}
	for range long {
		for band := range p.Bands {
			if d := int(p.Data[at+band]) - int(p.Data[ref+band]); d > much || -d > much {
				n++
				break
			}
		}
		at += step
	}
	return n
}
