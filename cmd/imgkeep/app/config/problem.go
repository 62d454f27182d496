package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// problem is one thing wrong with one key, which may be that of an item of a
// list: "buckets[1].name".
type problem struct {
	key    string // empty: the source as a whole
	source string // empty: to be found by the key
	err    error
}

// problems collects everything that is wrong, so that it is reported at once.
type problems []problem

func (p *problems) add(key string, err error) {
	*p = append(*p, problem{key: key, err: err})
}

func (p *problems) addf(key, format string, args ...any) {
	p.add(key, fmt.Errorf(format, args...))
}

// has tells whether something is wrong with a key or an item of it.
func (p *problems) has(key string) bool {
	return slices.ContainsFunc(*p, func(q problem) bool {
		return q.key == key || strings.HasPrefix(q.key, key+"[")
	})
}

// invalid is the error of Load: one line for each problem.
type invalid problems

func (e invalid) Error() string {
	lines := make([]string, 0, len(e))
	for _, p := range e {
		line := p.err.Error()
		for _, before := range []string{p.key, p.source} {
			if before != "" {
				line = before + ": " + line
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As see the single errors.
func (e invalid) Unwrap() []error {
	var errs []error
	for _, p := range e {
		errs = append(errs, p.err)
	}
	return errs
}

// between says whether n is outside of lo to hi.
func between[T cmp.Ordered](p *problems, key string, n, lo, hi T) {
	if n < lo || n > hi {
		p.addf(key, "%v is not in the range %v to %v", n, lo, hi)
	}
}

// oneOf says whether s is none of the names.
func oneOf(p *problems, key, s string, names ...string) {
	if !slices.Contains(names, s) {
		p.addf(key, "%q is not one of %s", s, strings.Join(names, ", "))
	}
}

// Error says that a configuration or a command line is wrong in a way that only its use
// shows: a placeholder that is no picture, a format that no decoder writes.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e Error) Unwrap() error { return e.Err }

// Errorf returns an Error whose text is made as by [fmt.Errorf].
func Errorf(format string, args ...any) error { return Error{fmt.Errorf(format, args...)} }
