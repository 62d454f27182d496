package control

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"unicode/utf8"
)

// The audit log names people and reasons: it is the server's alone, also where the umask
// allows more, and where an earlier release has made it with more.
func TestAuditIsKeptFromOthers(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	for name, test := range map[string]struct{ before, after fs.FileMode }{
		"new":            {0, 0o600},
		"for the group":  {0o640, 0o600},
		"for all":        {0o666, 0o600},
		"for its writer": {0o600, 0o600},
	} {
		a := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
		if test.before != 0 {
			if err := os.WriteFile(a.Path, nil, test.before); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Write(Change{By: "uid 7", Op: "remove", Why: "ticket 4711"}, nil); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(a.Path); err != nil || info.Mode().Perm() != test.after || info.Size() == 0 {
			t.Errorf("%s: %v, want %v: %v", name, info.Mode().Perm(), test.after, err)
		}
	}
}

// A line of which a full disk took only half spoils no other: the next one begins a line.
func TestAuditAfterTornLine(t *testing.T) {
	a := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
	write := func(op string) {
		t.Helper()
		if err := a.Write(Change{By: "uid 7", Op: op}, nil); err != nil {
			t.Fatal(err)
		}
	}
	write("block")
	whole, err := os.ReadFile(a.Path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		torn := append(slices.Clone(whole), whole[:cut]...)
		if err := os.WriteFile(a.Path, torn, auditMode); err != nil {
			t.Fatal(err)
		}
		write("purge")
		write("forget")
		h, err := a.Read(HistoryRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var ops []string
		for _, e := range h.Items {
			ops = append(ops, e.Op)
		}
		want := []string{"forget", "purge", "block"}
		if cut == len(whole)-1 { // all of it but its end
			want = append(want, "block")
		}
		if !slices.Equal(ops, want) {
			t.Fatalf("after %d of %d bytes: %q", cut, len(whole), ops)
		}
	}
}

// A reason is found by each of its parts, whatever it is made of.
func TestHistoryOfReasons(t *testing.T) {
	a := &Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson")}
	const why = "<spam> & \"more\"\nü \u2028 \\ 😀"
	if err := errors.Join(a.Write(Change{Op: "block", Why: why}, nil), a.Write(Change{Op: "block", Why: "spam"}, nil)); err != nil {
		t.Fatal(err)
	}
	for from := range why {
		if from == 0 || !utf8.RuneStart(why[from]) {
			continue
		}
		for _, text := range []string{why[:from], why[from:]} {
			h, err := a.Read(HistoryRequest{Text: text})
			if err != nil || len(h.Items) != 1 || h.Items[0].Why != why {
				t.Errorf("%q: %+v, %v", text, h.Items, err)
			}
		}
	}
}
