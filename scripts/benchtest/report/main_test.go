package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const document = `# Benchmarks

By hand.

<!-- begin ratios -->
old
| hot mix, requests of nginx static | 0.93 (0.90 to 0.95), 5 rounds | at least 0.92 | met |
| of another run | 3.00, one round | | |
<!-- end ratios -->

## Serving

<!-- begin serve -->
| old |
<!-- end serve -->

More by hand.
`

const served = "ok so far\n| of a row | so far |\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nRATIO\thot mix, requests of nginx static\t0.9\t0.8\t0.7\n| c |\n| --- |\n" +
	"RATIO\tpage, 1 viewer, CPU of imgproxy's\t0.45\n" +
	"BenchmarkKeep/clients=64-2  10  5 ns/op  0.91 ratio\nBenchmarkKeep/clients=64-2  10  5 ns/op  0.95 ratio\nBenchmarkKeep/clients=64-2  10  5 ns/op  0.89 ratio\n"

func TestFilled(t *testing.T) {
	got := filled(document, "A machine.", map[string]string{"serve": served, "new": "| n |\n| --- |\n"})
	want := `# Benchmarks

By hand.

<!-- begin ratios -->
A machine.

| ratio | median (lowest to highest) | aim | |
| --- | --- | --- | --- |
| hot mix, requests of nginx static | 0.80 (0.70 to 0.90), 3 rounds | at least 0.92 | **falls short** |
| page, 1 viewer, CPU of imgproxy's | 0.45, one round | at most 0.45 | met |
| keep, 64 clients, of a bare loop | 0.91 (0.89 to 0.95), 3 rounds | at least 0.9 | met |
| of another run | 3.00, one round | | |
<!-- end ratios -->

## Serving

<!-- begin serve -->
| a | b |
| --- | --- |
| 1 | 2 |

| c |
| --- |
<!-- end serve -->

More by hand.

## new

` + "`scripts/bench new`:" + `

<!-- begin new -->
| n |
| --- |
<!-- end new -->
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if again := filled(got, "A machine.", map[string]string{"serve": served, "new": "| n |\n| --- |\n"}); again != got {
		t.Errorf("the second time:\n%s", again)
	}
}

// Benchmarks that report rates become a table for those of one kind.
func TestRates(t *testing.T) {
	const output = "goos: linux\n" +
		"BenchmarkKeep/clients=1-2 \t 1500\t 1070 bare/s\t 684.6 kept/s\t 0.6400 ratio\n" +
		"BenchmarkKeep/clients=1-2 \t 1500\t 1010 bare/s\t 500 kept/s\t 0.5000 ratio\n" +
		"BenchmarkKeep/clients=1-2 \t 1500\t 2000 bare/s\t 700 kept/s\t 0.3500 ratio\n" +
		"BenchmarkNodeHot-2 \t 1\t 88400 node/s\t 1.002 ratio\t 88255 single/s\n" +
		"BenchmarkKeep/clients=64-2 \t 1500\t 1e+03 bare/s\t 900 kept/s\t 0.9000 ratio\n" +
		"BenchmarkOther-2 \t 1500\t 3 ns/op\t 0.9000 ratio\nPASS\n"
	want := []string{
		"| medians | bare/s | kept/s | ratio |\n| --- | --- | --- | --- |\n" +
			"| keep, 1 clients, of a bare loop | 1070 | 685 | 0.50 |\n| keep, 64 clients, of a bare loop | 1000 | 900 | 0.90 |\n",
		"| medians | node/s | ratio | single/s |\n| --- | --- | --- | --- |\n" +
			"| hot on a node, requests of a single machine | 88400 | 1.00 | 88255 |\n",
	}
	if got := rates(output); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCompared(t *testing.T) {
	for _, c := range []struct {
		figure string
		slower bool
	}{{"0.84", false}, {"0.83", true}, {"2", false}} {
		lines := compared(document, map[string]string{"serve": "RATIO\thot mix, requests of nginx static\t" + c.figure + "\nRATIO\tof another run\t0.1\nRATIO\tnew\t0.1\n"})
		if got := len(lines) > 0; got != c.slower {
			t.Errorf("%s: %q", c.figure, lines)
		}
	}
	worse := strings.Replace(document, "hot mix, requests of nginx static | 0.93 (0.90 to 0.95), 5 rounds", "page, 1 viewer, CPU of imgproxy's | 0.50, one round", 1)
	for figure, slower := range map[string]bool{"0.54": false, "0.56": true} {
		if lines := compared(worse, map[string]string{"page": "RATIO\tpage, 1 viewer, CPU of imgproxy's\t" + figure + "\n"}); (len(lines) > 0) != slower {
			t.Errorf("%s: %q", figure, lines)
		}
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	path, text := filepath.Join(dir, "B.md"), filepath.Join(dir, "serve.txt")
	for name, content := range map[string]string{path: document, text: served} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if slower, err := run(true, []string{path, text}); !slower || err != nil {
		t.Errorf("compare: %v, %v", slower, err)
	}
	if got, _ := os.ReadFile(path); string(got) != document {
		t.Error("comparing has changed the document")
	}
	if slower, err := run(false, []string{path, "A machine.", text}); slower || err != nil {
		t.Errorf("write: %v, %v", slower, err)
	}
	if got, _ := os.ReadFile(path); !strings.Contains(string(got), "falls short") {
		t.Errorf("written: %s", got)
	}
	if _, err := run(false, []string{path, "A machine."}); err == nil {
		t.Error("no texts: no error")
	}
}

func TestNamed(t *testing.T) {
	for name, want := range map[string]string{
		"Keep/clients=64":           "keep, 64 clients, of a bare loop",
		"Keep/clients=64,buckets=2": "keep, 64 clients, 2 buckets, of a bare loop",
		"Keep/16":                   "keep on several nodes, 16 clients, of the store's own PUTs",
		"NodeHot":                   "hot on a node, requests of a single machine",
		"Other/1":                   "Other/1",
	} {
		if got := named(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
