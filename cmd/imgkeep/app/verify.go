package app

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

// verified is the result of verify for a link.
type verified struct {
	Link    string    `json:"link"`
	Good    bool      `json:"good"`
	Expires time.Time `json:"expires,omitzero"`
	Bucket  string    `json:"bucket,omitempty"`
	Size    string    `json:"size,omitempty"`
	By      string    `json:"by,omitempty"`  // the member for whom it was signed
	URL     string    `json:"url,omitempty"` // canonical; of the image, if the link wraps another
	Why     string    `json:"why,omitempty"` // it is not valid
}

func newVerifyCommand(a *app) *cobra.Command {
	x := &verifyCommand{app: a}
	cmd := &cobra.Command{
		Use: "verify LINK…", GroupID: groupLinks,
		Short: "Check whether a link is good, and until when",
		Long: `Verify checks links as the server does, given as URLs or as paths: form, signature,
week, bucket, size or preset, and the URL, also that of a link within a link. It
prints until when a link is good, or why it is not, after the link itself if there are
several. It contacts nothing.

It needs a secret, from IMGKEEP_SECRET or from the configuration. Debian's package has
it in a file that only root may read, see the second example.

Exit status: 0 if all are good; 3 if some are not; 1 if none is.`,
		Example: `  imgkeep verify --config /etc/imgkeep/imgkeep.yaml /i/full/…
  sudo env IMGKEEP_SIGN_SECRET_FILES=/etc/imgkeep/secret imgkeep verify --config /etc/imgkeep/imgkeep.yaml /i/full/…`,
		Args: cobra.MinimumNArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(x.run),
	}
	cmd.Flags().BoolVar(&x.json, "json", false, "print a JSON document for each")
	return cmd
}

type verifyCommand struct {
	app  *app
	json bool
}

func (x *verifyCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	signer, err := engine.NewSigner(c.Sign)
	if errors.Is(err, sign.ErrNoSecret) {
		err = x.app.noSecret("there is no secret to check links with: set IMGKEEP_SECRET, or sign.secrets or sign.secret_files in the configuration", "verify")
	}
	if err != nil {
		return usageError(err)
	}
	bad := 0
	for _, arg := range args {
		v := verify(c, signer, arg, x.app.Now())
		which := "" // of several
		if len(args) > 1 {
			which = control.Printable(arg) + ": "
		}
		if !v.Good {
			bad++
		}
		switch {
		case x.json:
			err = printJSON(cmd.OutOrStdout(), v)
		case v.Good:
			by := ""
			if v.By != "" {
				by = " by " + v.By
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%sgood until %s: %s %s %s%s\n", which, v.Expires.Format(time.RFC3339), v.Bucket, v.Size, control.Printable(v.URL), by)
		default:
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%snot good: %s\n", which, control.Printable(v.Why))
		}
		if err != nil {
			return err
		}
	}
	if bad > 0 {
		return partialError{bad, len(args), "links are not good"}
	}
	return nil
}

// verify checks in the same order as the server.
func verify(c config.Config, signer *sign.Signer, arg string, now time.Time) verified {
	v := verified{Link: arg}
	fail := func(err error) verified { v.Why = err.Error(); return v }
	l, err := target.ParseLink(arg)
	if err != nil {
		return fail(err)
	}
	v.Bucket, v.Size = l.Bucket, l.Size
	// Also reported for an invalid link: the operator wants to know it.
	raw, urlErr := l.URL()
	if urlErr == nil {
		v.By = signer.TagOf(raw)
		v.URL, urlErr = imageurl.CanonicalAt(c.Fetch.BaseURL, raw)
	}
	if v.Expires, err = signer.Verify(l, now); err != nil {
		return fail(err)
	}
	if !slices.ContainsFunc(c.Buckets, func(b config.Bucket) bool { return b.Name == l.Bucket }) {
		return fail(fmt.Errorf("there is no bucket %q", l.Bucket))
	}
	if err := server.CheckSize(l, engine.Listed(c)); err != nil {
		return fail(err)
	}
	if urlErr != nil {
		return fail(urlErr)
	}
	if v.URL, err = engine.NewSelfLinks(c, signer, func() time.Time { return now }).Unwrap(v.URL); err != nil {
		return fail(err)
	}
	v.Good = true
	return v
}
