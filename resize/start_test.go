package resize

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What is wrong with the decoder is told at the start, in words an operator
// can act on, and leaves nothing behind.
func TestUnusableDecoder(t *testing.T) {
	raw := func(head string) []string { return []string{os.Args[0], "fake-decoder", "raw=" + head} }
	greet := func(how string) []string { return []string{os.Args[0], "fake-decoder", how} }
	text := filepath.Join(t.TempDir(), "text")
	write(t, text)
	for _, c := range []struct {
		name    string
		command []string
		want    string
	}{
		{"no command", nil, "no decoder command"},
		{"empty command", []string{""}, "no decoder command"},
		{"missing", []string{"/nonexistent/imgkeep-resize"}, "/nonexistent/imgkeep-resize: no such file"},
		{"not in PATH", []string{"imgkeep-resize-is-not-here"}, "not found in $PATH"},
		{"not a program", []string{text}, "permission denied"},
		{"another program", greet("usage"), `starts with "Usag"`},
		{"a missing library", greet("exit"), "ended without a greeting (exit status 127); it printed \"libvips.so.42: cannot open"},
		{"silent", greet("silent"), "no greeting within 300ms"},
		{"half a greeting", greet("half"), "no greeting within 300ms"},
		{"another version", raw(`{"protocol":1,"libvips":"8.18","formats":["jpeg"]}`), "it speaks protocol 1, this program 5: install both from the same build"},
		{"no version", raw(`{"libvips":"8.18","formats":["jpeg"]}`), "it speaks protocol 0"},
		{"no formats", raw(`{"protocol":5,"libvips":"8.18","formats":[]}`), "it decodes 0 formats"},
		{"too many formats", raw(`{"protocol":5,"libvips":"8.18","formats":["jpeg"` + strings.Repeat(`,"jpeg"`, 16) + `]}`), "it decodes 17 formats"},
		{"another format", raw(`{"protocol":5,"libvips":"8.18","formats":["svg"]}`), `it decodes "svg"`},
		{"another field", raw(`{"protocol":5,"libvips":"8.18","formats":["jpeg"],"x":1}`), "unknown field"},
		{"too many layers", raw(`{"protocol":5,"libvips":"8.18","formats":["jpeg"],"held":["a"` + strings.Repeat(`,"a"`, 9) + `],"missing":["b"` + strings.Repeat(`,"b"`, 6) + `]}`), "its sandbox has 17 layers"},
		{"another type", raw(`{"protocol":"1"}`), "cannot unmarshal"},
		{"no JSON", raw(`hello`), "invalid character"},
	} {
		before := holdings(t)
		timeout := time.Minute
		if strings.Contains(c.want, "300ms") {
			timeout = 300 * time.Millisecond
		}
		p, err := NewPool(Options{Command: c.command, Workers: 2, StartTimeout: timeout})
		if err == nil {
			_ = p.Close()
			t.Errorf("%s: no error", c.name)
		} else if !strings.Contains(err.Error(), c.want) || strings.ContainsAny(err.Error(), "\n\x00") || len(err.Error()) > 600 {
			t.Errorf("%s: got %q, want %q", c.name, err, c.want)
		}
		nothingLeft(t, before)
	}
}

func TestRefusedOptions(t *testing.T) {
	command := []string{os.Args[0], "fake-decoder"}
	for _, o := range []Options{{Workers: -1}, {Spares: -1}, {Timeout: -1}, {StartTimeout: -1}, {Backoff: -1}, {MaxImages: -1}, {MaxPixels: -1}, {AnimationPixels: -1}, {MaxBytes: -1}, {MaxHeld: -1}, {MaxMemory: -1}, {Sandbox: "required"}} {
		o.Command = command
		if p, err := NewPool(o); err == nil {
			_ = p.Close()
			t.Errorf("%+v: no error", o)
		}
	}
}

// A relative path is one of the caller's folder, though the decoder runs in /.
func TestRelativeCommand(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	name, err := filepath.Rel(wd, os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(name, "/") {
		name = "./" + name
	}
	mustWork(t, newPool(t, Options{Command: []string{name, "fake-decoder"}}))
}

// The pool's process must not link what it keeps out of itself.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{.ImportPath}} {{.Standard}} {{len .CgoFiles}}", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		var path string
		var standard bool
		var cgo int
		if _, err := fmt.Sscan(line, &path, &standard, &cgo); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if !standard && path != "imgkeep/resize" || cgo > 0 || path == "runtime/cgo" || path == "net" {
			t.Errorf("depends on %s", strings.TrimSpace(line))
		}
	}
}
