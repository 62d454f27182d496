package record

// Kind is a kind of problem in a store.
type Kind string

// Kinds of findings.
const (
	Missing      Kind = "missing"      // an original that is not there
	Corrupt      Kind = "corrupt"      // an original whose bytes are not those of its name
	Orphan       Kind = "orphan"       // an original that nothing knows the URL of
	Unreferenced Kind = "unreferenced" // an original that no URL refers to any more
	Unindexed    Kind = "unindexed"    // a line of the journal that the index does not have
	Unjournaled  Kind = "unjournaled"  // an entry of the index that the journal does not have
	Disagreement Kind = "disagreement" // index and journal name different images, or facts
	References   Kind = "references"   // the index counts the URLs of an image wrongly
	LooseSize    Kind = "loose-size"   // something made from an original that is not there
	Dangling     Kind = "dangling"     // a link in the place of a size that leads nowhere
	Leftover     Kind = "leftover"     // unfinished work of long ago
	Foreign      Kind = "foreign"      // a file that is none of the store's
	BrokenLine   Kind = "broken-line"  // a line of the journal that cannot be read
	HalfRemoved  Kind = "half-removed" // something that was removed, and is not gone altogether
)

// Kinds are all kinds.
func Kinds() []Kind {
	return []Kind{Missing, Corrupt, Orphan, Unreferenced, Unindexed, Unjournaled, Disagreement, References, LooseSize, Dangling, Leftover, Foreign, BrokenLine, HalfRemoved}
}

// Finding is a problem in a store.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Path   string `json:"path"` // below the root; of a journal with the line: "i/journal/2026-11.ndjson:12"
	URL    string `json:"url,omitempty"`
	Detail string `json:"detail,omitempty"`
	Repair string `json:"repair,omitempty"` // what was done about it, or tried
	// Repaired tells that nothing remains to be done.
	Repaired bool `json:"repaired,omitempty"`
}

// Progress is the progress of some work.
type Progress struct {
	Stage string `json:"stage"` // "journals", "originals" …
	Done  int64  `json:"done"`
	Total int64  `json:"total"` // 0: not known
	Bytes bool   `json:"bytes"` // Done and Total are bytes
}

// SetRepair notes that a repair was made, or why it was not.
func (f *Finding) SetRepair(what string, err error) {
	f.Repair, f.Repaired = what, err == nil
	if err != nil {
		f.Repair = "not " + what + ": " + err.Error()
	}
}
