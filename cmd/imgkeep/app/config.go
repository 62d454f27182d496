package app

import (
	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
)

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		GroupID: groupOther,
		Short:   "Check the configuration and print it",
		Long: `Config prints the settings in force, as YAML that can be loaded again, and where each
that is not the default was set. Secrets, tokens, keys, passwords of proxies, headers
of profiles, and the queries of approve.url and of hooks are hidden. An invalid
configuration is not printed: every problem is reported, and the exit status is 2.`,
		Example: `  imgkeep config --config /etc/imgkeep/imgkeep.yaml
  IMGKEEP_FETCH_TIMEOUT=10s imgkeep config`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.printConfig,
	}
	addServerFlags(cmd)
	return cmd
}

func (a *app) printConfig(cmd *cobra.Command, _ []string) error {
	c, sources, err := a.load(cmd)
	if err != nil {
		return err
	}
	return config.Write(cmd.OutOrStdout(), c, sources)
}
