package imageurl

import "fmt"

// Canonical is imageurl.Parse.
func Canonical(raw string) (string, error) {
	u, err := Parse(raw)
	return u.String(), err
}

// CanonicalAt is Canonical of what may be relative to a base, as CheckBase wants
// that; where the base is empty, nothing is.
func CanonicalAt(base, raw string) (string, error) {
	if base == "" {
		return Canonical(raw)
	}
	u, err := ParseAt(URL(base), raw)
	return u.String(), err
}

// CheckBase says what is wrong with a URL that others are to be relative to.
func CheckBase(s string) error {
	if u, err := Parse(s); err != nil {
		return err
	} else if u.IsLocal() || u.String() != s {
		return fmt.Errorf("want an http or https URL in its one spelling, as in https://static.example.com/images/; this one is spelled %s", u)
	}
	return nil
}
