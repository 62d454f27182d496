package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/nginx"
	"imgkeep/resize"
)

func newHot(c config.Config, presets map[string]*resize.Preset, log *slog.Logger, now func() time.Time) (*nginx.Hot, error) {
	// Only its own folder is the tree's to make; what leads there is ours.
	if err := os.MkdirAll(filepath.Dir(c.Nginx.Hot), 0o755); err != nil {
		return nil, fmt.Errorf("nginx.hot: %w", err)
	}
	return nginx.OpenHot(nginx.HotOptions{
		Dir: c.Nginx.Hot, MaxLinks: c.Nginx.MaxLinks, Fingerprint: fingerprint(c, presets), Now: now, Logger: log,
	})
}

// negotiated are the formats that are negotiated, by size: see server.Options.
func negotiated(c config.Config) map[string][]string {
	all := map[string][]string{}
	if n := c.Resize.Negotiate; len(n) > 0 {
		all[nginx.AnySize] = n
	}
	for _, p := range c.Presets {
		if len(p.Negotiate) > 0 {
			all[p.Name] = p.Negotiate
		}
	}
	return all
}

// fingerprint is what hot links depend on: if one of these is gone at the next start,
// all of them are dropped. For each secret that is itself and all else that decides
// which links it makes good, and for how long; then what links may ask for, and how
// it is defined; and the hosts that are denied, since an image of one more of them
// must not be served.
func fingerprint(c config.Config, presets map[string]*resize.Preset) []string {
	all := []string{fmt.Sprintf("denied %q", c.Fetch.DenyHosts)}
	for _, secret := range c.Sign.Secrets {
		all = append(all, fmt.Sprintf("secret %q %d %q %q", string(secret), c.Sign.Weeks, c.Sign.Timezone, c.Sign.Bucketless))
	}
	for _, b := range c.Buckets {
		all = append(all, fmt.Sprint("bucket ", b.Name, " stripped ", b.StripMetadata))
	}
	for _, side := range c.Sizes {
		all = append(all, fmt.Sprint("side ", side))
	}
	for name, p := range presets {
		all = append(all, "preset "+name+" "+p.Digest())
	}
	for size, formats := range negotiated(c) {
		all = append(all, fmt.Sprint("negotiate ", size, formats))
	}
	return all
}

// lateHot is a tree of hot links that is opened when something is removed, and not
// before: to open it with fewer secrets than the server had drops links, which tell
// what a signature stands for.
type lateHot struct {
	open func() (*nginx.Hot, error)
	hot  *nginx.Hot
}

// hotOf are the hot links of a server that does not run now: nginx serves by them all
// the same. nil: there are none.
func hotOf(c config.Config, log *slog.Logger, now func() time.Time) control.HotLinks {
	if c.Handoff != "nginx" {
		return nil
	}
	if _, err := os.Stat(c.Nginx.Hot); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	// Whatever the presets are: no link stays that could depend on them.
	return &lateHot{open: func() (*nginx.Hot, error) { return newHot(c, nil, log, now) }}
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
