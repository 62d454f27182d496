package imageurl

// Canonical is imageurl.Parse.
func Canonical(raw string) (string, error) {
	u, err := Parse(raw)
	return u.String(), err
}

// CanonicalAt is Canonical of what may be relative to a base, as fetch.CheckBase wants
// that; where the base is empty, nothing is.
func CanonicalAt(base, raw string) (string, error) {
	if base == "" {
		return Canonical(raw)
	}
	u, err := ParseAt(URL(base), raw)
	return u.String(), err
}
