package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

const (
	secretsKey     = "sign.secrets"
	secretFilesKey = "sign.secret_files"
	tokensKey      = "access.tokens"
	tokenFilesKey  = "access.token_files"
	hooksKey       = "hooks.secrets"
	hookFilesKey   = "hooks.secret_files"
)

// Sources tells where the settings of a Config come from.
type Sources struct {
	keys map[string]string
	// Warnings are for the operator: what was accepted but is risky.
	Warnings []string
}

// Of returns where a key was set: "imgkeep.yaml:12", "IMGKEEP_LISTEN", "flag
// --listen", or "default".
func (s Sources) Of(key string) string {
	if source, ok := s.keys[key]; ok {
		return source
	}
	return "default"
}

// Load reads the configuration from the flags that AddFlag and BindFlag tied to
// keys (nil: none), the environment, the file at path with its parts, and the defaults. An
// empty path means the file that IMGKEEP_CONFIG names, or none. The error names
// every problem found, a line for each. Load may be called concurrently.
func Load(path string, flags *pflag.FlagSet) (Config, Sources, error) {
	return loadAll(path, flags, true)
}

// LoadPublic is Load without the files of Sign.SecretFiles, which need not exist: for
// commands that only ask a server that has read them. systemd shows a service's credentials
// only to its main process.
func LoadPublic(path string, flags *pflag.FlagSet) (Config, Sources, error) {
	return loadAll(path, flags, false)
}

func loadAll(path string, flags *pflag.FlagSet, secrets bool) (Config, Sources, error) {
	l := loader{viper: viper.New(), over: map[string]string{}}
	if path == "" {
		path = os.Getenv(fileVariable)
	}
	if path != "" {
		if err := l.readFiles(path); err != nil {
			return Config{}, Sources{}, err
		}
	}
	l.readEnvironment(os.Environ())
	if flags != nil {
		l.readFlags(flags)
	}
	c := l.decode()
	warnings := l.readableSecrets(c)
	if secrets {
		warnings = append(warnings, c.readSecretFiles(&l.problems)...)
		warnings = append(warnings, c.readS3Keys(&l.problems)...)
	}
	c.clean(&l.problems)
	c.validate(&l.problems)
	if len(l.problems) > 0 {
		for i := range l.problems {
			if p := &l.problems[i]; p.source == "" {
				p.source = l.source(p.key)
			}
		}
		return Config{}, Sources{}, invalid(l.problems)
	}
	warnings = append(warnings, c.uselessS3()...)
	sources := Sources{keys: map[string]string{}, Warnings: warnings}
	for _, f := range fields(&c) {
		if source := l.source(f.key); source != "" {
			sources.keys[f.key] = source
		}
	}
	return c, sources, nil
}

// loader gathers the settings of all sources. Viper decides which source wins.
type loader struct {
	viper *viper.Viper
	files []*document       // the file and its parts; the last that has a key wins
	over  map[string]string // where the keys are set that the files do not decide
	problems
}

// readFiles reads the file at path, and after it its parts.
func (l *loader) readFiles(path string) error {
	parts, err := partsOf(path)
	for _, file := range append([]string{path}, parts...) {
		if err := l.readFile(file); err != nil {
			return err
		}
	}
	return err
}

func (l *loader) readFile(path string) error {
	text, info, err := readFile(path, maxFile)
	if err != nil {
		return err
	}
	return l.readText(path, text, isPublic(info))
}

// readText adds the text of a file. public: every user of the machine can read it.
func (l *loader) readText(path string, text []byte, public bool) error {
	d, err := checkFile(path, text)
	if err != nil {
		return err
	}
	d.public = public
	l.files = append(l.files, d)
	for _, p := range d.problems {
		if p.source == "" {
			p.source = cmp.Or(d.place(p.key), path)
		}
		l.problems = append(l.problems, p)
	}
	l.viper.SetConfigType("yaml")
	if err := l.viper.MergeConfig(bytes.NewReader(text)); err != nil && len(l.problems) == 0 {
		var parse viper.ConfigParseError
		if errors.As(err, &parse) {
			err = parse.Unwrap() // the rest of the text says nothing
		}
		return notYAML(path, text, err)
	}
	return nil
}

func (l *loader) readFlags(flags *pflag.FlagSet) {
	flags.Visit(func(f *pflag.Flag) { // only those that were given
		for _, key := range f.Annotations[annotation] {
			l.over[key] = "flag --" + f.Name
			if key == secretsKey {
				l.viper.Set(secretsKey, []any{f.Value.String()})
				l.viper.Set(secretFilesKey, []any{})
				l.over[secretFilesKey] = l.over[key]
				continue
			}
			if err := l.viper.BindPFlag(key, f); err != nil {
				panic(err) // only without a flag
			}
		}
	})
}

// decode builds a Config from what viper found. A wrong value leaves the default, so that
// nothing is reported twice.
func (l *loader) decode() Config {
	c := Default()
	for _, f := range fields(&c) {
		if l.has(f.key) {
			continue
		}
		raw := l.viper.Get(f.key)
		if text, ok := raw.(string); ok && f.value.Kind() == reflect.Slice {
			raw = l.listOf(f, text)
		}
		if raw == nil {
			continue
		}
		value := reflect.New(f.value.Type()).Elem()
		before := len(l.problems)
		l.assign(f.key, value, raw)
		if len(l.problems) == before {
			f.value.Set(value)
		}
	}
	return c
}

// source says where a key, or the list that contains it, was set. It is empty if it was not
// set.
func (l *loader) source(key string) string {
	list, _, _ := strings.Cut(key, "[")
	if source := l.over[list]; source != "" {
		return source
	}
	d := l.fileOf(list)
	if d == nil {
		return ""
	}
	return cmp.Or(d.place(key), d.place(list)) // a key that the item does not have
}

// fileOf is the file that decides a key; nil: none sets it.
func (l *loader) fileOf(key string) *document {
	for _, d := range slices.Backward(l.files) {
		if d.place(key) != "" {
			return d
		}
	}
	return nil
}

// readableSecrets warns of files that hold a secret and that every user of the machine can
// read.
func (l *loader) readableSecrets(c Config) (warnings []string) {
	inS3 := 0
	for _, o := range c.Fetch.S3 {
		inS3 += len(o.SecretKey)
	}
	for key, number := range map[string]int{secretsKey: len(c.Sign.Secrets), tokensKey: len(c.Access.Tokens), hooksKey: len(c.Hooks.Secrets), s3Key: inS3, sharedKey + ".secret_key": len(c.Shared.SecretKey)} {
		if d := l.fileOf(key); number > 0 && l.over[key] == "" && d != nil && d.public && !slices.Contains(warnings, readable(d.name)) {
			warnings = append(warnings, readable(d.name))
		}
	}
	slices.Sort(warnings)
	return warnings
}

const annotation = "imgkeep_key"

// AddFlag defines a flag that sets the key: its name is the key with "-" for
// "." and "_", as in --log-level. It panics for a key that does not exist or
// that is a list.
func AddFlag(flags *pflag.FlagSet, key, usage string) {
	c := Default()
	for _, f := range fields(&c) {
		if f.key != key {
			continue
		}
		name := strings.NewReplacer(".", "-", "_", "-").Replace(key)
		switch f.value.Kind() {
		case reflect.Slice:
			panic("config: no flag can set the list " + key)
		case reflect.Bool:
			flags.Bool(name, f.value.Bool(), usage)
		default:
			flags.String(name, fmt.Sprint(f.value.Interface()), usage)
		}
		BindFlag(flags.Lookup(name), key)
		return
	}
	panic("config: there is no key " + key)
}

// BindFlag makes a flag of any name set a key that is not a list. There is one exception: a
// flag for sign.secrets gives one secret, which replaces all others, including those of
// sign.secret_files.
func BindFlag(flag *pflag.Flag, key string) {
	if flag.Annotations == nil {
		flag.Annotations = map[string][]string{}
	}
	flag.Annotations[annotation] = []string{key}
}
