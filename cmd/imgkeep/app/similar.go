package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"imgkeep/bucket/likeness"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newSimilarCommand(a *app) *cobra.Command {
	x := &similarCommand{app: a}
	cmd := &cobra.Command{
		Use: "similar URL|LINK|DIGEST|HASH|FILE", GroupID: groupLook, Short: "List the images that look like one",
		Long: `Similar lists the images of the store that look like one: like one that is kept, named
by a URL, by any of its links or by its digest; like the image in a FILE (whose path
begins with / or ., as in ./cat.jpg); or like that of a PDQ HASH, 64 hexadecimal digits.
They may be recompressed, resized, a little brighter, turned or mirrored. Each line has the
distance in bits, of 256, and the digest, the nearest first; 'imgkeep show DIGEST' shows
more. likeness must be on. Run 'imgkeep likeness index' for images that were kept
before.

A likeness is a guess: see contrib/docs/look-alikes.md for how often it is wrong.

Exit status: 0, even if nothing looks like it; 1 if the search failed.`,
		Example: "  imgkeep similar https://img.example.net/i/full/…\n  imgkeep similar --within 20 ./cat.jpg",
		Args:    cobra.ExactArgs(1),
		RunE:    a.configured(x.run),
	}
	addStoreFlags(cmd)
	flags := cmd.Flags()
	flags.IntVar(&x.q.Within, "within", likeness.Within, fmt.Sprintf("how many `BITS` of the hash may differ, 0 to %d", likeness.MaxWithin))
	flags.IntVar(&x.q.Limit, "limit", control.DefaultSimilar, fmt.Sprintf("list at most `N` images, 1 to %d", control.MaxSimilar))
	addUnverified(flags, &x.unverified)
	flags.BoolVar(&x.json, "json", false, "print a JSON document")
	return cmd
}

type similarCommand struct {
	app              *app
	q                control.SimilarRequest
	json, unverified bool
}

func (x *similarCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	q, file, err := x.app.picture(c, args[0], x.unverified)
	if err != nil {
		return err
	}
	q.Within, q.Limit = x.q.Within, x.q.Limit
	var image io.Reader
	if file != nil {
		defer file.Close()
		image = file
	}
	var found control.Similar
	err = x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) (err error) {
		found, err = s.Similar(cmd.Context(), q, image)
		return err
	})
	if err != nil {
		return err
	}
	w := cmd.OutOrStdout()
	if x.json {
		return json.NewEncoder(w).Encode(found)
	}
	for _, i := range found.Images {
		turned := ""
		if i.Turned {
			turned = "  turned or mirrored"
		}
		if _, err := fmt.Fprintf(w, "%3d  %s  %v%s\n", i.Distance, i.Digest, i.Buckets, turned); err != nil {
			return err
		}
	}
	if found.Blocked != "" {
		_, err = fmt.Fprintf(w, "%3d  from the blocked hash %s\n", found.Distance, found.Blocked)
	}
	return err
}

// picture reads the name of a picture: an image of the store, a hash, or a file, which the
// caller closes.
func (a *app) picture(c config.Config, arg string, unverified bool) (q control.SimilarRequest, file *os.File, err error) {
	if isPath(arg) {
		file, err = os.Open(arg)
		return q, file, err
	}
	if _, err := likeness.ParseHash(arg); err == nil {
		q.Hash = arg
		return q, nil, nil
	}
	t, err := a.targets(c).parse(arg, false)
	if err != nil {
		return q, nil, usageError(fmt.Errorf("%w (the path of a file begins with / or ., as in ./cat.jpg)", err))
	}
	q.URL, q.Digest, q.Named = t.URL, t.Digest, t.link(unverified)
	return q, nil, nil
}

// isPath tells whether an argument names a file: it begins with a slash or a dot, which no URL
// does, and there is one, which no link names.
func isPath(arg string) bool {
	if arg == "" || arg[0] != '/' && arg[0] != '.' {
		return false
	}
	info, err := os.Stat(arg)
	return err == nil && info.Mode().IsRegular()
}

func newAllowCommand(a *app) *cobra.Command {
	x := &allowCommand{app: a}
	cmd := &cobra.Command{
		Use: "allow URL|LINK|DIGEST…", GroupID: groupRemove, Short: "Let an image through that looks like a blocked one",
		Long: `Allow lets an image through for good that was refused because it looks like a blocked
one (451 similar): it is fetched on the next request. 'imgkeep list --similar' lists
refused images. Name one by its digest, or by a URL or link under which it was refused
lately. Blocks of the image itself, or of its host, still apply.

Exit status: 0 if everything was done; 3 if some items failed; 1 if all did.`,
		Example: "  imgkeep list --similar\n  imgkeep allow --why 'another building' https://img.example.net/i/full/…",
		Args:    cobra.MinimumNArgs(1),
		RunE:    a.configured(x.run),
	}
	addStoreFlags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&x.q.Why, "why", "", "the `REASON`, for the journal and the audit log")
	flags.BoolVar(&x.q.Undo, "undo", false, "refuse it again")
	addUnverified(flags, &x.unverified)
	return cmd
}

type allowCommand struct {
	app        *app
	q          control.AllowRequest
	unverified bool
}

func (x *allowCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	var all []control.AllowRequest
	for _, arg := range args {
		t, err := x.app.targets(c).parse(arg, false)
		if err != nil {
			return usageError(err)
		}
		q := x.q
		q.URL, q.Digest, q.Named = t.URL, t.Digest, t.link(x.unverified)
		all = append(all, q)
	}
	failed := 0
	err := x.app.withService(cmd.Context(), c, engine.Need{}, func(s control.Service) error {
		for i, q := range all {
			done, err := s.Allow(cmd.Context(), q)
			if err != nil {
				failed++
				x.app.complain(asTyped(args[i]) + ": " + err.Error())
			}
			what := "let through"
			if q.Undo {
				what = "not let through any more"
			}
			for _, d := range done.Digests {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", what, d); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil && failed > 0 {
		return partialError{failed, len(args), "could not be done"}
	}
	return err
}

// hashOfFile is the hash of the image in a file, if it is good enough to be blocked.
func hashOfFile(ctx context.Context, s control.Service, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	found, err := s.Similar(ctx, control.SimilarRequest{Limit: 1}, f)
	return found.Hash, err
}
