// Package benchtest has what benchmarks of several packages share: photos to
// measure with, and the other programs to compare with. It is for tests only.
package benchtest

import (
	"crypto/sha256"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// least is how many bytes a photo has at least: what has fewer is an icon.
const least = 50_000

// Photos are the photos to measure with that are of a format, as in "jpeg", by
// their paths: those in the folders that IMGKEEP_BENCH_PHOTOS names, separated by
// colons, or else the wallpapers that the system has. None is there twice. There
// are at most so many, or as many as IMGKEEP_BENCH_COUNT says; 0 is all. There may
// be none.
func Photos(tb testing.TB, format string, most int) map[string][]byte {
	tb.Helper()
	folders := "/usr/share/wallpapers:/usr/share/backgrounds"
	if named := os.Getenv("IMGKEEP_BENCH_PHOTOS"); named != "" {
		folders = named
	}
	found := map[string][]byte{}
	seen := map[[sha256.Size]byte]bool{}
	for _, folder := range filepath.SplitList(folders) {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			ext := strings.Replace(strings.ToLower(filepath.Ext(path)), "jpg", "jpeg", 1)
			if err != nil || !d.Type().IsRegular() || ext != "."+format {
				return err
			}
			data, err := os.ReadFile(path)
			if sum := sha256.Sum256(data); err == nil && len(data) >= least && !seen[sum] {
				seen[sum], found[path] = true, data
			}
			return err
		})
		if err != nil && !os.IsNotExist(err) {
			tb.Fatal(err)
		}
	}
	most = Number(tb, "IMGKEEP_BENCH_COUNT", most)
	if most == 0 || most >= len(found) {
		return found
	}
	paths := slices.Sorted(maps.Keys(found))
	some := map[string][]byte{}
	for i := range most { // from all over, since neighbours are alike
		path := paths[i*len(paths)/most]
		some[path] = found[path]
	}
	return some
}

// Number is the number above 0 that a variable of the environment says, or
// otherwise that.
func Number(tb testing.TB, name string, otherwise int) int {
	tb.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		tb.Fatalf("%s=%s: want a number above 0", name, text)
	}
	return n
}
