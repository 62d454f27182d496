package app

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

const removeHelp = `

Name an image by its URL, by any of its links, in any size and even if it has expired,
or, except with forget, by its digest. Several may be named, also in a --file, one a
line. Text that was pasted around a link is ignored. A link whose signature does not fit
its URL is refused, and both images are named, because nginx goes by the signature. If
neither a running server nor this command knows the secret, it warns that it could not
check the signature. The command works with or without a running server, and its effect
is complete when it ends: served directly the image is gone at once, behind nginx within
nginx.valid. Every change is written to audit.ndjson in the root, with who made it and
why.

The command prints what it has removed, and the paths of the links that were good, for
those who have a cache of their own before the server. Links that were signed for
another spelling of the URL are not among them.

Exit status: 0 if everything was done; 3 if some items failed or were not found; 1 if
all did.`

const allVersionsHelp = ` all versions and delete markers that the shared object store of several
nodes keeps of the bytes are deleted as well, also those of earlier removals if a digest
is named. What object lock holds is named, and until when; nobody sees it meanwhile, and
the same command with the digest tries again. On one machine the flag is refused.`

func newForgetCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Forget, "forget URL|LINK…", "Remove a URL from the store",
		`Forget removes a URL from the store. The bytes and their sizes are removed with it if
no other URL of the bucket has them. The next request for it fetches it again; to
prevent that, see block.`+removeHelp)
}

func newPurgeCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Purge, "purge URL|LINK|DIGEST…", "Remove an image from the store, under all its URLs",
		`Purge removes an image from the store: its bytes, all URLs that have them, and all
sizes, in all buckets or in those of --bucket. The next request for it fetches it
again; to prevent that, see block. The next 'imgkeep backup' removes it from the
backup too.

With --all-versions`+allVersionsHelp+`

With --evidence what is removed is first written to a file, for lawyers: a zip archive
of the bytes, evidence.json (URLs, when each was stored, who removes it and why), the
lines of the journals and of the audit log about it, and SHA256SUMS. It is on disk
before anything is removed; if it cannot be, or an original is damaged, nothing is. The
audit log gets the name and the sum of the file. Run it as root or as the user of the
server, whose files it reads.`+removeHelp)
}

func newBlockCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Block, "block URL|LINK|DIGEST|HOST|HASH|FILE…", "Remove an image for good, or put a host in quarantine",
		`Block removes an image for good, in all buckets: from now on its links answer 451. If
a URL is blocked, so are the bytes that are kept under it, whatever URL they come from
later. The files are removed, as by purge; with --keep they stay on disk, where nobody
sees them.

With --similar (likeness must be on), look-alikes of the image are kept out too, from now
on: a new image within --within bits of it answers 451, and 'imgkeep list --similar'
lists it. Kept images stay: list them first with 'imgkeep similar'. For a FILE
(whose path begins with / or ., as in ./cat.jpg) or a PDQ HASH, only look-alikes are
blocked.

A HOST, such as example.com or *.example.com, is put in quarantine: nothing of it is
served or fetched, not even by a redirect, and its files stay on disk.

With --all-versions`+allVersionsHelp+`

Unblock lifts a block.`+removeHelp)
}

func newUnblockCommand(a *app) *cobra.Command {
	return newRemoveCommand(a, control.Unblock, "unblock URL|LINK|DIGEST|HOST|HASH…", "Lift a block",
		`Unblock lifts the block of a digest, a host or a PDQ hash; or that of a URL, together
with the blocks of the bytes that were kept under it and of their look-alikes. Files that
are still on disk are served again; the rest is fetched on request. 'imgkeep list
--blocked' lists all blocks.`+removeHelp)
}

func newRemoveCommand(a *app, verb, use, short, long string) *cobra.Command {
	x := &removeCommand{app: a, q: control.RemoveRequest{Verb: verb}}
	cmd := &cobra.Command{
		Use: use, GroupID: groupRemove, Short: short, Long: long,
		Example: fmt.Sprintf("  imgkeep %s --why 'ticket 4711' https://img.example.net/i/full/…\n  imgkeep %[1]s --dry-run https://origin.example/cat.jpg", verb),
		Args: func(cmd *cobra.Command, args []string) error {
			if x.file != "" {
				return nil
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		},
		RunE: a.configured(x.run),
	}
	addStoreFlags(cmd)
	flags := cmd.Flags()
	if verb == control.Forget || verb == control.Purge {
		flags.StringSliceVar(&x.q.Buckets, "bucket", nil, "only in this `BUCKET` (default all)")
	}
	if verb == control.Purge {
		flags.StringVar(&x.evidence, "evidence", "", "first write what is removed to `FILE`, a zip archive")
	}
	if verb == control.Purge || verb == control.Block {
		flags.BoolVar(&x.q.AllVersions, "all-versions", false, "where nodes share an object store: also delete all versions of the bytes there")
	}
	if verb == control.Block {
		flags.BoolVar(&x.q.Keep, "keep", false, "leave the files on disk")
		flags.BoolVar(&x.q.Similar, "similar", false, "also keep out look-alikes of the image")
		flags.IntVar(&x.q.Within, "within", likeness.Within, fmt.Sprintf("with --similar: how many `BITS` of its hash may differ, 0 to %d", likeness.MaxWithin))
	}
	flags.StringVar(&x.file, "file", "", "also take names from `FILE`, one a line; empty lines and lines that begin with # are ignored; -: standard input")
	must(cmd.MarkFlagFilename("file"))
	flags.StringVar(&x.q.Why, "why", "", "the `REASON`, for the journal and the audit log")
	addUnverified(flags, &x.unverified)
	flags.BoolVar(&x.q.DryRun, "dry-run", false, "say what would be done and change nothing")
	flags.BoolVar(&x.json, "json", false, "print a JSON document for each")
	return cmd
}

type removeCommand struct {
	app              *app
	q                control.RemoveRequest // without the named image
	json, unverified bool
	evidence         string // a file
	file             string // of further arguments
}

func (x *removeCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	args, err := x.arguments(x.app.targets(c), args)
	if err != nil {
		return usageError(err)
	}
	requests, err := x.requests(x.app.targets(c), args)
	if err != nil {
		return usageError(err)
	}
	bundle, err := x.app.openEvidence(x.evidence, x.q.DryRun)
	if err != nil {
		return err
	}
	out := removeOutput{w: cmd.OutOrStdout(), json: x.json, dry: x.q.DryRun}
	failed := 0
	removals := each(requests, args)
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
		if bundle != nil {
			if removals, err = bundle.take(cmd.Context(), s, c, requests, args); err != nil {
				return err
			}
		}
		for _, q := range removals {
			var err error
			if q.request.Similar && q.request.URL+q.request.Digest+q.request.Host+q.request.Hash == "" {
				q.request.Hash, err = hashOfFile(cmd.Context(), s, q.arg)
			}
			var r control.Removal
			if err == nil {
				r, err = s.Remove(cmd.Context(), q.request)
			}
			if err != nil {
				failed++
				x.app.complain(q.arg + ": " + err.Error())
			}
			if err := out.write(q.arg, r, err); err != nil {
				return err
			}
		}
		return nil
	})
	err = errors.Join(err, bundle.discard())
	if err == nil && failed > 0 {
		return partialError{failed, len(removals), "could not be done"}
	}
	return err
}

// each pairs requests with their arguments.
func each(requests []control.RemoveRequest, args []string) (all []removal) {
	for i, q := range requests {
		all = append(all, removal{asTyped(args[i]), q})
	}
	return all
}

// maxNamed is how many lines a file may have.
const maxNamed = 100_000

// arguments are the arguments and the lines of the file. A line that names nothing is an
// error, before anything is done.
func (x *removeCommand) arguments(targets targets, args []string) ([]string, error) {
	if x.file == "" {
		return args, nil
	}
	in := x.app.Stdin
	if x.file != "-" {
		f, err := os.Open(x.file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	for l, err := range lines(in, maxURLLine) {
		if err == nil && l.long {
			err = fmt.Errorf("it is longer than %d bytes", maxURLLine)
		}
		if err == nil && len(args) >= maxNamed {
			err = fmt.Errorf("at most %d things can be named at once", maxNamed)
		}
		if err == nil {
			_, err = x.requests(targets, []string{l.text})
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", x.file, l.n, err)
		}
		args = append(args, l.text)
	}
	if len(args) == 0 {
		return nil, fmt.Errorf("%s names nothing: want a URL, link, digest or host a line", x.file)
	}
	return args, nil
}

// requests are one request for each argument.
func (x *removeCommand) requests(targets targets, args []string) (all []control.RemoveRequest, err error) {
	hosts := x.q.Verb == control.Block || x.q.Verb == control.Unblock
	for _, arg := range args {
		if q, ok := x.looks(arg); ok {
			all = append(all, q)
			continue
		}
		t, err := targets.parse(arg, hosts)
		if err != nil {
			return nil, err
		}
		if x.q.Verb == control.Forget && t.URL == "" {
			return nil, fmt.Errorf("%q is no URL and no link: to remove bytes, purge them", asTyped(arg))
		}
		q := x.q
		if !q.Similar {
			q.Within = 0 // which says nothing then
		}
		q.URL, q.Source, q.Digest, q.Host, q.Named = t.URL, t.Older(), t.Digest, t.Host, t.link(x.unverified)
		all = append(all, q)
	}
	return all, nil
}

// looks reads an argument about the look of an image that need not be in the store: a hash,
// or a file, whose hash is not known yet.
func (x *removeCommand) looks(arg string) (q control.RemoveRequest, ok bool) {
	q = x.q
	if _, err := likeness.ParseHash(arg); err == nil && (q.Verb == control.Block || q.Verb == control.Unblock) {
		q.Hash, q.Similar = arg, q.Verb == control.Block
		return q, true
	}
	return q, q.Similar && isPath(arg)
}

// addUnverified adds the flag for links with a wrong signature.
func addUnverified(flags *pflag.FlagSet, unverified *bool) {
	flags.BoolVar(unverified, "unverified", false, "use the URL in a link even if its signature is wrong")
}

// removeOutput writes removals.
type removeOutput struct {
	w    io.Writer
	json bool
	dry  bool
}

// write writes what was done, which may be something even with an error.
func (o removeOutput) write(arg string, r control.Removal, failed error) error {
	if o.json {
		text := ""
		if failed != nil {
			text = failed.Error()
		}
		return newEncoder(o.w).Encode(struct {
			Name   string `json:"name"`
			DryRun bool   `json:"dry_run"`
			record.Removal
			Links []string `json:"links"`
			Error string   `json:"error,omitempty"`
		}{arg, o.dry, r.Removal, r.Links, text})
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
		if i.Versions > 0 {
			fmt.Fprintf(&b, "; %d versions and delete markers deleted", i.Versions)
		}
		b.WriteString("\n")
		for _, url := range i.URLs {
			b.WriteString("  " + control.Printable(url) + "\n")
		}
	}
	for _, x := range r.Blocked {
		fmt.Fprintf(&b, "%sblocked: %s %s\n", would, x.Kind, control.Printable(x.Subject))
	}
	for _, x := range r.Unblocked {
		fmt.Fprintf(&b, "%sunblocked: %s %s\n", would, x.Kind, control.Printable(x.Subject))
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
