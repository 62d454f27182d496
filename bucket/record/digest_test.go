package record

import (
	"crypto/sha256"
	"strings"
	"testing"
)

// A digest has one spelling, in names of files and in the log.
func TestDigest(t *testing.T) {
	d := Digest(sha256.Sum256([]byte("x")))
	if got := d.LogValue().String(); got != d.String() {
		t.Errorf("a log says %s", got)
	}
	if got, err := ParseDigest(d.String()); err != nil || got != d {
		t.Errorf("%s is read as %s, %v", d, got, err)
	}
	s := d.String()
	for _, bad := range []string{"", s[:42], s + "A", s + "=", s[:42] + "_", strings.Repeat("+", 43), "../" + s[3:]} {
		if _, err := ParseDigest(bad); err == nil && bad != s {
			t.Errorf("%q is read as a digest", bad)
		}
	}
}
