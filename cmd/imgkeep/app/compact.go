package app

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newCompactCommand(a *app) *cobra.Command {
	x := &compactCommand{app: a}
	cmd := &cobra.Command{
		Use:     "compact",
		GroupID: groupStore,
		Short:   "Shrink the index file",
		Long: `Compact copies index.db without its free pages, and replaces the old file. It works
with or without a running server: kept images are served meanwhile, and new ones
wait, about a second for a million images. It needs free disk space for a second copy
of the index.

The index reuses its free pages but never shrinks by itself, so compacting helps
after many images were removed. The command prints the figures before and after.

Exit status: 0 if the index was compacted; 1 if not: it is then unchanged.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.dryRun, "dry-run", false, "print the figures and change nothing")
	return cmd
}

type compactCommand struct {
	app    *app
	dryRun bool
}

func (x *compactCommand) run(cmd *cobra.Command, _ []string, c config.Config) (err error) {
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
