package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// parts writes a file and its parts, and returns the path of the file.
func parts(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "imgkeep.yaml")
}

// Of a key, the last part that has it decides; what no part has, the file does.
func TestParts(t *testing.T) {
	path := parts(t, map[string]string{
		"imgkeep.yaml":            "listen: unix:/run/http.sock\nhandoff: nginx\nsizes: [1, 2]\nfetch: {timeout: 9s, per_host: 2}\nlog:\n",
		"imgkeep.d/10-a.yaml":     "sizes: [3]\nfetch:\n  timeout: 8s\nlog: {level: debug}",
		"imgkeep.d/20-b.yaml":     "fetch:\n  timeout: 7s\nbuckets: [{name: a}]",
		"imgkeep.d/30-empty.yaml": "# nothing\nfetch:\n",
		// None of these is a part.
		"imgkeep.d/20-b.yaml~":         "sizes: [4]",
		"imgkeep.d/20-b.yaml.dpkg-old": "sizes: [4]",
		"imgkeep.d/README":             "sizes: [4]",
		"imgkeep.d/.hidden.yaml":       "sizes: [4]",
		"imgkeep.d/sub/10.yaml":        "sizes: [4]",
		"forum.d/10.yaml":              "sizes: [4]",
	})
	c, s, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "unix:/run/http.sock" || c.Handoff != "nginx" || !reflect.DeepEqual(c.Sizes, []int{3}) || c.Fetch.Timeout.String() != "7s" || c.Fetch.PerHost != 2 || c.Log.Level != "debug" || c.Buckets[0].Name != "a" {
		t.Errorf("%+v", c)
	}
	dir := filepath.Dir(path)
	for key, want := range map[string]string{
		"handoff": "/imgkeep.yaml:2", "sizes": "/imgkeep.d/10-a.yaml:1", "fetch.timeout": "/imgkeep.d/20-b.yaml:2", "fetch.per_host": "/imgkeep.yaml:4",
		"log.level": "/imgkeep.d/10-a.yaml:4",
	} {
		if got := s.Of(key); got != dir+want {
			t.Errorf("%s is of %s, want %s", key, got, dir+want)
		}
	}
	// The environment comes before all of them.
	t.Setenv("IMGKEEP_FETCH_TIMEOUT", "6s")
	if c, _, err := Load(path, nil); err != nil || c.Fetch.Timeout.String() != "6s" {
		t.Errorf("%v, %v", c.Fetch.Timeout, err)
	}
}

// A part is held to what the file is held to, and named in the message.
func TestPartsRefused(t *testing.T) {
	many := map[string]string{"imgkeep.yaml": ""}
	for n := range maxParts {
		many[fmt.Sprintf("imgkeep.d/%03d.yaml", n)] = "sizes: [5]"
	}
	if _, _, err := Load(parts(t, many), nil); err != nil {
		t.Errorf("%d parts: %v", maxParts, err)
	}
	many["imgkeep.d/more.yaml"] = ""
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"unknown key":       {map[string]string{"imgkeep.yaml": "", "imgkeep.d/a.yaml": "listn: ':1'"}, "imgkeep.d/a.yaml:1: listn: there is no such key; did you mean listen?"},
		"value":             {map[string]string{"imgkeep.yaml": "sizes: [1]", "imgkeep.d/a.yaml": "\nsizes: [0]"}, "imgkeep.d/a.yaml:2: sizes[0]: 0 is not in the range 1 to 65535"},
		"value of the file": {map[string]string{"imgkeep.yaml": "sizes: [0]", "imgkeep.d/a.yaml": "listen: ':1'"}, "imgkeep.yaml:1: sizes[0]: 0 is not in the range 1 to 65535"},
		"no YAML":           {map[string]string{"imgkeep.yaml": "", "imgkeep.d/a.yaml": "log:\n\tlevel: info"}, `imgkeep.d/a.yaml:2: there is a tab before "level:"`},
		"another shape":     {map[string]string{"imgkeep.yaml": "fetch: {per_host: 1}", "imgkeep.d/a.yaml": "fetch: 1"}, "imgkeep.d/a.yaml:1: fetch: it must hold keys and values"},
		"too many":          {many, fmt.Sprintf("imgkeep.d holds %d parts of the configuration, more than %d", maxParts+1, maxParts)},
		"no folder":         {map[string]string{"imgkeep.yaml": "", "imgkeep.d": ""}, "imgkeep.d: not a directory"},
	} {
		if _, _, err := Load(parts(t, tt.files), nil); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A part that everybody can read and that holds a secret is warned of, and no other.
func TestPartsPublic(t *testing.T) {
	path := parts(t, map[string]string{"imgkeep.yaml": "sizes: [1]", "imgkeep.d/a.yaml": "sign: {secrets: [" + goodSecret + "]}", "imgkeep.d/b.yaml": "sizes: [2]"})
	for _, name := range []string{"imgkeep.yaml", "imgkeep.d/b.yaml", "imgkeep.d/a.yaml"} {
		warned := name == "imgkeep.d/a.yaml"
		file := filepath.Join(filepath.Dir(path), name)
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		_, s, err := Load(path, nil)
		if err != nil || (len(s.Warnings) > 0) != warned || warned && !strings.HasPrefix(s.Warnings[0], file+" holds a secret") {
			t.Errorf("%s: %v, %v", name, s.Warnings, err)
		}
		if err := os.Chmod(file, 0o600); err != nil { // for those that come after it
			t.Fatal(err)
		}
	}
}
