package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// Site identifies the site that an image counts for. Its zero value is nobody.
//
// It is half as long as other keys: to count for another's site, an attacker would have to
// find a domain of their own whose hash begins with the same 64 bits.
type Site [8]byte

// SiteOf returns the beginning of the SHA-256 of a site's name; nobody for "".
func SiteOf(name string) Site {
	if name == "" {
		return Site{}
	}
	sum := sha256.Sum256([]byte(name))
	return Site(sum[:8])
}

// The table sites has, for each site, the sum of Image.Bytes of all image entries, in all
// buckets, that count for it. An entry whose image has no URL any more, but still exists,
// counts. A site without an entry has no record.

// SiteBytes returns how many kept bytes count for a site: 0 for nobody.
func (db *DB) SiteBytes(s Site) (n int64, err error) {
	err = db.view(func(tx *bbolt.Tx) error {
		n, err = siteBytes(tableOf(tx, sitesTable), s)
		return err
	})
	return n, err
}

func siteBytes(sites table, s Site) (int64, error) {
	v, err := sites.get(s[:])
	if err != nil || v == nil {
		return 0, err
	}
	n, size := binary.Uvarint(v)
	if size != len(v) {
		return 0, fmt.Errorf("%w: site %x", errRecord, s)
	}
	return int64(n), nil
}

func encodeBytes(n int64) []byte { return binary.AppendUvarint(nil, uint64(n)) }

// count adds to the bytes of a site, or subtracts from them.
func count(w *writing, s Site, n int64) error {
	if s == (Site{}) {
		return nil
	}
	sites := w.table(sitesTable)
	old, err := siteBytes(sites, s)
	if err != nil {
		return err
	}
	if old+n <= 0 {
		return sites.delete(s[:])
	}
	return sites.put(s[:], encodeBytes(old+n))
}

// drop removes an image's entry.
func drop(w *writing, images table, r imageEntry) error {
	if err := images.delete(r.Digest[:]); err != nil {
		return err
	}
	return count(w, r.Site, -r.Bytes)
}

// siteSums are the sums of a new index.
type siteSums map[Site]int64

func (sums siteSums) add(i Image) {
	if i.Site != (Site{}) {
		sums[i.Site] += i.Bytes
	}
}

// records are those of the table, in the order of their keys.
func (sums siteSums) records(yield func(pair, error) bool) {
	keys := slices.SortedFunc(maps.Keys(sums), func(a, b Site) int { return bytes.Compare(a[:], b[:]) })
	for _, s := range keys {
		if !yield(pair{s[:], encodeBytes(sums[s])}, nil) {
			return
		}
	}
}

// checkSites compares the sums with the image entries of all buckets, including those that
// are not open.
func checkSites(tx *bbolt.Tx) error {
	want, got := siteSums{}, siteSums{}
	var broken error
	err := tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if !bytes.HasSuffix(name, []byte("/images")) {
			return nil
		}
		tableOf(tx, name).all(func(k, v []byte, err error) bool {
			var r imageEntry
			if err == nil {
				r, err = decodeRecord(k, v)
			}
			want.add(r.Image)
			broken = err
			return err == nil
		})
		return broken
	})
	if err != nil {
		return err
	}
	sites := tableOf(tx, sitesTable)
	sites.all(func(k, _ []byte, err error) bool {
		if err == nil {
			got[Site(k)], err = siteBytes(sites, Site(k))
		}
		broken = err
		return err == nil
	})
	if broken == nil && !maps.Equal(want, got) {
		broken = fmt.Errorf("%w (the bytes of sites are %v, and those of their images %v)", ErrDamaged, got, want)
	}
	return broken
}
