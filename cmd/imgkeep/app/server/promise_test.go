package server

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
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

// The table in answers.md has each code beside its status, and no others: programs of
// operators go by them.
func TestAnswersInDocument(t *testing.T) {
	t.Parallel()
	type answer struct {
		status int
		code   string
	}
	sent := map[answer]bool{{http.StatusInternalServerError, codeInternal}: true}
	for _, v := range responses {
		sent[answer{v.status, v.code}] = true
	}
	for _, v := range failures {
		sent[answer{v.status, v.code}] = true
	}
	for _, v := range nginx.ErrorPages() {
		sent[answer{v.Status, v.Code}] = true
	}
	text, err := os.ReadFile("../../../../contrib/docs/answers.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[answer]bool{}
	row := regexp.MustCompile("(?m)^\\| ([0-9, ]+) \\| .* \\| ([a-z`, -]+) \\|$")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		for code := range strings.SplitSeq(m[2], ", ") {
			found := false
			for status := range strings.SplitSeq(m[1], ", ") {
				n, err := strconv.Atoi(status)
				if err != nil {
					t.Fatal(err)
				}
				a := answer{n, strings.Trim(code, "`")}
				found = found || sent[a]
				told[a] = true
			}
			if !found {
				t.Errorf("answers.md names the code %s with status %s, which no answer has", code, m[1])
			}
		}
	}
	for a := range sent {
		if !told[a] {
			t.Errorf("answers.md does not name status %d with code %s", a.status, a.code)
		}
	}
}
