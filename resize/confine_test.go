package resize

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// What a pool tells its decoders is what they read.
func TestConfinement(t *testing.T) {
	for _, c := range []struct {
		options Options
		want    Confinement
	}{
		{Options{}, Confinement{CPU: 11_200 * time.Second}},
		{Options{Sandbox: SandboxRequire, MaxMemory: 5, Timeout: time.Second, MaxImages: 40}, Confinement{Memory: 5, CPU: 200 * time.Second}},
		{Options{Sandbox: SandboxOff, Timeout: time.Second, MaxImages: 40}, Confinement{Off: true, CPU: 200 * time.Second}},
		// No bound rather than one that overflows.
		{Options{Timeout: time.Hour, MaxImages: 1_000_000_000}, Confinement{}},
	} {
		c.options.Command = []string{"decoder"}
		o, err := c.options.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{}
		for _, v := range o.confinement().environ() {
			name, value, _ := strings.Cut(v, "=")
			env[name] = value
		}
		if got, err := ReadConfinement(func(name string) string { return env[name] }); err != nil || got != c.want {
			t.Errorf("%+v: %+v, %v; want %+v", c.options, got, err, c.want)
		}
	}
	if got, err := ReadConfinement(func(string) string { return "" }); err != nil || got != (Confinement{}) {
		t.Errorf("by hand: %+v, %v", got, err)
	}
	for name, values := range map[string][]string{
		"IMGKEEP_DECODER_SANDBOX": {"OFF", "false", "require"},
		"IMGKEEP_DECODER_MEMORY":  {"-1", "1GiB", "99999999999999999999"},
		"IMGKEEP_DECODER_CPU":     {"-1s", "1"},
	} {
		for _, value := range values {
			_, err := ReadConfinement(func(n string) string { return map[string]string{name: value}[n] })
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%s=%q", name, value)) {
				t.Errorf("%s=%s: %v", name, value, err)
			}
		}
	}
}

// The pool uses no decoder with less confinement than is asked for, and says
// what the one it has holds.
func TestSandboxLevels(t *testing.T) {
	for _, c := range []struct {
		greeting string
		level    Sandbox
		layers   Layers
		err      string
	}{
		{"confined", "", Layers{Held: []string{"seccomp", "landlock"}}, ""},
		{"confined", SandboxRequire, Layers{Held: []string{"seccomp", "landlock"}}, ""},
		{"half confined", SandboxAuto, Layers{[]string{"seccomp"}, []string{"landlock: ?[31mnone"}}, ""},
		{"half confined", SandboxRequire, Layers{}, "required and incomplete: landlock: ?[31mnone"},
		{"well", SandboxAuto, Layers{}, ""},
		{"well", SandboxRequire, Layers{}, "required, and it has none"},
		{"well", SandboxOff, Layers{}, ""},
	} {
		before := holdings(t)
		p, err := NewPool(Options{Command: []string{os.Args[0], "fake-decoder", c.greeting}, Workers: 1, Sandbox: c.level})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s, %s: %v, want %q", c.greeting, c.level, err, c.err)
			}
		} else if err != nil {
			t.Errorf("%s, %s: %v", c.greeting, c.level, err)
		} else if got := p.Layers(); !slices.Equal(got.Held, c.layers.Held) || !reflect.DeepEqual(got.Missing, c.layers.Missing) {
			t.Errorf("%s, %s: %+v, want %+v", c.greeting, c.level, got, c.layers)
		}
		if err == nil {
			_ = p.Close()
		}
		nothingLeft(t, before)
	}
}
