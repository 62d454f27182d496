// Package debian_test makes the Debian package, and installs, upgrades, removes
// and purges it in a folder: what it brings works from there, and nothing that is
// the administrator's or that nobody else has is lost.
package debian_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	// Not what this machine is set to; no network; and no minute for packing.
	cmd.Env = append(os.Environ(), "DPKG_DEB_COMPRESSOR_TYPE=gzip", "DPKG_DEB_COMPRESSOR_LEVEL=1", "LC_ALL=C.UTF-8", "DEBFULLNAME=Nobody", "DEBEMAIL=nobody@example.com", "GOFLAGS=-buildvcs=false", "GOPROXY=off")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &out, &errs)
	}
	return out.String()
}

// The package is made once, in a folder for all tests.
var (
	built string
	once  sync.Once
	first string
	// printed is what scripts/package has printed.
	printed string
)

// packaged returns what scripts/package prints.
func packaged(t *testing.T) string {
	t.Helper()
	build(t)
	return printed
}

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if built, err = os.MkdirTemp("", "package"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(built)
		return m.Run()
	}())
}

// build returns the path of the package, of version 1.0.0.
func build(t *testing.T) string {
	t.Helper()
	once.Do(func() {
		out := run(t, filepath.Join("..", "..", "scripts", "package"), "--version", "1.0.0", built)
		printed, first = out, strings.TrimSpace(out)
	})
	if first == "" {
		t.Fatal("the package could not be made")
	}
	return first
}

// upgrade is a package with a higher version.
func upgrade(t *testing.T, deb string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	run(t, "dpkg-deb", "--raw-extract", deb, dir)
	control := filepath.Join(dir, "DEBIAN", "control")
	text, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("Version: 1.0.0\n"), []byte("Version: 1.1.0\n"), 1)
	if err := os.WriteFile(control, text, 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "dpkg-deb", "--root-owner-group", "--build", dir, dir+".deb")
	return dir + ".deb"
}

// system is a folder that dpkg installs into.
type system struct {
	t    *testing.T
	root string
}

func newSystem(t *testing.T) system {
	t.Helper()
	s := system{t, t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "etc"} {
		if err := os.MkdirAll(filepath.Join(s.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		s.write(file, "")
	}
	s.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/false\n")
	s.write("etc/group", "root:x:0:\nwww-data:x:33:\n")
	return s
}

// dpkg runs dpkg on the folder: its scripts run here, and know the folder by
// DPKG_ROOT. What it depends on is not there.
func (s system) dpkg(args ...string) string {
	s.t.Helper()
	return run(s.t, "dpkg", append([]string{
		"--root=" + s.root, "--force-script-chrootless", "--force-depends", "--force-not-root", "--log=" + filepath.Join(s.root, "dpkg.log"),
	}, args...)...)
}

func (s system) path(name string) string { return filepath.Join(s.root, name) }

func (s system) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s system) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func (s system) there(want bool, names ...string) {
	s.t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(s.path(name)); (err == nil) != want || err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Errorf("%s: %v; want it there: %v", name, err, want)
		}
	}
}

const (
	conf = "etc/imgkeep/imgkeep.yaml"
	part = "etc/imgkeep/imgkeep.d/local.yaml"
)

func TestPackage(t *testing.T) {
	first := build(t)
	second := upgrade(t, first)
	info := run(t, "dpkg-deb", "--info", first)
	if strings.Contains(info, " conffiles") {
		t.Error("it has files about which an upgrade may ask")
	}
	for _, want := range []string{"Version: 1.0.0\n", "libvips42", "Maintainer: Nobody <nobody@example.com>\n"} {
		if !strings.Contains(info, want) {
			t.Errorf("the package does not say %q:\n%s", want, info)
		}
	}
	// The encoder of AVIF is a package of its own where libheif has such, as on Debian 13.
	plugins := strings.Contains(run(t, "dpkg-query", "-W", "-f", "${Depends} ${Recommends}", "libheif1"), "libheif-plugin-")
	if got := strings.Contains(info, "\n Recommends: nginx, openssl, libheif-plugin-aomenc\n"); got != plugins {
		t.Errorf("it recommends the encoder of AVIF: %v, want %v:\n%s", got, plugins, info)
	}
	if strings.Contains(info, ": @") {
		t.Errorf("something was not filled in:\n%s", info)
	}
	for line := range strings.Lines(run(t, "dpkg-deb", "--contents", first)) {
		if f := strings.Fields(line); f[1] != "root/root" || strings.Contains(f[0][1:], "s") || f[0][8] == 'w' && f[0][0] != 'l' {
			t.Errorf("owner or mode: %s", line)
		}
	}

	s := newSystem(t)
	s.dpkg("--install", first)
	programs := []string{"usr/bin/imgkeep", "usr/bin/imgkeep-resize"}
	s.there(true, programs...)
	s.there(true, conf, "usr/lib/systemd/system/imgkeep.service", "usr/lib/systemd/system/imgkeep.socket",
		"usr/lib/systemd/system/imgkeep-expire.timer", "usr/lib/systemd/system/imgkeep-expire.service",
		"usr/lib/systemd/system/nginx.service.d/imgkeep.conf", "usr/lib/sysusers.d/imgkeep.conf", "usr/lib/tmpfiles.d/imgkeep.conf",
		"usr/share/man/man1/imgkeep.1.gz", "usr/share/man/man1/imgkeep-populate.1.gz", "usr/share/man/man1/imgkeep-resize.1.gz",
		"usr/share/doc/imgkeep/README.md", "usr/share/doc/imgkeep/README.Debian", "usr/share/doc/imgkeep/copyright",
		"usr/share/doc/imgkeep/clients/php/Imgkeep.php", "usr/share/doc/imgkeep/nginx.conf", "usr/share/bash-completion/completions/imgkeep")
	s.there(false, "usr/share/doc/imgkeep/clients/clients_test.go")
	if passwd := s.read("etc/passwd"); !strings.Contains(passwd, "\nimgkeep:x:") {
		t.Errorf("there is no user imgkeep:\n%s", passwd)
	}
	if group := s.read("etc/group"); !strings.Contains(group, "\nimgkeep:x:") || !strings.Contains(group, ":www-data\n") {
		t.Errorf("www-data is not in the group imgkeep:\n%s", group)
	}
	secret := s.read("etc/imgkeep/secret")
	if info, err := os.Stat(s.path("etc/imgkeep/secret")); err != nil || info.Mode().Perm() != 0o600 || len(secret) < 40 {
		t.Errorf("the secret: %v, %v, %d bytes", info.Mode(), err, len(secret))
	}
	// It is the server of that version, and its configuration fits the units.
	if out := run(t, s.path("usr/bin/imgkeep"), "version"); !strings.HasPrefix(out, "imgkeep v1.0.0 (") {
		t.Errorf("version: %s", out)
	}
	out := run(t, s.path("usr/bin/imgkeep"), "config", "--config", s.path(conf))
	for _, want := range []string{"listen: unix:/run/imgkeep/http.sock", "handoff: nginx", "root: /var/lib/imgkeep"} {
		if !strings.Contains(out, want) {
			t.Errorf("the configuration has no %q:\n%s", want, out)
		}
	}
	if !strings.Contains(s.read("usr/lib/systemd/system/imgkeep.socket"), "ListenStream=/run/imgkeep/http.sock\n") ||
		!strings.Contains(s.read("usr/share/doc/imgkeep/nginx.conf"), "unix:/run/imgkeep/http.sock") {
		t.Error("socket and site are elsewhere")
	}
	if page := run(t, "man", "--warnings", "-l", s.path("usr/share/man/man1/imgkeep-populate.1.gz")); !strings.Contains(page, "imgkeep populate [FILE]") {
		t.Errorf("the manual page:\n%s", page)
	}

	// What the administrator has set holds, and stays, and so does the secret.
	s.write(part, "sizes: [100]\n")
	if out := run(t, s.path("usr/bin/imgkeep"), "config", "--config", s.path(conf)); !strings.Contains(out, "sizes: [100] # "+s.path(part)+":1\n") {
		t.Errorf("the part does not hold:\n%s", out)
	}
	s.write(conf, s.read(conf)+"base_url: https://img.example.net\n")
	changed := s.read(conf)
	s.dpkg("--install", second)
	if out := run(t, "dpkg-query", "--admindir="+s.path("var/lib/dpkg"), "-W", "-f", "${Status} ${Version}", "imgkeep"); out != "install ok installed 1.1.0" {
		t.Errorf("after the upgrade: %s", out)
	}
	if s.read(conf) != changed || s.read(part) != "sizes: [100]\n" {
		t.Errorf("the upgrade has changed the configuration: %s%s", s.read(conf), s.read(part))
	}
	if s.read("etc/imgkeep/secret") != secret {
		t.Error("the upgrade has changed the secret: all links are broken")
	}

	image := "var/lib/imgkeep/i/a/b/image.jpg"
	if err := os.MkdirAll(filepath.Dir(s.path(image)), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write(image, "an image")
	s.dpkg("--remove", "imgkeep")
	s.there(false, programs...)
	s.there(false, "usr/lib/systemd/system/imgkeep.service", "usr/share/doc/imgkeep")
	s.there(true, conf, "etc/imgkeep/secret", image)
	s.dpkg("--purge", "imgkeep")
	s.there(false, "etc/imgkeep")
	s.there(true, image)
}
