package app

import (
	"strings"

	"github.com/spf13/cobra"
)

// newHelpCommand is cobra's, except that help about a command that does not exist is an
// error.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "help [COMMAND]",
		GroupID:           groupOther,
		Short:             "Show the help of a command",
		ValidArgsFunction: completeHelp,
		RunE:              help,
	}
}

func help(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err == nil && len(rest) > 0 {
		err = noCommand(about, rest)
	}
	if err != nil {
		return usageError(err)
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

func completeHelp(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var names []cobra.Completion
	if about, rest, err := cmd.Root().Find(args); err == nil && len(rest) == 0 {
		for _, sub := range about.Commands() {
			if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), start) {
				names = append(names, cobra.CompletionWithDesc(sub.Name(), sub.Short))
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
