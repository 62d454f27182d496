package likeness

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/bits"
)

const (
	// Bits of a hash.
	Bits = 256
	// Within is how far apart two hashes are at most that are taken for the same picture,
	// in bits, where nobody says otherwise: what Meta advises.
	Within = 31
	// MaxWithin is the most that can be asked for. Beyond it, most matches are false.
	MaxWithin = 48
	// MinQuality is the least quality of a print that matches anything.
	MinQuality = 50
)

// Hash is a PDQ hash: a number of 256 bits, the highest first.
type Hash [Bits / 8]byte

// String is the hash as 64 hexadecimal digits in lower case, as hash lists have it.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// ParseHash reads what String writes, in lower or upper case.
func ParseHash(s string) (h Hash, err error) {
	if len(s) == hex.EncodedLen(len(h)) {
		if _, err := hex.Decode(h[:], []byte(s)); err == nil {
			return h, nil
		}
	}
	return Hash{}, fmt.Errorf("%q is no PDQ hash: want %d hexadecimal digits", clip(s), hex.EncodedLen(len(h)))
}

// MarshalText and UnmarshalText are String and ParseHash, for JSON.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

func (h *Hash) UnmarshalText(text []byte) (err error) {
	*h, err = ParseHash(string(text))
	return err
}

// clip is hostile text, short enough for a message.
func clip(s string) string { return s[:min(len(s), 2*Bits/4)] }

// Distance is in how many bits two hashes differ.
func (h Hash) Distance(other Hash) int {
	n := 0
	for i := range h {
		n += bits.OnesCount8(h[i] ^ other[i])
	}
	return n
}

// Print is all that is known of how a picture looks. The zero value is that of a picture
// of which nothing is known, and matches nothing.
type Print struct {
	// Hashes of the picture as it is, and turned and mirrored in all other ways.
	Hashes  [turns]Hash
	Quality int // 0 to 100
}

// Hash is that of the picture as it is.
func (p Print) Hash() Hash { return p.Hashes[0] }

// Matches tells whether the print is good enough to match anything.
func (p Print) Matches() bool { return p.Quality >= MinQuality }

// printSize is the length of a print as bytes.
const printSize = 1 + turns*Bits/8

// Bytes is the print as bytes: the quality, and the hashes.
func (p Print) Bytes() []byte {
	b := append(make([]byte, 0, printSize), byte(p.Quality))
	for _, h := range p.Hashes {
		b = append(b, h[:]...)
	}
	return b
}

// errPrint is what ParsePrint says.
var errPrint = errors.New("no print of a picture")

// ParsePrint reads what Bytes writes.
func ParsePrint(b []byte) (p Print, err error) {
	if len(b) != printSize || b[0] > 100 {
		return Print{}, errPrint
	}
	p.Quality = int(b[0])
	for i := range p.Hashes {
		p.Hashes[i] = Hash(b[1+i*len(Hash{}):])
	}
	return p, nil
}
