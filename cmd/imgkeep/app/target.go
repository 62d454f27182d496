package app

import (
	"cmp"
	"slices"
	"strings"

	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/target"
)

// named is what an operator names: an image, or a host.
type named struct{ target.Target }

// failed is the URL under which failures are recorded: if several URLs name an image, the
// one that it was fetched from.
func (t named) failed() []string {
	if t.URL != "" && t.Source != t.URL {
		return []string{t.URL, t.Source}
	}
	return []string{cmp.Or(t.Digest, t.URL)}
}

// link is what a request says about a link that named an image.
func (t named) link(unverified bool) control.Named {
	if t.Link == "" {
		return control.Named{}
	}
	return control.Named{Link: t.Link, Unverified: unverified}
}

// targets reads the names that operators write.
type targets struct{ target.Reader }

func (a *app) targets(c config.Config) targets {
	return targets{target.Reader{Self: engine.NewSelfLinks(c, nil, a.Now)}}
}

// parse is target.Reader.Read.
func (o targets) parse(arg string, hosts bool) (named, error) {
	t, err := o.Read(arg, hosts)
	return named{t}, err
}

// plainArguments are arguments with a prefix for digests that begin with "-", as one in 64
// does: cobra would read them as flags.
func plainArguments(args []string) []string {
	args = slices.Clone(args)
	for i, arg := range args {
		if arg == "--" {
			break
		}
		if _, err := record.ParseDigest(target.Bare(arg)); err == nil && strings.HasPrefix(arg, "-") {
			args[i] = target.Prefix + arg
		}
	}
	return args
}

// asTyped is an argument as the operator wrote it.
func asTyped(arg string) string { return strings.TrimPrefix(arg, target.Prefix) }
