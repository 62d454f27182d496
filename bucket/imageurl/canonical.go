package imageurl

import "fmt"

// Canonical is imageurl.Parse.
func Canonical(raw string) (string, error) {
	u, err := Parse(raw)
	return u.String(), err
}

// CanonicalAt is Canonical for a URL that may be relative to a base, which CheckBase has
// accepted; an empty base allows no relative URL.
func CanonicalAt(base, raw string) (string, error) {
	if base == "" {
		return Canonical(raw)
	}
	u, err := parseAt(URL(base), raw)
	return u.String(), err
}

// CheckBase says what is wrong with the base of relative URLs.
func CheckBase(s string) error {
	if u, err := Parse(s); err != nil {
		return err
	} else if u.IsLocal() || u.IsObject() || u.String() != s {
		return fmt.Errorf("want an http or https URL in its one spelling, as in https://static.example.com/images/; this one is spelled %s", u)
	}
	return nil
}
