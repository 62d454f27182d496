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

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newShowCommand(a *app) *cobra.Command {
	x := &showCommand{app: a}
	cmd := &cobra.Command{
		Use: "show URL|LINK|DIGEST", GroupID: groupLook,
		Short: "Show all that is known of an image",
		Long: `Show prints what is kept under a URL, a link or a digest, in all buckets: its
digest, type, dimensions, bytes, when it was stored, all its URLs, the sizes made of
it, and whether it crashes decoders; why fetching it failed, the first bytes of what
came instead, and when the next attempt is due; what blocks it; and whether a link has
expired.

Exit status: 0 if something is known; 1 if nothing is.`,
		Example: "  imgkeep show https://origin.example/cat.jpg\n  imgkeep show /i/250x250/gnjO6SJxYbeT9VBz/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn --json",
		Args:    cobra.ExactArgs(1),
		RunE:    a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.json, "json", false, "print a JSON document")
	addUnverified(cmd.Flags(), &x.unverified)
	return cmd
}

type showCommand struct {
	app              *app
	json, unverified bool
}

func (x *showCommand) run(cmd *cobra.Command, args []string, c config.Config) (err error) {
	t, err := x.app.targets(c).parse(args[0], false)
	if err != nil {
		return usageError(err)
	}
	var facts query.Details
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
		facts, err = s.Show(cmd.Context(), control.ShowRequest{URL: t.URL, Source: t.Source, Digest: t.Digest, Named: t.link(x.unverified)})
		return err
	})
	if err != nil {
		return err
	}
	weak := weakHosts(c, t.URL, facts)
	if x.json {
		err = printJSON(cmd.OutOrStdout(), shown{facts, weak})
	} else {
		_, err = io.WriteString(cmd.OutOrStdout(), factsText(t.URL, facts)+weakText(weak))
	}
	if err == nil && len(facts.Images)+len(facts.Failures)+len(facts.Blocks) == 0 {
		return fmt.Errorf("nothing is known of %s", asTyped(args[0]))
	}
	return err
}

// shown is what show prints as JSON.
type shown struct {
	query.Details
	Weak []weakHost `json:"weak_tls,omitempty"`
}

// weakHost is a host of an image whose profile demands less than TLS promises.
type weakHost struct {
	Host     string `json:"host"`
	Insecure bool   `json:"insecure,omitempty"`
	TLSMin   string `json:"tls_min,omitempty"`
}

// weakHosts are the weak hosts of a URL and of its images.
func weakHosts(c config.Config, url string, f query.Details) []weakHost {
	urls := []string{url}
	for _, i := range f.Images {
		urls = append(urls, i.URLs...)
	}
	hosts := map[string]bool{}
	for _, u := range urls {
		if u := imageurl.URL(u); !u.IsObject() { // of which profiles say nothing
			hosts[u.Host()] = true
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

func factsText(url string, f query.Details) string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-9s %s\n", key, control.Printable(fmt.Sprintf(format, args...)))
	}
	if url != "" {
		line("url", "%s", url)
	}
	if l := f.Link; l != nil {
		switch {
		case l.Good:
			line("link", "good until %s", l.Expires.Format(time.RFC3339))
		case l.Expired:
			line("link", "has expired: viewers get 410, or 403 after eight weeks")
		default:
			line("link", "%s", l.Why)
		}
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
		for _, m := range i.Variants {
			line("  size", "%s", m)
		}
		for _, u := range i.URLs {
			line("  url", "%s", u)
		}
		if d := i.Poison; d != nil {
			then := "one more, and it is not decoded any more"
			if d.Undecodable {
				then = "no sizes are made of it until 'imgkeep retry'"
			}
			line("  deadly", "has ended %d decoders, the last at %s: %s; %s", d.Crashes, d.Last.Format(time.RFC3339), d.Detail, then)
		}
	}
	for _, x := range f.Failures {
		line("failure", "in %s: %s: %s", x.Bucket, x.Kind, x.Detail)
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

func blockText(b record.Block) string {
	s := fmt.Sprintf("%s %s since %s", b.Kind, b.Subject, b.Since.Format(time.RFC3339))
	for _, more := range [][2]string{{" by ", b.By}, {", for ", b.For}, {": ", b.Why}} {
		if more[1] != "" {
			s += more[0] + more[1]
		}
	}
	return s
}
