package bucket

import "imgkeep/bucket/imageurl"

// ErrURL is what every error of Canonical wraps.
var ErrURL = imageurl.ErrURL

// Canonical is imageurl.Parse.
func Canonical(raw string) (string, error) {
	u, err := imageurl.Parse(raw)
	return u.String(), err
}

// CanonicalAt is Canonical of what may be relative to a base, as fetch.CheckBase wants
// that; where the base is empty, nothing is.
func CanonicalAt(base, raw string) (string, error) {
	if base == "" {
		return Canonical(raw)
	}
	u, err := imageurl.ParseAt(imageurl.URL(base), raw)
	return u.String(), err
}

// CanonicalHost is imageurl.ParsePattern.
func CanonicalHost(pattern string) (string, error) { return imageurl.ParsePattern(pattern) }
