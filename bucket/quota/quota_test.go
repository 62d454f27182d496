package quota

import (
	"fmt"
	"testing"
	"time"
)

// However many sites have no more room, few are remembered.
func TestFewAreLogged(t *testing.T) {
	var s Sites
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for k := range 2 * maxLogged {
		if !s.note(fmt.Sprint(k), now) || s.note(fmt.Sprint(k), now) {
			t.Fatalf("site %d is not logged once", k)
		}
	}
	if n := len(s.logged); n > maxLogged {
		t.Errorf("%d sites are remembered", n)
	}
}
