package record

// Removed is an image that was removed, from one bucket.
type Removed struct {
	Bucket string   `json:"bucket"`
	Digest string   `json:"digest"`
	URLs   []string `json:"urls"`  // that no longer have it
	Left   int      `json:"left"`  // URLs that still have it; its files are there then
	Files  []string `json:"files"` // that are gone, below the root; or are left on disk, where a block keeps them
	Sizes  []string `json:"sizes"` // made from it
	Bytes  int64    `json:"bytes"` // of the original
	// Versions is how many versions and delete markers of it an object store has deleted for good.
	Versions int `json:"versions,omitempty"`

	Image Image `json:"-"` // of which URL is set only where one was removed
}

// Removal is what was removed and blocked, or would be.
type Removal struct {
	Images    []Removed `json:"images"`
	Blocked   []Block   `json:"blocked"`
	Unblocked []Block   `json:"unblocked"`
}
