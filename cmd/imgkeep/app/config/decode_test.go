package config

import (
	"math"
	"testing"
)

func TestByteSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		want ByteSize
	}{
		{"0", 0},
		{"1", 1},
		{"1023", 1023},
		{"512B", 512},
		{"512 B", 512},
		{"1KiB", 1 << 10},
		{"16MiB", 16 << 20},
		{"16 MiB", 16 << 20},
		{"1GiB", 1 << 30},
		{"2TiB", 2 << 40},
		{"10kB", 10_000},
		{"10KB", 10_000},
		{"10MB", 10_000_000},
		{"10GB", 10_000_000_000},
		{"1TB", 1_000_000_000_000},
		{"1.5GiB", 3 << 29},
		{"0.1MB", 100_000},
		{"9007199254740993", 9007199254740993}, // 2^53 + 1, which a float64 has not
		{"9223372036854775807", math.MaxInt64},
	} {
		got, err := ParseByteSize(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("ParseByteSize(%q) = %d, %v; want %d", tt.text, got, err, tt.want)
		}
	}
}

func TestByteSizeRefused(t *testing.T) {
	for _, text := range []string{
		"", " ", "MiB", "-1", "+1", "1e3", "0x10", "1,000", "1_000", ".5MiB", "1.", "1.5.5MB",
		"16M", "16m", "16Mi", "16mib", "16mb", "16 MB ", "16  MB", "16PiB", "16EiB", "Inf", "NaN",
		"1\n", "１６MiB", "9223372036854775808", "9999999999999999999TiB", "99999999999999999999",
	} {
		if got, err := ParseByteSize(text); err == nil {
			t.Errorf("ParseByteSize(%q) = %d, want an error", text, got)
		}
	}
}

func TestByteSizeString(t *testing.T) {
	for n, want := range map[ByteSize]string{
		0:                      "0",
		1:                      "1",
		1023:                   "1023",
		1024:                   "1KiB",
		1025:                   "1025",
		1536:                   "1536",
		16 << 20:               "16MiB",
		3 << 29:                "1536MiB",
		1 << 30:                "1GiB",
		5 << 40:                "5TiB",
		10_000_000:             "10000000",
		math.MaxInt64:          "9223372036854775807",
		math.MaxInt64 &^ 0x3ff: "9007199254740991KiB",
	} {
		if got := n.String(); got != want {
			t.Errorf("ByteSize(%d).String() = %q, want %q", int64(n), got, want)
		}
	}
}

// What is read is written so that it is read alike.
func FuzzByteSize(f *testing.F) {
	for _, s := range []string{"0", "16MiB", "10MB", "1.5GiB", "512 B", "9223372036854775807", "16M", "-1", "１", "1.999999999TiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseByteSize(s)
		if err != nil {
			return
		}
		if n < 0 {
			t.Fatalf("ParseByteSize(%q) = %d", s, n)
		}
		if again, err := ParseByteSize(n.String()); err != nil || again != n {
			t.Errorf("%q is %d, which is written %q, which is read as %d, %v", s, n, n, again, err)
		}
	})
}
