package server

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/uncached"
)

// The numbers in SECURITY.md about slow viewers and what they are sent are ours, and of
// package uncached; other tests try the limits.
func TestPromisedNumbers(t *testing.T) {
	file, err := os.ReadFile("../../../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(file)), " ")
	if grace != 30*time.Second || uncached.Grace != 30*time.Second || uncached.KeepFor != time.Minute {
		t.Error("SECURITY.md says half a minute, and a minute")
	}
	for _, sentence := range []string{
		"one fetch for all who ask within a minute",
		"whoever has read for half a minute makes room",
		fmt.Sprintf("all that passes takes %d MiB at most", uncached.Budget>>20),
		fmt.Sprintf("a reader who takes less than %d KiB in half a minute is cut off", piece>>10),
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("SECURITY.md does not say: %s", sentence)
		}
	}
}
