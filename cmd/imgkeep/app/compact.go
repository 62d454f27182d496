package app

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newCompactCommand(a *app) *cobra.Command {
	x := &compactCommand{app: a}
	cmd := &cobra.Command{
		Use:     "compact",
		GroupID: groupStore,
		Short:   "Make the index as small as it can be",
		Long: `Compact writes index.db anew without the pages in it that are not in use, and
puts the new file in the place of the old one. It works while the server runs:
what is kept is served meanwhile, and what is kept anew waits, about a second for
a million images. It needs as much room as the index has.

The index reuses its free pages, and never becomes smaller of itself; to compact
it helps after much was removed. It prints the figures before and after.

Exit status: 0 if it was compacted; 1 if it was not: it is then as it was.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              x.run,
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.dryRun, "dry-run", false, "print the figures and change nothing")
	return cmd
}

type compactCommand struct {
	app    *app
	dryRun bool
}

func (x *compactCommand) run(cmd *cobra.Command, _ []string) error {
	c, _, err := x.app.load(cmd)
	if err != nil {
		return err
	}
	var done control.Compacted
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
		if x.dryRun {
			done.Before, err = s.Figures(cmd.Context())
			return err
		}
		done, err = s.Compact(cmd.Context())
		return err
	})
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), "before: "+figures(done.Before)); err != nil || x.dryRun {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), "after:  "+figures(done.After))
	return err
}

func figures(f bucket.Figures) string {
	return fmt.Sprintf("%s, of which %s in %s free pages; schema %d",
		humanize.IBytes(uint64(f.Bytes)), humanize.IBytes(uint64(f.FreePages)*uint64(f.PageSize)), humanize.Comma(int64(f.FreePages)), f.Schema)
}
