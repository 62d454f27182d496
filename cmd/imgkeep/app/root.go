package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
)

// Groups of commands in the help.
const (
	groupServe  = "serve"
	groupLinks  = "links"
	groupLook   = "look"
	groupRemove = "remove"
	groupStore  = "store"
	groupOther  = "other"
)

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "imgkeep",
		Short: "A permanent image store with expiring signed links",
		Long: `imgkeep keeps every image that a site shows. The site turns the URL of each
image into a signed link; the first view fetches the image from its origin,
once; from then on it is served from disk.

Settings come from flags, the environment (IMGKEEP_FETCH_TIMEOUT=10s is
fetch.timeout), the file that --config or IMGKEEP_CONFIG names, and the
defaults, in this order. 'imgkeep config' prints what results.

` + exitHelp,
		Version:       a.version(),
		SilenceErrors: true, // exit prints them
		SilenceUsage:  true,
	}
	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("{{.Version}}\n")
	root.PersistentFlags().StringVar(&a.configFile, "config", "",
		"YAML `FILE` with the configuration (default $IMGKEEP_CONFIG, or none)")
	must(root.MarkPersistentFlagFilename("config", "yaml", "yml"))

	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Serving:"},
		&cobra.Group{ID: groupLinks, Title: "Links:"},
		&cobra.Group{ID: groupLook, Title: "Looking:"},
		&cobra.Group{ID: groupRemove, Title: "Removing:"},
		&cobra.Group{ID: groupStore, Title: "The store:"},
		&cobra.Group{ID: groupOther, Title: "Configuration and help:"},
	)
	root.AddCommand(commands(a)...)
	root.SetHelpCommand(newHelpCommand())
	root.SetCompletionCommandGroupID(groupOther)
	root.InitDefaultHelpCmd() // now, so that watch sees them
	root.InitDefaultCompletionCmd(a.Args...)
	a.watch(root)
	return root
}

// commands are all commands, in the order of the help.
func commands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newServeCommand(a),
		newReloadCommand(a),
		newNginxCommand(a),

		newSignCommand(a),
		newVerifyCommand(a),

		newShowCommand(a),
		newListCommand(a),
		newSimilarCommand(a),
		newStatsCommand(a),
		newCheckCommand(a),

		newModeratorCommand(a),
		newForgetCommand(a),
		newPurgeCommand(a),
		newBlockCommand(a),
		newUnblockCommand(a),
		newAllowCommand(a),
		newLikenessCommand(a),

		newPopulateCommand(a),
		newAddCommand(a),
		newImportCommand(a),
		newScrubCommand(a),
		newReindexCommand(a),
		newBackupCommand(a),
		newRestoreCommand(a),
		newPushCommand(a),
		newPullCommand(a),
		newCompactCommand(a),
		newStoreCommand(a),
		newRetryCommand(a),
		newPreviewCommand(a),

		newConfigCommand(a),
		newVersionCommand(a),
		newManCommand(a),
	}
}

// watch makes every command note that it begins, after cobra has accepted the command line.
// Everything that fails before is wrong usage. A command that only has subcommands fails
// without one: cobra would print help and succeed, and a misspelt script would go
// unnoticed.
func (a *app) watch(cmd *cobra.Command) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = noCommand
		cmd.RunE = func(*cobra.Command, []string) error { return nil } // Args lets nothing through
	} else if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.started = true
			return run(cmd, args)
		}
	}
	for _, sub := range cmd.Commands() {
		a.watch(sub)
	}
}

// noCommand says what is wrong with the arguments of a command that only has subcommands.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("no command was given")
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("%q is not a command; did you mean %s?", args[0], near[0])
	}
	return fmt.Errorf("%q is not a command", args[0])
}

// addServerFlags adds the flags that the server and `imgkeep config` share.
func addServerFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	config.AddFlag(flags, "listen", "where to serve: `HOST:PORT` or unix:/path")
	config.AddFlag(flags, "root", "`FOLDER` that holds the store")
	config.AddFlag(flags, "base_url", "`URL` that stands before links")
	config.AddFlag(flags, "handoff", "who sends files: `direct or nginx`")
	config.AddFlag(flags, "log.level", "least `LEVEL` logged: debug, info, warn or error")
	config.AddFlag(flags, "log.format", "log as `text or json`")
	choice(cmd, "handoff", "direct", "nginx")
	choice(cmd, "log-level", "debug", "info", "warn", "error")
	choice(cmd, "log-format", "text", "json")
	must(cmd.MarkFlagDirname("root"))
}

// choice completes a flag with one of a few words.
func choice(cmd *cobra.Command, flag string, words ...string) {
	must(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// must panics if a command is put together wrongly: any run shows it.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
