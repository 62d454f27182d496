package index

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
)

// What a change has kept is found once it was acknowledged, and what it has removed is not any
// more, while others look up, the file grows, and its pages are used again.
func TestLookUpsDuringChanges(t *testing.T) {
	db := open(t, filepath.Join(t.TempDir(), "index.db"))
	db.bolt.NoSync = true
	const standing = 300
	var first []Change
	for i := range standing {
		image := imageOf(fmt.Sprint("standing", i))
		first = append(first, Change{Bucket: "i", URL: fmt.Sprint("standing", i), Keep: &image})
	}
	apply(t, db, first...)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for reader := range 2 {
		readers.Go(func() {
			for i := reader; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				url := fmt.Sprint("standing", i%standing)
				if got, err := db.Image("i", url); err != nil || got.Digest != imageOf(url).Digest {
					t.Errorf("%s: %x, %v", url, got.Digest, err)
					return
				}
			}
		})
	}
	rounds, many := 8, 2_000
	if testing.Short() {
		rounds, many = 3, 500
	}
	for round := range rounds {
		var keep, forget []Change
		for i := range many {
			url := fmt.Sprint("round", round, " ", i)
			image := imageOf(url)
			keep = append(keep, Change{Bucket: "i", URL: url, Keep: &image})
			forget = append(forget, Change{Bucket: "i", URL: url, Forget: true})
		}
		apply(t, db, keep...)
		for _, c := range keep {
			if got, err := db.Image("i", c.URL); err != nil || got.Digest != c.Keep.Digest {
				t.Fatalf("%s was kept: %v", c.URL, err)
			}
		}
		apply(t, db, forget[:many/2]...)
		for i, c := range keep {
			_, err := db.Image("i", c.URL)
			_, entryErr := db.Entry("i", c.Keep.Digest)
			_, refErr := db.RefOf("i", KeyOf(c.URL))
			for _, err := range []error{err, entryErr, refErr} {
				if removed := i < many/2; removed && !errors.Is(err, ErrNotFound) || !removed && err != nil {
					t.Fatalf("%s, removed %v: %v", c.URL, removed, err)
				}
			}
		}
	}
	close(done)
	readers.Wait()
}
