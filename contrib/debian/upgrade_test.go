package debian_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Earlier packages brought the whole configuration as a file that dpkg asks about. An
// upgrade from one asks nothing, whether it was changed or not, and it goes on holding.
func TestUpgradeOfWholeConfiguration(t *testing.T) {
	second := build(t)
	whole, err := os.ReadFile(filepath.Join("..", "imgkeep.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	whole = []byte(strings.NewReplacer("\nhandoff: direct\n", "\nhandoff: nginx\n", "\nlisten: 127.0.0.1:8091\n", "\nlisten: unix:/run/imgkeep/http.sock\n").Replace(string(whole)))
	tree := filepath.Join(t.TempDir(), "tree")
	run(t, "dpkg-deb", "--raw-extract", second, tree)
	control, err := os.ReadFile(filepath.Join(tree, "DEBIAN", "control"))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"DEBIAN/control":           strings.Replace(string(control), "Version: 1.0.0\n", "Version: 0.9.0\n", 1),
		"DEBIAN/conffiles":         "/etc/imgkeep/imgkeep.yaml\n",
		"etc/imgkeep/imgkeep.yaml": string(whole),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(tree, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	first := tree + ".deb"
	run(t, "dpkg-deb", "--root-owner-group", "--build", tree, first)
	for name, text := range map[string]string{"as it came": string(whole), "changed": strings.Replace(string(whole), "\nsizes: [150, 200, 250, 500]\n", "\nsizes: [123]\n", 1)} {
		s := newSystem(t)
		s.dpkg("--install", first)
		s.write(conf, text)
		s.dpkg("--install", second) // its standard input is empty: a question would be an error
		if got := s.read(conf); got != text {
			t.Errorf("%s: the upgrade has changed it: %.200q", name, got)
		}
		out := run(t, s.path("usr/bin/imgkeep"), "config", "--config", s.path(conf))
		if want := map[string]string{"as it came": "sizes: [150, 200, 250, 500]", "changed": "sizes: [123]"}[name]; !strings.Contains(out, want) || !strings.Contains(out, "handoff: nginx") {
			t.Errorf("%s: it does not hold:\n%s", name, out)
		}
		s.dpkg("--purge", "imgkeep")
		s.there(false, "etc/imgkeep")
	}
}

// scripts/package says where the package is, and nothing else, on standard output.
func TestPackagePath(t *testing.T) {
	if out := packaged(t); out != build(t)+"\n" {
		t.Errorf("standard output is %q", out)
	}
}

// lintian has nothing to say of the package. scripts/test --all installs it.
func TestLintian(t *testing.T) {
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip("lintian is not installed: scripts/test --all installs it, and so does scripts/package --lint")
	}
	if testing.Short() {
		t.Skip("lintian takes some seconds: scripts/test --all runs it")
	}
	if out := run(t, filepath.Join("..", "..", "scripts", "package"), "--lint", "--version", "1.0.0", t.TempDir()); !strings.HasSuffix(out, ".deb\n") {
		t.Errorf("%s", out)
	}
}
