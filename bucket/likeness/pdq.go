package likeness

import (
	"math"
	"slices"
)

const (
	// side is that of the picture that is transformed, and kept how many of the
	// transform's frequencies count in each direction: 1 to 16.
	side, kept = 64, 16
	// MinSide is the least side, in pixels, of a picture that has a print.
	MinSide = 5
)

// cosines are rows 1 to 16 of the discrete cosine transform of 64 values.
var cosines = func() (c [kept][side]float32) {
	scale := float64(float32(math.Sqrt(2.0 / side)))
	for k := range c {
		for x := range c[k] {
			c[k][x] = float32(scale * math.Cos(math.Pi/2/side*float64(k+1)*float64(2*x+1)))
		}
	}
	return c
}()

// Pixels are a picture: rows from top to bottom, of Bands bytes a pixel.
type Pixels struct {
	Width, Height int
	Bands         int // 1: gray; 3: red, green and blue
	Data          []byte
}

// at is where a pixel begins in Data.
func (p Pixels) at(x, y int) int { return (y*p.Width + x) * p.Bands }

// Of returns the print of a picture. Uniform bars at its edges do not count: see trim. One
// that has a side below MinSide, or is no picture, has the zero Print, which matches
// nothing.
func Of(p Pixels) Print { return exact(trim(p)) }

// exact returns the print of all of a picture, as Meta's program makes it.
//
// All is float32, and in the order that the paper's sums suggest, since a value near the
// median decides over a bit by its last digit. Products are converted before they are
// added, so that no processor fuses the two.
func exact(p Pixels) Print {
	if p.Width < MinSide || p.Height < MinSide || p.Bands != 1 && p.Bands != 3 || len(p.Data) < p.Width*p.Height*p.Bands {
		return Print{}
	}
	small := new([side][side]float32)
	sample(small, p)
	t := transform(small)
	made := Print{Quality: quality(small)}
	for turn := range made.Hashes {
		made.Hashes[turn] = bitsOf(t.turned(turn))
	}
	return made
}

// luma writes how bright the pixels of a row are.
func luma(to []float32, p Pixels, y int) {
	row := p.Data[p.at(0, y):p.at(0, y+1)]
	if p.Bands == 1 {
		for x, v := range row {
			to[x] = float32(v)
		}
		return
	}
	const r, g, b = float32(0.299), float32(0.587), float32(0.114)
	for x := range to {
		c := row[3*x : 3*x+3 : 3*x+3]
		sum := float32(r*float32(c[0])) + float32(g*float32(c[1]))
		to[x] = sum + float32(b*float32(c[2]))
	}
}

// sample blurs a picture by a tent, and takes 64 by 64 values of it, each from the middle
// of its part. A picture of that size is taken as it is.
func sample(to *[side][side]float32, p Pixels) {
	w, h := p.Width, p.Height
	if w == side && h == side {
		for y := range to {
			luma(to[y][:], p, y)
		}
		return
	}
	buffer := make([]float32, 2*w*h+w)
	once, blurred, line := buffer[:w*h], buffer[w*h:2*w*h], buffer[2*w*h:]
	along, down := newWindow(w), newWindow(h)
	for y := range h {
		luma(line, p, y)
		along.row(once[y*w:][:w], line)
	}
	down.columns(blurred, once, w)
	// Of the second pass, only what is sampled is kept.
	var twice, last []float32
	if w >= side {
		twice, last = once[:side*h], blurred[:side*h]
	} else {
		twice, last = make([]float32, side*h), make([]float32, side*h)
	}
	for y := range h {
		along.row(line, blurred[y*w:][:w])
		for j := range side {
			twice[y*side+j] = line[(2*j+1)*w/(2*side)]
		}
	}
	down.columns(last, twice, side)
	for i := range to {
		copy(to[i][:], last[(2*i+1)*h/(2*side)*side:])
	}
}

// window is a box filter: the mean of what lies from so many before to so many behind, as
// far as there is anything.
type window struct{ n, before, behind int }

// newWindow is that of n values: a 128th of them long, rounded up, since two passes make
// one twice as long.
func newWindow(n int) window {
	long := (n + 2*side - 1) / (2 * side)
	behind := long / 2
	return window{n, long - 1 - behind, behind}
}

// row filters a row.
func (w window) row(to, from []float32) {
	to, from = to[:w.n], from[:w.n]
	var sum, size float32
	for _, v := range from[:min(w.behind, w.n)] {
		sum += v
		size++
	}
	// As long as it grows, then where it is whole, and where it shrinks.
	i := 0
	for ; i+w.behind < w.n && i <= w.before; i++ {
		sum += from[i+w.behind]
		size++
		to[i] = sum / size
	}
	if i > w.before && i+w.behind < w.n {
		out, next, last := to[i:w.n-w.behind], from[i+w.behind:], from[i-w.before-1:]
		next, last = next[:len(out)], last[:len(out)]
		for k := range out {
			sum += next[k]
			sum -= last[k]
			out[k] = sum / size
		}
		i += len(out)
	}
	for ; i < w.n; i++ {
		if last := i - w.before - 1; last >= 0 {
			sum -= from[last]
			size--
		}
		to[i] = sum / size
	}
}

// columns filters all columns of a picture, row by row.
func (w window) columns(to, from []float32, width int) {
	sums := make([]float32, width)
	row := func(i int) []float32 { return from[i*width:][:width] }
	size := float32(0)
	add := func(i int) {
		for x, v := range row(i) {
			sums[x] += v
		}
		size++
	}
	for i := range min(w.behind, w.n) {
		add(i)
	}
	for i := range w.n {
		if next := i + w.behind; next < w.n {
			add(next)
		}
		if last := i - w.before - 1; last >= 0 {
			for x, v := range row(last) {
				sums[x] -= v
			}
			size--
		}
		out := to[i*width:][:width]
		for x, sum := range sums {
			out[x] = sum / size
		}
	}
}

// quality says how much there is to see: how much neighbours differ, in steps of a
// hundredth of the range, so that many faint differences count for nothing.
func quality(p *[side][side]float32) int {
	sum := 0
	step := func(a, b float32) {
		d := int((a - b) * 100 / 255)
		sum += max(d, -d)
	}
	for i := range p {
		for j := range p[i] {
			if i+1 < side {
				step(p[i][j], p[i+1][j])
			}
			if j+1 < side {
				step(p[i][j], p[i][j+1])
			}
		}
	}
	return min(sum/90, 100)
}

// spectrum has the frequencies that count, of rows and then of columns.
type spectrum [kept][kept]float32

func transform(p *[side][side]float32) *spectrum {
	var half [kept][side]float32
	for i := range half {
		for y, c := range cosines[i] {
			for x, v := range p[y] {
				half[i][x] += float32(c * v)
			}
		}
	}
	out := new(spectrum)
	for i := range out {
		for j := range out[i] {
			for x, c := range cosines[j] {
				out[i][j] += float32(half[i][x] * c)
			}
		}
	}
	return out
}

// Bits of the number of a turn.
const (
	mirrorX   = 1 // left and right change places
	mirrorY   = 2 // top and bottom
	transpose = 4 // rows and columns, after that
	turns     = 8
)

// turned is the spectrum of the picture turned or mirrored. Mirroring changes the sign of
// each odd frequency, those at even places here; the first is 1.
func (s *spectrum) turned(turn int) *spectrum {
	out := new(spectrum)
	for i := range s {
		for j, v := range s[i] {
			if turn&mirrorX != 0 && j%2 == 0 {
				v = -v
			}
			if turn&mirrorY != 0 && i%2 == 0 {
				v = -v
			}
			if turn&transpose != 0 {
				out[j][i] = v
			} else {
				out[i][j] = v
			}
		}
	}
	return out
}

// bitsOf says which frequencies are over the lower median of all.
func bitsOf(s *spectrum) (h Hash) {
	var all [kept * kept]float32
	for i := range s {
		copy(all[i*kept:], s[i][:])
	}
	sorted := all
	slices.Sort(sorted[:])
	median := sorted[len(sorted)/2-1]
	for n, v := range all {
		if v > median {
			h[len(h)-1-n/8] |= 1 << (n % 8)
		}
	}
	return h
}
