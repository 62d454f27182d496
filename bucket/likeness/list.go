package likeness

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Listed is a hash of a list.
type Listed struct {
	Hash   Hash `json:"hash"`
	Within int  `json:"within"` // the distance that the list says, or the reader of the list
}

// maxLine is the longest line of a list of hashes, in bytes.
const maxLine = 64 << 10

// Names of the columns that a list in CSV may have, in lower case. Others are passed over.
var (
	hashColumns   = []string{"hash", "pdq", "pdq_hash", "pdqhash", "signal", "signal_value", "indicator", "value"}
	typeColumns   = []string{"type", "signal_type", "hash_type", "algorithm", "indicator_type"}
	withinColumns = []string{"within", "distance", "threshold"}
)

// ReadList goes through the hashes of a list. It is one hash a line, or CSV: with a line of
// names, of which one is that of the hash, such as "hash" or "pdq", and one may be that of
// its type, of which only PDQ counts; or without, and then the hash comes first. Empty
// lines and those that begin with # are passed over. Hashes of which the list says no
// distance have that which is given.
//
// A line that is none of that comes with an error, which names it, and does not end the
// list; an error of r, or a line over 64 KiB, does.
func ReadList(r io.Reader, within int) iter.Seq2[Listed, error] {
	return func(yield func(Listed, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxLine)
		c := columns{kind: -1, within: -1}
		for n, begun := 1, false; lines.Scan(); n++ {
			text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
			if text == "" || text[0] == '#' {
				continue
			}
			fields, err := csv.NewReader(strings.NewReader(text)).Read()
			if err == nil && !begun {
				begun = true
				if named, ok := columnsOf(fields); ok {
					c = named
					continue
				}
			}
			l, ok, err := c.read(fields, within, err)
			if err != nil {
				err = fmt.Errorf("line %d: %w", n, err)
			}
			if (ok || err != nil) && !yield(l, err) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Listed{}, fmt.Errorf("read the list: %w", err))
		}
	}
}

// columns are where the fields of a line stand that count; -1: nowhere.
type columns struct{ hash, kind, within int }

// columnsOf reads a line of names.
func columnsOf(fields []string) (c columns, ok bool) {
	if _, err := ParseHash(strings.TrimSpace(fields[0])); err == nil {
		return c, false
	}
	find := func(names []string) int {
		return slices.IndexFunc(fields, func(f string) bool { return slices.Contains(names, strings.ToLower(strings.TrimSpace(f))) })
	}
	c = columns{find(hashColumns), find(typeColumns), find(withinColumns)}
	return c, c.hash >= 0
}

// read reads a line. ok is false for one of another type.
func (c columns) read(fields []string, within int, err error) (l Listed, ok bool, _ error) {
	if err != nil {
		return l, false, errors.New("it is neither a hash nor CSV")
	}
	field := func(i int) string {
		if i < 0 || i >= len(fields) {
			return ""
		}
		return strings.TrimSpace(fields[i])
	}
	if kind := field(c.kind); kind != "" && !strings.Contains(strings.ToLower(kind), "pdq") {
		return l, false, nil
	}
	if l.Hash, err = ParseHash(field(c.hash)); err != nil {
		return l, false, err
	}
	l.Within = within
	if text := field(c.within); text != "" {
		if l.Within, err = strconv.Atoi(text); err != nil || l.Within < 0 || l.Within > MaxWithin {
			return Listed{}, false, fmt.Errorf("a distance of %q is not from 0 to %d", clip(text), MaxWithin)
		}
	}
	return l, true, nil
}
