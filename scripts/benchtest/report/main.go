// Command report puts what benchmarks have printed into contrib/BENCHMARKS.md, or compares
// it with what stands there. scripts/bench calls it.
//
//	report contrib/BENCHMARKS.md 'machine and versions' page.txt serve.txt …
//	report -compare contrib/BENCHMARKS.md page.txt …
//
// Each text is the output of the table that its file is named after. The document has a
// place for each, between comments, and one for all ratios, with their aims; what stands
// outside of these places is written by hand, and stays. A ratio that no text has stays as
// well. -compare ends with status 1 if something has become slower.
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"imgkeep/scripts/benchtest"
)

// aim is what a ratio should be at least, or at most.
type aim struct {
	name string
	most bool // the lower, the better
	aim  float64
}

// aims are those of all ratios that have one, in the order of the document.
var aims = []aim{
	{"hot JPEG, requests of nginx static", false, 0.97},
	{"hot mix, requests of nginx static", false, 0.92},
	{"500,000 hot links by chance, requests of as many static files", false, 0.9},
	{"X-Accel-Redirect, requests of Go's shortest handler that does the same", false, 0.95},
	{"direct, requests of http.FileServer", false, 1},
	{"page, 1 viewer, time of imgproxy's", true, 0.5},
	{"page, 1 viewer, CPU of imgproxy's", true, 0.45},
	{"page, 1 viewer, memory of imgproxy's", true, 0.5},
	{"page, 4 viewers, time of imgproxy's", true, 0.5},
	{"page, 4 viewers, CPU of imgproxy's", true, 0.45},
	{"page, 4 viewers, memory of imgproxy's", true, 0.5},
	{"page, 16 viewers, time of imgproxy's", true, 0.5},
	{"page, 16 viewers, CPU of imgproxy's", true, 0.45},
	{"page, 16 viewers, memory of imgproxy's", true, 0.5},
	{"one size of a JPEG, CPU of imgproxy's", true, 0.8},
	{"keep, 64 clients, of a bare loop", false, 0.9},
	{"keep, 64 clients, 2 buckets, of a bare loop", false, 0.9},
	{"keep on several nodes, 16 clients, of the store's own PUTs", false, 0.3},
	{"keep on several nodes, 64 clients, of the store's own PUTs", false, 0.3},
	{"hot on a node, requests of a single machine", false, 0.95},
	{"populate without a server, of wget", false, 1.2},
	{"populate by a server, of wget", false, 1.2},
	{"requests among 1000000 images, of requests of 100 of them", false, 0.9},
	{"requests among 10000000 images, of requests of 100 of them", false, 0.9},
}

func main() {
	compare := flag.Bool("compare", false, "say what has become slower, and change nothing")
	flag.Parse()
	slower, err := run(*compare, flag.Args())
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(2)
	case slower:
		os.Exit(1)
	}
}

func run(compare bool, args []string) (slower bool, err error) {
	least := 3
	if compare {
		least = 2
	}
	if len(args) < least {
		return false, errors.New("want a document, what was measured with, and texts")
	}
	document, err := os.ReadFile(args[0])
	if err != nil {
		return false, err
	}
	outputs := map[string]string{}
	for _, path := range args[least-1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		outputs[strings.TrimSuffix(filepath.Base(path), ".txt")] = string(text)
	}
	if compare {
		lines := compared(string(document), outputs)
		fmt.Print(strings.Join(lines, ""))
		return len(lines) > 0, nil
	}
	return false, os.WriteFile(args[0], []byte(filled(string(document), args[1], outputs)), 0o644)
}

// between is the place of a name in the document.
func between(name string) *regexp.Regexp {
	return regexp.MustCompile(`(?s)<!-- begin ` + regexp.QuoteMeta(name) + ` -->\n.*?<!-- end ` + regexp.QuoteMeta(name) + ` -->\n`)
}

// put replaces what stands at a place, or adds a section for it at the end.
func put(document, name, text string) string {
	place := fmt.Sprintf("<!-- begin %s -->\n%s<!-- end %s -->\n", name, text, name)
	if at := between(name).FindStringIndex(document); at != nil {
		return document[:at[0]] + place + document[at[1]:]
	}
	return fmt.Sprintf("%s\n## %s\n\n`scripts/bench %s`:\n\n%s", document, name, name, place)
}

// filled is the document with the outputs in their places.
func filled(document, machine string, outputs map[string]string) string {
	all := known(document)
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if t := append(tables(outputs[name]), rates(outputs[name])...); len(t) > 0 {
			document = put(document, name, strings.Join(t, "\n"))
		}
		for _, r := range ratios(outputs[name]) {
			all[r.Name] = benchtest.Spread(r.Figures) + rounds(r)
		}
	}
	return put(document, "ratios", machine+"\n\n"+summary(all))
}

func rounds(r benchtest.Ratio) string {
	if len(r.Figures) == 1 {
		return ", one round"
	}
	return fmt.Sprintf(", %d rounds", len(r.Figures))
}

// tables are those of an output, in Markdown: what has a head. Rows that were printed while others
// were still measured stand in a table later.
func tables(output string) (all []string) {
	table := ""
	for line := range strings.Lines(output + "\n") {
		if strings.HasPrefix(line, "|") {
			table += line
			continue
		}
		if _, below, _ := strings.Cut(table, "\n"); strings.HasPrefix(below, "| ---") {
			all = append(all, table)
		}
		table = ""
	}
	return all
}

var (
	benchmark = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s.*\s([0-9.e+]+) ratio(?:\s|$)`)
	metric    = regexp.MustCompile(`\s([0-9.e+]+) (\S+/s|ratio)`)
)

// rates are tables of the benchmarks in an output that report rates and their ratio, one for those
// that have the same, with the medians of the rounds.
func rates(output string) (all []string) {
	figures := map[string]map[string][]float64{} // by the head of a table, then by row and column
	rows := map[string][]string{}
	var heads []string
	for line := range strings.Lines(output) {
		m := benchmark.FindStringSubmatch(line)
		columns := metric.FindAllStringSubmatch(line, -1)
		if m == nil || len(columns) < 2 {
			continue
		}
		head := "| medians |"
		for _, c := range columns {
			head += " " + c[2] + " |"
		}
		if figures[head] == nil {
			heads, figures[head] = append(heads, head), map[string][]float64{}
		}
		row := named(m[1])
		if !slices.Contains(rows[head], row) {
			rows[head] = append(rows[head], row)
		}
		for _, c := range columns {
			f, _ := strconv.ParseFloat(c[1], 64)
			figures[head][row+c[2]] = append(figures[head][row+c[2]], f)
		}
	}
	for _, head := range heads {
		units := strings.Split(strings.Trim(head, "| "), " | ")[1:]
		table := head + "\n|" + strings.Repeat(" --- |", len(units)+1) + "\n"
		for _, row := range rows[head] {
			table += "| " + row + " |"
			for _, unit := range units {
				form := " %.0f |"
				if unit == "ratio" {
					form = " %.2f |"
				}
				table += fmt.Sprintf(form, benchtest.Median(figures[head][row+unit]))
			}
			table += "\n"
		}
		all = append(all, table)
	}
	return all
}

// ratios are those of an output: the lines that benchtest.Ratio prints, and the metric
// "ratio" of benchmarks, which are repeated.
func ratios(output string) (all []benchtest.Ratio) {
	lines := bufio.NewScanner(strings.NewReader(output))
	for lines.Scan() {
		r, ok := benchtest.ParseRatio(lines.Text())
		if m := benchmark.FindStringSubmatch(lines.Text()); m != nil {
			f, err := strconv.ParseFloat(m[2], 64)
			r, ok = benchtest.Ratio{Name: named(m[1]), Figures: []float64{f}}, err == nil
		}
		if !ok {
			continue
		}
		if i := slices.IndexFunc(all, func(other benchtest.Ratio) bool { return other.Name == r.Name }); i >= 0 {
			all[i].Figures = append(all[i].Figures, r.Figures...)
		} else {
			all = append(all, r)
		}
	}
	return all
}

// named is what a benchmark that reports a ratio compares.
func named(benchmark string) string {
	if clients, ok := strings.CutPrefix(benchmark, "Keep/clients="); ok {
		clients, buckets, several := strings.Cut(clients, ",buckets=")
		if several {
			buckets = ", " + buckets + " buckets"
		}
		return "keep, " + clients + " clients" + buckets + ", of a bare loop"
	}
	if clients, ok := strings.CutPrefix(benchmark, "Keep/"); ok { // of bucket/ledger/shared
		return "keep on several nodes, " + clients + " clients, of the store's own PUTs"
	}
	if benchmark == "NodeHot" {
		return "hot on a node, requests of a single machine"
	}
	return benchmark
}

var summaryRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| ([0-9.]+[^|]*) \|[^|]*\|[^|]*\|$`)

// known are the ratios that stand in the document, as text, by their names.
func known(document string) map[string]string {
	all := map[string]string{}
	for _, m := range summaryRow.FindAllStringSubmatch(between("ratios").FindString(document), -1) {
		all[m[1]] = m[2]
	}
	return all
}

// first is the number that a text begins with.
func first(text string) float64 {
	number, _, _ := strings.Cut(strings.TrimRight(text, ","), " ")
	f, _ := strconv.ParseFloat(strings.TrimRight(number, ","), 64)
	return f
}

// summary is the table of ratios: those with an aim first.
func summary(all map[string]string) string {
	var out strings.Builder
	out.WriteString("| ratio | median (lowest to highest) | aim | |\n| --- | --- | --- | --- |\n")
	rest := slices.Sorted(maps.Keys(all))
	for _, a := range aims {
		text, ok := all[a.name]
		if !ok {
			continue
		}
		rest = slices.DeleteFunc(rest, func(name string) bool { return name == a.name })
		verdict := "met"
		if f := first(text); a.most && f > a.aim || !a.most && f < a.aim {
			verdict = "**falls short**"
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s |\n", a.name, text, a, verdict)
	}
	for _, name := range rest {
		fmt.Fprintf(&out, "| %s | %s | | |\n", name, all[name])
	}
	return out.String()
}

func (a aim) String() string {
	if a.most {
		return fmt.Sprintf("at most %v", a.aim)
	}
	return fmt.Sprintf("at least %v", a.aim)
}

// tolerance is how much worse a median may be than the one in the document: as much as the
// same code differs from run to run.
const tolerance = 0.1

// compared says of which ratios the median has become worse, a line for each. Only those
// with an aim have a better and a worse.
func compared(document string, outputs map[string]string) (lines []string) {
	was := known(document)
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		for _, r := range ratios(outputs[name]) {
			i := slices.IndexFunc(aims, func(a aim) bool { return a.name == r.Name })
			if i < 0 || was[r.Name] == "" {
				continue
			}
			now, then := benchtest.Median(r.Figures), first(was[r.Name])
			if aims[i].most && now > then*(1+tolerance) || !aims[i].most && now < then*(1-tolerance) {
				lines = append(lines, fmt.Sprintf("slower: %s: %s, and was %s\n", r.Name, benchtest.Spread(r.Figures), was[r.Name]))
			}
		}
	}
	return lines
}
