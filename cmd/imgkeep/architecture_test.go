package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rule is what a package may import besides the standard library. Packages of
// ours are written without the module's name, others by a path that theirs begin
// with; "C" is cgo.
type rule struct {
	imports []string // of the package
	tests   []string // besides, of its tests; they may always import the package itself
}

// rules are the arrows of the architecture. They go down in the drawing of ARCHITECTURE.md:
// see TestDrawing.
//
// A package that is not here does not exist: think of where it belongs, and write
// that down.
var rules = map[string]rule{
	"cmd/imgkeep": {
		imports: []string{"cmd/imgkeep/app"},
		tests:   []string{"github.com/chromedp/chromedp", "github.com/chromedp/cdproto", "bucket/blob/object", "bucket/blob/s3/s3test", "bucket/probe", "bucket/probe/probetest", "bucket/probe/whole", "nginx", "nginx/nginxtest", "scripts/benchtest", "scripts/patience", "scripts/ports", "scripts/tempdir", "go.etcd.io/bbolt", "golang.org/x/sys/unix"},
	},
	// The commands. Only here is cobra.
	"cmd/imgkeep/app": {
		imports: []string{
			"cmd/imgkeep/app/config", "cmd/imgkeep/app/control", "cmd/imgkeep/app/engine", "cmd/imgkeep/app/gctuner", "cmd/imgkeep/app/nodes", "cmd/imgkeep/app/page/account", "cmd/imgkeep/app/server", "cmd/imgkeep/app/target",
			"bucket", "bucket/backup", "bucket/blob/object", "bucket/blob/s3", "bucket/evidence", "bucket/fetch", "bucket/imageurl", "bucket/likeness", "bucket/lookalike", "bucket/linkrot", "bucket/migrate", "bucket/probe", "bucket/query", "bucket/record",
			"bucket/reindex", "bucket/scrub", "nginx", "resize", "sign",
			"github.com/dustin/go-humanize", "github.com/schollz/progressbar/v3", "github.com/spf13/cobra", "github.com/spf13/pflag",
			"golang.org/x/sync/errgroup",
		},
		tests: []string{"bucket/blob/s3/s3test", "bucket/variant", "github.com/rogpeppe/go-internal/testscript"},
	},
	// Only here all is wired together.
	"cmd/imgkeep/app/engine": {
		imports: []string{
			"cmd/imgkeep/app/config", "cmd/imgkeep/app/control", "cmd/imgkeep/app/gctuner", "cmd/imgkeep/app/hook", "cmd/imgkeep/app/listen", "cmd/imgkeep/app/metrics", "cmd/imgkeep/app/nodes", "cmd/imgkeep/app/page", "cmd/imgkeep/app/page/account",
			"cmd/imgkeep/app/page/trend", "cmd/imgkeep/app/server", "cmd/imgkeep/app/target",
			"bucket", "bucket/approve", "bucket/backup", "bucket/fetch", "bucket/imageurl", "bucket/ledger", "bucket/likeness", "bucket/lookalike", "bucket/linkrot", "bucket/migrate", "bucket/node", "bucket/pace", "bucket/probe", "bucket/query",
			"bucket/record", "bucket/scrub", "bucket/tags", "nginx", "resize", "sign",
			"github.com/coreos/go-systemd/v22/daemon",
			"golang.org/x/sys/unix",                                    // the clock that systemd reads
			"golang.org/x/image/font", "golang.org/x/image/math/fixed", // which draw the text of watermarks
		},
	},
	// One of several nodes, as the configuration says.
	"cmd/imgkeep/app/nodes": {
		imports: []string{
			"cmd/imgkeep/app/config", "cmd/imgkeep/app/control",
			"bucket", "bucket/blob/local", "bucket/blob/object", "bucket/blob/s3", "bucket/ledger", "bucket/ledger/journal", "bucket/node", "bucket/query", "bucket/record", "bucket/scrub", "bucket/scrub/objects", "bucket/tags",
		},
	},
	"cmd/imgkeep/app/control": {
		imports: []string{"bucket", "bucket/imageurl", "bucket/likeness", "bucket/lookalike", "bucket/linkrot", "bucket/panics", "bucket/probe", "bucket/query", "bucket/record", "bucket/scrub", "bucket/tags", "cmd/imgkeep/app/listen", "cmd/imgkeep/app/server"},
		tests:   []string{"bucket/approve", "bucket/fetch", "nginx", "resize", "sign"},
	},
	// The moderators' page: a client of control. Besides the server only here is chi.
	"cmd/imgkeep/app/page": {
		imports: []string{
			"bucket", "bucket/fetch", "bucket/imageurl", "bucket/likeness", "bucket/linkrot", "bucket/lookalike", "bucket/panics", "bucket/probe", "bucket/query", "bucket/record",
			"cmd/imgkeep/app/control", "cmd/imgkeep/app/page/account", "cmd/imgkeep/app/page/api", "cmd/imgkeep/app/page/plot",
			"cmd/imgkeep/app/page/trend", "cmd/imgkeep/app/target", "github.com/dustin/go-humanize", "github.com/go-chi/chi/v5",
		},
		tests: []string{"sign"},
	},
	"cmd/imgkeep/app/page/api": {
		imports: []string{
			"bucket", "bucket/imageurl", "bucket/likeness", "bucket/lookalike", "bucket/probe", "bucket/query", "bucket/record",
			"cmd/imgkeep/app/control", "cmd/imgkeep/app/page/account", "cmd/imgkeep/app/target", "github.com/go-chi/chi/v5",
		},
		tests: []string{"bucket/fetch", "sign"},
	},
	"cmd/imgkeep/app/page/plot": {},
	"cmd/imgkeep/app/page/trend": {
		imports: []string{"bucket/blob/local", "bucket/record"},
	},
	// Who may use the page.
	"cmd/imgkeep/app/page/account": {
		imports: []string{"bucket/blob/local", "bucket/record", "golang.org/x/crypto/argon2"},
	},
	// What people name: images and hosts.
	"cmd/imgkeep/app/target": {
		imports: []string{"bucket/imageurl", "bucket/record", "sign"},
	},
	"cmd/imgkeep/app/hook": {
		imports: []string{"bucket/blob/local", "bucket/pace"},
		tests:   []string{"scripts/patience"},
	},
	"cmd/imgkeep/app/gctuner": {},
	"cmd/imgkeep/app/listen": {
		imports: []string{"cmd/imgkeep/app/server", "github.com/coreos/go-systemd/v22/activation"},
	},
	// Only here are viper and YAML.
	"cmd/imgkeep/app/config": {
		imports: []string{
			"bucket/approve", "bucket/fetch", "bucket/fetch/s3origin", "bucket/imageurl", "bucket/probe", "cmd/imgkeep/app/hook", "nginx", "resize", "sign", // which know what is valid
			"github.com/dustin/go-humanize", "github.com/spf13/pflag", "github.com/spf13/viper", "go.yaml.in/yaml/v3",
		},
	},
	// Only here is Prometheus.
	"cmd/imgkeep/app/metrics": {
		imports: []string{"bucket", "bucket/blob/cache", "bucket/blob/s3", "bucket/fetch", "bucket/lookalike", "bucket/linkrot", "bucket/record", "bucket/scrub", "cmd/imgkeep/app/server", "resize", "github.com/prometheus/client_golang"},
		tests:   []string{"bucket/probe", "go.yaml.in/yaml/v3"},
	},
	// Only here is chi.
	"cmd/imgkeep/app/server": {
		imports: []string{"bucket/likeness", "bucket", "bucket/fetch", "bucket/imageurl", "bucket/probe", "bucket/record", "bucket/strip", "bucket/variant", "nginx", "resize", "sign", "github.com/go-chi/chi/v5"},
		tests:   []string{"bucket/lookalike", "bucket/approve", "bucket/query", "bucket/uncached", "scripts/tempdir"},
	},
	"cmd/imgkeep-resize": {
		imports: []string{"resize", "resize/sandbox", "resize/vips"},
		tests:   []string{"bucket/probe", "bucket/probe/probetest", "scripts/patience", "golang.org/x/sys/unix", "golang.org/x/image/draw", "golang.org/x/image/font", "golang.org/x/image/math/fixed"},
	},
	"bucket": {
		imports: []string{
			"bucket/approve", "bucket/blob", "bucket/blob/local", "bucket/fetch", "bucket/flight", "bucket/imageurl", "bucket/index",
			"bucket/ledger", "bucket/ledger/journal", "bucket/ledger/single", "bucket/likeness", "bucket/lookalike", "bucket/node", "bucket/pace", "bucket/probe", "bucket/probe/whole", "bucket/quota", "bucket/record", "bucket/reindex", "bucket/strip",
			"bucket/uncached", "bucket/variant",
		},
		tests: []string{
			"bucket/backup", "bucket/blob/local/localtest", "bucket/ledger/ledgertest", "bucket/linkrot", "bucket/query", "bucket/scrub",
			"scripts/patience", "scripts/tempdir", "golang.org/x/sys/unix",
		},
	},
	// Maintenance. None of it imports the store: each takes an interface of what it needs.
	"bucket/backup": {
		imports: []string{"bucket/blob/local", "bucket/index", "bucket/ledger", "bucket/ledger/journal", "bucket/probe", "bucket/record", "bucket/reindex", "bucket/tags", "golang.org/x/sys/unix"},
	},
	"bucket/evidence": {
		imports: []string{"bucket/query", "bucket/record"},
	},
	"bucket/linkrot": {
		imports: []string{"bucket/blob/local", "bucket/fetch", "bucket/imageurl", "bucket/ledger", "bucket/pace", "bucket/record"},
		tests:   []string{"bucket", "bucket/buckettest", "scripts/patience"},
	},
	"bucket/reindex": {
		imports: []string{"bucket/blob", "bucket/blob/local", "bucket/extsort", "bucket/index", "bucket/ledger", "bucket/ledger/journal", "bucket/probe", "bucket/record"},
	},
	"bucket/scrub": {
		imports: []string{"bucket/blob/local", "bucket/extsort", "bucket/index", "bucket/ledger", "bucket/pace", "bucket/probe", "bucket/record"},
	},
	"bucket/extsort": {},
	"bucket/pace":    {},
	"bucket/panics":  {},
	"bucket/tags": {
		imports: []string{"bucket/record"},
	},
	// What operators ask.
	"bucket/query": {
		imports: []string{"bucket/extsort", "bucket/fetch", "bucket/imageurl", "bucket/index", "bucket/ledger", "bucket/record", "bucket/variant"},
		tests:   []string{"bucket", "bucket/blob/local", "bucket/buckettest", "bucket/ledger/journal", "bucket/probe"},
	},
	// A store as one of several nodes.
	"bucket/node": {
		imports: []string{"bucket/blob/cache", "bucket/blob/local", "bucket/blob/object", "bucket/index", "bucket/ledger", "bucket/ledger/shared", "bucket/pace", "bucket/probe", "bucket/record"},
		tests:   []string{"bucket/blob/local/localtest", "bucket/blob/object/objecttest"},
	},
	// Parts of the store that stand alone.
	"bucket/quota": {
		imports: []string{"bucket/record"},
	},
	"bucket/flight": {
		imports: []string{"bucket/panics", "bucket/record", "golang.org/x/sync/singleflight"},
	},
	"bucket/uncached": {
		imports: []string{"bucket/likeness", "bucket/blob/local", "bucket/probe", "bucket/record"},
	},
	"bucket/variant": {
		imports: []string{"bucket/blob", "bucket/blob/local", "bucket/flight", "bucket/imageurl", "bucket/index", "bucket/ledger", "bucket/pace", "bucket/probe", "bucket/probe/whole", "bucket/record", "bucket/strip"},
		tests:   []string{"bucket", "bucket/buckettest", "bucket/fetch"},
	},
	// The one rule of how URLs and hosts are spelled.
	"bucket/imageurl": {
		imports: []string{"golang.org/x/net/idna", "golang.org/x/net/publicsuffix"},
	},
	// The place where originals lie.
	"bucket/blob": {
		imports: []string{"bucket/record"},
	},
	"bucket/blob/blobtest": { // for tests
		imports: []string{"bucket/blob", "bucket/probe", "bucket/record"},
	},
	"bucket/blob/local": {
		imports: []string{"bucket/blob", "bucket/probe", "bucket/record", "golang.org/x/sys/unix"},
		tests:   []string{"bucket/blob/blobtest", "bucket/blob/local/localtest"},
	},
	"bucket/blob/local/localtest": { // for tests
		imports: []string{"bucket/blob/local", "bucket/record"},
	},
	// What several nodes ask of the object store that they share.
	"bucket/blob/object": {
		imports: []string{"bucket/blob", "bucket/probe", "bucket/record", "golang.org/x/sys/unix"},
		tests:   []string{"bucket/blob/blobtest", "bucket/blob/object/objecttest"},
	},
	"bucket/blob/object/objecttest": { // for tests
		imports: []string{"bucket/blob/object", "bucket/record"},
	},
	"bucket/blob/cache": {
		imports: []string{"bucket/blob", "bucket/blob/local", "bucket/record", "golang.org/x/sync/singleflight"},
		tests: []string{
			"bucket/blob/blobtest", "bucket/blob/local/localtest", "bucket/blob/object", "bucket/blob/object/objecttest",
			"bucket/blob/s3/s3test", "bucket/probe",
		},
	},
	// Only here is a client of S3.
	"bucket/blob/s3": {
		imports: []string{"bucket/blob/object", "bucket/record", "github.com/minio/minio-go/v7"},
		tests:   []string{"bucket/blob", "bucket/blob/blobtest", "bucket/blob/s3/s3test", "bucket/probe", "scripts/ports"},
	},
	"bucket/blob/s3/s3test": { // for tests
		imports: []string{"bucket/blob/s3", "github.com/minio/minio-go/v7", "scripts/patience", "scripts/ports"},
	},
	// What is kept under which URL, and what was removed.
	"bucket/ledger": {
		imports: []string{"bucket/likeness", "bucket/imageurl", "bucket/probe", "bucket/record"},
	},
	"bucket/ledger/journal": {
		imports: []string{"bucket/blob/local", "bucket/ledger", "bucket/record"},
		tests:   []string{"bucket/blob/local/localtest", "bucket/ledger/ledgertest", "bucket/probe"},
	},
	// Keeping where there is one node.
	"bucket/ledger/single": {
		imports: []string{"bucket/blob", "bucket/blob/local", "bucket/index", "bucket/ledger", "bucket/record"},
	},
	// The same for several nodes, in an object store.
	"bucket/ledger/shared": {
		imports: []string{"bucket/blob", "bucket/blob/object", "bucket/imageurl", "bucket/ledger", "bucket/probe", "bucket/record"},
		tests: []string{
			"bucket/blob/cache", "bucket/blob/local", "bucket/blob/local/localtest", "bucket/blob/object/objecttest", "bucket/blob/s3",
			"bucket/blob/s3/s3test", "bucket/index", "bucket/ledger/ledgertest", "bucket/ledger/shared/sharedtest",
		},
	},
	// Moves a store between a local disk and an object store. It takes folders and objects, and no open store.
	"bucket/migrate": {
		imports: []string{
			"bucket/backup", "bucket/blob", "bucket/blob/local", "bucket/blob/object", "bucket/imageurl", "bucket/index", "bucket/ledger", "bucket/ledger/journal",
			"bucket/ledger/shared", "bucket/record", "bucket/reindex", "golang.org/x/sys/unix",
		},
		tests: []string{"bucket", "bucket/blob/object/objecttest", "bucket/blob/s3/s3test", "bucket/fetch", "bucket/ledger/shared/sharedtest", "bucket/probe", "scripts/tempdir"},
	},
	// Scrubs what several nodes share.
	"bucket/scrub/objects": {
		imports: []string{
			"bucket/blob", "bucket/blob/local", "bucket/blob/object", "bucket/extsort", "bucket/ledger/shared", "bucket/pace", "bucket/probe", "bucket/record", "bucket/scrub",
		},
		tests: []string{"bucket/blob/cache", "bucket/blob/local/localtest", "bucket/blob/object/objecttest", "bucket/ledger", "bucket/ledger/shared/sharedtest"},
	},
	"bucket/ledger/shared/sharedtest": { // for tests
		imports: []string{"bucket/ledger/shared", "bucket/probe", "bucket/record"},
	},
	"bucket/ledger/ledgertest": { // for tests
		imports: []string{"bucket/ledger", "bucket/probe", "bucket/record"},
	},
	"bucket/buckettest": { // for tests
		imports: []string{"bucket", "bucket/fetch", "bucket/probe", "bucket/record"},
	},
	// What the packages of the store say to each other. It does no I/O.
	"bucket/record": {
		imports: []string{"bucket/imageurl", "bucket/probe"},
	},
	// It is asked with standard-library types only.
	"bucket/approve": {tests: []string{"scripts/ports"}},
	// It computes, and does no I/O.
	"bucket/likeness": {},
	// It takes an interface of an open store, as maintenance does.
	"bucket/lookalike": {
		imports: []string{"bucket/blob/local", "bucket/index", "bucket/ledger", "bucket/likeness", "bucket/pace", "bucket/record"},
	},
	// Only here is bbolt, but for a benchmark that compares with it.
	"bucket/index": {
		imports: []string{"bucket/index/pages", "bucket/likeness", "bucket/probe", "bucket/record", "go.etcd.io/bbolt", "golang.org/x/sys/unix"},
		tests:   []string{"bucket/ledger/shared", "bucket/ledger/shared/sharedtest"},
	},
	// It reads what bbolt has written, which its tests have bbolt write.
	"bucket/index/pages": {
		tests: []string{"go.etcd.io/bbolt"},
	},
	"bucket/fetch": {
		imports: []string{"bucket/fetch/guard", "bucket/fetch/outbound", "bucket/fetch/place", "bucket/fetch/s3origin", "bucket/imageurl", "bucket/probe", "bucket/probe/whole", "golang.org/x/net/publicsuffix"},
		tests:   []string{"bucket/fetch/guard/guardtest", "bucket/probe/probetest", "scripts/patience", "golang.org/x/net/http2"},
	},
	// It judges addresses, and knows nothing of names, connections or the operator's proxy.
	"bucket/fetch/guard": {
		tests: []string{"bucket/fetch/guard/guardtest"},
	},
	"bucket/fetch/guard/guardtest": {}, // for tests
	"bucket/fetch/outbound": {
		imports: []string{"golang.org/x/net/proxy"},
	},
	// Of minio-go it takes the signature.
	"bucket/fetch/s3origin": {imports: []string{"bucket/imageurl", "github.com/minio/minio-go/v7"}},
	// It is asked by names of sites, and fetches nothing.
	"bucket/fetch/place": {
		imports: []string{"bucket/imageurl", "golang.org/x/net/publicsuffix"},
	},
	"bucket/probe": {
		imports: []string{"bucket/probe/heif", "bucket/probe/marks"},
		tests:   []string{"bucket/probe/probetest"},
	},
	// Parts of it that stand alone.
	"bucket/probe/heif":  {},
	"bucket/probe/marks": {},
	"bucket/probe/whole": {
		imports: []string{"bucket/probe", "bucket/probe/marks"},
		tests:   []string{"bucket/probe/probetest"},
	},
	"bucket/probe/probetest": { // for tests
		imports: []string{"bucket/probe"},
	},
	"bucket/strip": {
		imports: []string{"bucket/probe", "bucket/probe/marks"},
		tests:   []string{"bucket/probe/whole"},
	},
	"nginx": {
		imports: []string{"golang.org/x/sys/unix"},
		tests:   []string{"nginx/nginxtest", "scripts/patience", "sign", "golang.org/x/net/http2"}, // which nginx may speak
	},
	"nginx/nginxtest": { // for tests
		imports: []string{"nginx", "scripts/patience"},
	},
	"resize": {
		tests: []string{"scripts/patience"},
	},
	// Only here is what a process gives its rights away with.
	"resize/sandbox": {
		imports: []string{"github.com/elastic/go-seccomp-bpf", "github.com/landlock-lsm/go-landlock/landlock", "golang.org/x/sys/unix"},
	},
	// Only here are cgo and bimg. Where an image ends, probe has to say the same.
	"resize/vips": {
		imports: []string{"bucket/likeness", "bucket/probe", "bucket/probe/marks", "bucket/probe/whole", "resize", "C", "github.com/h2non/bimg"},
		tests:   []string{"scripts/benchtest", "scripts/patience", "golang.org/x/image/bmp", "golang.org/x/image/font", "golang.org/x/image/math/fixed", "golang.org/x/image/webp"},
	},
	"scripts/benchtest": {imports: []string{"scripts/ports"}}, // for benchmarks
	// Writes contrib/BENCHMARKS.md.
	"scripts/benchtest/report": {imports: []string{"scripts/benchtest"}},
	"scripts/patience":         {}, // for tests
	"scripts/ports":            {}, // for tests
	"scripts/tempdir":          {}, // for tests
	"sign":                     {},
	// Files for other programs; tests try them.
	"contrib/clients": {
		tests: []string{"resize", "sign", "golang.org/x/net/html", "golang.org/x/net/html/atom"},
	},
	"contrib/debian": {
		tests: []string{"scripts/patience", "scripts/ports"},
	},
	"contrib/systemd": {
		tests: []string{"nginx"},
	},
}

const module = "imgkeep"

// listed is a package as `go list -json` tells of it.
type listed struct {
	ImportPath, Dir, Name, Doc         string
	Standard                           bool
	GoFiles, CgoFiles                  []string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// goList lists packages as the go command sees them, with cgo.
func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json"}, args...)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Dir = filepath.Join("..", "..") // the module's root
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &errs)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// violations are what is wrong with a package.
func violations(p listed) []string {
	path := strings.TrimPrefix(p.ImportPath, module+"/")
	r, ok := rules[path]
	if !ok {
		return []string{path + " is not in the table of the architecture"}
	}
	var all []string
	check := func(imports, allowed []string, who string) {
		for _, i := range imports {
			if !permitted(i, allowed) {
				all = append(all, fmt.Sprintf("%s must not import %s", who, i))
			}
		}
	}
	check(p.Imports, r.imports, path)
	tests := slices.Concat(r.imports, r.tests, []string{path})
	check(p.TestImports, tests, "tests of "+path)
	check(p.XTestImports, tests, "tests of "+path)
	if len(p.CgoFiles) > 0 && !slices.Contains(r.imports, "C") {
		all = append(all, fmt.Sprintf("%s must not use cgo: %v", path, p.CgoFiles))
	}
	want := "Package " + p.Name + " "
	if p.Name == "main" {
		want = "Command " + filepath.Base(path) + " "
	}
	if len(p.GoFiles) > 0 && !strings.HasPrefix(p.Doc, want) {
		all = append(all, fmt.Sprintf("%s has no doc that begins with %q", path, want))
	}
	return all
}

func permitted(path string, allowed []string) bool {
	if ours, ok := strings.CutPrefix(path, module+"/"); ok {
		return slices.Contains(allowed, ours) // not what is below
	}
	first, _, _ := strings.Cut(path, "/")
	if path != "C" && !strings.Contains(first, ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(allowed, func(a string) bool {
		return path == a || strings.HasPrefix(path, a+"/")
	})
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	found := map[string]bool{}
	for _, p := range goList(t, "./...") {
		found[strings.TrimPrefix(p.ImportPath, module+"/")] = true
		for _, v := range violations(p) {
			t.Error(v)
		}
		// The go command remembers that this test has passed until a file changes
		// that it has opened. It does not know what `go list` and `go build` read.
		if _, err := os.ReadDir(p.Dir); err != nil {
			t.Error(err)
		}
	}
	for path := range rules {
		if !found[path] {
			t.Errorf("%s is in the table of the architecture, and there is no such package", path)
		}
	}
}

// The check finds what it is there for.
func TestArchitectureFinds(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]listed{
		"new is not in the table of the architecture":                   {ImportPath: "imgkeep/new"},
		"sign must not import imgkeep/bucket":                           {ImportPath: "imgkeep/sign", Imports: []string{"fmt", "imgkeep/bucket"}},
		"sign must not import golang.org/x/crypto/hkdf":                 {ImportPath: "imgkeep/sign", Imports: []string{"golang.org/x/crypto/hkdf"}},
		"resize must not import imgkeep/resize/vips":                    {ImportPath: "imgkeep/resize", Imports: []string{"imgkeep/resize/vips"}},
		"bucket must not import go.etcd.io/bbolt":                       {ImportPath: "imgkeep/bucket", Imports: []string{"go.etcd.io/bbolt"}},
		"bucket must not import github.com/spf13/viper":                 {ImportPath: "imgkeep/bucket", Imports: []string{"github.com/spf13/viper"}},
		"cmd/imgkeep/app must not import github.com/go-chi/chi/v5":      {ImportPath: "imgkeep/cmd/imgkeep/app", Imports: []string{"github.com/go-chi/chi/v5"}},
		"cmd/imgkeep/app/server must not import imgkeep/bucket/index":   {ImportPath: "imgkeep/cmd/imgkeep/app/server", Imports: []string{"imgkeep/bucket/index"}},
		"cmd/imgkeep/app/server must not import github.com/spf13/cobra": {ImportPath: "imgkeep/cmd/imgkeep/app/server", Imports: []string{"github.com/spf13/cobra"}},
		"cmd/imgkeep/app must not import imgkeep/nginx/nginxtest":       {ImportPath: "imgkeep/cmd/imgkeep/app", Imports: []string{"imgkeep/nginx/nginxtest"}},
		"tests of sign must not import imgkeep/bucket/fetch":            {ImportPath: "imgkeep/sign", XTestImports: []string{"imgkeep/sign", "imgkeep/bucket/fetch"}},
		"tests of nginx must not import imgkeep/bucket":                 {ImportPath: "imgkeep/nginx", TestImports: []string{"imgkeep/nginx/nginxtest", "imgkeep/bucket"}},
		"bucket must not import C":                                      {ImportPath: "imgkeep/bucket", Imports: []string{"C"}},
		"bucket/probe must not use cgo: [a.go]":                         {ImportPath: "imgkeep/bucket/probe", CgoFiles: []string{"a.go"}},
		`resize has no doc that begins with "Package resize "`:          {ImportPath: "imgkeep/resize", Name: "resize", GoFiles: []string{"a.go"}},
		`cmd/imgkeep has no doc that begins with "Command imgkeep "`:    {ImportPath: "imgkeep/cmd/imgkeep", Name: "main", GoFiles: []string{"main.go"}, Doc: "Package main is a program."},
	} {
		if got := violations(p); !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	good := listed{
		ImportPath: "imgkeep/bucket", Name: "bucket", Doc: "Package bucket is a store.", GoFiles: []string{"a.go"},
		Imports: []string{"net/netip", "imgkeep/bucket/index"}, TestImports: []string{"testing"}, XTestImports: []string{"imgkeep/bucket"},
	}
	if got := violations(good); len(got) != 0 {
		t.Errorf("a good package: %q", got)
	}
}

// drawing is the drawing of ARCHITECTURE.md: the line of each package, counted from the top.
func drawing(text string) map[string]int {
	_, text, _ = strings.Cut(text, "Arrows go down only")
	_, text, _ = strings.Cut(text, "```\n")
	text, _, _ = strings.Cut(text, "```")
	lines, n := map[string]int{}, 0
	for line := range strings.Lines(text) {
		columns := strings.Split(line, "  ")
		if columns[0] != "" { // otherwise it continues the one before
			n++
		}
		for _, p := range strings.Fields(strings.Join(columns[1:], " ")) {
			if below, ok := strings.CutPrefix(p, "app"); ok {
				p = "cmd/imgkeep/app" + below
			}
			lines[p] = n
		}
	}
	return lines
}

// upward are the imports of a package that the drawing does not show as going down.
func upward(lines map[string]int, p listed) (all []string) {
	path := strings.TrimPrefix(p.ImportPath, module+"/")
	if lines[path] == 0 {
		return []string{path + " is not drawn"}
	}
	for _, i := range p.Imports {
		if to, ours := strings.CutPrefix(i, module+"/"); ours && lines[to] <= lines[path] {
			all = append(all, fmt.Sprintf("%s imports %s, which is not drawn below it", path, to))
		}
	}
	return all
}

// The drawing in ARCHITECTURE.md has each package, and no import goes up in it.
func TestDrawing(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	lines := drawing(string(text))
	for _, p := range goList(t, "./bucket/...", "./cmd/...", "./nginx/...", "./resize/...", "./sign/...") {
		if strings.HasSuffix(p.ImportPath, "test") { // for tests
			continue
		}
		for _, u := range upward(lines, p) {
			t.Error(u)
		}
	}
	for path := range lines {
		if _, ok := rules[path]; !ok {
			t.Errorf("%s is drawn, and there is no such package", path)
		}
	}
	lines = drawing("Arrows go down only:\n```\ntop, of all   app/x  b\n              c\nlow           d\n```\n")
	for want, p := range map[string]listed{
		"":                 {ImportPath: "imgkeep/b", Imports: []string{"fmt", "imgkeep/d"}},
		"new is not drawn": {ImportPath: "imgkeep/new"},
		"d imports cmd/imgkeep/app/x, which is not drawn below it": {ImportPath: "imgkeep/d", Imports: []string{"imgkeep/cmd/imgkeep/app/x"}},
		"b imports c, which is not drawn below it":                 {ImportPath: "imgkeep/b", Imports: []string{"imgkeep/c"}},
		"c imports new, which is not drawn below it":               {ImportPath: "imgkeep/c", Imports: []string{"imgkeep/new"}},
	} {
		if got := strings.Join(upward(lines, p), ", "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

const (
	maxFiles    = 15   // of a package, without tests
	maxLines    = 3500 // of a package
	maxFunction = 70   // lines of a function
)

// larger are packages and functions that are larger still, and are to be cut. The
// commands are a file each.
var larger = []string{
	"cmd/imgkeep/app",
}

// A package is read in an afternoon, and a function on a screen.
func TestSmallEnough(t *testing.T) {
	t.Parallel()
	for _, p := range goList(t, "./...") {
		path := strings.TrimPrefix(p.ImportPath, module+"/")
		if path == "bucket/probe/probetest" { // tables
			continue
		}
		files, lines := slices.Concat(p.GoFiles, p.CgoFiles), 0
		for _, name := range files {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(text, []byte("\n"))
			for function, n := range longFunctions(t, name, text) {
				if !slices.Contains(larger, path+"."+function) {
					t.Errorf("%s.%s has %d lines, more than %d", path, function, n, maxFunction)
				}
			}
		}
		if (len(files) > maxFiles || lines > maxLines) && !slices.Contains(larger, path) {
			t.Errorf("%s has %d files and %d lines; want at most %d and %d", path, len(files), lines, maxFiles, maxLines)
		}
	}
}

// longFunctions are those of a file that have too many lines.
func longFunctions(t *testing.T, name string, text []byte) map[string]int {
	t.Helper()
	set := gotoken.NewFileSet()
	file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	long := map[string]int{}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > maxFunction {
			long[f.Name.Name] = n
		}
	}
	return long
}

func TestLongFunctions(t *testing.T) {
	t.Parallel()
	body := func(n int) string { return "func f() {" + strings.Repeat("\n", n-1) + "}\n" }
	for n, want := range map[int]int{maxFunction: 0, maxFunction + 1: maxFunction + 1} {
		if got := longFunctions(t, "a.go", []byte("package a\n"+body(n)))["f"]; got != want {
			t.Errorf("a function of %d lines: %d, want %d", n, got, want)
		}
	}
}

// A newcomer sees the architecture in the list of folders.
func TestFolders(t *testing.T) {
	t.Parallel()
	entries, err := os.ReadDir(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"bucket", "cmd", "contrib", "nginx", "resize", "scripts", "sign"}
	built := []string{"bin", "var", "dist"} // by scripts/run and scripts/package; git ignores them
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(allowed, e.Name()) && !slices.Contains(built, e.Name()) {
			t.Errorf("there is a folder %s; want only %v", e.Name(), allowed)
		}
	}
}
