package record

import (
	"time"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
)

// Image is an image that is kept. Its zero value is none.
type Image struct {
	Bucket string
	URL    string // under which it was asked for, canonical
	Digest Digest
	probe.Info
	Bytes  int64
	Stored time.Time // when its bytes were first kept, to the second
	// Generation is of its name in a store that several nodes share: the number, in their
	// log, of the last removal of the digest that was known when it was kept. 0: none, and
	// always on one machine. A file on disk does not have it in its name.
	Generation uint64 `json:",omitempty"`
}

// Site is the site that the image counts for when work and space are shared out: see
// imageurl.Site.
func (i Image) Site() string { return imageurl.Site(imageurl.HostOf(i.URL)) }

// File is the path of the original, below the store's root.
func (i Image) File() string {
	return i.file(i.Format.Ext())
}

// VariantFile is the path, below the store's root, of the variant of an original under a
// name, as a file of this format.
func (i Image) VariantFile(name string, f probe.Format) string {
	return i.file("." + name + f.Ext())
}

func (i Image) file(suffix string) string {
	d := i.Digest.String()
	return i.Bucket + "/" + d[:1] + "/" + d[1:2] + "/" + d + suffix
}
