package config

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/dustin/go-humanize"
)

const (
	kibibyte ByteSize = 1 << 10
	mebibyte ByteSize = 1 << 20
	gibibyte ByteSize = 1 << 30
	tebibyte ByteSize = 1 << 40
)

// ByteSize is a number of bytes. In text it is a plain number of bytes, or a
// number with a unit of 1024 (KiB, MiB, GiB, TiB) or of 1000 (kB, MB, GB, TB).
type ByteSize int64

// "16M" is refused: nginx would read 16 MiB, and many programs 16 MB.
var byteSizeForm = regexp.MustCompile(`^[0-9]{1,19}(\.[0-9]{1,9})?( ?([kKMGT]i?)?B)?$`)

// ParseByteSize reads a ByteSize. A fraction of a byte is dropped.
func ParseByteSize(s string) (ByteSize, error) {
	if !byteSizeForm.MatchString(s) {
		return 0, fmt.Errorf("%q is not a size: want a number of bytes, or a unit as in 512KiB, 16MiB, 1GiB, 10MB", s)
	}
	n, err := humanize.ParseBigBytes(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", s, err)
	}
	if !n.IsInt64() {
		return 0, fmt.Errorf("%q is too large a size", s)
	}
	return ByteSize(n.Int64()), nil
}

// String returns the size in the largest unit that gives a whole number, so that
// ParseByteSize reads the same size again.
func (b ByteSize) String() string {
	for _, u := range []struct {
		size ByteSize
		name string
	}{
		{tebibyte, "TiB"}, {gibibyte, "GiB"}, {mebibyte, "MiB"}, {kibibyte, "KiB"},
	} {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns String, or a plain number if it has no unit.
func (b ByteSize) MarshalText() ([]byte, error) { return []byte(b.String()), nil }
