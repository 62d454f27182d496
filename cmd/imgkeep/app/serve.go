package app

import (
	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newServeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: groupServe,
		Short:   "Serve signed links",
		Long: `Serve answers signed links until it gets SIGTERM or SIGINT: then it accepts no more
requests, finishes those under way, and exits. A second signal ends it at once; no
image that was served is lost by that.

It starts the decoder processes itself. Under systemd it reports when it is ready,
feeds the watchdog, and takes over the sockets that systemd listens on. SIGHUP
reloads its configuration; see reload.`,
		Example: `  imgkeep serve --config /etc/imgkeep/imgkeep.yaml
  IMGKEEP_SECRET=… imgkeep serve --listen 127.0.0.1:8091 --root ./var`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(a.serve),
	}
	addServerFlags(cmd)
	return cmd
}

func (a *app) serve(cmd *cobra.Command, _ []string, c config.Config) error {
	return engine.Serve(cmd.Context(), c, a.process(), func() (config.Config, error) {
		c, _, err := a.load(cmd)
		return c, err
	})
}
