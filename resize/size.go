package resize

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// maxSide bounds each side of a Size. It has sizeDigits digits.
const (
	maxSide    = 99999
	sizeDigits = 5
)

// Size is a limit on the height and the width of a picture, in pixels. A side
// that is 0 is free. A Size with both sides free is no limit at all, and not
// valid in a [Job].
type Size struct {
	Height, Width int
}

var errSize = errors.New("a size is height, x, width: 250x250, 150x or x200")

// ParseSize reads the canonical spelling of a size, height first: "250x250", "150x" (width
// free), "x200" (height free). Each size has exactly one spelling, so that no second path
// leads to the same picture: it refuses signs, leading zeros, an upper-case X, and sides
// above 99999.
func ParseSize(s string) (Size, error) {
	h, w, ok := strings.Cut(s, "x")
	if !ok || h == "" && w == "" {
		return Size{}, fmt.Errorf("resize: size %s: %w", quote(s), errSize)
	}
	var z Size
	var err error
	if z.Height, err = parseSide(h); err == nil {
		z.Width, err = parseSide(w)
	}
	if err != nil {
		return Size{}, fmt.Errorf("resize: size %s: %w", quote(s), err)
	}
	return z, nil
}

func parseSide(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	if len(s) > sizeDigits {
		return 0, fmt.Errorf("a side has at most %d digits", sizeDigits)
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, errSize
		}
	}
	if s[0] == '0' {
		return 0, errors.New("a side has no leading zero")
	}
	return strconv.Atoi(s)
}

// String is the canonical spelling, which [ParseSize] reads back. That of the
// zero Size is "x", which it refuses.
func (z Size) String() string {
	var h, w string
	if z.Height != 0 {
		h = strconv.Itoa(z.Height)
	}
	if z.Width != 0 {
		w = strconv.Itoa(z.Width)
	}
	return h + "x" + w
}

// MarshalText is String, with an error where ParseSize would refuse it.
func (z Size) MarshalText() ([]byte, error) {
	if err := z.check(); err != nil {
		return nil, err
	}
	return []byte(z.String()), nil
}

// UnmarshalText is ParseSize.
func (z *Size) UnmarshalText(text []byte) error {
	var err error
	*z, err = ParseSize(string(text))
	return err
}

func (z Size) check() error {
	if z.Height < 0 || z.Width < 0 || z.Height > maxSide || z.Width > maxSide || z == (Size{}) {
		return fmt.Errorf("resize: size of height %d and width %d: one side is from 1 to %d, the other too or 0", z.Height, z.Width, maxSide)
	}
	return nil
}

// Fit gives the exact size of the picture that is made for this limit from one
// of width by height pixels, as shown (after its EXIF orientation).
//
// It keeps both limits, and the ratio of the sides except for rounding: the side whose
// limit binds gets that limit, and the other is computed from it with whole numbers and
// rounded once, half up. No side is ever 0 or larger than the source's. Sides below 1 count
// as 1.
func (z Size) Fit(width, height int) (w, h int) {
	width, height = max(width, 1), max(height, 1)
	limW, limH := width, height
	if z.Width > 0 {
		limW = min(limW, z.Width)
	}
	if z.Height > 0 {
		limH = min(limH, z.Height)
	}
	// The smaller of limH/height and limW/width binds.
	if less(limH, width, limW, height) {
		return max(1, scale(width, limH, height)), limH
	}
	return limW, max(1, scale(height, limW, width))
}

// less says whether a*b < c*d, for positive numbers, in 128 bits: a header may claim any
// sides.
func less(a, b, c, d int) bool {
	h1, l1 := bits.Mul64(uint64(a), uint64(b))
	h2, l2 := bits.Mul64(uint64(c), uint64(d))
	return h1 < h2 || h1 == h2 && l1 < l2
}

// scale is side*num/den, rounded half up, for num <= den.
func scale(side, num, den int) int {
	hi, lo := bits.Mul64(uint64(side), uint64(num))
	lo, carry := bits.Add64(lo, uint64(den)/2, 0)
	q, _ := bits.Div64(hi+carry, lo, uint64(den))
	return int(q)
}

// Listed are the pictures that links may ask for: presets, and sizes whose sides are all
// listed. The zero Listed has none.
type Listed struct {
	Sides   []int    // in pixels
	Presets []string // their names
}

// Check returns nil for the name of a preset, and for the canonical spelling of a Size
// whose sides are each free or listed. Its error is one line, whatever the name is.
func (l Listed) Check(name string) error {
	if slices.Contains(l.Presets, name) {
		return nil
	}
	size, err := ParseSize(name)
	switch {
	case err != nil && len(l.Presets) > 0:
		return fmt.Errorf("%s is neither one of the presets %s nor height x width, as in 250x250, 150x, x200", quote(name), strings.Join(l.Presets, ", "))
	case err != nil:
		return fmt.Errorf("%s is not height x width, as in 250x250, 150x, x200", quote(name))
	}
	for _, side := range []int{size.Height, size.Width} {
		if side != 0 && !slices.Contains(l.Sides, side) {
			return fmt.Errorf("%d, of %s, is not one of the sizes %v", side, name, l.Sides)
		}
	}
	return nil
}

// quote makes hostile text safe for an error or a log line: quoted, and short.
func quote(s string) string {
	const most = 40
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}
