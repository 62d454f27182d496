// Package systemd_test holds the units of this folder to what they promise: that
// systemd understands them, how far they are hardened, and that links expire.
package systemd_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
)

// run runs a program of systemd, which on Debian is in the package systemd.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// units are copies of the units in a folder of their own, with a program that is
// installed everywhere in the place of imgkeep.
func units(t *testing.T) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	for _, pattern := range []string{"*.service", "*.socket", "*.timer"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		names = append(names, found...)
	}
	for i, name := range names {
		text := strings.ReplaceAll(read(t, name), "/usr/bin/imgkeep", "/bin/true")
		names[i] = filepath.Join(dir, name)
		if err := os.WriteFile(names[i], []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, names
}

func TestVerify(t *testing.T) {
	_, names := units(t)
	if out := run(t, "systemd-analyze", append([]string{"verify"}, names...)...); out != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
}

func TestSecurity(t *testing.T) {
	dir, _ := units(t)
	out := run(t, "systemd-analyze", "security", "--offline=true", "--no-pager", filepath.Join(dir, "imgkeep.service"))
	m := regexp.MustCompile(`Overall exposure level for imgkeep\.service: ([0-9.]+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no level in:\n%s", out)
	}
	if level, err := strconv.ParseFloat(m[1], 64); err != nil || level > 1.5 {
		t.Errorf("exposure level %s, want at most 1.5:\n%s", m[1], out)
	}
}

// Units, site and defaults agree on where things are.
func TestPaths(t *testing.T) {
	site := nginx.Default()
	socket := strings.TrimPrefix(site.Upstream, "unix:")
	for _, c := range []struct{ file, line string }{
		{"imgkeep.socket", "ListenStream=" + socket},
		{"imgkeep.service", "StateDirectory=" + strings.TrimPrefix(site.Root, "/var/lib/")},
		{"imgkeep.service", "RuntimeDirectory=" + strings.TrimPrefix(filepath.Dir(site.Hot), "/run/")},
		{"imgkeep.service", "RuntimeDirectory=" + strings.TrimPrefix(filepath.Dir(socket), "/run/")},
		{"imgkeep.service", "RuntimeDirectoryPreserve=yes"},
		{"imgkeep.service", "RestartPreventExitStatus=2"}, // app.ExitUsage: a wrong configuration is said once
		{"imgkeep.tmpfiles.conf", "d " + site.Hot + " 0711 imgkeep imgkeep m:1s"},
		{"imgkeep.tmpfiles.conf", "x " + site.Hot + "/.epoch"},
		{"imgkeep-expire.service", "ExecStart=/usr/bin/systemd-tmpfiles --clean --prefix=" + site.Hot + " imgkeep.conf"},
	} {
		if !strings.Contains("\n"+read(t, c.file), "\n"+c.line+"\n") {
			t.Errorf("%s lacks the line %q", c.file, c.line)
		}
	}
	m := regexp.MustCompile(`(?m)^LimitNOFILE=(\d+)$`).FindStringSubmatch(read(t, "nginx-imgkeep.conf"))
	if m == nil {
		t.Fatal("nginx-imgkeep.conf sets no limit")
	}
	if n, _ := strconv.Atoi(m[1]); n < (nginx.Main{Site: site, Connections: 16384}).Files() {
		t.Errorf("a limit of %d files is too low for %d files and 16384 connections", n, site.OpenFiles)
	}
}

// A unit of an instance is that of the one store, with its name wherever that has a
// name or a folder.
func TestInstances(t *testing.T) {
	names := strings.NewReplacer(
		"--prefix=/run/imgkeep/hot", "--prefix=/run/imgkeep-*/hot", // as the line that it chooses is spelled
		"/etc/imgkeep/imgkeep.yaml", "/etc/imgkeep/%i.yaml", "/etc/imgkeep/secret", "/etc/imgkeep/%i.secret",
		"Directory=imgkeep\n", "Directory=imgkeep-%i\n", "/run/imgkeep/", "/run/imgkeep-%i/", "image store", "image store (%i)",
		"imgkeep.service", "imgkeep@%i.service", "imgkeep.socket", "imgkeep@%i.socket", "imgkeep-expire.timer", "imgkeep-expire@%i.timer",
	)
	for _, unit := range []string{"imgkeep.service", "imgkeep.socket", "imgkeep-expire.service", "imgkeep-expire.timer"} {
		instance := strings.Replace(unit, ".", "@.", 1)
		if want, got := names.Replace(read(t, unit)), read(t, instance); got != want {
			t.Errorf("%s is not %s with other names: it is\n%s\nwant\n%s", instance, unit, got, want)
		}
	}
	conf := read(t, "imgkeep.tmpfiles.conf")
	for _, line := range []string{"e /run/imgkeep-*/hot 0711 imgkeep imgkeep m:1s\n", "x /run/imgkeep-*/hot/.epoch\n"} {
		if !strings.Contains(conf, line) {
			t.Errorf("imgkeep.tmpfiles.conf lacks %q", line)
		}
	}
}

// While imgkeep is down, systemd-tmpfiles removes the links that have expired,
// and nothing else.
func TestExpiryWhileDown(t *testing.T) {
	t.Run("the one store", func(t *testing.T) { expiryWhileDown(t, "imgkeep", "imgkeep") })
	t.Run("an instance", func(t *testing.T) { expiryWhileDown(t, "imgkeep-forum", "imgkeep-*") })
}

func expiryWhileDown(t *testing.T, name, spelled string) {
	runtime := t.TempDir()
	dir := filepath.Join(runtime, name)
	hot := filepath.Join(dir, "hot")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	settings := []string{"secret"}
	h, err := nginx.OpenHot(nginx.HotOptions{Dir: hot, Fingerprint: settings})
	if err != nil {
		t.Fatal(err)
	}
	const expired, live = "gnjO6SJxYbeT9VBz", "4f3OT_te_O37pMOZ"
	now := time.Now()
	early := nginx.HotOptions{Dir: hot, Fingerprint: settings, Now: func() time.Time { return now.Add(-time.Hour) }}
	past, err := nginx.OpenHot(early)
	if err != nil {
		t.Fatal(err)
	}
	if err := past.Add("i", "full", expired, ".jpg", "/etc/passwd", now.Add(-2*time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := h.Add("i", "full", live, ".jpg", "/nowhere", now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	links := func() string {
		var there []string
		for name, path := range map[string]string{"expired": "gn/" + expired[2:], "live": "4f/" + live[2:]} {
			if _, err := os.Lstat(filepath.Join(hot, "i/full", path+".jpg")); err == nil {
				there = append(there, name)
			}
		}
		return fmt.Sprint(there)
	}
	if got := links(); len(got) != len("[expired live]") {
		t.Fatalf("before: %s", got)
	}

	conf := strings.NewReplacer("/run/", runtime+"/", "imgkeep imgkeep", "- -").Replace(read(t, "imgkeep.tmpfiles.conf"))
	file := filepath.Join(runtime, "imgkeep.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "systemd-tmpfiles", "--clean", "--prefix="+filepath.Join(runtime, spelled, "hot"), file)
	if got := links(); got != "[live]" {
		t.Errorf("after: %s, want [live]", got)
	}
	// The next start knows the tree, and keeps the rest.
	if _, err := nginx.OpenHot(nginx.HotOptions{Dir: hot, Fingerprint: settings}); err != nil {
		t.Error(err)
	}
	if got := links(); got != "[live]" {
		t.Errorf("after the next start: %s, want [live]", got)
	}
	if err := h.Add("i", "full", expired, ".jpg", "/etc/passwd", now.Add(time.Hour)); err != nil || len(links()) != len("[expired live]") {
		t.Errorf("afterwards no link can be made: %v", err)
	}
}

// Two seconds after the end of any week, in any time zone, the timer elapses.
func TestTimer(t *testing.T) {
	m := regexp.MustCompile(`(?m)^OnCalendar=(.+)$`).FindStringSubmatch(read(t, "imgkeep-expire.timer"))
	if m == nil {
		t.Fatal("the timer has no OnCalendar")
	}
	for _, zone := range []string{"UTC", "Europe/Berlin", "Asia/Kathmandu", "Asia/Kolkata", "Pacific/Marquesas", "Australia/Eucla"} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		end := time.Date(2027, 1, 4, 0, 0, 0, 0, location).UTC()
		out := run(t, "systemd-analyze", "calendar", "--base-time="+end.Add(-time.Second).Format(time.DateTime)+" UTC", m[1])
		n := regexp.MustCompile(`(?:Next elapse|\(in UTC\)): \w+ ([0-9-]+ [0-9:]+) UTC`).FindStringSubmatch(out)
		if want := end.Add(2 * time.Second).Format(time.DateTime); n == nil || n[1] != want {
			t.Errorf("%s: the timer elapses at %q, want %s", zone, n, want)
		}
	}
}

func TestUsers(t *testing.T) {
	out := run(t, "systemd-sysusers", "--dry-run", "--root="+t.TempDir(), absolute(t, "imgkeep.sysusers.conf"))
	for _, want := range []string{"'imgkeep'", "www-data"} {
		if !strings.Contains(out, want) {
			t.Errorf("systemd-sysusers says nothing of %s:\n%s", want, out)
		}
	}
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
