package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/tags"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/nginx"
	"imgkeep/sign"
)

// linkBook knows the links of a server: it is what admin asks.
type linkBook struct {
	config func() config.Config
	store  *bucket.Store
	tags   *tags.Book
	now    func() time.Time
	warn   func(string) // nil: nobody is told what could not be checked
}

// Good are the links that are good now for what was removed.
func (b linkBook) Good(r record.Removal) ([]string, error) {
	var images []tags.Image
	for _, i := range r.Images {
		for _, url := range i.URLs {
			images = append(images, tags.Image{Bucket: i.Bucket, URL: url})
		}
	}
	members, err := b.tags.Members(context.Background(), images)
	if err != nil {
		return nil, fmt.Errorf("the links that were signed for members: %w", err)
	}
	return links(b.config(), r, members, b.now())
}

// Check tells whether a link, by its path, is of the image that its URL says. nginx
// finds an image by the signature alone, whatever stands behind it: who puts the URL
// of a harmless image behind the signature of another would have the harmless one
// removed.
//
// A signature is known if one of the secrets made it within lookBack, or if there is
// a hot link of it, which says what it stands for. Where no secret is known here, and
// no hot link, nothing is: then it is no error.
func (b linkBook) Check(path string) error {
	l, err := sign.Parse(path)
	if err != nil {
		return err
	}
	c := b.config()
	signer, err := NewSigner(c.Sign)
	if err == nil && signer.Signed(l, b.now(), lookBack) {
		return nil
	}
	secrets := !errors.Is(err, sign.ErrNoSecret)
	if secrets && err != nil {
		return err
	}
	raw, err := l.URL()
	if err != nil {
		return err
	}
	url, err := imageurl.CanonicalAt(c.Fetch.BaseURL, raw)
	if err != nil {
		return err
	}
	says, err := b.digests(l.Bucket, newSameImage(c).key(url))
	if err != nil {
		return err
	}
	shows, err := hotDigests(c, l)
	if err != nil {
		return err
	}
	if !secrets && slices.ContainsFunc(shows, func(d string) bool { return slices.Contains(says, d) }) {
		return nil
	}
	if !secrets && len(shows) == 0 {
		if b.warn != nil {
			b.warn("warning: the signature of " + path + " was not checked, since no secret is known here: see that it is the image that you mean")
		}
		return nil
	}
	text := fmt.Sprintf("the signature of this link does not fit its URL, %s", url)
	if len(says) > 0 {
		text += fmt.Sprintf(" (image %s/%s)", l.Bucket, strings.Join(says, " "))
	}
	if len(shows) == 0 {
		text += "; no secret has made it in the last ten years, and there is no hot link to tell what it stands for"
	}
	for _, d := range shows {
		text += fmt.Sprintf("; nginx shows image %s/%s under it", l.Bucket, d)
		if digest, err := record.ParseDigest(d); err == nil {
			if urls, err := b.store.URLs(context.Background(), l.Bucket, digest); err == nil && len(urls) > 0 {
				text += " (of " + urls[0] + ")"
			}
		}
	}
	return errors.New(text + ": name the image that you mean by its URL or digest, or go by this URL with --unverified")
}

// Life tells until when a link is good, or that it has expired.
func (b linkBook) Life(path string) *query.LinkDetails {
	l, err := sign.Parse(path)
	if err != nil {
		return &query.LinkDetails{Why: err.Error()}
	}
	signer, err := NewSigner(b.config().Sign)
	if errors.Is(err, sign.ErrNoSecret) {
		return &query.LinkDetails{Why: "not known: there is no secret here to check its signature with"}
	}
	if err != nil {
		return &query.LinkDetails{Why: err.Error()}
	}
	expires, err := signer.Verify(l, b.now())
	switch {
	case err == nil:
		return &query.LinkDetails{Good: true, Expires: expires}
	case errors.Is(err, sign.ErrExpired), signer.Signed(l, b.now(), lookBack):
		return &query.LinkDetails{Expired: true}
	}
	return &query.LinkDetails{Why: err.Error()}
}

// digests are those of what is kept under a URL in a bucket, blocked or not.
func (b linkBook) digests(name, url string) (all []string, err error) {
	if !b.store.Has(name) {
		return nil, bucket.ErrNoBucket
	}
	facts, err := query.Show(context.Background(), b.store.Maintenance(), url, record.Digest{})
	for _, i := range facts.Images {
		if i.Bucket == name {
			all = append(all, i.Digest)
		}
	}
	return all, err
}

// hotDigests are those of the images to which hot links of a signature lead.
func hotDigests(c config.Config, l sign.Link) (all []string, err error) {
	if c.Handoff != "nginx" {
		return nil, nil
	}
	targets, err := nginx.Targets(c.Nginx.Hot, l.Bucket, l.Signature)
	for _, target := range targets {
		digest, _, _ := strings.Cut(filepath.Base(target), ".")
		if !slices.Contains(all, digest) {
			all = append(all, digest)
		}
	}
	return all, err
}

// links are the paths of all links that are good now for what a removal took away,
// for servers that have to drop them from a cache of their own. Links that were signed for
// another spelling of the URL are not among them.
func links(c config.Config, r record.Removal, members map[tags.Image][]string, now time.Time) ([]string, error) {
	paths := []string{}
	for _, secret := range c.Sign.Secrets {
		one := c.Sign
		one.Secrets = []config.Secret{secret}
		signer, err := NewSigner(one)
		if err != nil {
			return nil, err
		}
		for _, i := range r.Images {
			sizes := []string{sign.SizeFull}
			for _, made := range i.Sizes {
				sizes = append(sizes, linkSize(made))
			}
			for _, url := range spellings(signer, i, members) {
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

// spellings are the URLs that links of an image were signed for: its own, and those with the
// tags of members.
func spellings(signer *sign.Signer, i record.Removed, members map[tags.Image][]string) []string {
	urls := slices.Clone(i.URLs)
	for _, url := range i.URLs {
		for _, by := range members[tags.Image{Bucket: i.Bucket, URL: url}] {
			if tagged, err := signer.Tag(url, by); err == nil {
				urls = append(urls, tagged)
			}
		}
	}
	return urls
}

// linkSize is what links call a size that files have under this name: those of a
// preset end in 8 characters of its definition, those of other sizes do not.
func linkSize(made string) string {
	if i := strings.LastIndexByte(made, '-'); i > 0 {
		return made[:i]
	}
	return made
}
