package app

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newScrubCommand(a *app) *cobra.Command {
	x := &scrubCommand{app: a}
	cmd := &cobra.Command{
		Use:     "scrub",
		GroupID: groupStore,
		Short:   "Look for damage in the store, and repair it",
		Long: `Scrub reads every original again and compares it with its digest, and compares
files, index and journal with each other. It works while the server runs, which
then does the work, and without it.

It finds originals that are missing, corrupt, orphaned (their URL is not known) or
unreferenced; sizes without an original, and links in the place of one that lead
nowhere; files that are none of the store's, and unfinished work; broken lines of
the journal; and where index and journal disagree.

With --repair an original that is missing or corrupt is fetched again, if its
origin still gives the same bytes; what the index lacks is indexed; what can be
made again is dropped; the rest is moved to quarantine/ in the store's root, in a
folder of this run. The bytes of an original are never deleted. While the server
runs, orphans and unreferenced originals stay where they are.

The report goes to standard output, as text or, with --json, as one JSON document.

Exit status: 0 if nothing is wrong, or all that was has been repaired; 3 if
something is wrong and remains so; 1 if the store could not be looked through.`,
		Example: `  imgkeep scrub --config /etc/imgkeep/imgkeep.yaml --rate 20MiB
  imgkeep scrub --repair --json > report.json`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              x.run,
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.repair, "repair", false, "repair what can be repaired")
	cmd.Flags().StringVar(&x.rate, "rate", "0", "read at most so many bytes of originals in a second, as in `20MiB` (0: no limit)")
	cmd.Flags().BoolVar(&x.json, "json", false, "report as JSON")
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

type scrubCommand struct {
	app                 *app
	repair, json, quiet bool
	rate                string
}

func (x *scrubCommand) run(cmd *cobra.Command, _ []string) error {
	c, _, err := x.app.load(cmd)
	if err != nil {
		return err
	}
	limit, err := config.ParseByteSize(x.rate)
	if err != nil {
		return usagef("--rate: %w", err)
	}
	p := newProgress(cmd.ErrOrStderr(), x.app.Now)
	out := &scrubOutput{w: cmd.OutOrStdout(), json: x.json, findings: []bucket.Finding{}, before: p.clear}
	each := func(e control.Event) error {
		switch {
		case e.Finding != nil:
			out.found(*e.Finding)
		case e.Progress != nil && !x.quiet:
			p.show(*e.Progress)
		}
		return nil
	}
	var report bucket.ScrubReport
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
		report, err = s.Scrub(cmd.Context(), control.ScrubRequest{Rate: int64(limit), Repair: x.repair}, each)
		return err
	})
	p.clear()
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s images, %s read, %s files looked at in %s: %s",
		humanize.Comma(int64(report.Images)), humanize.IBytes(uint64(report.Bytes)), humanize.Comma(int64(report.Files)),
		seconds(report.Seconds), tally(report.Found, "clean"))
	return out.end(text, struct {
		Clean    bool             `json:"clean"`
		Findings []bucket.Finding `json:"findings"`
		bucket.ScrubReport
	}{report.Remain == 0, out.findings, report}, report.Remain)
}

// addStoreFlags adds the flags of commands that look after a store.
func addStoreFlags(cmd *cobra.Command) {
	config.AddFlag(cmd.Flags(), "root", "`FOLDER` that holds the store")
	config.AddFlag(cmd.Flags(), "admin", "`SOCKET` of the running server (default admin.sock in the root)")
	must(cmd.MarkFlagDirname("root"))
}

// scrubOutput writes what a scrub finds: as text at once, as JSON at the end.
type scrubOutput struct {
	w        io.Writer
	json     bool
	before   func()           // each line; nil: nothing
	findings []bucket.Finding // for JSON, where it has an empty list, not null
	err      error
}

func (o *scrubOutput) found(f bucket.Finding) {
	if o.json {
		o.findings = append(o.findings, f)
		return
	}
	if o.before != nil {
		o.before()
	}
	if _, err := fmt.Fprintln(o.w, findingLine(f)); err != nil && o.err == nil {
		o.err = err
	}
}

// findingLine is a finding in one line. What it quotes comes from strangers.
func findingLine(f bucket.Finding) string {
	line := fmt.Sprintf("%-12s %s", f.Kind, f.Path)
	for _, s := range []string{f.Detail, f.URL} {
		if s != "" {
			line += "  " + s
		}
	}
	if f.Repair != "" {
		line += "  [" + f.Repair + "]"
	}
	return control.Printable(line)
}

// end writes the report, as a line of text or as a document, and says what remains.
func (o *scrubOutput) end(text string, document any, remain int) error {
	if o.json {
		o.err = printJSON(o.w, document)
	} else if o.err == nil {
		_, o.err = fmt.Fprintln(o.w, text)
	}
	if o.err != nil {
		return o.err
	}
	if remain > 0 {
		return remainError{remain}
	}
	return nil
}

// sum is how many findings there are, of all kinds.
func sum(found map[bucket.Kind]int) (n int) {
	for _, k := range found {
		n += k
	}
	return n
}

// tally counts findings by their kinds: "2 corrupt, 1 missing".
func tally(found map[bucket.Kind]int, none string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(found)) {
		parts = append(parts, fmt.Sprintf("%d %s", found[k], k))
	}
	if parts == nil {
		return none
	}
	return strings.Join(parts, ", ")
}

func seconds(s float64) string {
	if s < 60 {
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f min %.0f s", float64(int(s)/60), float64(int(s)%60))
}

// remainError says that a store is not as it should be, whatever was done.
type remainError struct{ n int }

func (e remainError) Error() string {
	if e.n == 1 {
		return "1 finding remains"
	}
	return fmt.Sprintf("%d findings remain", e.n)
}
