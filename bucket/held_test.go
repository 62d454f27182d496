package bucket

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/variant"
)

// A maker's result counts as held in memory until it is on disk, and no longer: however slow
// the disk is, whether or not somebody waits for it, and also if it could not be stored or
// the original was damaged.
func TestVariantsAreHeldUntilStored(t *testing.T) {
	o := newOrigin()
	o.set(urlA, "the bytes of a")
	var held context.Context // of what is made now
	full := errors.New("no")
	var fault error
	stored := 0
	s := openStore(t, Options{Root: t.TempDir(), Origin: o, disk: newStepDisk(func(s localtest.Step, do func() error) error {
		if s.Op == "Write" && strings.HasPrefix(filepath.Base(s.Path), "made-") {
			stored++
			if held == nil || held.Err() != nil {
				t.Error("it is stored, and not held")
			}
			if fault != nil {
				return fault
			}
		}
		return do()
	})})
	image := keep(t, s, urlA)
	if variant.Held(t.Context()) != nil {
		t.Error("any context holds something")
	}
	ctx, leave := context.WithCancel(t.Context())
	leaves := true
	ways := map[string]func(name string) error{
		"one": func(name string) error {
			return s.EnsureVariant(t.Context(), image, name, probe.PNG, func(ctx context.Context, r io.Reader, _ int64) ([]byte, error) {
				held = variant.Held(ctx)
				_, err := io.Copy(io.Discard, r)
				return []byte("small"), err
			})
		},
		"several, and the viewer leaves": func(name string) error {
			return s.MakeVariants(ctx, image, func(ctx context.Context, r io.Reader, _ int64) ([]variant.Variant, error) {
				if held != nil && held.Err() == nil {
					t.Error("what was made before the repair is held still")
				}
				held = variant.Held(ctx)
				if leaves {
					leave()
				}
				_, err := io.Copy(io.Discard, r)
				return []variant.Variant{{Key: variant.Key{Name: name, Format: probe.PNG}, Data: []byte("small")}}, err
			})
		},
	}
	for about, way := range ways {
		for name, want := range map[string]error{"10x10": nil, "20x20": full} {
			name += "+" + about[:3] // what one way has made, the other finds
			ctx, leave = context.WithCancel(t.Context())
			defer leave()
			held, fault, stored = nil, want, 0
			if err := way(name); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: %v, want %v", about, err, want)
			}
			if stored == 0 || held == nil || held.Err() == nil {
				t.Errorf("%s: stored %d times; it is held for ever: %v", about, stored, held)
			}
		}
	}
	damageBytes(t, s, image)
	ctx, leave = context.WithCancel(t.Context())
	defer leave()
	held, fault, leaves = nil, nil, false
	if err := ways["several, and the viewer leaves"]("50x50"); err != nil || held.Err() == nil {
		t.Errorf("a damaged original: %v, held: %v", err, held.Err())
	}
}
