package metrics

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// alertTests are the unit tests of the alerts, in Prometheus' own form.
var alertTests = []string{"imgkeep.test.yml", "imgkeep-days.test.yml"}

const prometheusFolder = "../../../../contrib/prometheus"

// Each alert has a test in which it fires, and one in which it does not.
func TestAlertsHaveTests(t *testing.T) {
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert string }
		}
	}
	decode(t, "imgkeep.rules.yml", &rules)
	fires, silent := map[string]bool{}, map[string]bool{}
	for _, name := range alertTests {
		var file struct {
			Tests []struct {
				AlertRuleTest []struct {
					Alertname string `yaml:"alertname"`
					ExpAlerts []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		decode(t, name, &file)
		for _, test := range file.Tests {
			for _, a := range test.AlertRuleTest {
				if len(a.ExpAlerts) > 0 {
					fires[a.Alertname] = true
				} else {
					silent[a.Alertname] = true
				}
			}
		}
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if n++; !fires[r.Alert] || !silent[r.Alert] {
				t.Errorf("%s: fires in a test: %v; is silent in one: %v", r.Alert, fires[r.Alert], silent[r.Alert])
			}
		}
	}
	if n == 0 || len(fires) > n || len(silent) > n {
		t.Errorf("%d alerts, and tests of %d and %d", n, len(fires), len(silent))
	}
}

func decode(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(prometheusFolder, name))
	if err == nil {
		err = yaml.Unmarshal(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// promtool says that the alerts do what their tests want. scripts/test takes it from Debian's
// package promtool, or prometheus on Debian 12.
func TestAlerts(t *testing.T) {
	promtool := os.Getenv("PROMTOOL")
	if promtool == "" {
		var err error
		if promtool, err = exec.LookPath("promtool"); err != nil {
			t.Skip("promtool is neither in PATH nor named by PROMTOOL: Debian's package prometheus has it, and scripts/test takes it from there")
		}
	}
	for _, args := range [][]string{{"check", "rules", "imgkeep.rules.yml"}, append([]string{"test", "rules"}, alertTests...)} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = prometheusFolder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
