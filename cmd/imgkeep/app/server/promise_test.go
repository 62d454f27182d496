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

// However many viewers do not read, there are no more buffers than that, and each is used again.
func TestBuffersAreBounded(t *testing.T) {
	var b buffers
	used := map[*buffer]bool{}
	for range maxBuffers {
		used[b.get()] = true
	}
	if len(used) != maxBuffers || used[nil] || b.get() != nil {
		t.Fatalf("%d buffers, want %d", len(used), maxBuffers)
	}
	for one := range used {
		b.put(one)
	}
	for range maxBuffers {
		if one := b.get(); !used[one] {
			t.Fatal("a buffer that was given back is not used again")
		}
	}
}
