package app

import (
	"bufio"
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/control"
)

func newListCommand(a *app) *cobra.Command {
	var q control.ListRequest
	var since, until string
	var failed, blocked bool
	cmd := &cobra.Command{
		Use: "list", GroupID: groupLook,
		Short: "List what is kept, as JSON lines",
		Long: `List prints a line of JSON for each URL that is kept: bucket, url, digest, type,
width, height, frames, bytes and stored. Flags choose some; each may be given more
than once. With --failed it lists the URLs that could not be kept instead: key, a
hash of the URL, which is all that the index has of it, class, status, detail, host,
head and more; --host then goes by the host that failed, after redirects. With
--blocked it lists all blocks.

It streams: a list of millions takes no more memory than a short one. A time is
written as 2026-11-22 (UTC), as 2026-11-22T10:00:00Z, or as how long ago: 36h.`,
		Example: `  imgkeep list --host '*.example.com' --since 168h | jq -r .url
  imgkeep list --failed --class gone --host example.com`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			switch q.What = "images"; {
			case failed && blocked:
				return usagef("--failed and --blocked do not go together")
			case failed, len(q.Classes) > 0:
				q.What = "failures"
			case blocked:
				q.What = "blocks"
			}
			for _, host := range q.Hosts {
				if _, err := imageurl.ParsePattern(host); err != nil {
					return usagef("--host: %w", err)
				}
			}
			for i, t := range q.Types {
				f, err := probe.ParseFormat(t)
				if err != nil {
					return usagef("--type: %w", err)
				}
				q.Types[i] = f.String()
			}
			if q.Since, err = parseWhen(since, a.Now()); err != nil {
				return usagef("--since: %w", err)
			}
			if q.Until, err = parseWhen(until, a.Now()); err != nil {
				return usagef("--until: %w", err)
			}
			w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
			enc := json.NewEncoder(w)
			enc.SetEscapeHTML(false)
			each := func(i control.Item) error {
				switch {
				case i.Image != nil:
					return enc.Encode(i.Image)
				case i.Failure != nil:
					return enc.Encode(i.Failure)
				}
				return enc.Encode(i.Block)
			}
			ctx := cmd.Context()
			err = a.withStore(ctx, c,
				func(client *control.Client) error { return client.List(ctx, q, each) },
				func(store *bucket.Store) error { return q.Do(ctx, store, each) })
			return errors.Join(err, w.Flush())
		},
	}
	addStoreFlags(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&q.Buckets, "bucket", nil, "of this `BUCKET`")
	flags.StringSliceVar(&q.Hosts, "host", nil, "from this `HOST`, as example.com or *.example.com")
	flags.StringSliceVar(&q.Types, "type", nil, "of this `TYPE`: jpeg, png, gif or webp")
	flags.StringVar(&since, "since", "", "stored, or failed for the first time, at this `TIME` or later")
	flags.StringVar(&until, "until", "", "stored, or failed for the first time, before this `TIME`")
	flags.BoolVar(&failed, "failed", false, "list URLs that could not be kept")
	flags.StringSliceVar(&q.Classes, "class", nil, "list URLs that could not be kept, of this `CLASS`, as gone or timeout")
	flags.BoolVar(&blocked, "blocked", false, "list all blocks")
	return cmd
}

// parseWhen reads a date, an instant, or how long ago it is; "" is the zero time.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d).UTC(), nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New("want a date as 2026-11-22, an instant as 2026-11-22T10:00:00Z, or how long ago as 36h")
}
