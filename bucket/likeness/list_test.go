package likeness

import (
	"fmt"
	"strings"
	"testing"
)

func TestReadList(t *testing.T) {
	a, b := strings.Repeat("a1", 32), strings.Repeat("B2", 32)
	sha := strings.Repeat("0f", 32) // looks like a PDQ hash, and is none
	for name, c := range map[string]struct {
		text string
		want string // first digits and distance of each, and errors
	}{
		"one a line":       {a + "\n" + b + "\n", "a1/31 b2/31"},
		"no last newline":  {a, "a1/31"},
		"windows":          {"\ufeff" + a + "\r\n" + b + "\r\n", "a1/31 b2/31"},
		"comments":         {"# a list\n\n  " + a + "  \n#" + b + "\n", "a1/31"},
		"hash first":       {a + ",100,a.jpg\n" + b + ",50,\"b, c.jpg\"\n", "a1/31 b2/31"},
		"named":            {"id,PDQ,note\n7," + a + ",x\n", "a1/31"},
		"with distances":   {"hash,within\n" + a + ",0\n" + b + ",48\n" + a + ",\n", "a1/0 b2/48 a1/31"},
		"too far":          {"hash,within\n" + a + ",49\n" + b + ",-1\n", "line 2 line 3"},
		"of several types": {"signal_type,signal\npdq," + a + "\nsha256," + sha + "\nHASH_PDQ," + b + "\n", "a1/31 b2/31"},
		"no hash":          {a + "\nnonsense\n" + b + "\n", "a1/31 line 2 b2/31"},
		"a hash too short": {a[1:] + "\n" + a + "\n", "line 1 a1/31"},
		"a bad quote":      {a + "\n\"" + b + "\n", "a1/31 line 2"},
		"names alone":      {"hash,within\n", ""},
		"nothing":          {"", ""},
		"a line too long":  {strings.Repeat("x", maxLine+1), "read the"},
		"a long line":      {"#" + strings.Repeat("x", maxLine-2) + "\n" + a, "a1/31"},
	} {
		var got []string
		for l, err := range ReadList(strings.NewReader(c.text), Within) {
			if err != nil {
				first := strings.Fields(err.Error())
				got = append(got, first[0]+" "+strings.TrimSuffix(first[1], ":"))
				continue
			}
			got = append(got, fmt.Sprintf("%.2s/%d", l.Hash, l.Within))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %q, want %q", name, s, c.want)
		}
	}
}

func FuzzReadList(f *testing.F) {
	f.Add("hash,within\n" + strings.Repeat("a1", 32) + ",3\n")
	f.Add("\"\n,,,\n#")
	f.Fuzz(func(t *testing.T, text string) {
		for l, err := range ReadList(strings.NewReader(text), Within) {
			if err == nil && (l.Within < 0 || l.Within > MaxWithin || !strings.Contains(strings.ToLower(text), l.Hash.String())) {
				t.Errorf("%+v", l)
			}
		}
	})
}
