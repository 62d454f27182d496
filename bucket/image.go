package bucket

import (
	"path/filepath"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/index"
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
}

func imageFrom(bucket, url string, i index.Image) Image {
	return Image{Bucket: bucket, URL: url, Digest: i.Digest, Info: i.Info, Bytes: i.Bytes, Stored: i.Stored}
}

func (i Image) entry() *index.Image {
	return &index.Image{Digest: i.Digest, Info: i.Info, Bytes: i.Bytes, Stored: i.Stored, Site: i.siteKey()}
}

// siteKey stands for Site in the index, as whom the bytes are counted for: nobody for a
// local file.
func (i Image) siteKey() index.Site { return index.SiteOf(i.Site()) }

// Site is where the image comes from, as fetches are shared out by: see fetch.Site.
func (i Image) Site() string { return fetch.Site(hostOf(i.URL)) }

// File is the path of the original, below the store's root.
func (i Image) File() string {
	return i.file(i.Format.Ext())
}

// MadeFile is the path, below the store's root, of what was made from the
// original under a name, as a file of this format.
func (i Image) MadeFile(name string, f probe.Format) string {
	return i.file("." + name + f.Ext())
}

func (i Image) file(suffix string) string {
	d := i.Digest.String()
	return filepath.Join(i.Bucket, d[:1], d[1:2], d+suffix)
}
