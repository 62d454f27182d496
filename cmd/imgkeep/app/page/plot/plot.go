// Package plot draws figures as SVG, for pages: columns over time, bars by name, lines.
//
// What it promises: all texts are escaped, whatever they hold; colours come from the page's
// style sheet, by classes, so that a plot fits light and dark; it has a title that screen
// readers say, and the page shows its numbers as a table too. It draws no more than
// maxPoints of each series: the last ones.
package plot

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// Kind is how a plot is drawn.
type Kind int

// Kinds.
const (
	Columns Kind = iota // one beside the other, stacked by series
	Bars                // one below the other, of the first series
	Lines               // over time, a line for each series
)

// maxPoints is how many points of a series are drawn.
const maxPoints = 400

// Series are values; NaN: there is none.
type Series struct {
	Name   string
	Values []float64
}

// Plot is a figure. The zero value is an empty one.
type Plot struct {
	Kind   Kind
	Title  string
	Labels []string // of the points
	Series []Series
	Format func(float64) string // of values; nil: as they are
}

// Text is a value as people read it.
func (p Plot) Text(v float64) string {
	switch {
	case math.IsNaN(v):
		return "–"
	case p.Format != nil:
		return p.Format(v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}

// Rows are the values as a table: labels first.
func (p Plot) Rows() [][]string {
	rows := [][]string{}
	for i, label := range p.Labels {
		row := []string{label}
		for _, s := range p.Series {
			row = append(row, p.Text(value(s, i)))
		}
		rows = append(rows, row)
	}
	return rows
}

// Empty tells whether there is nothing to draw: no value, or only zeros.
func (p Plot) Empty() bool {
	for i := range p.Labels {
		for _, s := range p.Series {
			if value(s, i) > 0 {
				return false
			}
		}
	}
	return true
}

func value(s Series, i int) float64 {
	if i >= len(s.Values) || i < 0 {
		return math.NaN()
	}
	return s.Values[i]
}

// cut leaves the last points of a plot.
func (p Plot) cut() Plot {
	n := len(p.Labels) - maxPoints
	if n <= 0 {
		return p
	}
	p.Labels = p.Labels[n:]
	series := make([]Series, len(p.Series))
	for i, s := range p.Series {
		series[i] = Series{s.Name, s.Values[min(n, len(s.Values)):]}
	}
	p.Series = series
	return p
}

const width, height, left, bottom, top = 720, 240, 64, 28, 12

// SVG draws a plot.
func SVG(p Plot) template.HTML {
	p = p.cut()
	if p.Empty() {
		return ""
	}
	var b strings.Builder
	switch p.Kind {
	case Bars:
		p.bars(&b)
	case Lines:
		p.frame(&b, p.most())
		p.lines(&b, p.most())
	default:
		p.frame(&b, p.most())
		p.columns(&b, p.most())
	}
	b.WriteString("</svg>")
	return template.HTML(b.String())
}

func (p Plot) begin(b *strings.Builder, height int) {
	fmt.Fprintf(b, `<svg class="plot" viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, height, html.EscapeString(p.Title))
}

// most is the end of the axis: a round number that no value goes beyond.
func (p Plot) most() float64 {
	most := 0.0
	for i := range p.Labels {
		sum := 0.0
		for _, s := range p.Series {
			v := value(s, i)
			if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
				continue
			}
			if sum += v; p.Kind == Lines {
				sum = v
			}
			most = max(most, sum)
		}
	}
	return round(most)
}

// round is the next of 1, 2, 5, 10, 20, 50 …
func round(v float64) float64 {
	if v <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5, 10} {
		if v <= f*power {
			return f * power
		}
	}
	return 10 * power
}

// frame draws axes and labels.
func (p Plot) frame(b *strings.Builder, most float64) {
	p.begin(b, height)
	for i := range 3 {
		v := most * float64(i) / 2
		y := p.y(v, most)
		fmt.Fprintf(b, `<line class="rule" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="label" x="%d" y="%.1f" text-anchor="end">%s</text>`,
			left, width-8, y, y, left-6, y+4, html.EscapeString(p.Text(v)))
	}
	n := len(p.Labels)
	every := max(1, (n+5)/6)
	for i := 0; i < n; i += every {
		fmt.Fprintf(b, `<text class="label" x="%.1f" y="%d" text-anchor="middle">%s</text>`, p.x(i), height-8, html.EscapeString(p.Labels[i]))
	}
}

func (p Plot) x(i int) float64 {
	return left + (float64(i)+0.5)*float64(width-8-left)/float64(len(p.Labels))
}

func (p Plot) y(v, most float64) float64 {
	return float64(height-bottom) - v/most*float64(height-bottom-top)
}

func (p Plot) columns(b *strings.Builder, most float64) {
	step := min(float64(width-8-left)/float64(len(p.Labels)), 60)
	for i, label := range p.Labels {
		from := 0.0
		for n, s := range p.Series {
			v := value(s, i)
			if !(v > 0) || math.IsInf(v, 0) {
				continue
			}
			y := p.y(from+v, most)
			fmt.Fprintf(b, `<rect class="s%d" x="%.1f" y="%.1f" width="%.1f" height="%.1f"><title>%s</title></rect>`,
				n, p.x(i)-step*0.4, y, max(step*0.8, 0.5), p.y(from, most)-y, html.EscapeString(label+": "+s.Name+" "+p.Text(v)))
			from += v
		}
	}
}

func (p Plot) lines(b *strings.Builder, most float64) {
	for n, s := range p.Series {
		var path strings.Builder
		pen := "M"
		for i := range p.Labels {
			v := value(s, i)
			if math.IsNaN(v) || math.IsInf(v, 0) {
				pen = "M"
				continue
			}
			fmt.Fprintf(&path, "%s%.1f %.1f", pen, p.x(i), p.y(max(v, 0), most))
			pen = "L"
		}
		fmt.Fprintf(b, `<path class="line s%d" d="%s"><title>%s</title></path>`, n, path.String(), html.EscapeString(s.Name))
	}
}

func (p Plot) bars(b *strings.Builder) {
	const step, names = 24, 220
	p.begin(b, step*len(p.Labels)+8)
	most := p.most()
	for i, label := range p.Labels {
		v := value(p.Series[0], i)
		if math.IsNaN(v) || math.IsInf(v, 0) {
			v = 0
		}
		y := 4 + step*i
		length := max(v, 0) / most * (width - names - 110)
		fmt.Fprintf(b, `<text class="label" x="%d" y="%d" text-anchor="end">%s</text><rect class="s0" x="%d" y="%d" width="%.1f" height="%d"/><text class="label" x="%.1f" y="%d">%s</text>`,
			names-8, y+15, html.EscapeString(cut(label)), names, y+2, length, step-6, names+length+6, y+15, html.EscapeString(p.Text(v)))
	}
}

// cut is a label that fits beside its bar.
func cut(s string) string {
	const most = 30
	if r := []rune(s); len(r) > most {
		return "…" + string(r[len(r)-most+1:])
	}
	return s
}
