package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A page for each command that the help names, and nothing in a page that
// man(7) would take for a request.
func TestManual(t *testing.T) {
	dir := t.TempDir()
	if status, out, errs := run(t, t.Context(), Env{Args: []string{"man", dir}}); status != ExitOK || out+errs != "" {
		t.Fatalf("status %d: %s%s", status, out, errs)
	}
	_, help, _ := run(t, t.Context(), Env{Args: []string{"--help"}})
	if strings.Contains(help, "  man ") {
		t.Error("the help names it")
	}
	pages := 0
	for _, cmd := range newRootCommand(&app{}).Commands() {
		if !cmd.IsAvailableCommand() {
			continue
		}
		pages++
		page, err := os.ReadFile(filepath.Join(dir, "imgkeep-"+cmd.Name()+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{".SH NAME\nimgkeep\\-" + cmd.Name(), ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH OPTIONS\n", "\\-\\-config FILE\n"} {
			if !bytes.Contains(page, []byte(want)) {
				t.Errorf("%s has no %q", cmd.Name(), want)
			}
		}
		for line := range strings.Lines(string(page)) {
			if request, _, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasPrefix(line, ".") &&
				!strings.Contains(" .TH .SH .PP .TP .B .BR .RS .RE .nf .fi ", " "+request+" ") {
				t.Errorf("%s: request %q", cmd.Name(), line)
			}
		}
	}
	if pages < 10 {
		t.Errorf("%d pages", pages)
	}
	if status, _, _ := run(t, t.Context(), Env{Args: []string{"man", filepath.Join(dir, "nowhere")}}); status != ExitFailure {
		t.Errorf("a folder that is not there: status %d", status)
	}
}

func TestManPage(t *testing.T) {
	cmd := &cobra.Command{
		Use: "x [FILE]", Short: "Do it", Run: func(*cobra.Command, []string) {},
		Long:    "One.\n.Two - 'three'\\n\n'Quoted\n\nExit status:\n  0  all-right",
		Example: "  x -f",
	}
	cmd.Flags().StringP("file", "f", "a", "the `NAME` of it")
	want := `.TH X 1 "" "imgkeep" "imgkeep manual"
.SH NAME
x \- do it
.SH SYNOPSIS
.B x [FILE] [flags]
.SH DESCRIPTION
.PP
One.
\&.Two \- 'three'\en
\&'Quoted
.PP
Exit status:
.RS 2
.nf
0  all\-right
.fi
.RE
.SH OPTIONS
.TP
.B \-f, \-\-file NAME
the NAME of it (default a)
.TP
.B \-h, \-\-help
help for x
.SH EXAMPLES
.RS 2
.nf
x \-f
.fi
.RE
`
	if got := manPage(cmd); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
