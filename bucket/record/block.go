package record

import "time"

// Kinds of blocks.
const (
	BlockURL    = "url"    // a canonical URL
	BlockDigest = "digest" // bytes, by their digest as text
	BlockHost   = "host"   // a pattern of hosts
	// BlockSimilar are look-alikes of a picture, by its PDQ hash as text. BlockExcept are
	// bytes, by their digest as text, that are let through whatever they look like.
	BlockSimilar = "similar"
	BlockExcept  = "except"
)

// Block is a tombstone: what it names is neither served nor kept, in any bucket. One of
// kind BlockSimilar refuses new images, and leaves kept ones; one of kind BlockExcept is an
// exception from those.
type Block struct {
	Kind    string    `json:"kind"`             // one of the constants
	Subject string    `json:"subject"`          // what is blocked
	For     string    `json:"for,omitempty"`    // the URL, or the digest, that was to be blocked when this was found of it; empty: itself
	Within  int       `json:"within,omitempty"` // of BlockSimilar: the distance in bits
	Since   time.Time `json:"since"`            // to the second
	Why     string    `json:"why,omitempty"`    // for the operator, as By
	By      string    `json:"by,omitempty"`
}
