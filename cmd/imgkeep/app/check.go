package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

// checked is the result of check for a URL.
type checked struct {
	URL       string `json:"url"`
	Canonical string `json:"canonical,omitempty"`
	Shows     string `json:"shows,omitempty"` // the URL of the image, if this is a link of the server itself
	// Unverified: no secret is known here to verify the link with.
	Unverified bool            `json:"unverified,omitempty"`
	Addresses  []string        `json:"addresses,omitempty"`
	Final      string          `json:"final,omitempty"`
	OK         bool            `json:"ok"`
	Class      fetch.ErrorKind `json:"class,omitempty"`
	Status     int             `json:"status,omitempty"`
	Why        string          `json:"why,omitempty"`
	Type       string          `json:"type,omitempty"`
	Width      int             `json:"width,omitempty"` // as shown
	Height     int             `json:"height,omitempty"`
	Frames     int             `json:"frames,omitempty"`
	Bytes      int64           `json:"bytes,omitempty"`
	Seconds    float64         `json:"seconds"`
}

func newCheckCommand(a *app) *cobra.Command {
	x := &checkCommand{app: a}
	cmd := &cobra.Command{
		Use: "check URL|LINK…", GroupID: groupLook,
		Short: "Test whether an image would be fetched, by fetching it",
		Long: `Check fetches each URL from here as the server would, by the rules of the
configuration and of a bucket, and discards the result. It prints how the store spells
the URL, which image it shows if it is a link of the server itself, the addresses of
its host, where redirects lead, and what kind of image it is; or which rule refuses
it, or what the origin answered.

Whether a URL, a host or an image is blocked is known to the server, or to the store
if no server runs. If neither can be asked, a message on standard error says so. For
what is kept or has failed, see show.

Exit status: 0 if all would be kept; 3 if some would not; 1 if none would.`,
		Example: "  imgkeep check --config /etc/imgkeep/imgkeep.yaml https://origin.example/cat.jpg",
		Args:    cobra.MinimumNArgs(1),
		RunE:    a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().StringVar(&x.bucket, "bucket", "", "by the rules of this `BUCKET` (default the first)")
	cmd.Flags().BoolVar(&x.json, "json", false, "print a JSON document for each")
	return cmd
}

type checkCommand struct {
	app    *app
	bucket string
	json   bool
}

func (x *checkCommand) run(cmd *cobra.Command, args []string, c config.Config) (err error) {
	k, err := x.checker(c)
	if err != nil {
		return err
	}
	defer k.fetcher.Close()
	service, closeAll, err := engine.Open(cmd.Context(), c, x.app.process(), engine.Need{})
	if err != nil {
		x.app.complain("cannot ask what is blocked: " + err.Error())
	} else {
		k.service = service
		defer func() { err = errors.Join(err, closeAll()) }()
	}
	return k.all(cmd, args, x.json)
}

// checker checks by the rules of the configuration.
func (x *checkCommand) checker(c config.Config) (k checker, err error) {
	i := slices.IndexFunc(c.Buckets, func(b config.Bucket) bool { return b.Name == x.bucket || x.bucket == "" })
	if i < 0 {
		return k, usagef("--bucket: there is no bucket %q", x.bucket)
	}
	limits, err := engine.Limits(c)
	if err != nil {
		return k, err
	}
	signer, err := engine.NewSigner(c.Sign)
	if err != nil && !errors.Is(err, sign.ErrNoSecret) {
		return k, usageError(err)
	}
	k = checker{config: c, bucket: c.Buckets[i], limits: limits, unwraps: signer != nil, self: engine.NewSelfLinks(c, signer, x.app.Now)}
	k.fetcher, err = engine.NewFetcher(c, k.self, nil, engine.NewLogger(x.app.Stderr, c.Log), x.app.Now)
	return k, err
}

// checker checks URLs by the rules of a bucket.
type checker struct {
	config  config.Config
	bucket  config.Bucket
	limits  probe.Limits
	self    *engine.SelfLinks
	unwraps bool // a secret is known; otherwise fetching refuses links of our own
	fetcher *fetch.Fetcher
	service control.Service // knows what is blocked; nil: unknown
}

func (k checker) all(cmd *cobra.Command, args []string, asJSON bool) (err error) {
	failed := 0
	for _, arg := range args {
		x := k.check(cmd.Context(), arg)
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		if !x.OK {
			failed++
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), x)
		} else {
			_, err = io.WriteString(cmd.OutOrStdout(), x.text())
		}
		if err != nil {
			return err
		}
	}
	if failed > 0 {
		return partialError{failed, len(args), "would not be kept"}
	}
	return nil
}

func (k checker) check(ctx context.Context, raw string) checked {
	x := checked{URL: raw}
	began := time.Now()
	err := k.try(ctx, &x)
	x.Seconds = time.Since(began).Seconds()
	var e *fetch.Error
	switch {
	case err == nil:
		x.OK = true
	case errors.As(err, &e):
		x.Class, x.Status, x.Why = e.Kind, e.Status, e.Error()
	case errors.Is(err, imageurl.ErrURL):
		x.Class, x.Why = fetch.Refused, err.Error()
	default:
		x.Why = err.Error()
	}
	return x
}

// removed is the kind of error of blocked images.
const removed fetch.ErrorKind = "removed"

// try does what the store would, and notes the result.
func (k checker) try(ctx context.Context, x *checked) (err error) {
	image, err := k.image(x)
	if err != nil {
		return err
	}
	if err := k.blocked(ctx, control.ShowRequest{URL: k.self.Key(image)}); err != nil {
		return err
	}
	if u := imageurl.URL(image); !u.IsLocal() && !u.IsObject() && k.config.Fetch.Proxy == "" {
		if a, err := netip.ParseAddr(u.Host()); err == nil {
			x.Addresses = []string{a.String()}
		} else if found, err := net.DefaultResolver.LookupHost(ctx, u.Host()); err == nil {
			x.Addresses = found
		}
	}
	most := int64(k.bucket.MaxBytes)
	if most == 0 {
		most = int64(k.config.Fetch.MaxBytes)
	}
	digest := sha256.New()
	r, err := k.fetcher.Fetch(ctx, fetch.Request{URL: image, Hosts: k.bucket.Hosts, MaxBytes: most, Limits: k.limits}, digest)
	if err != nil {
		return err
	}
	x.Bytes, x.Type, x.Frames = r.Bytes, r.Info.Format.String(), r.Info.Frames
	x.Width, x.Height = r.Info.Shown()
	if r.FinalURL != image {
		x.Final = r.FinalURL
		if led, err := imageurl.Canonical(r.FinalURL); err == nil {
			if err := k.blocked(ctx, control.ShowRequest{URL: led}); err != nil {
				return err
			}
		}
	}
	return k.blocked(ctx, control.ShowRequest{Digest: record.Digest(digest.Sum(nil)).String()})
}

// image is the URL of the named image: named by its own URL, or by a link of the server
// itself, which may be a path.
func (k checker) image(x *checked) (image string, err error) {
	if l, ours := k.link(x.URL); ours {
		if image, err = k.self.ImageOf(l); err != nil {
			return "", err
		}
		if x.Unverified = !k.unwraps; k.unwraps && !k.self.Signed(l) {
			return "", &fetch.Error{Kind: fetch.Refused, Err: errors.New("it looks like a link of this server, which has not signed it")}
		}
		x.Canonical, x.Shows = image, image
		return image, nil
	}
	if x.Canonical, err = imageurl.CanonicalAt(k.config.Fetch.BaseURL, x.URL); err != nil || !k.unwraps {
		return x.Canonical, err
	}
	if image, err = k.self.Unwrap(x.Canonical); err == nil && image != x.Canonical {
		x.Shows = image
	}
	return image, err
}

// link reads a link of this server: a path, or a URL with one of its names or a signature
// of its secrets.
func (k checker) link(raw string) (l sign.Link, ours bool) {
	l, err := target.ParseLink(raw)
	if err != nil {
		return l, false
	}
	u, err := imageurl.Parse(raw)
	path := strings.HasPrefix(raw, "/") && !strings.HasPrefix(raw, "//")
	return l, path || err == nil && k.self.Is(u) || k.unwraps && k.self.Signed(l)
}

// blocked returns an error that names the first block of a URL or a digest.
func (k checker) blocked(ctx context.Context, q control.ShowRequest) error {
	if k.service == nil {
		return nil
	}
	details, err := k.service.Show(ctx, q)
	if err != nil || len(details.Blocks) == 0 {
		return err
	}
	return &fetch.Error{Kind: removed, Host: imageurl.URL(q.URL).Host(), Err: errors.New("blocked: " + blockText(details.Blocks[0]))}
}

func (x checked) text() string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", key, control.Printable(fmt.Sprintf(format, args...)))
	}
	line("url", "%s", x.URL)
	if x.Canonical != x.URL && x.Canonical != "" && x.Canonical != x.Shows {
		line("  kept as", "%s", x.Canonical)
	}
	if x.Shows != "" {
		line("  shows", "%s", x.Shows)
	}
	if x.Unverified {
		line("  link", "its signature was not checked: no secret is known here")
	}
	if len(x.Addresses) > 0 {
		line("  resolves", "%s", strings.Join(x.Addresses, ", "))
	}
	if x.Final != "" {
		line("  leads to", "%s", x.Final)
	}
	if x.OK {
		line("  is", "%s, %d x %d, %d frames, %s", x.Type, x.Width, x.Height, x.Frames, humanize.IBytes(uint64(x.Bytes)))
		line("  would be", "kept (%s)", seconds(x.Seconds))
	} else {
		line("  refused", "%s: %s", x.Class, x.Why)
	}
	return b.String()
}
