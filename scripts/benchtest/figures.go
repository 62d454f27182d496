package benchtest

import (
	"fmt"
	"slices"
)

// Spread is the median of figures, with the lowest and the highest of them: "0.95 (0.91 to
// 1.02)". It is the median alone if there is one figure, and empty without any.
func Spread(figures []float64) string {
	if len(figures) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(figures))
	middle := fmt.Sprintf("%.2f", sorted[len(sorted)/2])
	if len(sorted) == 1 {
		return middle
	}
	return fmt.Sprintf("%s (%.2f to %.2f)", middle, sorted[0], sorted[len(sorted)-1])
}
