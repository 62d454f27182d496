// Package config reads imgkeep's configuration.
//
// A setting has one name, its key: "listen", "fetch.max_bytes". It is taken
// from the first of these that has it:
//
//  1. a flag of the command that names the key (see AddFlag),
//  2. the environment: IMGKEEP_ and the key in capitals, with "_" for ".", as
//     in IMGKEEP_FETCH_MAX_BYTES; an empty variable counts as not set,
//  3. the YAML file that --config or IMGKEEP_CONFIG names, and the parts of it: the files
//     of the folder beside it, imgkeep.d/*.yaml for imgkeep.yaml, of which a later one
//     holds; a list is taken from one of them as a whole,
//  4. the default (see Default).
//
// In the environment a list is written with commas, and one whose items have
// keys, such as the buckets, as JSON:
// IMGKEEP_BUCKETS='[{"name":"i","hosts":["*.example.com"]}]'. IMGKEEP_SECRET
// is one secret, taken whole, in the place of sign.secrets.
//
// What this package promises: Load returns a Config that is whole and checked,
// or an error that names every problem that it found, each with its key, its
// value, what is allowed, and the place where it was set. Nothing is ignored: a
// key or a variable of the environment that does not exist is an error, because
// a limit that was misspelt would otherwise not hold. The only variables of the
// prefix that it ignores are those that Kubernetes and Docker make for a service
// named imgkeep, and those of shell completion. Secrets are never part of an error.
//
// What it does not do: it opens no file but the configuration and the files of
// secrets, tokens and keys (not a watermark's), makes no folder, resolves no name, and
// watches nothing. The part that uses a path finds out whether it exists.
//
// It is the only package that imports viper, which gives the precedence. Viper's
// leniency is not wanted here (it ignores unknown keys and reads true as 1 and
// 0123 as 83), so the file is checked against the type Config first, and values
// are converted strictly. No type of viper leaves the package.
//
// It imports the packages that own a value's rules (sign, resize, nginx, bucket/probe,
// bucket/imageurl, bucket/fetch and others), so that which secrets are weak, which formats
// exist, what a pattern of hosts is and what a preset may be are defined in one place.
package config
