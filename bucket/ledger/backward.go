package ledger

import (
	"iter"

	"imgkeep/bucket/record"
)

// Backward is a Ledger that can be read from its end as well, by many at once: what came
// in last is found without reading all that came before.
type Backward interface {
	// Before goes through the events before a position from the last to the first; the
	// zero value is behind all. Events that cannot be read, and those that w does not want,
	// are skipped. Now and then it yields an Earlier without an Op, whose Image.Stored says
	// how far back it has read, so that a caller who finds nothing can stop.
	Before(bucket string, at record.Position, w Wanted) iter.Seq2[Earlier, error]
}

// Earlier is an event with the position before it, from which Before goes on. That
// position has no checksum: Check does not know it.
type Earlier struct {
	Entry
	At record.Position
}

// Wanted chooses events by their text, before it is parsed: it costs a hundredth of that.
type Wanted struct {
	// Any are texts of which one stands in the line of each event that is wanted. Empty:
	// all lines may be.
	Any [][]byte
	// Line tells whether a line may be wanted. nil: each may.
	Line func(line []byte) bool
}
