package debian_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Where the service does not start after the installation, as in a container without
// Landlock, the operator reads why, and the installation succeeds all the same.
func TestPostinstExplains(t *testing.T) {
	const said = "imgkeep: resize: decoder /usr/bin/imgkeep-resize: its sandbox is required and incomplete: landlock: the kernel has none"
	for _, tt := range []struct {
		state, want string
	}{
		{"active", ""},
		{"inactive", ""}, // as the administrator has it
		{"failed", "imgkeep is installed, and its service does not start:\n  resize: decoder /usr/bin/imgkeep-resize: its sandbox is required and incomplete: landlock: the kernel has none\nThen: systemctl restart imgkeep "},
		{"activating", "imgkeep is installed, and its service does not start:\n"},
	} {
		dir := t.TempDir()
		stubs := filepath.Join(dir, "stubs")
		if err := os.MkdirAll(stubs, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"systemctl":  `[ "$1" != is-active ] || { echo ` + tt.state + `; [ ` + tt.state + ` = active ]; }`,
			"journalctl": "echo 'Starting imgkeep.service - imgkeep image store...'; echo '" + said + "'",
			// Of the service that fails:
			"deb-systemd-invoke": "exit 1", "deb-systemd-helper": "exit 0", "systemd-sysusers": "exit 0", "systemd-tmpfiles": "exit 0",
		} {
			if err := os.WriteFile(filepath.Join(stubs, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		// The script of a running system, on a folder in the place of /.
		text, err := os.ReadFile("postinst")
		if err != nil {
			t.Fatal(err)
		}
		script := string(text)
		for _, part := range [][2]string{
			{"root=${DPKG_ROOT:-}\n", "root=\n"}, {"/run/systemd/system", dir}, {"$root/etc/imgkeep", dir}, {"$root/usr/share/imgkeep", "."},
		} {
			if !strings.Contains(script, part[0]) {
				t.Fatalf("the script has no %q", part[0])
			}
			script = strings.ReplaceAll(script, part[0], part[1])
		}
		cmd := exec.Command("sh", "-c", script, "postinst", "configure", "")
		cmd.Env = append(os.Environ(), "PATH="+stubs+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), tt.want) || tt.want == "" && len(out) > 0 {
			t.Errorf("%s: %v\n%swant %q", tt.state, err, out, tt.want)
		}
	}
}
