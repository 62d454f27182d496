package engine

import (
	"bufio"
	"debug/elf"
	"os"
	"runtime"
	"strings"
	"testing"
)

// The program runs on without the pages of its file, of which few come back.
func TestReleaseCode(t *testing.T) {
	file, err := elf.Open("/proc/self/exe")
	if err != nil || file.Type != elf.ET_EXEC {
		t.Skipf("this program is not loaded at its place: %v", err)
	}
	file.Close()
	before := codePages(t)
	releaseCode()
	after := codePages(t)
	runtime.GC()
	if before == 0 || after > before*3/4 {
		t.Errorf("it had %d kB of its file, and then %d; want at most three quarters", before, after)
	}
}

// codePages is how much of this program's file is in its memory, in kB.
func codePages(t *testing.T) (kB int) {
	t.Helper()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	own := false
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case strings.Contains(fields[0], "-"):
			own = fields[len(fields)-1] == self
		case own && fields[0] == "Rss:":
			n := 0
			for _, c := range fields[1] {
				n = 10*n + int(c-'0')
			}
			kB += n
		}
	}
	return kB
}
