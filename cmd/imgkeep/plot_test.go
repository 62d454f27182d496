package main_test

import (
	"fmt"
	"html"
	"os"
	"strings"
	"testing"
)

// bar is a bar of a plot.
type bar struct {
	name  string
	value float64
}

// plot writes a bar chart as SVG, which README.md shows. Bars are scaled to the
// longest.
func plot(b *testing.B, path, title string, bars []bar) {
	b.Helper()
	const left, width, step = 250, 430, 26
	longest := 0.0
	for _, one := range bars {
		longest = max(longest, one.value)
	}
	var out strings.Builder
	height := 44 + step*len(bars)
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 %d" font-family="sans-serif" font-size="13">`+"\n", height)
	fmt.Fprintf(&out, `<rect width="760" height="%d" fill="#fff"/><text x="12" y="24" font-size="15">%s</text>`+"\n", height, html.EscapeString(title))
	for i, one := range bars {
		y := 38 + step*i
		colour := "#8a94a0"
		if strings.HasPrefix(one.name, "imgkeep") {
			colour = "#2f6fb2"
		}
		length := one.value / longest * width
		fmt.Fprintf(&out, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.0f" height="18" fill="%s"/><text x="%.0f" y="%d">%.2f</text>`+"\n",
			left-8, y+14, html.EscapeString(one.name), left, y, length, colour, left+length+6, y+14, one.value)
	}
	out.WriteString("</svg>\n")
	if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
		b.Fatal(err)
	}
}
