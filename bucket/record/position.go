package record

// Position says how far into a journal an index goes: all of its lines up to there
// are in it, and none behind. The zero value is the beginning.
type Position struct {
	File   string // the name of the journal's newest file that is in the index; empty: none is
	Length int64  // bytes of it
	Line   uint64 // checksum of the line that ends there
}
