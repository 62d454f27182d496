package record

import (
	"crypto/sha256"
	"encoding/binary"
	"path/filepath"
	"strings"
	"time"

	"imgkeep/bucket/probe"
)

// The contents of a store's root, besides a folder for each bucket.
const (
	IndexFile = "index.db"
	// TmpDir holds unfinished work. Nothing in it was ever acknowledged.
	TmpDir = "tmp"
	// JournalDir holds, in a bucket, the journal of its images, and in the root that of
	// blocks, which apply to all buckets.
	JournalDir = "journal"
	// QuarantineDir holds what was moved out of the store: a folder for each run of
	// scrubbing and each repair, in which files have their old paths. Nothing in it is ever
	// served, and only a purge of the bytes removes it.
	QuarantineDir = "quarantine"
)

// ShardNames are the characters of base64url, each a folder of a bucket, and in it again.
const ShardNames = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// QuarantineFolder is the folder, below the root, for files that are moved out at a time.
func QuarantineFolder(at time.Time) string {
	return filepath.Join(QuarantineDir, at.UTC().Format("20060102T150405Z"))
}

// File is the information in the name of a file in a bucket.
type File struct {
	Digest  Digest
	Format  probe.Format
	Variant string // the variant's name; empty: it is the original
}

var formats = probe.Formats()

// ParseFile reads the name of a file in the folder a/b of a bucket.
func ParseFile(a, b, name string) (File, bool) {
	if len(name) <= DigestLen || name[DigestLen] != '.' || name[:1] != a || name[1:2] != b {
		return File{}, false
	}
	digest, err := ParseDigest(name[:DigestLen])
	if err != nil {
		return File{}, false
	}
	rest := name[DigestLen:]
	ext := filepath.Ext(rest)
	for _, f := range formats {
		if f.Ext() != ext {
			continue
		}
		size := strings.TrimPrefix(strings.TrimSuffix(rest, ext), ".")
		if size == "" && rest != ext || strings.Contains(size, ".") {
			return File{}, false
		}
		return File{Digest: digest, Format: f, Variant: size}, true
	}
	return File{}, false
}

// Shards goes through the 64 times 64 folders of a bucket in the order of the
// digests whose files they hold.
func Shards(yield func(a, b string) bool) {
	for i := range ShardNames {
		for j := range ShardNames {
			if !yield(ShardNames[i:i+1], ShardNames[j:j+1]) {
				return
			}
		}
	}
}

// ShardOf is the number of a digest's folder in that order.
func ShardOf(d Digest) int { return int(d[0])<<4 | int(d[1])>>4 }

// ShardDigest is a digest of the folder a/b.
func ShardDigest(a, b string) Digest {
	n := strings.Index(ShardNames, a)<<6 | strings.Index(ShardNames, b)
	return Digest{byte(n >> 4), byte(n << 4)}
}

// MayStandFor tells whether a target may stand for a variant: only the variant of the same
// name in another format.
func (p File) MayStandFor(target string) bool {
	name := p.Digest.String()
	of, ok := ParseFile(name[:1], name[1:2], target)
	return ok && of.Digest == p.Digest && of.Variant == p.Variant && of.Format != p.Format
}

// Files of images have a modification time that is derived from their name, which contains
// the digest and the variant: nginx makes its entity tag from that time and the size, and
// has no other way. So a restored store, a second node or a variant that is made again has
// the same tags as before, and a browser's copy stays valid.
//
// It is not a date. A copy that has lost it, as cp makes, gets it back when the server next
// serves it, or by a scrub.

// ModTimeOf is the modification time of a file of an image: a second between 1978 and
// 2012, which is never ahead of a viewer's clock.
func ModTimeOf(path string) time.Time {
	sum := sha256.Sum256([]byte(filepath.Base(path)))
	return time.Unix(1<<28+int64(binary.BigEndian.Uint32(sum[:]))>>2, 0)
}

// JournalExt is the extension of a journal's files: a line of JSON for each event.
const JournalExt = ".ndjson"
