package app

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newLikenessCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "likeness", GroupID: groupRemove, Short: "Compute hashes of kept images, and exchange lists of blocked hashes",
		Long: `Likeness is about the hashes (PDQ) by which images are compared: see
contrib/docs/look-alikes.md. likeness must be on.`,
	}
	cmd.AddCommand(newLikenessIndex(a), newLikenessImport(a), newLikenessExport(a))
	return cmd
}

func newLikenessIndex(a *app) *cobra.Command {
	var q control.IndexLooksRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use: "index", Short: "Compute the missing hashes of images",
		Long: `Index computes the hashes of all images that lack one: those that were kept before
likeness was on, and those of which no size was ever made. Viewers come first. The
store may be in use. If it is interrupted, the next run continues where it stopped.

Exit status: 0 if all are known now; 3 if some could not be decoded; 1 after an error.`,
		Example: "  imgkeep likeness index --rate 20",
		Args:    cobra.NoArgs,
		RunE: a.configured(func(cmd *cobra.Command, _ []string, c config.Config) error {
			if q.Rate < 0 {
				return usageError(errors.New("--rate: want 0 or more images a second"))
			}
			bar := newProgress(a.Stderr, a.Now)
			var r lookalike.IndexReport
			err := a.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
				r, err = s.IndexLooks(cmd.Context(), q, func(e control.Event) error {
					if e.Progress != nil {
						bar.show(*e.Progress)
					}
					return nil
				})
				return err
			})
			bar.clear()
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			} else {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d images: %d known before, %d looked at, of which %d are too faint to match anything; %d failed; %d hashes of removed images dropped; %.0f seconds\n",
					r.Images, r.Known, r.Added, r.Faint, r.Failed, r.Dropped, r.Seconds)
			}
			if err == nil && r.Failed > 0 {
				err = partialError{r.Failed, r.Images, "could not be looked at"}
			}
			return err
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().Int64Var(&q.Rate, "rate", 0, "look at no more than `N` images a second (0: as many as decoders can)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON document")
	return cmd
}

func newLikenessImport(a *app) *cobra.Command {
	var why string
	var within int
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Block the hashes of a list",
		Long: `Import blocks all PDQ hashes of a list: from now on, images that look like any of them
are not kept. A list has one hash a line, of 64 hexadecimal digits; or it is CSV, with a
header line that names a column hash, pdq or signal (rows with another type of hash are
ignored), or with the hash in the first column. Lines that begin with # are ignored. "-"
reads standard input. A hash that is blocked already is not blocked twice.

Exit status: 0 if all are blocked; 3 if some lines were invalid; 1 after an error.`,
		Example: "  imgkeep likeness import --why 'exchange, November' hashes.csv",
		Args:    cobra.ExactArgs(1),
		RunE: a.configured(func(cmd *cobra.Command, args []string, c config.Config) error {
			if within < 0 || within > likeness.MaxWithin {
				return usageError(fmt.Errorf("--within: want a distance of 0 to %d bits", likeness.MaxWithin))
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			return a.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) error {
				return importHashes(a, cmd, s, in, within, control.BlockHashesRequest{From: args[0], Why: why})
			})
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().IntVar(&within, "within", likeness.Within, fmt.Sprintf("how many `BITS` of a hash may differ, 0 to %d, where the list does not say", likeness.MaxWithin))
	cmd.Flags().StringVar(&why, "why", "", "the `REASON`, for the journal and the audit log")
	return cmd
}

// importHashes blocks the hashes of a list.
func importHashes(a *app, cmd *cobra.Command, s control.Service, in io.Reader, within int, q control.BlockHashesRequest) error {
	listed, added, broken := 0, 0, 0
	block := func() error {
		if len(q.Hashes) == 0 {
			return nil
		}
		done, err := s.BlockHashes(cmd.Context(), q)
		listed, added = listed+len(q.Hashes), added+done.Added
		q.Hashes = nil
		return err
	}
	for h, err := range likeness.ReadList(in, within) {
		if err != nil {
			broken++
			a.complain(err.Error())
			continue
		}
		if q.Hashes = append(q.Hashes, h); len(q.Hashes) == control.MaxListed {
			if err := block(); err != nil {
				return err
			}
		}
	}
	if err := block(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%d hashes: %d blocked now, %d before\n", listed, added, listed-added); err != nil {
		return err
	}
	if listed == 0 && broken == 0 {
		return errors.New("there is no hash in the list")
	}
	if broken > 0 {
		return partialError{broken, listed + broken, "lines were not understood"}
	}
	return nil
}

func newLikenessExport(a *app) *cobra.Command {
	var asCSV bool
	cmd := &cobra.Command{
		Use: "export", Short: "Print the blocked hashes as a list",
		Long: `Export prints all blocked hashes, one a line, or with --csv as CSV with distance, time
and reason, as import reads them. It does not reveal which images they come from.`,
		Example: "  imgkeep likeness export --csv > hashes.csv",
		Args:    cobra.NoArgs,
		RunE: a.configured(func(cmd *cobra.Command, _ []string, c config.Config) error {
			w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			rows := csv.NewWriter(w)
			write := func(b record.Block) error {
				if asCSV {
					return rows.Write([]string{b.Subject, strconv.Itoa(b.Within), b.Since.Format("2006-01-02T15:04:05Z07:00"), control.Printable(b.Why)})
				}
				_, err := fmt.Fprintln(w, b.Subject)
				return err
			}
			if asCSV {
				if err := rows.Write([]string{"hash", "within", "since", "why"}); err != nil {
					return err
				}
			}
			err := a.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) error {
				_, err := s.List(cmd.Context(), control.ListRequest{What: "blocks"}, func(e control.Event) error {
					if e.Item != nil && e.Item.Block != nil && e.Item.Block.Kind == record.BlockSimilar {
						return write(*e.Item.Block)
					}
					return nil
				})
				return err
			})
			rows.Flush()
			return errors.Join(err, rows.Error(), w.Flush())
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&asCSV, "csv", false, "print CSV")
	return cmd
}
