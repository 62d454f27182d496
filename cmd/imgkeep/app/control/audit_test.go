package control

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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
