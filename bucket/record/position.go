package record

// Position says how far into a journal an index goes: it has all lines up to there, and
// none after. The zero value is the beginning.
type Position struct {
	File   string // the name of the journal's newest file that is in the index; empty: none is
	Length int64  // bytes of it
	Line   uint64 // checksum of the line that ends there
}
