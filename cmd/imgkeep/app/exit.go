package app

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

// Exit statuses of the program.
const (
	ExitOK      = 0 // all was done
	ExitFailure = 1 // it could not be done
	ExitUsage   = 2 // the command line or the configuration is wrong; nothing was done
	ExitPartial = 3 // some items failed, or problems remain
)

const exitHelp = `Exit status:
  0  all was done
  1  it could not be done
  2  the command line or the configuration is wrong; nothing was done
  3  partial: some items failed, or problems remain`

// usageError is an error of the command line, or of the configuration, that a command finds
// while it runs.
func usageError(err error) error { return config.Error{Err: err} }

func usagef(format string, args ...any) error { return config.Errorf(format, args...) }

// partialError says that some of many items failed. Each has been reported before.
type partialError struct {
	failed, all int
	what        string // "URLs could not be signed"
}

func (e partialError) Error() string {
	return fmt.Sprintf("%d of %d %s", e.failed, e.all, e.what)
}

// exit prints the error of a command, if any, and chooses the exit status. Nothing else
// does either.
func (a *app) exit(cmd *cobra.Command, err error) int {
	if err == nil {
		return ExitOK
	}
	a.complain(err.Error())
	var usage config.Error
	var partial partialError
	var remain remainError
	switch {
	case !a.started: // cobra refused the command line
		a.complain(fmt.Sprintf("run '%s --help' for usage", cmd.CommandPath()))
		return ExitUsage
	case errors.As(err, &usage):
		return ExitUsage
	case errors.As(err, &remain), errors.As(err, &partial) && partial.failed < partial.all:
		return ExitPartial
	}
	return ExitFailure
}

// complain prints a message for the operator, each line after the program's name. The lines
// may quote strangers: no control character reaches the terminal.
func (a *app) complain(message string) {
	for line := range strings.SplitSeq(message, "\n") {
		fmt.Fprintln(a.Stderr, "imgkeep: "+control.Printable(line))
	}
}
