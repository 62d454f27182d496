package bucket

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/record"
)

// stepKind says what a step of a store does, and to what: the same for each image,
// each month and each temporary file.
func stepKind(root string, s localtest.Step) string {
	rel, err := filepath.Rel(root, s.Path)
	if s.Path == "" || err != nil {
		return s.Op
	}
	parts := strings.Split(rel, "/")
	for i, part := range parts {
		switch {
		case i > 0 && len(part) == 1:
			parts[i] = "?"
		case len(part) > record.DigestLen && part[record.DigestLen] == '.':
			parts[i] = "*" + part[record.DigestLen:]
		case strings.HasSuffix(part, record.JournalExt):
			parts[i] = "*" + record.JournalExt
		case parts[0] == record.TmpDir:
			parts[i], _, _ = strings.Cut(part, "-")
		}
	}
	return s.Op + " " + strings.Join(parts, "/")
}

// toTry returns the numbers, from 1, of the steps at which something goes wrong:
// of all, in the long form of a test. The short form tries the first and the last
// step, and of each kind of step the first after each kind of step before it.
func toTry(kinds []string) (numbers []int) {
	seen := map[[2]string]bool{}
	for i, kind := range kinds {
		pair := [2]string{"", kind}
		if i > 0 {
			pair[0] = kinds[i-1]
		}
		if !testing.Short() || !seen[pair] || i == len(kinds)-1 {
			numbers = append(numbers, i+1)
		}
		seen[pair] = true
	}
	return numbers
}

func TestToTry(t *testing.T) {
	kinds := []string{"a", "b", "a", "b", "b", "a", "b", "a"}
	want := []int{1, 2, 3, 5, 8}
	if !testing.Short() {
		want = []int{1, 2, 3, 4, 5, 6, 7, 8}
	}
	if got := toTry(kinds); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	digest := strings.Repeat("A", record.DigestLen)
	for path, want := range map[string]string{
		"": "Sync", "/r": "Sync .", "/r/tmp/image-123": "Sync tmp/image", "/r/tmp/i/A/B": "Sync tmp/?/?/?", "/r/i/A/B": "Sync i/?/?",
		"/r/i/A/A/" + digest + ".png": "Sync i/?/?/*.png", "/r/i/A/A/" + digest + ".250x250.png": "Sync i/?/?/*.250x250.png",
		"/r/i/journal/2026-11.ndjson": "Sync i/journal/*.ndjson", "/r/journal": "Sync journal",
	} {
		if got := stepKind("/r", localtest.Step{Op: "Sync", Path: path}); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}
