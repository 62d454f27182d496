package fetch

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The numbers in SECURITY.md are those of this package, whose limits other tests try.
func TestPromisedNumbers(t *testing.T) {
	file, err := os.ReadFile("../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(file)), " ")
	for _, sentence := range []string{
		fmt.Sprintf("is not kept where it is more than %d KiB, and not downloaded", maxTail>>10),
		fmt.Sprintf("first bytes of answers are stored, at most %d,", MaxHead),
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("SECURITY.md does not say: %s", sentence)
		}
	}
	if MaxRetryAfter != 24*time.Hour || !strings.Contains(text, "Retry-After, for a day at most") {
		t.Errorf("an origin may ask for %v", MaxRetryAfter)
	}
	if maxHostPause != time.Hour || !strings.Contains(text, "pauses the whole host, for an hour at most") {
		t.Errorf("a host may ask for %v", maxHostPause)
	}
}
