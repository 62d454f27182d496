package bucket

import (
	"errors"
	"testing"

	"imgkeep/bucket/imageurl"
)

// Reconfigure replaces the options of an open store all at once; its buckets stay.
func TestReconfigure(t *testing.T) {
	o, other := newOrigin(), newOrigin()
	o.set(urlA, "a")
	other.set(urlB, "b")
	options := Options{Root: t.TempDir(), Origin: o, Buckets: []Bucket{{Name: "i"}}}
	s := openStore(t, options)
	keep(t, s, urlA)
	before := s.Removals()
	fresh := options
	fresh.Origin, fresh.DenyHosts, fresh.MinFree = other, []string{imageurl.HostOf(urlA)}, 1<<62
	if err := s.Reconfigure(fresh); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find("i", urlA); !errors.Is(err, ErrDenied) {
		t.Errorf("of a host that is denied now: %v", err)
	}
	if err := s.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("below the new floor: %v", err)
	}
	if s.Removals() == before {
		t.Error("who was allowed before is not told")
	}
	for name, wrong := range map[string]Options{
		"no origin": {Buckets: options.Buckets}, "no bucket": {Origin: o},
		"another bucket": {Origin: o, Buckets: []Bucket{{Name: "f"}}}, "one more": {Origin: o, Buckets: []Bucket{{Name: "i"}, {Name: "f"}}},
	} {
		if err := s.Reconfigure(wrong); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	fresh.DenyHosts, fresh.MinFree = nil, 0
	if err := s.Reconfigure(fresh); err != nil {
		t.Fatal(err)
	}
	keep(t, s, urlA)
	keep(t, s, urlB) // which only the new origin has
}
