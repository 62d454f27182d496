package app

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newListCommand(a *app) *cobra.Command {
	x := &listCommand{app: a}
	cmd := &cobra.Command{
		Use: "list", GroupID: groupLook,
		Short: "List what is kept, as JSON lines",
		Long: `List prints a line of JSON for each URL that is kept: bucket, url, digest, type,
width, height, frames, bytes and stored. Flags filter the list; --bucket, --host, --type,
--by and --class may be given more than once. With --failed it lists the URLs that could
not be kept instead: url (unless it has more than 1,024 bytes), key (a hash of it), class,
status, detail, host, head and more; --host then matches the host of the URL, and the one
that failed after redirects. So --failed --host says which images of a site are broken,
and --class why. With --blocked it lists all blocks, and with --similar the latest images
that were refused because they look like a blocked one: what each resembles, and the
distance.

With --by it lists the images that links of a member have shown, where the site tags its
links, see 'imgkeep sign --by'. To remove them all:

  imgkeep list --by 4711 | jq -r .url | xargs -d '\n' imgkeep block --why 'member 4711'

One of several nodes lists what its own index knows, which is a part of what they keep,
and says so on standard error. It knows no URLs: it prints one line for each image, with
node instead of url, which has the number of URLs that this node knows. --by lists, with
URLs, what this node has shown of a member, and --blocked what is blocked on all nodes.
--host goes with --failed and --by only. To list everything, run 'imgkeep pull' and list
the store that it makes.

It streams: a list of millions needs no more memory than a short one, but 40 bytes of room
an image in {root}/tmp, while the journals are compared with the index. Write a time
as 2026-11-22 (UTC), as 2026-11-22T10:00:00Z, or as an age: 36h.`,
		Example: `  imgkeep list --host '*.example.com' --since 168h | jq -r .url
  imgkeep list --failed --class gone --host example.com | jq -r .url`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(x.run),
	}
	addStoreFlags(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&x.q.Buckets, "bucket", nil, "of this `BUCKET`")
	flags.StringSliceVar(&x.q.Hosts, "host", nil, "from this `HOST`, as example.com or *.example.com")
	flags.StringSliceVar(&x.q.Types, "type", nil, "of this `TYPE`: jpeg, png, gif, webp, avif, bmp, heic, tiff or jxl")
	flags.StringSliceVar(&x.q.By, "by", nil, "shown by links that were signed for this `MEMBER`")
	flags.StringVar(&x.since, "since", "", "stored, or failed for the first time, at this `TIME` or later")
	flags.StringVar(&x.until, "until", "", "stored, or failed for the first time, before this `TIME`")
	flags.BoolVar(&x.failed, "failed", false, "list URLs that could not be kept")
	flags.StringSliceVar(&x.q.Classes, "class", nil, "list URLs that could not be kept, of this `CLASS`, as gone or timeout")
	flags.BoolVar(&x.blocked, "blocked", false, "list all blocks")
	flags.BoolVar(&x.similar, "similar", false, "list what was refused for looking like a blocked image")
	return cmd
}

type listCommand struct {
	app                      *app
	q                        control.ListRequest
	since, until             string
	failed, blocked, similar bool
}

func (x *listCommand) run(cmd *cobra.Command, _ []string, c config.Config) error {
	if err := x.prepare(); err != nil {
		return usageError(err)
	}
	w := bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10)
	enc := newEncoder(w)
	err := x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) error {
		if c.Shared.IsSet() && !x.blocked {
			x.app.complain("this is what this node knows, not all that the nodes keep")
		}
		_, err := s.List(cmd.Context(), x.q, func(e control.Event) error {
			switch i := e.Item; {
			case i == nil:
				return nil
			case i.Image != nil:
				return enc.Encode(i.Image)
			case i.Failure != nil:
				return enc.Encode(i.Failure)
			case i.Refusal != nil:
				return enc.Encode(i.Refusal)
			default:
				return enc.Encode(i.Block)
			}
		})
		return err
	})
	return errors.Join(err, w.Flush())
}

// prepare makes the request from the flags.
func (x *listCommand) prepare() (err error) {
	switch x.q.What = "images"; {
	case x.failed && x.blocked:
		return errors.New("--failed and --blocked do not go together")
	case x.similar && (x.failed || x.blocked || len(x.q.Classes) > 0):
		return errors.New("--similar cannot be combined with another list")
	case x.similar:
		x.q.What = "similar"
	case x.failed, len(x.q.Classes) > 0:
		x.q.What = "failures"
	case x.blocked:
		x.q.What = "blocks"
	}
	if len(x.q.By) > 0 && x.q.What != "images" {
		return errors.New("--by lists what is kept: leave out --failed and --blocked")
	}
	for _, host := range x.q.Hosts {
		if _, err := imageurl.ParsePattern(host); err != nil {
			return fmt.Errorf("--host: %w", err)
		}
	}
	for i, t := range x.q.Types {
		f, err := probe.ParseFormat(t)
		if err != nil {
			return fmt.Errorf("--type: %w", err)
		}
		x.q.Types[i] = f.String()
	}
	for _, class := range x.q.Classes {
		if !slices.Contains(bucket.ErrorKinds(), bucket.ErrorKind(class)) {
			return fmt.Errorf("--class: %q is not a class of failures: want one of %s", class, joined(bucket.ErrorKinds()))
		}
	}
	if x.q.Since, err = parseWhen(x.since, x.app.Now()); err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if x.q.Until, err = parseWhen(x.until, x.app.Now()); err != nil {
		return fmt.Errorf("--until: %w", err)
	}
	return nil
}

// joined joins words with commas.
func joined[T ~string](words []T) string {
	var text []string
	for _, w := range words {
		text = append(text, string(w))
	}
	return strings.Join(text, ", ")
}

// parseWhen reads a date, an instant, or an age; "" is the zero time.
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
