package place

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// The numbers in SECURITY.md are those of this package, whose limits other tests try.
func TestPromisedNumbers(t *testing.T) {
	file, err := os.ReadFile("../../../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(file)), " ")
	l := New(64, 4, 1024) // the defaults of fetch.concurrency, per_host and queue
	for _, sentence := range []string{
		fmt.Sprintf("less than %d KiB in %d s is given up", int(MinRate*RateInterval.Seconds())>>10, RateInterval/time.Second),
		fmt.Sprintf("%d for each; an eighth of all (%d) for the sites of one domain", l.perSite, l.perGroup),
	} {
		if !strings.Contains(text, sentence) {
			t.Errorf("SECURITY.md does not say: %s", sentence)
		}
	}
}
