package record

// Mark is an entry of the log of removals that several nodes share. Its zero value is before
// all.
type Mark struct {
	Number uint64
	ID     string
}

// Subject is what an entry of that log is about.
type Subject struct {
	Bucket string // "": all
	Kind   string // BlockURL, BlockDigest or BlockHost
	Name   string // a canonical URL, a digest as text, or a pattern of hosts
}

// Pending is an entry of that log that has killed originals, which are still to be deleted.
type Pending struct {
	Number    uint64
	Originals []Image // Bucket, Digest, Format and Generation of each
}
