package app

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
	"imgkeep/sign"
)

// maxLine is the longest line read from standard input, in bytes. It is far longer than any
// URL that fits into a link.
const maxLine = 64 << 10

func newSignCommand(a *app) *cobra.Command {
	s := &signCommand{app: a}
	cmd := &cobra.Command{
		Use:     "sign [URL...]",
		GroupID: groupLinks,
		Short:   "Print signed links of images",
		Long: `Sign prints a link for each URL, with base_url before it. Without URLs it reads
them from standard input, one a line; empty lines are ignored.

It needs a secret, from --secret, from IMGKEEP_SECRET, or from the configuration,
and no server. Other users of the machine can see the command line while it runs:
prefer the environment.

A URL that cannot be signed is named on standard error, and the others are
signed; the exit status is then 3, or 1 where none could be.`,
		Example: `  export IMGKEEP_SECRET="$(cat /etc/imgkeep/secret)"
  imgkeep sign https://example.com/cat.jpg
  imgkeep sign --bucket i --size 250x250 <urls >links`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(s.run),
	}
	flags := cmd.Flags()
	flags.String("secret", "", "sign with `SECRET`, and with none of the configuration's")
	flags.Bool("allow-weak-secret", false, "accept a secret that is short or well known, for tests")
	flags.StringVar(&s.bucket, "bucket", "", "`NAME` of the bucket (default the first of the configuration)")
	flags.StringVar(&s.size, "size", sign.SizeFull, "`SIZE` of the image: full, info, a preset, or height x width as in 250x250, 150x, x200")
	flags.BoolVar(&s.proxy, "proxy", false, "links whose images are served and not stored")
	flags.StringVar(&s.at, "at", "", "sign as at `TIME`, in RFC 3339 or unix seconds (default now)")
	flags.StringVar(&s.by, "by", "", "for `MEMBER`: tag the link, so that list --by finds its image")
	flags.BoolVar(&s.bucketless, "bucketless", false, "sign by the older scheme, in the bucket that sign.bucketless names")
	config.BindFlag(flags.Lookup("secret"), "sign.secrets")
	config.BindFlag(flags.Lookup("allow-weak-secret"), "sign.allow_weak_secret")
	for flag, complete := range map[string]cobra.CompletionFunc{
		"bucket": a.complete(bucketNames),
		"size":   a.complete(sizeNames),
		"secret": cobra.NoFileCompletions,
		"at":     cobra.NoFileCompletions,
	} {
		must(cmd.RegisterFlagCompletionFunc(flag, complete))
	}
	return cmd
}

type signCommand struct {
	app *app

	// Flags.
	bucket, size, at  string
	by                string // empty: links have no tag
	proxy, bucketless bool

	// Computed from the flags and the configuration.
	base     string // before links
	relative string // the base of relative URLs in links
	time     time.Time
	make     func(bucket, size, url string, proxy bool, at time.Time) sign.Link
	tag      func(url, by string) (string, error)
}

func (s *signCommand) run(cmd *cobra.Command, urls []string, c config.Config) error {
	if err := s.prepare(c); err != nil {
		return usageError(err)
	}
	failed, all := 0, 0
	one := func(where, url string) error {
		all++
		link, err := s.sign(url)
		if err != nil {
			failed++
			s.app.complain(where + ": " + err.Error())
			return cmd.Context().Err()
		}
		// One line at a time, so that a program can write and read in turn.
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), link); err != nil {
			return err
		}
		return cmd.Context().Err()
	}
	for _, url := range urls {
		if err := one(shorten(url), url); err != nil {
			return err
		}
	}
	if len(urls) == 0 {
		lines := bufio.NewScanner(cmd.InOrStdin())
		lines.Buffer(nil, maxLine)
		n := 0
		for lines.Scan() {
			n++
			if url := strings.TrimSpace(lines.Text()); url != "" {
				if err := one(fmt.Sprintf("line %d of standard input", n), url); err != nil {
					return err
				}
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("line %d of standard input: %w", n+1, err)
		}
	}
	if failed > 0 {
		return partialError{failed, all, "URLs could not be signed"}
	}
	return nil
}

// prepare checks everything that is the same for all URLs.
func (s *signCommand) prepare(c config.Config) error {
	var err error
	if s.bucket, err = bucketFlag(c, s.bucket); err != nil {
		return err
	}
	if err := server.CheckSize(sign.Link{Size: s.size, Proxy: s.proxy}, engine.Listed(c)); err != nil {
		return fmt.Errorf("--size: %w", err)
	}
	if s.bucketless && s.bucket != c.Sign.Bucketless {
		return fmt.Errorf("--bucketless: no server accepts this in bucket %q unless sign.bucketless names it (IMGKEEP_SIGN_BUCKETLESS=%s)", s.bucket, s.bucket)
	}
	if s.time, err = parseTime(s.at, s.app.Now); err != nil {
		return fmt.Errorf("--at: %w", err)
	}
	s.base, s.relative = c.BaseURL, c.Fetch.BaseURL
	signer, err := engine.NewSigner(c.Sign)
	if errors.Is(err, sign.ErrNoSecret) {
		return s.app.noSecret("there is no secret to sign with: set IMGKEEP_SECRET, --secret, or sign.secrets or sign.secret_files in the configuration", "sign")
	}
	if err != nil {
		return err
	}
	if s.by != "" {
		if err := sign.CheckTag(s.by); err != nil {
			return fmt.Errorf("--by: %w", err)
		}
	}
	s.make, s.tag = signer.Sign, signer.Tag
	if s.bucketless {
		s.make = signer.SignBucketless
	}
	return nil
}

// sign returns the link of a URL, ready to print.
func (s *signCommand) sign(url string) (string, error) {
	// The URL is signed as it was written, but a link that no server would serve is
	// useless.
	if _, err := imageurl.CanonicalAt(s.relative, url); err != nil {
		return "", err
	}
	if s.by != "" {
		var err error
		if url, err = s.tag(url, s.by); err != nil {
			return "", err
		}
	}
	link := s.make(s.bucket, s.size, url, s.proxy, s.time).String()
	if _, err := sign.Parse(link); err != nil {
		return "", err
	}
	return s.base + link, nil
}

// shorten truncates foreign text for a message.
func shorten(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func bucketNames(c config.Config) []string {
	names := make([]string, 0, len(c.Buckets))
	for _, b := range c.Buckets {
		names = append(names, b.Name)
	}
	return names
}

func presetNames(c config.Config) []string {
	names := make([]string, 0, len(c.Presets))
	for _, p := range c.Presets {
		names = append(names, p.Name)
	}
	return names
}

// parseTime reads the time of --at.
func parseTime(s string, now func() time.Time) (time.Time, error) {
	if s == "" {
		return now(), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if n, numErr := strconv.ParseInt(s, 10, 64); numErr == nil {
		t, err = time.Unix(n, 0), nil
	}
	// The key of a week has four digits for the year.
	if last := time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC); err != nil || t.Unix() < 0 || !t.Before(last) {
		return time.Time{}, fmt.Errorf("%q is not a time from 1970 to 9998 in RFC 3339, as in 2026-11-30T12:00:00Z, or in unix seconds", s)
	}
	return t, nil
}

// complete completes a flag or an argument with words of the configuration.
func (a *app) complete(words func(config.Config) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		c, _, err := config.Load(a.configFile, cmd.Flags())
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return words(c), cobra.ShellCompDirectiveNoFileComp
	}
}

// sizeNames are the sizes that links may have.
func sizeNames(c config.Config) []string {
	sizes := append([]string{sign.SizeFull, sign.SizeInfo}, presetNames(c)...)
	for _, n := range c.Sizes {
		for _, size := range []resize.Size{{Height: n, Width: n}, {Height: n}, {Width: n}} {
			sizes = append(sizes, size.String())
		}
	}
	return sizes
}
