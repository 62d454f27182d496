package uncached

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The numbers in SECURITY.md about images that are not kept are those that hold; other
// tests try the limits.
func TestPromisedNumbers(t *testing.T) {
	file, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(file)), " ")
	if KeepFor != time.Minute || Grace != 30*time.Second {
		t.Error("SECURITY.md says a minute, and half a minute")
	}
	for _, sentence := range []string{
		"one fetch for all who ask within a minute",
		"one that has been read for half a minute may be removed to make room",
		fmt.Sprintf("all of these files take %d MiB at most", Budget>>20),
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("SECURITY.md does not say: %s", sentence)
		}
	}
}
