package app

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newStatsCommand(a *app) *cobra.Command {
	x := &statsCommand{app: a}
	cmd := &cobra.Command{
		Use: "stats", GroupID: groupLook,
		Short: "Count what is kept",
		Long: `Stats counts images, URLs and bytes by bucket, type, host and week, the bytes that
sharing saves, failures by class, blocks, and, if the server asks the origins
(linkrot.interval), what they answer. It reads index and journals: some seconds for a
million images.

One of several nodes counts what its own index knows, which is a part of what they keep,
and says so ("node": true in JSON). It does not count hosts.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.json, "json", false, "print a JSON document")
	return cmd
}

type statsCommand struct {
	app  *app
	json bool
}

func (x *statsCommand) run(cmd *cobra.Command, _ []string, c config.Config) (err error) {
	var s control.Stats
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(service control.Service) (err error) {
		s, err = service.Stats(cmd.Context())
		return err
	})
	if err != nil {
		return err
	}
	if x.json {
		return printJSON(cmd.OutOrStdout(), s)
	}
	_, err = io.WriteString(cmd.OutOrStdout(), statsText(s))
	return err
}

// statsWeeks is how many weeks stats prints as text.
const statsWeeks = 8

func statsText(s control.Stats) string {
	var b strings.Builder
	if s.Node {
		b.WriteString("node       what this node knows, not all that the nodes keep; no hosts\n")
	}
	size := func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
	number := func(n int) string { return humanize.Comma(int64(n)) }
	tally := func(name string, t query.Totals) {
		fmt.Fprintf(&b, "%-10s %s images, %s URLs, %s, %s saved by sharing\n", name, number(t.Images), number(t.URLs), size(t.Bytes), size(t.Saved))
	}
	tally("all", s.All)
	for _, name := range slices.Sorted(maps.Keys(s.Buckets)) {
		tally("bucket "+name, s.Buckets[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.All.Types)) {
		fmt.Fprintf(&b, "%-10s %s images, %s\n", name, number(s.All.Types[name].Images), size(s.All.Types[name].Bytes))
	}
	if s.All.Images > 0 {
		fmt.Fprintf(&b, "oldest     %s\nnewest     %s\n", s.All.Oldest.Format(time.RFC3339), s.All.Newest.Format(time.RFC3339))
	}
	weeks := slices.Sorted(maps.Keys(s.All.Weeks))
	for _, w := range weeks[max(0, len(weeks)-statsWeeks):] {
		fmt.Fprintf(&b, "%-10s %s images, %s\n", w, number(s.All.Weeks[w].Images), size(s.All.Weeks[w].Bytes))
	}
	for _, h := range s.Hosts {
		fmt.Fprintf(&b, "host       %s  %s URLs, %s\n", h.Host, number(h.URLs), size(h.Bytes))
	}
	for _, class := range slices.Sorted(maps.Keys(s.All.Failures)) {
		fmt.Fprintf(&b, "failed     %s  %s URLs\n", class, number(s.All.Failures[class]))
	}
	if s.LinkRot != nil {
		origins := func(name string, p *linkrot.Pass, when time.Time) {
			if p == nil {
				return
			}
			fmt.Fprintf(&b, "origins    %s", name)
			for _, state := range linkrot.States() {
				fmt.Fprintf(&b, " %s %s,", number(p.All[state]), state)
			}
			fmt.Fprintf(&b, " since %s\n", when.Format(time.RFC3339))
		}
		if last := s.LinkRot.Last; last != nil {
			origins("asked:", last, last.Began)
		}
		if now := s.LinkRot.Now; now != nil {
			origins("being asked:", now, now.Began)
		}
	}
	fmt.Fprintf(&b, "blocks     %s\nindex      %s\n", number(s.Blocks), figures(s.Index))
	return b.String()
}
