package record

import "time"

// What a Block may stand against.
const (
	BlockURL    = "url"    // a canonical URL
	BlockDigest = "digest" // bytes, by their digest as text
	BlockHost   = "host"   // a pattern of hosts
)

// Block is a tombstone: what it names is neither served nor kept, in any bucket.
type Block struct {
	Kind    string    `json:"kind"`          // one of the constants
	Subject string    `json:"subject"`       // what is blocked
	For     string    `json:"for,omitempty"` // the URL that was to be blocked when these bytes were found under it; empty: they themselves
	Since   time.Time `json:"since"`         // to the second
	Why     string    `json:"why,omitempty"` // for the operator, as By
	By      string    `json:"by,omitempty"`
}
