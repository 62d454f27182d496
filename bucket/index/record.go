package index

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// Image is what the index knows of an image.
type Image struct {
	Digest [32]byte // SHA-256 of its bytes
	probe.Info
	Bytes  int64     // size of the file
	Stored time.Time // when it was first kept, to the second
	Site   Site      // for which its bytes count: that of the URL under which it was kept first
}

// imageEntry is a record of the table of images.
type imageEntry struct {
	Image
	refs uint64 // URLs that refer to it
}

const (
	maxClass  = 32
	maxDetail = 300
	maxHost   = 255
	maxHead   = 256
	// A longer URL is not recorded: a part of it would be another URL.
	maxFailedURL = 1024
)

var errRecord = fmt.Errorf("%w (broken entry)", ErrDamaged)

// encode writes the record without its digest, which is its key: unsigned varints and, if it
// has one, the site. An entry takes about 25 bytes.
func (r imageEntry) encode() []byte {
	b := make([]byte, 0, 32)
	for _, v := range []uint64{
		uint64(r.Format), uint64(r.Orientation), uint64(r.Width), uint64(r.Height), uint64(r.Frames),
		uint64(r.Bytes), uint64(r.Stored.Unix()), r.refs,
	} {
		b = binary.AppendUvarint(b, v)
	}
	if r.Site != (Site{}) {
		b = append(b, r.Site[:]...)
	}
	return b
}

// uvarints fills n from the beginning of b, and returns what follows. It is not ok if b ends
// before, or if a number has more than 64 bits.
func uvarints(b []byte, n []uint64) (rest []byte, ok bool) {
	for i := range n {
		v, size := binary.Uvarint(b)
		if size <= 0 {
			return nil, false
		}
		n[i], b = v, b[size:]
	}
	return b, true
}

func getRecord(images table, digest []byte) (imageEntry, error) {
	v, err := images.find(digest)
	if err != nil {
		return imageEntry{}, err
	}
	return decodeRecord(digest, v)
}

// findRecord is getRecord by the beginning of a digest.
func findRecord(images table, ref []byte) (imageEntry, error) {
	k, v, err := images.findPrefix(ref)
	if err != nil {
		return imageEntry{}, err
	}
	return decodeRecord(k, v)
}

// lookUpRecord is findRecord in a transaction that only reads.
func lookUpRecord(tx *bbolt.Tx, images, ref []byte) (imageEntry, error) {
	k, v, err := lookUp(tx, images, ref)
	if err != nil {
		return imageEntry{}, err
	}
	return decodeRecord(k, v)
}

func decodeRecord(digest, v []byte) (imageEntry, error) {
	if len(digest) != 32 {
		return imageEntry{}, fmt.Errorf("%w: digest %x", errRecord, digest)
	}
	var n [8]uint64
	rest, ok := uvarints(v, n[:])
	var site Site
	if copied := copy(site[:], rest); !ok || copied != len(rest) || copied != 0 && copied != len(site) {
		return imageEntry{}, fmt.Errorf("%w: image %x", errRecord, digest)
	}
	return imageEntry{
		Image: Image{
			Digest: [32]byte(digest),
			Info: probe.Info{
				Format: probe.Format(n[0]), Orientation: int(n[1]),
				Width: int(n[2]), Height: int(n[3]), Frames: int(n[4]),
			},
			Bytes:  int64(n[5]),
			Stored: time.Unix(int64(n[6]), 0).UTC(),
			Site:   site,
		},
		refs: n[7],
	}, nil
}

// encodeFailure writes numbers as unsigned varints, and each text after its length. Host,
// Head and URL were added later and are last: an entry may end before any of them, and a
// program that does not know them reads the rest. So they need no new version of the layout.
func encodeFailure(f record.Failure) []byte {
	if len(f.URL) > maxFailedURL {
		f.URL = ""
	}
	b := make([]byte, 0, 128)
	for _, v := range []uint64{uint64(f.Status), uint64(f.Attempts), uint64(f.First.Unix()), uint64(f.Next.Unix())} {
		b = binary.AppendUvarint(b, v)
	}
	for _, s := range []string{
		f.Kind[:min(len(f.Kind), maxClass)], f.Detail[:min(len(f.Detail), maxDetail)],
		f.Host[:min(len(f.Host), maxHost)], f.Head[:min(len(f.Head), maxHead)], f.URL,
	} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func decodeFailure(v []byte) (record.Failure, error) {
	var n [4]uint64
	v, ok := uvarints(v, n[:])
	if !ok {
		return record.Failure{}, fmt.Errorf("%w: failure", errRecord)
	}
	var s [5]string
	for i := range s {
		if i >= 2 && len(v) == 0 {
			break // written before there was more
		}
		length, size := binary.Uvarint(v)
		if size <= 0 || length > uint64(len(v)-size) {
			return record.Failure{}, fmt.Errorf("%w: failure", errRecord)
		}
		s[i] = string(v[size : size+int(length)])
		v = v[size+int(length):]
	}
	return record.Failure{
		Status: int(n[0]), Attempts: int(n[1]),
		First: time.Unix(int64(n[2]), 0).UTC(), Next: time.Unix(int64(n[3]), 0).UTC(),
		Kind: s[0], Detail: s[1], Host: s[2], Head: s[3], URL: s[4],
	}, nil
}

// RecordOf is an entry as what is kept under a URL of a bucket.
func RecordOf(bucket, url string, i Image) record.Image {
	return record.Image{Bucket: bucket, URL: url, Digest: i.Digest, Info: i.Info, Bytes: i.Bytes, Stored: i.Stored}
}

// ImageOf is an image as an entry.
func ImageOf(i record.Image) *Image {
	return &Image{Digest: i.Digest, Info: i.Info, Bytes: i.Bytes, Stored: i.Stored, Site: SiteOfImage(i)}
}

// SiteOfImage stands for Site in the index, as whom the bytes are counted for: nobody for a
// local file.
func SiteOfImage(i record.Image) Site { return SiteOf(i.Site()) }
