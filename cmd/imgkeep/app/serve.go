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
		Long: `Serve answers signed links until it is told to stop (SIGTERM, SIGINT): then it
takes no more requests, finishes those it has, and ends. A second signal ends it
at once; nothing that was answered is lost by that.

It starts the decoder processes itself. Under systemd it says when it is ready,
keeps the watchdog fed, and takes over the sockets that systemd listens on. SIGHUP
has it read its configuration anew; see reload.`,
		Example: `  imgkeep serve --config /etc/imgkeep/imgkeep.yaml
  IMGKEEP_SECRET=… imgkeep serve --listen 127.0.0.1:8091 --root ./var`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.serve,
	}
	addServerFlags(cmd)
	return cmd
}

func (a *app) serve(cmd *cobra.Command, _ []string) error {
	c, _, err := a.load(cmd)
	if err != nil {
		return err
	}
	return engine.Serve(cmd.Context(), c, a.process(), func() (config.Config, error) {
		c, _, err := a.load(cmd)
		return c, err
	})
}
