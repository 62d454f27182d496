package app

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

func newReloadCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "reload",
		GroupID: groupServe,
		Short:   "Reload the configuration of the running server",
		Long: `Reload has the server read its configuration again, from the file, environment and
flags that it was started with, as SIGHUP does: secrets, sizes, formats, hosts and
limits of buckets, other limits, denied hosts, placeholders, the level of the log.
Requests under way finish with the old settings, new ones use the new settings; no
connection is dropped. The command prints the keys that have changed, and those that
need a restart: addresses, folders, new or removed buckets, the decoders, what the
nginx site contains.

An invalid configuration changes nothing: the server continues as before, and every
problem is reported here, in its log, and in 'systemctl status'. The server reads
the files of secrets: this command does not need them.

Exit status: 0 if all changes are in force; 3 if some need a restart; 1 if the server
finds its configuration invalid, or no server runs; 2 if the configuration that this
command has read is invalid, and the server was not asked.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.reload,
	}
	addStoreFlags(cmd)
	return cmd
}

func (a *app) reload(cmd *cobra.Command, _ []string) error {
	// It does not read the files of secrets; the server does: with systemd's
	// LoadCredential, nobody else can.
	c, sources, err := config.LoadPublic(a.configFile, cmd.Flags())
	if err != nil {
		return usageError(err)
	}
	for _, w := range sources.Warnings {
		a.complain("warning: " + w)
	}
	client, err := control.Dial(cmd.Context(), c.AdminSocket())
	if err != nil {
		return err
	}
	done, err := client.Reload(cmd.Context())
	if err != nil {
		return err
	}
	text := "nothing has changed"
	if len(done.Changed) > 0 {
		text = "changed: " + strings.Join(done.Changed, ", ")
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), text); err != nil {
		return err
	}
	if len(done.Restart) > 0 {
		return remainError("waits for a restart: " + strings.Join(done.Restart, ", "))
	}
	return nil
}
