package pages

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
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
			bolt, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{PageSize: pageSize, NoSync: true})
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
				data, err := os.ReadFile(bolt.Path())
				if err != nil {
					return err
				}
				search := func(table, key []byte) (k, value []byte) {
					return Mapping{data, pageSize}.Search(uint64(tx.Cursor().Bucket().Root()), table, key)
				}
				for _, n := range sizes {
					name := fmt.Appendf(nil, "table of %d", n)
					for i := range n {
						want := key(2 * i)
						if k, v := search(name, want); !bytes.Equal(k, want) || string(v) != fmt.Sprint("value ", i) {
							t.Fatalf("%s, pages of %d, %s: record %d is %x, %q", spread, pageSize, name, i, k, v)
						}
						if spread == "hashes" {
							if k, _ := search(name, want[:16]); !bytes.Equal(k, want) {
								t.Fatalf("%s, pages of %d, %s: beginning of record %d: %x", spread, pageSize, name, i, k)
							}
						}
					}
					for i := range n + 1 {
						if k, _ := search(name, key(2*i+1)); k != nil {
							t.Fatalf("%s, pages of %d, %s: %x is not there, and is %x", spread, pageSize, name, key(2*i+1), k)
						}
					}
				}
				for _, name := range []string{"table of", "table of 3", "z", ""} {
					if k, _ := search([]byte(name), key(0)); k != nil {
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
	path := filepath.Join(f.TempDir(), "db")
	bolt, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: 1 << 10})
	if err != nil {
		f.Fatal(err)
	}
	var root uint64
	err = bolt.Update(func(tx *bbolt.Tx) error {
		table, err := tx.CreateBucket([]byte("t"))
		for i := range 100 {
			sum := sha256.Sum256([]byte{byte(i)})
			err = errors.Join(err, table.Put(sum[:], []byte("value")))
		}
		return err
	})
	err = errors.Join(err, bolt.View(func(tx *bbolt.Tx) error {
		root = uint64(tx.Cursor().Bucket().Root())
		return nil
	}), bolt.Close())
	if err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	sum := sha256.Sum256([]byte{50})
	if k, _ := (Mapping{data, 1 << 10}).Search(root, []byte("t"), sum[:16]); !bytes.Equal(k, sum[:]) {
		f.Fatalf("it finds %x", k)
	}
	f.Add(data[:16<<10], uint8(root), "t", sum[:16])
	f.Add([]byte{}, uint8(0), "", []byte{})
	f.Fuzz(func(t *testing.T, data []byte, root uint8, table string, key []byte) {
		if k, _ := (Mapping{data, 1 << 10}).Search(uint64(root), []byte(table), key); k != nil && !bytes.HasPrefix(k, key) {
			t.Fatalf("%x is found for %x", k, key)
		}
	})
}
