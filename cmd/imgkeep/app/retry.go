package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newRetryCommand(a *app) *cobra.Command {
	x := &retryCommand{app: a}
	cmd := &cobra.Command{
		Use:     "retry URL|LINK|DIGEST",
		GroupID: groupStore,
		Short:   "Forget what stands against an image",
		Long: `Retry has an image tried again that was given up, or that is waiting for its next
try. It is named by the URL that it comes from, by a link, or by its digest: the 43
characters of its file's name. It works while the server runs, and without it.

An image that has ended two decoders (it crashed or hung them, took too much
memory, or made them answer nonsense) is served in full, and its sizes are
answered with 422 and the code undecodable, until this command, after an upgrade
of libvips say. An image that could not be fetched is tried again after a while;
with this command, when it is next asked for.

It tries nothing itself, and prints what it has forgotten.`,
		Example: `  imgkeep retry https://example.com/cat.jpg
  imgkeep retry --config /etc/imgkeep/imgkeep.yaml XUFAKrxLKna5cZ2REBfFkg5zSRXFGYpdtIHHq8cNsvo`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              x.run,
	}
	addStoreFlags(cmd)
	addUnverified(cmd.Flags(), &x.unverified)
	return cmd
}

type retryCommand struct {
	app        *app
	unverified bool
}

func (x *retryCommand) run(cmd *cobra.Command, args []string) error {
	c, _, err := x.app.load(cmd)
	if err != nil {
		return err
	}
	t, err := x.app.targets(c).parse(args[0], false)
	if err != nil {
		return usageError{err}
	}
	var r bucket.Retried
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) error {
		for _, what := range t.failed() {
			one, err := s.Retry(cmd.Context(), control.RetryRequest{What: what, Named: t.named(x.unverified)})
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
		_, err = fmt.Fprintln(out, "nothing stood against it")
		return err
	}
	if r.Undecodable > 0 {
		_, err = fmt.Fprintln(out, "forgotten: it has ended decoders")
	}
	if r.Failures > 0 {
		_, more := fmt.Fprintln(out, "forgotten: it could not be fetched")
		err = errors.Join(err, more)
	}
	return err
}
