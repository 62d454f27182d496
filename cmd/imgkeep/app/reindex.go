package app

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newReindexCommand(a *app) *cobra.Command {
	x := &reindexCommand{app: a}
	cmd := &cobra.Command{
		Use:     "reindex",
		GroupID: groupStore,
		Short:   "Make the index again from journals and files",
		Long: `Reindex makes index.db anew from the journals and the files of the store alone,
and puts it in the place of the old one when it is whole: after an index was lost
or damaged, or when files were copied into a store. The server must not run.

All buckets on disk are indexed, configured or not. A last line of a journal that
a crash has torn is passed over. What is found is named on standard output, and
skipped: broken lines, originals that are missing (they are fetched anew when they
are asked for), months of a journal that are missing, originals that no line names,
and files of what was removed. No file is removed. A broken line in the journal of
blocks ends it, since to pass over it might show what is blocked. Which URLs failed
lately is forgotten.

Exit status: 0 if all was as it should be; 3 if the index was made and something
was found; 1 if it was not made: the old one is then in its place.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              x.run,
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

func (x *reindexCommand) run(cmd *cobra.Command, _ []string) error {
	c, _, err := x.app.load(cmd)
	if err != nil {
		return err
	}
	if err := engine.IsStore(c.Root); err != nil {
		return err
	}
	if err := engine.BecomeOwner(c.Root); err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr(), x.app.Now)
	out := &scrubOutput{w: cmd.OutOrStdout(), json: x.json, findings: []bucket.Finding{}, before: p.clear}
	o := bucket.ReindexOptions{Root: c.Root, Found: out.found}
	if !x.quiet {
		o.Progress = p.show
	}
	r, err := bucket.Reindex(cmd.Context(), o)
	p.clear()
	if err != nil {
		return stopFirst(err)
	}
	text := fmt.Sprintf("%s URLs of %s images from %s lines in %s, index of %s: %s",
		humanize.Comma(int64(r.URLs)), humanize.Comma(int64(r.Images)), humanize.Comma(int64(r.Lines)),
		seconds(r.Seconds), humanize.IBytes(uint64(r.Bytes)), tally(r.Found, "nothing found"))
	return out.end(text, struct {
		Findings []bucket.Finding `json:"findings"`
		bucket.ReindexReport
	}{out.findings, r}, sum(r.Found))
}

// stopFirst says what to do where a command that replaces the index finds the
// store open.
func stopFirst(err error) error {
	if errors.Is(err, bucket.ErrInUse) {
		return fmt.Errorf("%w: stop the server, or wait for the other command's end", err)
	}
	return err
}
