package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newRetryCommand(a *app) *cobra.Command {
	x := &retryCommand{app: a}
	cmd := &cobra.Command{
		Use:     "retry URL|LINK|DIGEST",
		GroupID: groupStore,
		Short:   "Clear recorded failures of an image",
		Long: `Retry clears the failures that are recorded of an image, so that the next request
for it is tried again at once. Name the image by its URL, by a link, or by its
digest: the 43 characters of its file's name. The command works with or without a
running server.

An image that has crashed two decoders (or hung them, used too much memory, or made
them break the protocol) is served in full, but its sizes are answered with 422 and the
code undecodable, until you run this command, for example after an upgrade of
libvips. An image that could not be fetched is tried again after a pause in any case;
this command ends the pause.

Retry fetches and decodes nothing itself. It prints what it has cleared.`,
		Example: `  imgkeep retry https://example.com/cat.jpg
  imgkeep retry --config /etc/imgkeep/imgkeep.yaml XUFAKrxLKna5cZ2REBfFkg5zSRXFGYpdtIHHq8cNsvo`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(x.run),
	}
	addStoreFlags(cmd)
	addUnverified(cmd.Flags(), &x.unverified)
	return cmd
}

type retryCommand struct {
	app        *app
	unverified bool
}

func (x *retryCommand) run(cmd *cobra.Command, args []string, c config.Config) (err error) {
	t, err := x.app.targets(c).parse(args[0], false)
	if err != nil {
		return usageError(err)
	}
	var r bucket.Retried
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) error {
		for _, what := range t.failed() {
			one, err := s.Retry(cmd.Context(), control.RetryRequest{What: what, Named: t.link(x.unverified)})
			if err != nil {
				return err
			}
			r.Failures, r.Undecodable = r.Failures+one.Failures, r.Undecodable+one.Undecodable
		}
		return nil
	})
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if r == (bucket.Retried{}) {
		_, err = fmt.Fprintln(out, "no recorded failures")
		return err
	}
	if r.Undecodable > 0 {
		_, err = fmt.Fprintln(out, "cleared: it has crashed decoders")
	}
	if r.Failures > 0 {
		_, more := fmt.Fprintln(out, "cleared: it could not be fetched")
		err = errors.Join(err, more)
	}
	return err
}
