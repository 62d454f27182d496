package resize

import "strings"

// A Layout is the geometry of one picture: the picture is resized to Scale, its part Window
// is cut out and put onto a Canvas, which is the result.
type Layout struct {
	// ScaleW and ScaleH are the sides of the whole picture, resized.
	ScaleW, ScaleH int
	// WindowX and WindowY are where the window begins; both are -1 if the content of the
	// picture decides. WindowW and WindowH are its sides.
	WindowX, WindowY, WindowW, WindowH int
	// CanvasX and CanvasY are where the window stands on the canvas.
	CanvasX, CanvasY, CanvasW, CanvasH int
}

// Layout computes the geometry for a picture of width by height pixels, as shown (after its
// EXIF orientation, and after trimming). Like [Size.Fit] it computes with whole numbers and
// rounds once.
func (t Target) Layout(width, height int) Layout {
	width, height = min(max(width, 1), maxCoord), min(max(height, 1), maxCoord)
	if t.Preset == nil {
		w, h := t.Size.Fit(width, height)
		return Layout{ScaleW: w, ScaleH: h, WindowW: w, WindowH: h, CanvasW: w, CanvasH: h}
	}
	p := t.Preset
	if p.Rotate%180 != 0 {
		width, height = height, width
	}
	l := p.scale(width, height)
	switch {
	case l.WindowW == l.ScaleW && l.WindowH == l.ScaleH: // nothing is cut off
	case p.Gravity == gravitySmart:
		l.WindowX, l.WindowY = -1, -1
	default:
		l.WindowX, l.WindowY = place(p.Gravity, l.ScaleW-l.WindowW, l.ScaleH-l.WindowH)
	}
	l.CanvasW, l.CanvasH = l.WindowW, l.WindowH
	if p.fit() == FitContain {
		l.CanvasW, l.CanvasH = p.Width, p.Height
		l.CanvasX, l.CanvasY = place(p.Gravity, l.CanvasW-l.WindowW, l.CanvasH-l.WindowH)
	}
	l.CanvasX, l.CanvasY = l.CanvasX+p.Padding.Left, l.CanvasY+p.Padding.Top
	l.CanvasW += p.Padding.Left + p.Padding.Right
	l.CanvasH += p.Padding.Top + p.Padding.Bottom
	return l
}

// scale fills in Scale and the sides of Window.
func (p *Preset) scale(width, height int) Layout {
	l := Layout{ScaleW: width, ScaleH: height}
	switch p.fit() {
	case FitInside, FitContain:
		if p.Enlarge {
			l.ScaleW, l.ScaleH = p.enlarged(width, height)
		} else {
			l.ScaleW, l.ScaleH = Size{Height: p.Height, Width: p.Width}.Fit(width, height)
		}
		l.WindowW, l.WindowH = l.ScaleW, l.ScaleH
	case FitCover:
		l.WindowW, l.WindowH = p.Width, p.Height
		// The larger of the ratios fills the box.
		switch {
		case !p.Enlarge && (width < p.Width || height < p.Height):
			l.WindowW, l.WindowH = Size{Height: height, Width: width}.Fit(p.Width, p.Height)
		case less(p.Width, height, p.Height, width):
			l.ScaleW, l.ScaleH = max(p.Width, scale(width, p.Height, height)), p.Height
		default:
			l.ScaleW, l.ScaleH = p.Width, max(p.Height, scale(height, p.Width, width))
		}
	case FitCrop:
		l.WindowW, l.WindowH = width, height
		if p.Width > 0 {
			l.WindowW = min(width, p.Width)
		}
		if p.Height > 0 {
			l.WindowH = min(height, p.Height)
		}
	}
	return l
}

// enlarged is Size.Fit without the limit of the source's own sides. At least one
// side of the box is not free.
func (p *Preset) enlarged(width, height int) (w, h int) {
	if p.Width == 0 || p.Height > 0 && less(p.Height, width, p.Width, height) {
		return max(1, scale(width, p.Height, height)), p.Height
	}
	return p.Width, max(1, scale(height, p.Width, width))
}

// place returns the offset, by gravity, of something that leaves this much room. Half a
// pixel goes up and to the left.
func place(gravity string, roomX, roomY int) (x, y int) {
	x, y = roomX/2, roomY/2
	switch {
	case strings.HasSuffix(gravity, "west"):
		x = 0
	case strings.HasSuffix(gravity, "east"):
		x = roomX
	}
	switch {
	case strings.HasPrefix(gravity, "north"):
		y = 0
	case strings.HasPrefix(gravity, "south"):
		y = roomY
	}
	return x, y
}

// Limit bounds the sides of the result, whatever the source's are. A side of 0 is free.
func (t Target) Limit() Size {
	if t.Preset == nil {
		return t.Size
	}
	p := t.Preset
	var z Size
	if p.Width > 0 {
		z.Width = p.Width + p.Padding.Left + p.Padding.Right
	}
	if p.Height > 0 {
		z.Height = p.Height + p.Padding.Top + p.Padding.Bottom
	}
	return z
}

// Place computes position and size of a watermark of width by height pixels on a picture of
// this size. The sides are 0 if there is no room for it.
func (m *Watermark) Place(width, height, canvasW, canvasH int) (x, y, w, h int) {
	roomW, roomH := canvasW-2*m.Margin, canvasH-2*m.Margin
	if width < 1 || height < 1 || roomW < 1 || roomH < 1 {
		return 0, 0, 0, 0
	}
	if m.Scale > 0 {
		roomW = min(roomW, max(1, canvasW*m.Scale/100))
		p := Preset{Width: roomW, Height: roomH}
		w, h = p.enlarged(width, height)
	} else {
		w, h = Size{Height: roomH, Width: roomW}.Fit(width, height)
	}
	position := m.Position
	if position == "" {
		position = "southeast"
	}
	x, y = place(position, canvasW-2*m.Margin-w, canvasH-2*m.Margin-h)
	return x + m.Margin, y + m.Margin, w, h
}
