package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
)

// checked is what check tells of a URL.
type checked struct {
	URL       string      `json:"url"`
	Canonical string      `json:"canonical,omitempty"`
	Addresses []string    `json:"addresses,omitempty"`
	Final     string      `json:"final,omitempty"`
	OK        bool        `json:"ok"`
	Class     fetch.Class `json:"class,omitempty"`
	Status    int         `json:"status,omitempty"`
	Why       string      `json:"why,omitempty"`
	Type      string      `json:"type,omitempty"`
	Width     int         `json:"width,omitempty"` // as shown
	Height    int         `json:"height,omitempty"`
	Frames    int         `json:"frames,omitempty"`
	Bytes     int64       `json:"bytes,omitempty"`
	Seconds   float64     `json:"seconds"`
}

func newCheckCommand(a *app) *cobra.Command {
	var asJSON bool
	var name string
	cmd := &cobra.Command{
		Use: "check URL…", GroupID: groupLook,
		Short: "Tell whether an image would be fetched, by fetching it",
		Long: `Check fetches each URL from here as the server would, by the rules of the
configuration and of a bucket, and throws it away: it tells how the URL is spelled
in the store, to which addresses its host resolves, where redirects lead to, what
kind of image it is; or which rule refuses it, or what the origin said. The store
is not looked at: see show for what is kept, failed or blocked.

Exit status: 0 if all would be kept; 3 if some would not; 1 if none would.`,
		Example: "  imgkeep check --config /etc/imgkeep/imgkeep.yaml https://origin.example/cat.jpg",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			b := c.Buckets[0]
			if name != "" {
				found := false
				for _, x := range c.Buckets {
					if x.Name == name {
						b, found = x, true
					}
				}
				if !found {
					return usagef("--bucket: there is no bucket %q", name)
				}
			}
			limits, err := newLimits(c)
			if err != nil {
				return err
			}
			fetcher, err := newFetcher(c.Fetch, newOwn(c, nil, a.Now), newLogger(a.Stderr, c.Log), a.Now)
			if err != nil {
				return err
			}
			defer fetcher.Close()
			failed := 0
			for _, arg := range args {
				x := check(cmd.Context(), fetcher, c, b, limits, arg)
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
		},
	}
	cmd.Flags().StringVar(&name, "bucket", "", "by the rules of this `BUCKET` (default the first)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON document for each")
	return cmd
}

func check(ctx context.Context, fetcher *fetch.Fetcher, c config.Config, b config.Bucket, limits probe.Limits, raw string) checked {
	x := checked{URL: raw}
	began := time.Now()
	defer func() { x.Seconds = time.Since(began).Seconds() }()
	var err error
	if x.Canonical, err = bucket.Canonical(raw); err != nil {
		x.Class, x.Why = fetch.Refused, err.Error()
		return x
	}
	if u, err := url.Parse(x.Canonical); err == nil && u.Host != "" && c.Fetch.Proxy == "" {
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			x.Addresses = []string{a.String()}
		} else if found, err := net.DefaultResolver.LookupHost(ctx, u.Hostname()); err == nil {
			x.Addresses = found
		}
	}
	most := int64(b.MaxBytes)
	if most == 0 {
		most = int64(c.Fetch.MaxBytes)
	}
	r, err := fetcher.Fetch(ctx, fetch.Request{URL: x.Canonical, Hosts: b.Hosts, MaxBytes: most, Limits: limits}, io.Discard)
	var e *fetch.Error
	switch {
	case err == nil:
		x.OK, x.Bytes, x.Type, x.Frames = true, r.Bytes, r.Info.Format.String(), r.Info.Frames
		x.Width, x.Height = r.Info.Shown()
		if r.FinalURL != x.Canonical {
			x.Final = r.FinalURL
		}
	case errors.As(err, &e):
		x.Class, x.Status, x.Why = e.Class, e.Status, e.Error()
	default:
		x.Why = err.Error()
	}
	return x
}

func (x checked) text() string {
	var b strings.Builder
	line := func(key, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", key, printable(fmt.Sprintf(format, args...)))
	}
	line("url", "%s", x.URL)
	if x.Canonical != x.URL && x.Canonical != "" {
		line("  kept as", "%s", x.Canonical)
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
