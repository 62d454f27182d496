package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// History is read back page by page, whole, the newest first; what cannot be read is
// passed over, and so is a line that is being written.
func TestHistory(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	a := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson"), Now: func() time.Time { return now }}
	if page, err := a.Read(HistoryRequest{}); err != nil || len(page.Items) != 0 || page.Items == nil {
		t.Errorf("no log: %+v, %v", page, err)
	}
	if page, err := (*Audit)(nil).Read(HistoryRequest{}); err != nil || len(page.Items) != 0 {
		t.Errorf("none: %+v, %v", page, err)
	}
	for n := range 25 {
		now = now.Add(time.Minute)
		c := Change{By: []string{"moderator anna", "uid 0 (root)"}[n%2], Op: []string{Block, Unblock, "sign-in"}[n%3], What: RemoveRequest{Verb: Block, URL: fmt.Sprintf("https://a.example/?a=1&n=%d", n)}, Why: fmt.Sprint("ticket ", n)}
		if err := a.Write(c, map[bool]error{true: errors.New("no")}[n == 3]); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(a.Path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "nonsense\n{\"time\":")
	f.Close()
	for _, limit := range []int{1, 10, 24, 25, 26, MaxHistory} {
		q, got := HistoryRequest{Limit: limit}, []string{}
		for range 30 {
			page, err := a.Read(q)
			if err != nil || len(page.Items) > limit {
				t.Fatalf("%+v, %v", page, err)
			}
			for _, e := range page.Items {
				got = append(got, strings.TrimPrefix(e.Why, "ticket "))
			}
			if q.Before = page.Next; q.Before == 0 {
				break
			}
		}
		if s := strings.Join(got, " "); s != "24 23 22 21 20 19 18 17 16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1 0" {
			t.Errorf("pages of %d: %s", limit, s)
		}
	}
	begun := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		q    HistoryRequest
		want int
	}{
		"by whom":          {HistoryRequest{By: "anna"}, 13},
		"what":             {HistoryRequest{Ops: []string{"sign-in"}}, 8},
		"a URL":            {HistoryRequest{Text: "a=1&n=7"}, 1},
		"a reason":         {HistoryRequest{Text: "ticket 1"}, 11},
		"quotes":           {HistoryRequest{Text: `"verb"`}, 0},
		"since":            {HistoryRequest{Since: begun.Add(24 * time.Minute)}, 2},
		"until":            {HistoryRequest{Until: begun.Add(3 * time.Minute)}, 2},
		"by whom and what": {HistoryRequest{By: "root", Ops: []string{Block, Unblock}}, 8},
	} {
		if page, err := a.Read(c.q); err != nil || len(page.Items) != c.want {
			t.Errorf("%s: %d lines, %v; want %d", name, len(page.Items), err, c.want)
		}
	}
	for _, q := range []HistoryRequest{{Limit: -1}, {Limit: MaxHistory + 1}, {Before: -1}} {
		if _, err := a.Read(q); err == nil {
			t.Errorf("%+v is no error", q)
		}
	}
}
