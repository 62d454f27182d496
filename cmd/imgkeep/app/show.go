package app

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	neturl "net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

func newShowCommand(a *app) *cobra.Command {
	var asJSON, unverified bool
	cmd := &cobra.Command{
		Use: "show URL|LINK|DIGEST", GroupID: groupLook,
		Short: "Tell all that is known of an image",
		Long: `Show tells what is kept under a URL, a link or a digest, in all buckets: its
digest, type, sides, bytes, when it was stored, all its URLs and the sizes made of
it, and whether it ends decoders; what went wrong with fetching it, the first bytes
of what came instead, and when it is tried again; and what blocks it.

Exit status: 0 if something is known; 1 if nothing is.`,
		Example: "  imgkeep show https://origin.example/cat.jpg\n  imgkeep show /i/250x250/gnjO6SJxYbeT9VBz/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn --json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			n, err := newOwn(c, nil, a.Now).parseName(args[0], false)
			if err != nil {
				return usageError{err}
			}
			ctx := cmd.Context()
			show := func(url string) (bucket.Facts, error) {
				q := control.ShowRequest{URL: url, Digest: n.digest, Named: n.named(unverified)}
				return look(ctx, a, c,
					func(client *control.Client) (bucket.Facts, error) { return client.Show(ctx, q) },
					func(store *bucket.Store) (bucket.Facts, error) { return q.Do(ctx, store, a.linkBook(c, store)) })
			}
			facts, err := show(n.url)
			if err == nil && n.source != n.url { // what failed has failed under that
				var more bucket.Facts
				more, err = show(n.source)
				facts.Images, facts.Failures = append(facts.Images, more.Images...), append(facts.Failures, more.Failures...)
			}
			if err != nil {
				return err
			}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), shown{facts, weakHosts(c, n.url, facts)})
			} else {
				_, err = io.WriteString(cmd.OutOrStdout(), factsText(n.url, facts)+weakText(weakHosts(c, n.url, facts)))
			}
			if err == nil && len(facts.Images)+len(facts.Failures)+len(facts.Blocks) == 0 {
				return fmt.Errorf("nothing is known of %s", asTyped(args[0]))
			}
			return err
		},
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON document")
	addUnverified(cmd.Flags(), &unverified)
	return cmd
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// shown is what show prints as JSON.
type shown struct {
	bucket.Facts
	Weak []weakHost `json:"weak_tls,omitempty"`
}

// weakHost is a host of an image whose profile asks for less than TLS promises.
type weakHost struct {
	Host     string `json:"host"`
	Insecure bool   `json:"insecure,omitempty"`
	TLSMin   string `json:"tls_min,omitempty"`
}

// weakHosts are those of a URL and of what is known of it.
func weakHosts(c config.Config, url string, f bucket.Facts) []weakHost {
	urls := []string{url}
	for _, i := range f.Images {
		urls = append(urls, i.URLs...)
	}
	hosts := map[string]bool{}
	for _, u := range urls {
		if parsed, err := neturl.Parse(u); err == nil {
			hosts[parsed.Hostname()] = true
		}
	}
	var weak []weakHost
	for _, host := range slices.Sorted(maps.Keys(hosts)) {
		i := slices.IndexFunc(c.Fetch.Profiles, func(p config.Profile) bool { return imageurl.NewHosts(p.Hosts).Match(host) })
		if i < 0 {
			continue
		}
		if p := c.Fetch.Profiles[i]; p.Insecure || p.TLSMin == "1.0" || p.TLSMin == "1.1" {
			weak = append(weak, weakHost{host, p.Insecure, p.TLSMin})
		}
	}
	return weak
}

func weakText(weak []weakHost) string {
	var b strings.Builder
	for _, w := range weak {
		what := ""
		if w.Insecure {
			what = ", its certificate is not checked"
		}
		if w.TLSMin != "" {
			what += ", TLS from " + w.TLSMin
		}
		fmt.Fprintf(&b, "%-9s %s%s (fetch.profiles)\n", "weak", w.Host, what)
	}
	return b.String()
}

func factsText(url string, f bucket.Facts) string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", key, printable(fmt.Sprintf(format, args...)))
	}
	if url != "" {
		line("url", "%s", url)
	}
	for _, i := range f.Images {
		line("image", "%s/%s", i.Bucket, i.Digest)
		line("  is", "%s, %d x %d, %d frames, %s", i.Type, i.Width, i.Height, i.Frames, humanize.IBytes(uint64(i.Bytes)))
		line("  stored", "%s", i.Stored.Format(time.RFC3339))
		missing := ""
		if !i.Here {
			missing = " (missing or damaged)"
		}
		line("  file", "%s%s", i.File, missing)
		for _, m := range i.Made {
			line("  size", "%s", m)
		}
		for _, u := range i.URLs {
			line("  url", "%s", u)
		}
		if d := i.Deadly; d != nil {
			then := "one more, and it is not decoded any more"
			if d.Undecodable {
				then = "no sizes are made of it until 'imgkeep retry'"
			}
			line("  deadly", "has ended %d decoders, the last at %s: %s; %s", d.Kills, d.Last.Format(time.RFC3339), d.Detail, then)
		}
	}
	for _, x := range f.Failures {
		line("failure", "in %s: %s: %s", x.Bucket, x.Class, x.Detail)
		if x.Host != "" {
			line("  host", "%s", x.Host)
		}
		if x.Status != 0 {
			line("  status", "%d", x.Status)
		}
		if x.Head != "" {
			line("  begins", "%s", x.Head)
		}
		line("  since", "%s, %d in a row", x.First.Format(time.RFC3339), x.Attempts)
		line("  next", "%s", x.Next.Format(time.RFC3339))
	}
	for _, x := range f.Blocks {
		line("blocked", "%s", blockText(x))
	}
	return b.String()
}

func blockText(b bucket.Block) string {
	s := fmt.Sprintf("%s %s since %s", b.Kind, b.Subject, b.Since.Format(time.RFC3339))
	for _, more := range [][2]string{{" by ", b.By}, {", for ", b.For}, {": ", b.Why}} {
		if more[1] != "" {
			s += more[0] + more[1]
		}
	}
	return s
}

func newStatsCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "stats", GroupID: groupLook,
		Short: "Count what is kept",
		Long: `Stats counts images, URLs and bytes by bucket, type, host and week, what sharing
saves, failures by class, blocks, and what the origins say of what is kept, where the
server asks them (linkrot.interval). It reads index and journals: some seconds for
a million images.`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			s, err := look(ctx, a, c,
				func(client *control.Client) (bucket.Stats, error) { return client.Stats(ctx) },
				func(store *bucket.Store) (bucket.Stats, error) { return store.Stats(ctx) })
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			_, err = io.WriteString(cmd.OutOrStdout(), statsText(s))
			return err
		},
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON document")
	return cmd
}

// statsWeeks is how many weeks stats prints as text.
const statsWeeks = 8

func statsText(s bucket.Stats) string {
	var b strings.Builder
	size := func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
	number := func(n int) string { return humanize.Comma(int64(n)) }
	tally := func(name string, t bucket.Tally) {
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
		origins := func(name string, p *bucket.LinkRotPass, when time.Time) {
			if p == nil {
				return
			}
			fmt.Fprintf(&b, "origins    %s", name)
			for _, state := range bucket.OriginStates() {
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
