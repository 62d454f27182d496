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
		Short:   "Have the running server read its configuration anew",
		Long: `Reload has the server read its configuration again, from the file, environment and
flags that it was started with, as SIGHUP does: secrets, sizes, formats, what
buckets may fetch and how large, limits, hosts that are denied, the placeholder, the
level of the log. Requests under way end by the old settings, new ones go by the new
ones; no connection is dropped. It names what has changed, and what has but waits
for a restart: addresses, folders, buckets that come or go, the decoders, what the
site of nginx says.

A configuration that is wrong changes nothing: the server goes on as before, and
every problem is named here, in its log, and in what 'systemctl status' says of it.
The files of secrets are the server's to read: this command needs none of them.

Exit status: 0 if all that has changed holds; 3 if some of it waits for a restart; 1
if the server finds its configuration wrong, or none runs; 2 if this command finds
its own wrong, and has not asked.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.reload,
	}
	addStoreFlags(cmd)
	return cmd
}

func (a *app) reload(cmd *cobra.Command, _ []string) error {
	// Not the files of secrets, which the server reads: where they come by
	// systemd's LoadCredential, nobody else can.
	c, sources, err := config.LoadPublic(a.configFile, cmd.Flags())
	if err != nil {
		return usageError{err}
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
		return restartError{done.Restart}
	}
	return nil
}

// restartError says that settings have changed that wait for a restart.
type restartError struct{ keys []string }

func (e restartError) Error() string {
	return "waits for a restart: " + strings.Join(e.keys, ", ")
}
