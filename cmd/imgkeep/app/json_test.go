package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
)

// Whatever prints JSON prints lists that are empty as empty lists: programs that read it can go
// through them. Each command with --json is tried, and list, which knows nothing else.
func TestJSONHasNoNull(t *testing.T) {
	c := config.Default()
	c.Root = filepath.Join(t.TempDir(), "store")
	c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
	store := openStore(t, c, pages{})
	const kept, page = "https://example.com/a.png", "https://page.example.net/a.png"
	image, err := store.Keep(t.Context(), "i", kept)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Keep(t.Context(), "i", page); err == nil {
		t.Fatal("a page is kept")
	}
	if _, err := store.Block(t.Context(), bucket.Target{Host: "example.org"}, bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	file := written(t, "root: "+c.Root+"\nsign: {secrets: [the secret of these tests]}\nstore: {min_free: 0, min_free_inodes: 0}\n")

	tried := map[string]bool{"push": true, "pull": true} // by TestPushAndPull
	for _, args := range []string{
		"show --json " + kept, "show --json " + page, "show --json https://a.example.org/", "show --json https://nothing.example/", "show --json " + aLink,
		"list", "list --failed", "list --blocked", "list --similar", "similar --json " + kept, "similar --json " + strings.Repeat("0f", 32),
		"stats --json",
		"verify --json " + aLink, "check --json ftp://example.com/", "check --json https://a.example.org/",
		"forget --json --dry-run " + kept, "forget --json https://nothing.example/", "purge --json " + record.Digest{1}.String(),
		"block --json example.net", "block --json https://nothing.example/", "unblock --json example.net", "unblock --json example.net",
		"scrub --json --quiet", "reindex --json --quiet",
		"purge --json " + image.Digest.String(), "stats --json", "list",
	} {
		fields := strings.Fields(args)
		tried[fields[0]] = true
		status, out, errs := run(t, t.Context(), Env{Args: append(fields, "--config", file)})
		if status == ExitUsage {
			t.Errorf("%s: %s", args, errs)
		}
		for dec := json.NewDecoder(strings.NewReader(out)); ; {
			var v any
			if err := dec.Decode(&v); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in %s", args, err, out)
			}
			if at := nullIn(v, ""); at != "" {
				t.Errorf("%s: %s is null in %s", args, at, out)
			}
		}
	}
	root := newRootCommand(&app{Env: Env{}})
	for _, cmd := range root.Commands() {
		if has := cmd.Flags().Lookup("json") != nil; has && !tried[cmd.Name()] {
			t.Errorf("%s has --json, and is not tried here", cmd.Name())
		}
	}
}

// nullIn is the path of a value that is null; "" if there is none.
func nullIn(v any, at string) string {
	switch v := v.(type) {
	case nil:
		return at
	case []any:
		for i, item := range v {
			if null := nullIn(item, fmt.Sprintf("%s[%d]", at, i)); null != "" {
				return null
			}
		}
	case map[string]any:
		for key, value := range v {
			if null := nullIn(value, at+"."+key); null != "" {
				return null
			}
		}
	}
	return ""
}

// Lists are filled in at any depth, and what is printed is not changed itself.
func TestWithLists(t *testing.T) {
	type Inner struct {
		List []string       `json:"list"`
		Map  map[string]int `json:"map"`
	}
	type outer struct {
		Inner
		Any   any              `json:"any"`
		In    []Inner          `json:"in"`
		To    *Inner           `json:"to"`
		By    map[string]Inner `json:"by"`
		Bytes []byte           `json:"bytes,omitempty"`
		Left  []string         `json:"left,omitempty"`
	}
	v := outer{Any: Inner{}, In: []Inner{{}}, To: &Inner{}, By: map[string]Inner{"a": {}}}
	before := fmt.Sprintf("%#v %#v", v, *v.To)
	var b strings.Builder
	if err := newEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	const empty = `{"list":[],"map":{}}`
	if want := `{"list":[],"map":{},"any":` + empty + `,"in":[` + empty + `],"to":` + empty + `,"by":{"a":` + empty + "}}\n"; b.String() != want {
		t.Errorf("got  %swant %s", &b, want)
	}
	if after := fmt.Sprintf("%#v %#v", v, *v.To); after != before {
		t.Errorf("it has changed: %s, was %s", after, before)
	}
}
