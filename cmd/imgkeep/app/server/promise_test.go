package server

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The numbers in SECURITY.md about slow viewers are ours; other tests try the limits.
func TestPromisedNumbers(t *testing.T) {
	file, err := os.ReadFile("../../../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	sentence := fmt.Sprintf("a reader who takes less than %d KiB in half a minute is cut off", piece>>10)
	if grace != 30*time.Second || !strings.Contains(strings.Join(strings.Fields(string(file)), " "), sentence) {
		t.Errorf("SECURITY.md does not say: %s", sentence)
	}
}
