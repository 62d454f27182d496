// Package app is imgkeep's command line: the commands, a file each, and what they share. A
// command parses, calls control.Service or package engine, and prints. Only sign, verify,
// check and preview do work of their own, which needs no store.
//
// Run is the whole program, in-process: it reads the arguments and streams that it is
// given, returns the exit status and ends nothing. It uses the environment and the file
// system of the process. It installs no signal handlers; a command that must end in order
// does so itself, so that the others end at once.
package app

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

// Env is what a run of the program gets from outside.
type Env struct {
	Args           []string // without the program's name
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Version is that of a release. Empty: what the Go toolchain recorded.
	Version string
	// Now is the clock. nil: time.Now.
	Now func() time.Time
}

// app is one run of the program. Commands get it when they are created, and use its methods
// when they run.
type app struct {
	Env
	configFile string
	caller     control.Caller // who runs this
	started    bool           // a command has begun: the command line was accepted
}

// Run runs the command that the arguments name and returns the exit status: see
// the constants Exit….
func Run(ctx context.Context, env Env) int {
	if env.Now == nil {
		env.Now = time.Now
	}
	a := &app{Env: env, caller: control.Self()}
	root := newRootCommand(a)
	root.SetArgs(plainArguments(env.Args))
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	return a.exit(cmd, err)
}

// load reads the configuration for a command, including its flags, and prints warnings.
func (a *app) load(cmd *cobra.Command) (config.Config, config.Sources, error) {
	c, sources, err := config.Load(a.configFile, cmd.Flags())
	if err != nil {
		return c, sources, usageError(err)
	}
	for _, w := range sources.Warnings {
		a.complain("warning: " + w)
	}
	return c, sources, nil
}

// configured is a command that starts by reading the configuration, including its flags.
func (a *app) configured(run func(*cobra.Command, []string, config.Config) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, _, err := a.load(cmd)
		if err != nil {
			return err
		}
		return run(cmd, args, c)
	}
}

// process is what the engine gets from this run.
func (a *app) process() engine.Process {
	return engine.Process{Version: a.version(), Now: a.Now, Stderr: a.Stderr, Warn: a.complain, Caller: a.caller}
}

// withService runs work on the server, if one runs, and otherwise in this process.
func (a *app) withService(ctx context.Context, c config.Config, need engine.Need, work func(control.Service) error) (err error) {
	s, closeAll, err := engine.Open(ctx, c, a.process(), need)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeAll()) }()
	return work(s)
}
