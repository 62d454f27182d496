package app

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/sign"
)

// name is what an operator calls an image, or a host, by.
type name struct {
	url, digest, host string // one is set; the URL is canonical
	link              *sign.Link
}

// parseName reads a digest, a link of ours, whole or as a path, expired or not, in
// any size, or the URL of an image; and a host where hosts may be meant. A
// signature is not looked at: whoever may run this needs none.
func parseName(arg string, hosts bool) (name, error) {
	if _, err := bucket.ParseDigest(arg); err == nil {
		return name{digest: arg}, nil
	}
	path := arg
	if u, err := url.Parse(arg); err == nil && u.Host != "" {
		path = u.EscapedPath()
	}
	if l, err := sign.Parse(path); err == nil {
		if raw, err := l.URL(); err == nil {
			if canonical, err := bucket.Canonical(raw); err == nil {
				return name{url: canonical, link: &l}, nil
			}
		}
	}
	if hosts && !strings.Contains(arg, "/") {
		host, err := bucket.CanonicalHost(arg)
		return name{host: host}, err
	}
	canonical, err := bucket.Canonical(arg)
	if err != nil {
		return name{}, fmt.Errorf("%q names no image: want a URL, a link or a digest: %w", arg, err)
	}
	return name{url: canonical}, nil
}

// links are the paths of all links that are good now for what a removal took away,
// for whoever has to drop them from a cache of his own. Links that were signed for
// another spelling of the URL are not among them.
func links(c config.Config, r bucket.Removal, now time.Time) ([]string, error) {
	paths := []string{}
	for _, secret := range c.Sign.Secrets {
		one := c.Sign
		one.Secrets = []config.Secret{secret}
		signer, err := newSigner(one)
		if err != nil {
			return nil, err
		}
		for _, i := range r.Images {
			sizes := []string{sign.SizeFull}
			for _, made := range i.Sizes {
				sizes = append(sizes, linkSize(made))
			}
			for _, url := range i.URLs {
				for week := range c.Sign.Weeks {
					at := now.Add(-time.Duration(week) * 7 * 24 * time.Hour)
					for _, size := range sizes {
						paths = append(paths, signer.Sign(i.Bucket, size, url, false, at).String())
						if i.Bucket == c.Sign.Bucketless {
							paths = append(paths, signer.SignBucketless(i.Bucket, size, url, false, at).String())
						}
					}
					paths = append(paths, signer.Sign(i.Bucket, sign.SizeFull, url, true, at).String())
				}
			}
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// linkSize is what links call a size that files have under this name: those of a
// preset end in 8 characters of its definition, those of other sizes do not.
func linkSize(made string) string {
	if i := strings.LastIndexByte(made, '-'); i > 0 {
		return made[:i]
	}
	return made
}
