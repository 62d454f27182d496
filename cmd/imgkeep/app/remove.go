package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/nginx"
)

const removeHelp = `

An image is named by its URL, by any link of it, in whatever size and also when it
has expired, or by its digest. Several may be named. What was pasted around a link is
passed over. A link whose signature does not fit its URL is refused, and both images
are named: nginx goes by the signature. It works while the server
runs, and is done when the command ends: served directly the image is gone at
once, behind nginx within nginx.valid. Every change is written to audit.ndjson in
the root, with who made it and why.

It prints what went, and the paths of the links that were good: for whoever has a
cache of his own before the server. Links that were signed for another spelling of
the URL are not among them.

Exit status: 0 if all was done; 3 if some of what was named could not be, or is not
there; 1 if none.`

func newForgetCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Forget, "forget URL|LINK…", "Remove a URL from the store",
		`Forget takes a URL out of the store. The bytes and their sizes go with it when no
other URL of the bucket has them. When somebody asks for it again, it is fetched
anew; see block.`+removeHelp)
}

func newPurgeCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Purge, "purge URL|LINK|DIGEST…", "Remove an image from the store, under all its URLs",
		`Purge takes an image out of the store: its bytes, all URLs that have them, and all
sizes, in all buckets or in those of --bucket. When somebody asks for it again, it
is fetched anew; see block. The next 'imgkeep backup' removes it from the backup
too.`+removeHelp)
}

func newBlockCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Block, "block URL|LINK|DIGEST|HOST…", "Remove an image for good, or put a host in quarantine",
		`Block sees to it that an image is not served any more, now and in future, in any
bucket: its links answer 451. Of a URL, the bytes that are kept under it are
blocked too, under whatever URL they come again. Its files are removed, as by
purge, unless --keep says that they stay on disk, where nobody sees them.

A HOST, as example.com or *.example.com, is put in quarantine: nothing of it is
served or fetched, not by a redirect either, and what is kept stays on disk.

Unblock lifts a block.`+removeHelp)
}

func newUnblockCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Unblock, "unblock URL|LINK|DIGEST|HOST…", "Lift a block",
		`Unblock lifts the block of a URL, with that of the bytes that were found under it
then, of a digest, or of a host. What is on disk still is served again; the rest is
fetched anew when somebody asks for it. 'imgkeep list --blocked' lists all blocks.`+removeHelp)
}

func newRemoveCommand(a *app, verb, use, short, long string) *cobra.Command {
	var q control.RemoveRequest
	var asJSON, unverified bool
	cmd := &cobra.Command{
		Use: use, GroupID: groupRemove, Short: short, Long: long,
		Example: fmt.Sprintf("  imgkeep %s --why 'ticket 4711' https://img.example.net/i/full/…\n  imgkeep %[1]s --dry-run https://origin.example/cat.jpg", verb),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			hosts := verb == control.Block || verb == control.Unblock
			q.Verb = verb
			mine := newOwn(c, nil, a.Now)
			var requests []control.RemoveRequest
			for _, arg := range args {
				n, err := mine.parseName(arg, hosts)
				if err != nil {
					return usageError{err}
				}
				if verb == control.Forget && n.url == "" {
					return usagef("%q is no URL and no link: to remove bytes, purge them", asTyped(arg))
				}
				one := q
				one.URL, one.Digest, one.Host, one.Named = n.url, n.digest, n.host, n.named(unverified)
				requests = append(requests, one)
			}
			out := removeOutput{w: cmd.OutOrStdout(), json: asJSON, dry: q.DryRun}
			failed := 0
			one := func(arg string, r control.Removal, err error) error {
				if err != nil {
					failed++
					a.complain(asTyped(arg) + ": " + err.Error())
				}
				return out.write(asTyped(arg), r, err)
			}
			err = a.withStore(cmd.Context(), c,
				func(client *control.Client) error {
					for i, q := range requests {
						r, err := client.Remove(cmd.Context(), q)
						if err := one(args[i], r, err); err != nil {
							return err
						}
					}
					return nil
				},
				func(store *bucket.Store) error {
					with, err := a.removing(c, store, q.DryRun)
					if err != nil {
						return err
					}
					for i, q := range requests {
						r, err := q.Do(cmd.Context(), with)
						if err := one(args[i], r, err); err != nil {
							return err
						}
					}
					return nil
				})
			if err == nil && failed > 0 {
				return partialError{failed, len(args), "could not be done"}
			}
			return err
		},
	}
	addStoreFlags(cmd)
	flags := cmd.Flags()
	if verb == control.Forget || verb == control.Purge {
		flags.StringSliceVar(&q.Buckets, "bucket", nil, "only in this `BUCKET` (default all)")
	}
	if verb == control.Block {
		flags.BoolVar(&q.Keep, "keep", false, "leave the files on disk")
	}
	flags.StringVar(&q.Why, "why", "", "the `REASON`, for the journal and the audit log")
	addUnverified(flags, &unverified)
	flags.BoolVar(&q.DryRun, "dry-run", false, "say what would be done and change nothing")
	flags.BoolVar(&asJSON, "json", false, "print a JSON document for each")
	return cmd
}

// audit is the audit log of a store.
func (a *app) audit(c config.Config) *control.Audit {
	return &control.Audit{Path: filepath.Join(c.Root, "audit.ndjson"), Now: a.Now}
}

// removing is what removals are done with where no server runs.
func (a *app) removing(c config.Config, store *bucket.Store, dryRun bool) (control.Removing, error) {
	with := control.Removing{Store: store, Links: a.linkBook(c, store), Audit: a.audit(c), By: a.caller}
	// nginx serves by the hot links of a server that does not run now all the same.
	if c.Handoff != "nginx" || dryRun {
		return with, nil
	}
	if _, err := os.Stat(c.Nginx.Hot); errors.Is(err, os.ErrNotExist) {
		return with, nil
	}
	with.Hot = &lateHot{open: func() (*nginx.Hot, error) {
		// Whatever the presets are: no link stays that could hang on them.
		return newHot(c, nil, newLogger(a.Stderr, c.Log), a.Now)
	}}
	return with, nil
}

// lateHot is a tree of hot links that is opened when something is removed, and not
// before: to open it with fewer secrets than the server had drops links, which tell
// what a signature stands for.
type lateHot struct {
	open func() (*nginx.Hot, error)
	hot  *nginx.Hot
}

func (l *lateHot) BeginRemoval() (err error) {
	if l.hot == nil {
		l.hot, err = l.open()
	}
	if err != nil {
		return err
	}
	return l.hot.BeginRemoval()
}

func (l *lateHot) EndRemoval(all bool, leads func(target string) bool) (int, error) {
	if l.hot == nil {
		return 0, l.BeginRemoval() // which says again what is wrong
	}
	return l.hot.EndRemoval(all, leads)
}

// linkBook knows the links of a configuration. Where it has no secret it says so.
func (a *app) linkBook(c config.Config, store *bucket.Store) linkBook {
	return linkBook{func() config.Config { return c }, store, a.Now, a.complain}
}

// addUnverified adds the flag for links whose signature does not fit.
func addUnverified(flags *pflag.FlagSet, unverified *bool) {
	flags.BoolVar(unverified, "unverified", false, "go by the URL in a link also where the signature does not fit it")
}

// removeOutput writes removals.
type removeOutput struct {
	w    io.Writer
	json bool
	dry  bool
}

// write writes what has happened, which may be something also beside an error.
func (o removeOutput) write(arg string, r control.Removal, failed error) error {
	if o.json {
		text := ""
		if failed != nil {
			text = failed.Error()
		}
		return json.NewEncoder(o.w).Encode(struct {
			Name   string `json:"name"`
			DryRun bool   `json:"dry_run"`
			bucket.Removal
			Links []string `json:"links"`
			Error string   `json:"error,omitempty"`
		}{arg, o.dry, r.Removal, append([]string{}, r.Links...), text})
	}
	var b strings.Builder
	would := ""
	if o.dry {
		would = "would be "
	}
	for _, i := range r.Images {
		fmt.Fprintf(&b, "%s/%s  %s, %d files %sremoved", i.Bucket, i.Digest, humanize.IBytes(uint64(i.Bytes)), len(i.Files), would)
		if i.Left > 0 {
			fmt.Fprintf(&b, "; %d other URLs still have it", i.Left)
		}
		b.WriteString("\n")
		for _, url := range i.URLs {
			b.WriteString("  " + printable(url) + "\n")
		}
	}
	for _, x := range r.Blocked {
		fmt.Fprintf(&b, "%sblocked: %s %s\n", would, x.Kind, printable(x.Subject))
	}
	for _, x := range r.Unblocked {
		fmt.Fprintf(&b, "%sunblocked: %s %s\n", would, x.Kind, printable(x.Subject))
	}
	if len(r.Links) > 0 {
		b.WriteString("to be dropped from caches before the server:\n")
		for _, p := range r.Links {
			b.WriteString("  " + p + "\n")
		}
	}
	_, err := io.WriteString(o.w, b.String())
	return err
}

// look has work done on the store for a command that only looks: by the server, or
// here.
func look[T any](ctx context.Context, a *app, c config.Config, ask func(*control.Client) (T, error), do func(*bucket.Store) (T, error)) (result T, err error) {
	err = a.withStore(ctx, c,
		func(client *control.Client) error { result, err = ask(client); return err },
		func(store *bucket.Store) error { result, err = do(store); return err })
	return result, err
}
