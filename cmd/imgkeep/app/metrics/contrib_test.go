package metrics

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"imgkeep/cmd/imgkeep/app/server"
)

var (
	metricName = regexp.MustCompile(`\bimgkeep_[a-z_]+`)
	labelValue = regexp.MustCompile(`\b(code|class|temperature|reason|kind|state|verb|result|outcome)(=~|!~|=|!=)"([^"]*)"`)
)

// series maps the names that can be asked for to the values of their labels.
func series(t *testing.T) map[string]map[string][]string {
	t.Helper()
	m := New("1.2.3")
	m.Watch(sources())
	m.ObjectRequests()
	for _, code := range server.Codes() {
		m.Answered(code, server.Cold, 1)
	}
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string][]string{}
	for _, f := range families {
		labels := map[string][]string{}
		for _, s := range f.GetMetric() {
			for _, l := range s.GetLabel() {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		names := []string{f.GetName()}
		if f.GetType().String() == "HISTOGRAM" {
			names = []string{f.GetName() + "_bucket", f.GetName() + "_sum", f.GetName() + "_count"}
		}
		for _, name := range names {
			all[name] = labels
		}
	}
	return all
}

// check holds an expression against the metrics: names and values of labels must
// exist. It returns the names.
func check(t *testing.T, where, expr string, all map[string]map[string][]string) []string {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	for _, name := range names {
		if all[name] == nil {
			t.Errorf("%s: there is no metric %s", where, name)
		}
	}
	for _, m := range labelValue.FindAllStringSubmatch(expr, -1) {
		for value := range strings.SplitSeq(m[3], "|") {
			if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(all[name][m[1]], value) }) {
				t.Errorf("%s: no metric in it has %s=%q", where, m[1], value)
			}
		}
	}
	return names
}

// The dashboard and the alerts ask for what there is, and the dashboard shows all
// of it.
func TestContrib(t *testing.T) {
	all := series(t)
	text, err := os.ReadFile("../../../../contrib/grafana/imgkeep.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	for _, p := range dashboard.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %s asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			names := check(t, "panel "+p.Title, target.Expr, all)
			if len(names) == 0 {
				t.Errorf("panel %s: %q asks for nothing of ours", p.Title, target.Expr)
			}
			for _, name := range names {
				shown[name] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if strings.HasPrefix(name, "imgkeep_") && !strings.HasSuffix(name, "_sum") && !strings.HasSuffix(name, "_count") && !shown[name] {
			t.Errorf("the dashboard does not show %s", name)
		}
	}

	if text, err = os.ReadFile("../../../../contrib/prometheus/imgkeep.rules.yml"); err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(text)))
	dec.KnownFields(true)
	if err := dec.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			check(t, "alert "+r.Alert, r.Expr, all)
			if !strings.HasPrefix(r.Alert, "Imgkeep") || r.Expr == "" || r.Annotations["summary"] == "" || !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("alert %+v", r)
			}
		}
	}
	if n < 10 {
		t.Errorf("%d alerts", n)
	}
}
