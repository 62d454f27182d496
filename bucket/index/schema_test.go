package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// An index of an earlier layout is told from a damaged one, and left as it is.
func TestOldSchema(t *testing.T) {
	for _, version := range []int{1, 2, 4} {
		data, err := os.ReadFile(fmt.Sprintf("testdata/schema%d.db", version))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "index.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err = Open(path, []string{"i"}, Options{})
		if !errors.Is(err, ErrOldSchema) || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) {
			t.Errorf("schema %d: %v", version, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, data) {
			t.Errorf("schema %d: the file has changed, %v", version, err)
		}
	}
}

func TestSchemaRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		value []byte
		want  string
	}{
		"newer":      {binary.AppendUvarint(nil, schema+1), "its schema is 6, and this program reads up to 5"},
		"zero":       {[]byte{0}, "unreadable: 00"},
		"empty":      {[]byte{}, "unreadable: "},
		"not a sum":  {[]byte{0x80}, "unreadable: 80"},
		"two of it":  {[]byte{1, 1}, "unreadable: 0101"},
		"far beyond": {bytes.Repeat([]byte{0xff}, 11), "unreadable: ff"},
	} {
		path := filepath.Join(t.TempDir(), "index.db")
		db := open(t, path)
		err := db.bolt.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaTable).Put(schemaKey, tt.value) })
		if err != nil {
			t.Fatal(err)
		}
		db.Close()
		_, err = Open(path, nil, Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %q", name, err, tt.want)
		}
		if errors.Is(err, ErrSchema) != (name == "newer") || errors.Is(err, ErrDamaged) == (name == "newer") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
