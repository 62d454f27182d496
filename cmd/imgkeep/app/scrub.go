package app

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newScrubCommand(a *app) *cobra.Command {
	x := &scrubCommand{app: a}
	cmd := &cobra.Command{
		Use:     "scrub",
		GroupID: groupStore,
		Short:   "Find damage in the store, and repair it",
		Long: `Scrub reads every original and compares it with its digest, and compares files,
index and journal with each other. A running server does the work; without one the
command does it itself.

It finds originals that are missing, corrupt, orphaned (their URL is unknown) or
unreferenced; sizes without an original, and symbolic links that lead nowhere; files
that do not belong to the store, and unfinished work; broken lines of the journal;
and differences between index and journal.

With --repair a missing or corrupt original is fetched again, if its origin still
has the same bytes; what the index lacks is indexed; what can be made again is
deleted; the rest is moved to a folder of this run in quarantine/ in the store's
root. The bytes of an original are never deleted. While the server runs, orphaned
and unreferenced originals stay where they are.

One of several nodes compares the records in the object store with its originals, by
length and checksum, and reads one original in 100 and its own files. It reports
originals that are older than seven days and that no record refers to. With --repair it
writes a missing or damaged original again if it has an intact copy, deletes what
removals have left, and drops its own damaged files. A request counts as 64 KiB of
--rate. Run it on one node at a time; if that one has no copy, repair on another.

The report goes to standard output, as text or, with --json, as one JSON document.

Exit status: 0 if nothing is wrong, or everything was repaired; 3 if problems remain;
1 if the store could not be checked.`,
		Example: `  imgkeep scrub --config /etc/imgkeep/imgkeep.yaml --rate 20MiB
  imgkeep scrub --repair --json > report.json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.repair, "repair", false, "repair what can be repaired")
	cmd.Flags().StringVar(&x.rate, "rate", "0", "read at most this many bytes of originals a second, as in `20MiB` (0: no limit)")
	cmd.Flags().BoolVar(&x.json, "json", false, "report as JSON")
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

type scrubCommand struct {
	app                 *app
	repair, json, quiet bool
	rate                string
}

func (x *scrubCommand) run(cmd *cobra.Command, _ []string, c config.Config) error {
	limit, err := config.ParseByteSize(x.rate)
	if err != nil {
		return usagef("--rate: %w", err)
	}
	out := x.app.newReport(cmd, x.json, x.quiet)
	each := func(e control.Event) error {
		switch {
		case e.Finding != nil:
			out.found(*e.Finding)
		case e.Progress != nil:
			out.show(*e.Progress)
		}
		return nil
	}
	var report scrub.Report
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
		report, err = s.Scrub(cmd.Context(), control.ScrubRequest{Rate: int64(limit), Repair: x.repair}, each)
		return err
	})
	out.progress.clear()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s images, %s read, %s files looked at in %s: %s",
		humanize.Comma(int64(report.Images)), humanize.IBytes(uint64(report.Bytes)), humanize.Comma(int64(report.Files)),
		seconds(report.Seconds), tally(report.Found, "clean"))
	return out.end(text, struct {
		Clean    bool             `json:"clean"`
		Findings []record.Finding `json:"findings"`
		scrub.Report
	}{report.Remain == 0, out.findings, report}, report.Remain)
}

// addStoreFlags adds the flags of commands that look after a store.
func addStoreFlags(cmd *cobra.Command) {
	config.AddFlag(cmd.Flags(), "root", "`FOLDER` that holds the store")
	config.AddFlag(cmd.Flags(), "admin", "`SOCKET` of the running server (default admin.sock in the root)")
	must(cmd.MarkFlagDirname("root"))
}
