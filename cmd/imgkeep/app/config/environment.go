package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	prefix         = "IMGKEEP_"
	fileVariable   = prefix + "CONFIG" // the file, where no path is given
	secretVariable = prefix + "SECRET" // one secret, taken whole
)

// foreign are variables with the prefix, and their values, that others set: shell
// completion, and Kubernetes for a service whose name begins with imgkeep. The value
// distinguishes IMGKEEP_PORT=tcp://10.0.0.1:80 from a misspelt setting.
var foreign = regexp.MustCompile(`^IMGKEEP_(ACTIVE_HELP=` +
	`|COMPLETION_DESCRIPTIONS=` +
	`|([A-Z0-9_]+_)?SERVICE_HOST=` +
	`|([A-Z0-9_]+_)?SERVICE_PORT(_[A-Z0-9_]+)?=` +
	`|([A-Z0-9_]+_)?PORT=(tcp|udp|sctp)://` +
	`|([A-Z0-9_]+_)?PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)`)

// variable is the name of a key in the environment.
func variable(key string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (l *loader) readEnvironment(environ []string) {
	set := map[string]string{}
	for _, e := range environ {
		// Viper too counts an empty variable as not set.
		if name, value, _ := strings.Cut(e, "="); value != "" && strings.HasPrefix(name, prefix) && !foreign.MatchString(e) {
			set[name] = value
		}
	}
	known := []string{fileVariable, secretVariable}
	for _, f := range fields(&Config{}) {
		name := variable(f.key)
		known = append(known, name)
		if set[name] == "" {
			continue
		}
		l.over[f.key] = name
		if err := l.viper.BindEnv(f.key, name); err != nil {
			panic(err) // only without a key
		}
	}
	if secret := set[secretVariable]; secret != "" {
		if l.over[secretsKey] != "" {
			l.problems = append(l.problems, problem{source: secretVariable,
				err: fmt.Errorf("%s is set too, and only one of them can hold", l.over[secretsKey])})
		}
		l.viper.Set(secretsKey, []any{secret})
		l.over[secretsKey] = secretVariable
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if slices.Contains(known, name) {
			continue
		}
		err := errors.New("there is no such setting")
		if near := nearest(name, known); near != "" {
			err = fmt.Errorf("there is no such setting; did you mean %s?", near)
		}
		l.problems = append(l.problems, problem{source: name, err: err})
	}
}

// examples show how lists whose items have keys are written in the environment.
var examples = map[string]string{
	"buckets":          `[{"name":"i","hosts":["*.example.com"]}]`,
	"placeholders":     `[{"errors":["gone"],"image":"/etc/imgkeep/gone.png"}]`,
	"presets":          `[{"name":"avatar","width":96,"height":96,"fit":"cover"}]`,
	"fetch.same_image": `[{"hosts":["cdn.example.com"],"params":["ex","sig"]}]`,
	"fetch.profiles":   `[{"hosts":["*.example.com"],"per_host":1}]`,
	"fetch.s3":         `[{"endpoint":"https://s3.example.com","buckets":["attachments"],"access_key":"AKIA","secret_key":"abcd"}]`,
	"fetch.removed":    `[{"url":"https://i.imgur.com/removed.png"}]`,
}

// listOf splits a list that is written as one text. It returns nil if it cannot.
func (l *loader) listOf(f field, text string) any {
	var items []any
	if !isSection(f.value.Type().Elem()) {
		for item := range strings.SplitSeq(text, ",") {
			items = append(items, strings.TrimSpace(item))
		}
		return items
	}
	// YAML reads JSON, and has the same checks as the file.
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil || node.Content == nil || node.Decode(&items) != nil {
		l.addf(f.key, "it must be JSON, as in %s", examples[f.key])
		return nil
	}
	d := &document{lines: map[string]int{}}
	d.check(node.Content[0], f.value.Type(), f.key)
	l.problems = append(l.problems, d.problems...)
	if len(d.problems) > 0 {
		return nil
	}
	return items
}
