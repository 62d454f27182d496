package app

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/nginx"
	"imgkeep/sign"
)

func newNginxCommand(a *app) *cobra.Command {
	var prefix, user string
	cmd := &cobra.Command{
		Use:     "nginx",
		GroupID: groupServe,
		Short:   "Print the nginx configuration that goes with this one",
		Long: `Nginx prints a site for nginx, made from the configuration that the server uses:
paths, socket, buckets and formats, so that the two agree. Put it where nginx
includes sites, and print it again when one of these settings changes. The server
has to run with handoff: nginx.

With --prefix it prints a whole nginx.conf around the site, for an nginx of its
own that keeps its files in that folder.`,
		Example: `  imgkeep nginx --config /etc/imgkeep/imgkeep.yaml > /etc/nginx/conf.d/imgkeep.conf`,
		Args:    cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.load(cmd)
			if err != nil {
				return err
			}
			if c.Handoff != "nginx" {
				a.complain("warning: handoff is direct, so the server sends every image itself, through nginx: set handoff: nginx")
			}
			site, err := newSite(c)
			if err != nil {
				return err
			}
			if prefix == "" {
				err = site.Render(cmd.OutOrStdout())
			} else {
				err = nginx.Main{Site: site, Prefix: prefix, User: user}.Render(cmd.OutOrStdout())
			}
			if err != nil {
				return usageError{err}
			}
			return nil
		},
	}
	addServerFlags(cmd)
	config.AddFlag(cmd.Flags(), "nginx.hot", "`FOLDER` of the hot links")
	cmd.Flags().StringVar(&prefix, "prefix", "", "print a whole nginx.conf that keeps its files in `FOLDER`")
	cmd.Flags().StringVar(&user, "user", "", "with --prefix: `USER` that nginx' workers run as")
	must(cmd.MarkFlagDirname("prefix"))
	return cmd
}

// newSite is the nginx site that goes with a configuration.
func newSite(c config.Config) (nginx.Site, error) {
	limits, err := newLimits(c)
	if err != nil {
		return nginx.Site{}, err
	}
	s := nginx.Site{
		Listen: c.Nginx.Listen, ServerName: c.Nginx.ServerName, Upstream: c.Listen,
		Root: c.Root, Hot: c.Nginx.Hot,
		MaxAge: sign.MaxAge(c.Sign.Weeks), Valid: c.Nginx.Valid, OpenFiles: c.Nginx.OpenFiles,
		AccessLog: c.Nginx.AccessLog,
		Timeout:   patience(c),
	}
	for _, b := range c.Buckets {
		s.Buckets = append(s.Buckets, b.Name)
	}
	for _, f := range limits.Formats {
		s.Extensions = append(s.Extensions, f.Ext())
	}
	if len(c.Besides()) > 0 { // sizes of which are made in another format
		s.Extensions = append(s.Extensions, probe.WebP.Ext())
	}
	for _, p := range c.Presets {
		if f, err := probe.ParseFormat(p.Format); err == nil { // otherwise as the source
			s.Extensions = append(s.Extensions, f.Ext())
		}
	}
	if slices.Contains(c.Outputs(), probe.AVIF.String()) {
		s.Extensions = append(s.Extensions, probe.AVIF.Ext())
	}
	s.Offers = offers(c)
	for _, o := range s.Offers {
		s.Extensions = append(s.Extensions, "."+o.Format)
	}
	s.Extensions = nginx.Extensions(s.Extensions...)
	if _, isUnix := cutUnix(c.Listen); !isUnix && len(c.Listen) > 0 && c.Listen[0] == ':' {
		s.Upstream = "127.0.0.1" + c.Listen
	}
	if err := s.Validate(); err != nil {
		return s, usageError{fmt.Errorf("no nginx site can be made of this configuration: %w", err)}
	}
	return s, nil
}

// offers are what is negotiated, by format: first what the sizes have, in their
// order, then what only presets have.
func offers(c config.Config) []nginx.Offer {
	var all []nginx.Offer
	add := func(size string, formats []string) {
		for _, f := range formats {
			i := slices.IndexFunc(all, func(o nginx.Offer) bool { return o.Format == f })
			if i < 0 {
				i, all = len(all), append(all, nginx.Offer{Format: f})
			}
			all[i].Sizes = append(all[i].Sizes, size)
		}
	}
	add(nginx.AnySize, c.Resize.Negotiate)
	for _, p := range c.Presets {
		add(p.Name, p.Negotiate)
	}
	return all
}

// patience is the longest that a request can rightly take: a wait for a place and
// a download, each as long as fetch.timeout, the same with a decoder, and a little
// for the disk. What could not be made in two formats at once takes two decoders more,
// one after the other.
func patience(c config.Config) time.Duration {
	d := 2*c.Fetch.Timeout + 2*c.Resize.Timeout + 10*time.Second
	if len(offers(c)) > 0 {
		d += 2 * c.Resize.Timeout
	}
	return min(d.Round(time.Second), time.Hour)
}
