package plot

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// parse makes sure that a plot is well-formed, and counts its elements by name and class.
func parse(t *testing.T, text string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for dec := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return counts
		}
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if e, ok := token.(xml.StartElement); ok {
			name := e.Name.Local
			for _, a := range e.Attr {
				if a.Name.Local == "style" || strings.HasPrefix(a.Name.Local, "on") {
					t.Errorf("%s has %s", name, a.Name.Local)
				}
				if a.Name.Local == "class" {
					name += "." + a.Value
				}
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s is %s", a.Name.Local, a.Value)
				}
			}
			counts[name]++
		}
	}
}

const hostile = `"><script>alert(1)</script>&`

// Each kind draws what there is, whatever the values and names are.
func TestSVG(t *testing.T) {
	values := []float64{0, 1, -1, math.NaN(), math.Inf(1), 1e300, 7}
	labels := []string{"a", "b", hostile, "", "e", "f", strings.Repeat("long ", 50)}
	for kind, want := range map[Kind]map[string]int{
		Columns: {"svg.plot": 1, "rect.s0": 3, "rect.s1": 3, "line.rule": 3},
		Bars:    {"svg.plot": 1, "rect.s0": 7},
		Lines:   {"svg.plot": 1, "path.line s0": 1, "path.line s1": 1, "line.rule": 3},
	} {
		p := Plot{Kind: kind, Title: hostile, Labels: labels, Series: []Series{{hostile, values}, {"two", values}}}
		text := string(SVG(p))
		got := parse(t, text)
		for name, n := range want {
			if got[name] != n {
				t.Errorf("kind %d: %d %s, want %d", kind, got[name], name, n)
			}
		}
		if strings.Contains(text, "<script") {
			t.Errorf("kind %d: markup of a stranger", kind)
		}
		if rows := p.Rows(); len(rows) != len(labels) || len(rows[0]) != 3 || rows[3][1] != "–" || rows[1][1] != "1" {
			t.Errorf("kind %d: %q", kind, rows)
		}
	}
}

func TestEmpty(t *testing.T) {
	for name, p := range map[string]Plot{
		"nothing": {}, "no values": {Labels: []string{"a"}, Series: []Series{{}}}, "zeros": {Labels: []string{"a"}, Series: []Series{{"x", []float64{0}}}},
	} {
		if !p.Empty() || SVG(p) != "" {
			t.Errorf("%s: %s", name, SVG(p))
		}
	}
	if (Plot{Labels: []string{"a"}, Series: []Series{{"x", []float64{1}}}}).Empty() {
		t.Error("a value is nothing")
	}
}

// No more than maxPoints are drawn: the last ones.
func TestMaxPoints(t *testing.T) {
	for _, n := range []int{maxPoints, maxPoints + 1, 3 * maxPoints} {
		p := Plot{Series: []Series{{Name: "x"}}}
		for range n {
			p.Labels, p.Series[0].Values = append(p.Labels, "old"), append(p.Series[0].Values, 1)
		}
		p.Labels[n-1] = "new"
		text := string(SVG(p))
		if got := parse(t, text)["rect.s0"]; got != maxPoints || !strings.Contains(text, "new: x 1") {
			t.Errorf("of %d: %d", n, got)
		}
	}
}

func TestRound(t *testing.T) {
	for v, want := range map[float64]float64{0: 1, 1: 1, 1.1: 2, 2: 2, 3: 5, 7: 10, 10: 10, 11: 20, 499: 500, 0.03: 0.05} {
		if got := round(v); math.Abs(got-want) > 1e-9 {
			t.Errorf("%v: %v, want %v", v, got, want)
		}
	}
}
