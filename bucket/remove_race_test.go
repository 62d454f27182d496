package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
)

// A keep, a repair or the making of a size is stopped at each of its steps; a removal begins,
// and waits for it or not; both go on. Afterwards nothing that the removal names exists, and
// it has reported what it removed.
func TestRemovalDuringSteps(t *testing.T) {
	digest := digestOfText(string(dot))
	verbs := map[string]func(*Store) (record.Removal, error){
		"forget": func(s *Store) (record.Removal, error) { return s.Forget(t.Context(), urlA, RemoveOptions{}) },
		"purge": func(s *Store) (record.Removal, error) {
			return s.Purge(t.Context(), Target{URL: urlA}, RemoveOptions{})
		},
		"purge bytes": func(s *Store) (record.Removal, error) {
			return s.Purge(t.Context(), Target{Digest: digest}, RemoveOptions{})
		},
		"block": func(s *Store) (record.Removal, error) {
			return s.Block(t.Context(), Target{URL: urlA}, RemoveOptions{})
		},
		"block bytes": func(s *Store) (record.Removal, error) {
			return s.Block(t.Context(), Target{Digest: digest}, RemoveOptions{})
		},
		"block, keep": func(s *Store) (record.Removal, error) {
			return s.Block(t.Context(), Target{URL: urlA}, RemoveOptions{KeepFiles: true})
		},
		"block a host": func(s *Store) (record.Removal, error) {
			return s.Block(t.Context(), Target{Host: imageurl.HostOf(urlA)}, RemoveOptions{})
		},
	}
	if testing.Short() {
		for _, name := range []string{"purge", "block bytes", "block a host"} {
			delete(verbs, name)
		}
	}
	under := map[string]func(*removalSteps) error{
		"keep":   func(x *removalSteps) error { _, err := x.s.Keep(t.Context(), "i", urlA); return err },
		"add":    func(x *removalSteps) error { return x.add(urlA) },
		"repair": func(x *removalSteps) error { return x.opens(x.image, string(dot))() },
		"make":   func(x *removalSteps) error { return x.makes(x.image, "made", "made")() },
	}
	x := newRemovalSteps(t)
	for what, do := range under {
		for name, remove := range verbs {
			for n := 1; ; n++ {
				x.prepare(what)
				if !x.run(fmt.Sprintf("%s during %s, step %d", name, what, n), n, func() error { return do(x) }, remove) {
					if n < 3 {
						t.Errorf("%s has %d steps", what, n-1)
					}
					break
				}
			}
		}
	}
}

type removalSteps struct {
	*bench
	s       *Store
	image   record.Image
	root    string
	n       int // the step to stop at; 0: none
	at      localtest.Step
	stopped chan struct{}
	goOn    chan struct{}
}

func newRemovalSteps(t *testing.T) *removalSteps {
	x := &removalSteps{bench: &bench{T: t, origin: newOrigin(), clock: newClock()}, root: t.TempDir()}
	x.origin.set(urlA, string(dot))
	x.s = openStore(t, Options{Root: x.root, Origin: x.origin, Now: x.clock.Now, disk: newStepDisk(x.hook)})
	x.bench.store = x.s
	t.Cleanup(func() { x.prepare("keep") }) // nothing is left that is blocked
	return x
}

// prepare takes back what was done before.
func (x *removalSteps) prepare(what string) {
	x.Helper()
	ctx := context.WithoutCancel(x.Context()) // also when the test has ended
	for b := range x.s.Blocks() {
		target := Target{}
		switch b.Kind {
		case record.BlockURL:
			target.URL = b.Subject
		case record.BlockHost:
			target.Host = b.Subject
		default:
			target.Digest = digestOfText(string(dot))
		}
		if _, err := x.s.Unblock(ctx, target, RemoveOptions{}); err != nil && !errors.Is(err, ErrNotBlocked) {
			x.Fatal(err)
		}
	}
	if _, err := x.s.Purge(ctx, Target{Digest: digestOfText(string(dot))}, RemoveOptions{}); err != nil && !errors.Is(err, ErrNotKept) {
		x.Fatal(err)
	}
	if _, err := x.s.Retry(urlA); err != nil {
		x.Fatal(err)
	}
	x.stopped, x.goOn = make(chan struct{}), make(chan struct{})
	if what == "repair" || what == "make" {
		x.image = keep(x.T, x.s, urlA)
	}
	if what == "repair" {
		if err := os.Remove(x.s.Path(x.image.File())); err != nil {
			x.Fatal(err)
		}
	}
}

// hook stops at a step, once.
func (x *removalSteps) hook(s localtest.Step, do func() error) error {
	if x.n > 0 {
		if x.n--; x.n == 0 {
			x.at = s
			close(x.stopped)
			<-x.goOn
		}
	}
	return do()
}

func (x *removalSteps) add(url string) error {
	_, _, err := x.s.Add("i", url, bytes.NewReader(dot))
	return err
}

// run tells whether there is such a step.
func (x *removalSteps) run(name string, n int, do func() error, remove func(*Store) (record.Removal, error)) bool {
	x.n = n
	ended := make(chan error, 1)
	go func() { ended <- do() }()
	select {
	case <-x.stopped:
	case <-ended:
		x.n = 0
		return false
	}
	name += ", " + x.at.Op
	type result struct {
		record.Removal
		err error
	}
	removed := make(chan result, 1)
	go func() { r, err := remove(x.s); removed <- result{r, err} }()
	// It is done, or waits for the lock: a reader gets none then.
	var r result
	done := false
	for waits := false; !done && !waits; runtime.Gosched() {
		select {
		case r = <-removed:
			done = true
		default:
			if waits = !x.s.removing.TryRLock(); !waits {
				x.s.removing.RUnlock()
			}
		}
	}
	close(x.goOn)
	<-ended
	if !done {
		r = <-removed
	}
	if r.err != nil && !errors.Is(r.err, ErrNotKept) {
		x.Errorf("%s: %v", name, r.err)
	}
	if i, err := x.s.Find("i", urlA); err == nil {
		x.Errorf("%s: there is %v", name, i.Digest)
	}
	stays := strings.HasPrefix(name, "block, keep") || strings.HasPrefix(name, "block a host")
	all, err := filepath.Glob(filepath.Join(x.root, "i", "?", "?", "*"))
	if err != nil || len(all) > 0 && !stays {
		x.Errorf("%s: on disk there is %v, %v", name, all, err)
	}
	return true
}
