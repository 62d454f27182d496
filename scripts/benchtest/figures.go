package benchtest

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Ratio is how a figure of ours compares with that of another program in the same run, as
// measured in each of some rounds.
type Ratio struct {
	Name    string // what is compared with what
	Figures []float64
}

// Print writes a ratio for scripts/bench, which collects those of all benchmarks.
func (r Ratio) Print(w io.Writer) {
	fmt.Fprintf(w, "RATIO\t%s", r.Name)
	for _, f := range r.Figures {
		fmt.Fprintf(w, "\t%.4g", f)
	}
	fmt.Fprintln(w)
}

// ParseRatio reads a line that Print has written. ok is false for any other line.
func ParseRatio(line string) (r Ratio, ok bool) {
	fields := strings.Split(strings.TrimSpace(line), "\t")
	if len(fields) < 3 || fields[0] != "RATIO" || fields[1] == "" {
		return Ratio{}, false
	}
	r.Name = fields[1]
	for _, field := range fields[2:] {
		f, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return Ratio{}, false
		}
		r.Figures = append(r.Figures, f)
	}
	return r, true
}

// Median is the middle one, of an even number of figures the higher of both. It panics
// without any.
func Median(figures []float64) float64 {
	return slices.Sorted(slices.Values(figures))[len(figures)/2]
}

// Spread is the median of figures, with the lowest and the highest of them: "0.95 (0.91 to
// 1.02)". It is the median alone if there is one figure, and empty without any.
func Spread(figures []float64) string {
	switch len(figures) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("%.2f", figures[0])
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", Median(figures), slices.Min(figures), slices.Max(figures))
}
