package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/sign"
)

const secret = "a long enough secret"

// run runs the program in-process, without the settings of the user who runs the tests.
func run(t *testing.T, ctx context.Context, env Env) (status int, stdout, stderr string) {
	t.Helper()
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "IMGKEEP_") {
			t.Setenv(name, "")
		}
	}
	var out, errs bytes.Buffer
	if env.Stdin == nil {
		env.Stdin = strings.NewReader("")
	}
	if env.Stdout == nil {
		env.Stdout = &out
	}
	env.Stderr = &errs
	status = Run(ctx, env)
	return status, out.String(), errs.String()
}

// Without --at a link is signed by the clock.
func TestSignNow(t *testing.T) {
	clock := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	args := []string{"sign", "--secret", secret, "https://example.com/"}
	_, now, errs := run(t, t.Context(), Env{Args: args, Now: func() time.Time { return clock }})
	_, at, _ := run(t, t.Context(), Env{Args: append(args, "--at", "2026-11-25T12:00:00Z")})
	_, other, _ := run(t, t.Context(), Env{Args: append(args, "--at", "2026-12-25T12:00:00Z")})
	if now != at || now == other || now == "" {
		t.Errorf("now %q, then %q, a month later %q; %s", now, at, other, errs)
	}
}

// Input that cannot be read is a failure, after the links of what could.
func TestSignInputFails(t *testing.T) {
	args := []string{"sign", "--secret", secret}
	in := io.MultiReader(strings.NewReader("https://example.com/\n"), iotest.ErrReader(errors.New("the pipe broke")))
	status, out, errs := run(t, t.Context(), Env{Args: args, Stdin: in})
	if status != ExitFailure || strings.Count(out, "\n") != 1 || errs != "imgkeep: line 2 of standard input: the pipe broke\n" {
		t.Errorf("status %d, out %q, errors %q", status, out, errs)
	}
	for length, want := range map[int]string{
		maxLine - 1: "line 1 of standard input: not the URL of an image: ", // read, and found to be too long
		maxLine:     "line 1 of standard input: bufio.Scanner: token too long",
	} {
		status, _, errs := run(t, t.Context(), Env{Args: args, Stdin: strings.NewReader(strings.Repeat("a", length))})
		if status != ExitFailure || !strings.Contains(errs, want) {
			t.Errorf("%d bytes: status %d, errors %q", length, status, errs)
		}
	}
}

// The longest URL that fits into a link, and one byte more.
func TestSignLongURL(t *testing.T) {
	args := []string{"sign", "--secret", secret}
	const room = 4096 - len("/i/full/0123456789abcdef/")
	longest := room * 3 / 4
	for length, want := range map[int]int{longest: ExitOK, longest + 1: ExitFailure} {
		url := "https://example.com/"
		url += strings.Repeat("a", length-len(url))
		status, out, errs := run(t, t.Context(), Env{Args: append(args, url)})
		if status != want {
			t.Errorf("%d bytes: status %d, want %d; %s", length, status, want, errs)
		}
		if status == ExitOK {
			if _, err := sign.Parse(strings.TrimSpace(out)); err != nil {
				t.Errorf("%d bytes: %v", length, err)
			}
		} else if len(errs) > 400 {
			t.Errorf("the message quotes all of the URL: %d bytes", len(errs))
		}
	}
}

func TestSignStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	args := []string{"sign", "--secret", secret, "https://example.com/1", "https://example.com/2"}
	status, out, errs := run(t, ctx, Env{Args: args})
	if status != ExitFailure || strings.Count(out, "\n") > 1 || !strings.Contains(errs, context.Canceled.Error()) {
		t.Errorf("status %d, out %q, errors %q", status, out, errs)
	}
}

// Every command fails when its output does.
func TestOutputFails(t *testing.T) {
	for _, args := range [][]string{
		{"sign", "--secret", secret, "https://example.com/"},
		{"config"},
		{"version"},
	} {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		read.Close()
		status, _, errs := run(t, t.Context(), Env{Args: args, Stdout: write})
		write.Close()
		if status != ExitFailure || !strings.Contains(errs, "broken pipe") {
			t.Errorf("%s: status %d, errors %q", args[0], status, errs)
		}
	}
}

// What is wrong with a command line, and what is said of it. Nothing is printed.
func TestWrongUsage(t *testing.T) {
	const url = "https://example.com/"
	for _, tt := range []struct{ args, want string }{
		{"", "no command was given"},
		{"serv-this", `"serv-this" is not a command`},
		{"sgn", `"sgn" is not a command; did you mean sign?`},
		{"--nope", "unknown flag: --nope"},
		{"version now", `unknown command "now" for "imgkeep version"`},
		{"config now", `unknown command "now" for "imgkeep config"`},
		{"completion", "no command was given"},
		{"completion tcsh", `"tcsh" is not a command`},
		{"help nothing", `"nothing" is not a command`},
		{"help sign nothing", `"nothing" is not a command`},
		{"help completion tcsh", `"tcsh" is not a command`},
		{"config --config", "flag needs an argument: --config"},
		{"config --handoff apache", `flag --handoff: handoff: "apache" is not one of direct, nginx`},
		{"config --listen 80", `flag --listen: listen: "80" is neither`},

		{"sign --nope " + url, "unknown flag: --nope"},
		{"sign --bucket", "flag needs an argument: --bucket"},
		{"sign --bucket x " + url, `--bucket: "x" is not one of i`},
		{"sign --bucket I " + url, `--bucket: "I" is not one of i`},
		{"sign --size huge " + url, `--size: no such size: "huge" is not height x width`},
		{"sign --size 0150x " + url, `"0150x" is not height x width`},
		{"sign --size x " + url, `"x" is not height x width`},
		{"sign --size 150x151 " + url, "--size: no such size: 151, of 150x151, is not one of the sizes [150 200 250 500]"},
		{"sign --proxy --size 150x " + url, "--size: /proxy goes with the size full only"},
		{"sign --proxy --size info " + url, "--size: /proxy goes with the size full only"},
		{"sign --at yesterday " + url, `--at: "yesterday" is not a time`},
		{"sign --at 2026-11-22 " + url, `--at: "2026-11-22" is not a time`},
		{"sign --at -1 " + url, `--at: "-1" is not a time`},
		{"sign --at 1969-12-31T23:59:59Z " + url, "is not a time from 1970 to 9998"},
		{"sign --at 9999-01-01T00:00:00Z " + url, "is not a time from 1970 to 9998"},
		{"sign --at 99999999999999999999 " + url, "is not a time"},
		{"sign --secret fifteen-bytes-. " + url, "has 15 bytes, fewer than 16"},
		{"sign --secret= --allow-weak-secret " + url, "is empty"},
		{"sign --bucketless " + url, `--bucketless: no server accepts this in bucket "i"`},
	} {
		args := strings.Fields(tt.args)
		if strings.HasPrefix(tt.args, "sign") && !strings.Contains(tt.args, "--secret") {
			args = append([]string{"sign", "--secret", secret}, args[1:]...)
		}
		status, out, errs := run(t, t.Context(), Env{Args: args})
		if status != ExitUsage || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("imgkeep %s: status %d, out %q, errors %q", tt.args, status, out, errs)
		}
	}
	// The other sides of those limits.
	for _, args := range []string{"--at 0", "--at 1970-01-01T00:00:00Z", "--at 9998-12-31T23:59:59Z", "--size 150x", "--size 500x500", "--proxy", "--proxy --size full"} {
		args := append([]string{"sign", "--secret", "sixteen-bytes-..", url}, strings.Fields(args)...)
		if status, out, errs := run(t, t.Context(), Env{Args: args}); status != ExitOK || !strings.HasPrefix(out, "/i/") {
			t.Errorf("%s: status %d, out %q, errors %q", args, status, out, errs)
		}
	}
}

func TestSignerWithoutSecret(t *testing.T) {
	if _, err := engine.NewSigner(config.Default().Sign); !errors.Is(err, sign.ErrNoSecret) {
		t.Errorf("got %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{errors.New("any"), ExitFailure},
		{usagef("wrong %s", "flag"), ExitUsage},
		{fmt.Errorf("wrapped: %w", usagef("wrong")), ExitUsage},
		{partialError{1, 2, "failed"}, ExitPartial},
		{partialError{2, 2, "failed"}, ExitFailure},
		{partialError{1, 1, "failed"}, ExitFailure},
	} {
		a := &app{Env: Env{Stderr: io.Discard}, started: true}
		if got := a.exit(nil, tt.err); got != tt.want {
			t.Errorf("%v: %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestComplain(t *testing.T) {
	for message, want := range map[string]string{
		"one":                         "imgkeep: one\n",
		"one\ntwo":                    "imgkeep: one\nimgkeep: two\n",
		"a\x1b[2Jb\rc\td\x7fe\u009bf": "imgkeep: a\uFFFD[2Jb\uFFFDc\uFFFDd\uFFFDe\uFFFDf\n",
		"größer":                      "imgkeep: größer\n",
	} {
		var b bytes.Buffer
		(&app{Env: Env{Stderr: &b}}).complain(message)
		if got := b.String(); got != want {
			t.Errorf("%q: got %q, want %q", message, got, want)
		}
	}
}

func TestVersion(t *testing.T) {
	platform := runtime.Version() + ", " + runtime.GOOS + "/" + runtime.GOARCH
	build := func(main string, settings ...string) *debug.BuildInfo {
		b := &debug.BuildInfo{Main: debug.Module{Version: main}}
		for i := 0; i < len(settings); i += 2 {
			b.Settings = append(b.Settings, debug.BuildSetting{Key: settings[i], Value: settings[i+1]})
		}
		return b
	}
	const revision = "0123456789abcdef0123456789abcdef01234567"
	for _, tt := range []struct {
		version string
		build   *debug.BuildInfo
		want    string
	}{
		{"", build(""), "imgkeep devel (" + platform + ")"},
		{"", build("(devel)"), "imgkeep devel (" + platform + ")"},
		{"", build("v1.2.3"), "imgkeep v1.2.3 (" + platform + ")"},
		{"v2.0.0", build("v1.2.3"), "imgkeep v2.0.0 (" + platform + ")"},
		{"v2.0.0", build("", "vcs.revision", revision, "vcs.time", "2026-11-22T01:02:03Z"), "imgkeep v2.0.0 (commit 0123456789ab of 2026-11-22, " + platform + ")"},
		{"", build("", "vcs.revision", "abc", "vcs.modified", "true"), "imgkeep devel (commit abc, modified, " + platform + ")"},
	} {
		if got := describe(tt.version, tt.build); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	_, out, _ := run(t, t.Context(), Env{Args: []string{"version"}, Version: "v9.9.9"})
	if !strings.HasPrefix(out, "imgkeep v9.9.9 (") {
		t.Errorf("the release's version does not show: %q", out)
	}
}
