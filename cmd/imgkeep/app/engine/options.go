package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/approve"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/sign"
)

// NewSigner returns the signer that a configuration describes. Without a secret
// the error wraps sign.ErrNoSecret.
func NewSigner(c config.Sign) (*sign.Signer, error) {
	location, err := time.LoadLocation(c.Timezone)
	if err != nil {
		return nil, fmt.Errorf("sign.timezone: %w", err)
	}
	secrets := make([]string, 0, len(c.Secrets))
	for _, s := range c.Secrets {
		secrets = append(secrets, string(s))
	}
	return sign.New(sign.Options{
		Secrets:    secrets,
		Weeks:      c.Weeks,
		Location:   location,
		Bucketless: c.Bucketless,
		AllowWeak:  c.AllowWeakSecret,
	})
}

// Limits are what a configuration says of images that may be kept.
func Limits(c config.Config) (probe.Limits, error) {
	l := probe.Limits{
		MaxPixels: c.Fetch.MaxPixels, MaxSide: c.Fetch.MaxSide,
		MaxFrames: c.Fetch.MaxFrames, MaxAnimationPixels: c.Fetch.MaxAnimationPixels,
	}
	for _, name := range c.Formats {
		f, err := probe.ParseFormat(name)
		if err != nil {
			return l, config.Errorf("formats: %w", err)
		}
		l.Formats = append(l.Formats, f)
	}
	return l, nil
}

// NewFetcher returns what fetches from origins. pauses may be nil: it begins without
// any.
func NewFetcher(all config.Config, self *SelfLinks, pauses *fetch.Pauses, log *slog.Logger, now func() time.Time) (*fetch.Fetcher, error) {
	c := all.Fetch
	o := fetch.Options{
		Timeout: c.Timeout, HeaderTimeout: c.HeaderTimeout, MaxRedirects: c.MaxRedirects,
		Ports: c.Ports, Networks: c.Networks, DenyHosts: c.DenyHosts,
		UserAgent: userAgent(all), Proxy: c.Proxy, LocalRoot: c.LocalRoot,
		Concurrency: c.Concurrency, PerHost: c.PerHost, Queue: c.Queue,
		Own: self.Is, Loop: loop{all.Sign.Secrets}.mark, Pauses: pauses,
		Now: now, Logger: log,
	}
	for _, name := range c.Accept {
		f, err := probe.ParseFormat(name)
		if err != nil {
			return nil, config.Errorf("fetch.accept: %w", err)
		}
		o.Accept = append(o.Accept, f)
	}
	for _, p := range c.Profiles {
		o.Profiles = append(o.Profiles, fetch.Profile(p))
	}
	for _, s := range c.S3 {
		o.S3 = append(o.S3, fetch.S3{
			Endpoint: s.Endpoint, Region: s.Region, PathStyle: s.PathStyle, Buckets: s.Buckets,
			AccessKey: string(s.AccessKey), SecretKey: string(s.SecretKey),
		})
	}
	for _, r := range c.Removed {
		o.Removed = append(o.Removed, fetch.Removed(r))
	}
	f, err := fetch.New(o)
	if err != nil {
		return nil, config.Errorf("%w", err)
	}
	return f, nil
}

// userAgent is the one that is configured. The default names whom to write to, where
// base_url tells.
func userAgent(c config.Config) string {
	foreign := func(r rune) bool { return r <= ' ' || r > '~' } // which no header has
	if c.Fetch.UserAgent != fetch.DefaultUserAgent || c.BaseURL == "" || strings.ContainsFunc(c.BaseURL, foreign) {
		return c.Fetch.UserAgent
	}
	return strings.TrimSuffix(fetch.DefaultUserAgent, ")") + "; +" + c.BaseURL + ")"
}

// storeOptions are what a configuration says of a store whose images come from an
// origin. quiet is how it finds a quiet moment: see bucket.Options.
func storeOptions(c config.Config, origin bucket.Origin, quiet func(context.Context, string) (*fetch.Place, error), log *slog.Logger, now func() time.Time) (bucket.Options, error) {
	limits, err := Limits(c)
	if err != nil {
		return bucket.Options{}, err
	}
	o := bucket.Options{
		Root: c.Root, Origin: origin, Reserve: quiet, MaxBytes: int64(c.Fetch.MaxBytes), Limits: limits,
		DenyHosts: c.Fetch.DenyHosts, Fallbacks: c.Fetch.Fallbacks, FallbackAfter: c.Fetch.FallbackAfter.ByReason(),
		MinFree: int64(c.Store.MinFree), MinFreeInodes: c.Store.MinFreeInodes, Reserved: bucket.DefaultReserve,
		MaxPerSite: int64(c.Store.MaxPerSite),
		Now:        now, Log: log,
	}
	if c.Approve.URL != "" {
		client, err := approve.New(approve.Options{URL: c.Approve.URL, Timeout: c.Approve.Timeout, Concurrency: c.Approve.Concurrency})
		if err != nil {
			return o, config.Errorf("%w", err)
		}
		o.Approver, o.ApproveOpen = client, c.Approve.Fail == "open"
	}
	for _, b := range c.Buckets {
		o.Buckets = append(o.Buckets, bucket.Bucket{Name: b.Name, Hosts: b.Hosts, MaxBytes: int64(b.MaxBytes)})
	}
	return o, nil
}

// sizeOptions are what a configuration says of sizes.
func sizeOptions(c config.Config, presets map[string]*resize.Preset) server.Options {
	o := server.Options{
		Sizes: c.Sizes, Presets: presets, Quality: c.Resize.Quality, AVIFQuality: c.Resize.AVIFQuality, Negotiate: negotiated(c),
		BaseURL: c.Fetch.BaseURL, Key: newSameImage(c).key, Prerender: c.Resize.Eager, WholeAnimations: c.Resize.AnimationExcess == "original",
	}
	for _, b := range c.Buckets {
		if b.StripMetadata {
			o.Stripped = append(o.Stripped, b.Name)
		}
	}
	return o
}

// newPlaceholders reads the image of all errors, which may be nil, and those of some, by
// their codes.
func newPlaceholders(c config.Config) (all *server.Placeholder, some map[string]*server.Placeholder, err error) {
	if c.Placeholder != "" {
		if all, err = server.LoadPlaceholder(c.Placeholder); err != nil {
			return nil, nil, config.Errorf("placeholder: %w", err)
		}
	}
	some = map[string]*server.Placeholder{}
	for i, p := range c.Placeholders {
		image, err := server.LoadPlaceholder(p.Image)
		if err != nil {
			return nil, nil, config.Errorf("placeholders[%d].image: %w", i, err)
		}
		for j, code := range p.Errors {
			if codes := server.ErrorCodes(); !slices.Contains(codes, code) {
				return nil, nil, config.Errorf("placeholders[%d].errors[%d]: %q is not one of %s", i, j, code, strings.Join(codes, ", "))
			}
			some[code] = image
		}
	}
	return all, some, nil
}

func pageOf(c config.Config) nginx.Page {
	return nginx.Page{ResourcePolicy: c.Headers.ResourcePolicy, Robots: c.Headers.Robots, Origins: c.CORS.Origins}
}

// Tokens are those of which a request must have one; none: it needs none.
func Tokens(c config.Config) []string {
	var tokens []string
	for _, t := range c.Access.Tokens {
		tokens = append(tokens, string(t))
	}
	return tokens
}

// NewLogger returns the log that a configuration describes.
func NewLogger(w io.Writer, c config.Log) *slog.Logger { return newLoggerAt(w, c, logLevel(c)) }

func logLevel(c config.Log) slog.Level {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // config has checked it
	}
	return level
}

func newLoggerAt(w io.Writer, c config.Log, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: plainAttr}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// plainAttr writes a value of the log in the one way that readers of it are promised: times
// that something took as seconds, what has a name by that name, and lists never as null.
func plainAttr(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
		return a
	}
	if a.Value.Kind() != slog.KindAny {
		return a
	}
	switch v := a.Value.Any().(type) {
	case error, slog.Level:
	case fmt.Stringer:
		a.Value = slog.StringValue(v.String())
	case []string:
		if v == nil {
			a.Value = slog.AnyValue([]string{})
		}
	}
	return a
}

// Listed are the sizes and presets that links may ask for.
func Listed(c config.Config) resize.Listed {
	l := resize.Listed{Sides: c.Sizes}
	for _, p := range c.Presets {
		l.Presets = append(l.Presets, p.Name)
	}
	return l
}
