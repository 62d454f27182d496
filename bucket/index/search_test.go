package index

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
)

// search finds what bbolt finds, by whole keys and by their beginnings, in tables of each form:
// within an element, of one page, and of several levels; and whether or not their keys are
// spread as those of hashes are. It finds nothing else.
func TestSearch(t *testing.T) {
	spreads := map[string]func(n uint64) []byte{
		"hashes": func(n uint64) []byte {
			sum := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
			return sum[:]
		},
		"one after the other": func(n uint64) []byte { return append(binary.BigEndian.AppendUint64(nil, n), make([]byte, 24)...) },
		"all but the last half alike": func(n uint64) []byte {
			return binary.BigEndian.AppendUint64(bytes.Repeat([]byte{7}, 8), n)
		},
		"ever farther apart": func(n uint64) []byte {
			return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(math.Exp(float64(n)/500))), n)
		},
		"short": func(n uint64) []byte { return binary.AppendUvarint([]byte("k"), n) },
	}
	for spread, key := range spreads {
		for _, pageSize := range []int{1 << 10, 4 << 10, 64 << 10} {
			bolt, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), fileMode, &bbolt.Options{PageSize: pageSize, NoSync: true})
			if err != nil {
				t.Fatal(err)
			}
			sizes := []uint64{0, 1, 2, 40, 3_000}
			if err := bolt.Update(func(tx *bbolt.Tx) error {
				for _, n := range sizes {
					table, err := tx.CreateBucket(fmt.Appendf(nil, "table of %d", n))
					for i := range n {
						err = errors.Join(err, table.Put(key(2*i), fmt.Appendf(nil, "value %d", i)))
					}
					if err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if err := bolt.View(func(tx *bbolt.Tx) error {
				for _, n := range sizes {
					name := fmt.Appendf(nil, "table of %d", n)
					for i := range n {
						want := key(2 * i)
						if k, v := search(tx, name, want); !bytes.Equal(k, want) || string(v) != fmt.Sprint("value ", i) {
							t.Fatalf("%s, pages of %d, %s: record %d is %x, %q", spread, pageSize, name, i, k, v)
						}
						if spread == "hashes" {
							if k, _ := search(tx, name, want[:16]); !bytes.Equal(k, want) {
								t.Fatalf("%s, pages of %d, %s: beginning of record %d: %x", spread, pageSize, name, i, k)
							}
						}
					}
					for i := range n + 1 {
						if k, _ := search(tx, name, key(2*i+1)); k != nil {
							t.Fatalf("%s, pages of %d, %s: %x is not there, and is %x", spread, pageSize, name, key(2*i+1), k)
						}
					}
				}
				for _, name := range []string{"table of", "table of 3", "z", ""} {
					if k, _ := search(tx, []byte(name), key(0)); k != nil {
						t.Errorf("there is no table %q, and it has %x", name, k)
					}
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			bolt.Close()
		}
	}
}

// FuzzSearch: whatever is in the pages of a file, searching them ends, reads nothing outside of
// them, and finds only what begins with the key.
func FuzzSearch(f *testing.F) {
	f.Add([]byte{1}, []byte("key"))
	data, keyOf7 := small(f), KeyOf("7")
	for _, root := range []int{2, 3, 5, 9} {
		f.Add(data[root*4096:(root+1)*4096], keyOf7[:])
	}
	f.Fuzz(func(t *testing.T, data, key []byte) {
		for _, pageSize := range []uint64{64, 1 << 10, 4 << 10} {
			m := mapping{data, pageSize}
			for id := range min(uint64(len(data))/pageSize, 8) {
				if k, _ := m.search(m.page(id), key); k != nil && !bytes.HasPrefix(k, key) {
					t.Fatalf("%x is found for %x", k, key)
				}
			}
			if k, _ := m.search(data, key); k != nil && !bytes.HasPrefix(k, key) {
				t.Fatalf("%x is found for %x", k, key)
			}
		}
	})
}

// What a change has kept is found once it was acknowledged, and what it has removed is not any
// more, while others look up, the file grows, and its pages are used again.
func TestLookUpsDuringChanges(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	db.bolt.NoSync = true
	const standing = 300
	var first []Change
	for i := range standing {
		image := imageOf(fmt.Sprint("standing", i))
		first = append(first, Change{Bucket: "i", URL: fmt.Sprint("standing", i), Keep: &image})
	}
	apply(t, db, first...)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for reader := range 2 {
		readers.Go(func() {
			for i := reader; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				url := fmt.Sprint("standing", i%standing)
				if got, err := db.Image("i", url); err != nil || got.Digest != imageOf(url).Digest {
					t.Errorf("%s: %x, %v", url, got.Digest, err)
					return
				}
			}
		})
	}
	rounds, many := 8, 2_000
	if testing.Short() {
		rounds, many = 3, 500
	}
	for round := range rounds {
		var keep, forget []Change
		for i := range many {
			url := fmt.Sprint("round", round, " ", i)
			image := imageOf(url)
			keep = append(keep, Change{Bucket: "i", URL: url, Keep: &image})
			forget = append(forget, Change{Bucket: "i", URL: url, Forget: true})
		}
		apply(t, db, keep...)
		for _, c := range keep {
			if got, err := db.Image("i", c.URL); err != nil || got.Digest != c.Keep.Digest {
				t.Fatalf("%s was kept: %v", c.URL, err)
			}
		}
		apply(t, db, forget[:many/2]...)
		for i, c := range keep {
			_, err := db.Image("i", c.URL)
			_, entryErr := db.Entry("i", c.Keep.Digest)
			_, refErr := db.RefOf("i", KeyOf(c.URL))
			for _, err := range []error{err, entryErr, refErr} {
				if removed := i < many/2; removed && !errors.Is(err, ErrNotFound) || !removed && err != nil {
					t.Fatalf("%s, removed %v: %v", c.URL, removed, err)
				}
			}
		}
	}
	close(done)
	readers.Wait()
}
