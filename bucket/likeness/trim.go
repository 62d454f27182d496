package likeness

// even is how much the pixels of a bar may differ from its first, out of 255: what a JPEG
// makes of one colour.
const even = 12

// Trim returns what is left of a picture when uniform bars at its edges are cut off, as
// letterboxing and frames of one colour make them. A picture that is all of one colour is
// left as it is, and so is one of which less than MinSide would be left. The pixels may be
// those of p.
func Trim(p Pixels) Pixels {
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
	from, to = b.top, b.bottom
	if columns {
		from, to = b.left, b.right
	}
	first, last := from, to-1
	for from < to && p.uniform(b, columns, from, first) {
		from++
	}
	for to > from && p.uniform(b, columns, to-1, last) {
		to--
	}
	return from, to
}

// uniform tells whether a row or column of a box has the colour in which another begins.
func (p Pixels) uniform(b box, column bool, line, of int) bool {
	at, ref, step, n := p.at(b.left, line), p.at(b.left, of), p.Bands, b.right-b.left
	if column {
		at, ref, step, n = p.at(line, b.top), p.at(of, b.top), p.at(0, 1), b.bottom-b.top
	}
	for range n {
		for band := range p.Bands {
			if d := int(p.Data[at+band]) - int(p.Data[ref+band]); d > even || -d > even {
				return false
			}
		}
		at += step
	}
	return true
}
