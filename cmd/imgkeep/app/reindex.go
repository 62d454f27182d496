package app

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newReindexCommand(a *app) *cobra.Command {
	x := &reindexCommand{app: a}
	cmd := &cobra.Command{
		Use:     "reindex",
		GroupID: groupStore,
		Short:   "Rebuild the index from journals and files",
		Long: `Reindex rebuilds index.db from the journals and the files of the store alone, and
replaces the old index when the new one is complete. Run it after an index was lost
or damaged, or after files were copied into a store. Stop the server first.

All buckets on disk are indexed, configured or not. A last journal line that a crash
cut off is ignored. Other problems are reported on standard output and skipped: broken
lines, missing originals (they are fetched again on request), missing months of a
journal, originals that no line names, and files of removed images. No file is
removed. A broken line in the journal of blocks is an error, because skipping it could
show a blocked image. Recorded failures to fetch are cleared.

Exit status: 0 if no problem was found; 3 if the index was rebuilt and problems were
found; 1 if it was not rebuilt: the old index is then still in place.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.json, "json", false, "report as JSON")
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

type reindexCommand struct {
	app         *app
	json, quiet bool
}

func (x *reindexCommand) run(cmd *cobra.Command, _ []string, c config.Config) error {
	if err := engine.RefuseNode(c); err != nil {
		return err
	}
	if err := engine.IsStore(c.Root); err != nil {
		return err
	}
	if err := engine.BecomeOwner(c.Root); err != nil {
		return err
	}
	out := x.app.newReport(cmd, x.json, x.quiet)
	r, err := reindex.Run(cmd.Context(), reindex.Options{Root: c.Root, Found: out.found, Progress: out.show})
	out.progress.clear()
	if err != nil {
		return stopFirst(err)
	}
	text := fmt.Sprintf("%s URLs of %s images from %s lines in %s, index of %s: %s",
		humanize.Comma(int64(r.URLs)), humanize.Comma(int64(r.Images)), humanize.Comma(int64(r.Lines)),
		seconds(r.Seconds), humanize.IBytes(uint64(r.Bytes)), tally(r.Found, "nothing found"))
	return out.end(text, struct {
		Findings []record.Finding `json:"findings"`
		reindex.Report
	}{out.findings, r}, sum(r.Found))
}

// stopFirst says what to do if a command that replaces the index finds the store open.
func stopFirst(err error) error {
	if errors.Is(err, bucket.ErrInUse) {
		return fmt.Errorf("%w: stop the server, or wait for the other command's end", err)
	}
	return err
}
