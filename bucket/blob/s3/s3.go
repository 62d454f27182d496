// Package s3 speaks to S3-compatible object stores, with conditional requests.
//
// It promises that each request has a deadline of its own, that what is written carries its
// SHA-256 for the store to compare and to keep, that a certificate is verified, and that no
// error or log has a secret in it. It does not retry: the caller knows what a lost answer may
// have done. It trusts a store's word that a condition was met; package object's Probe finds
// out what that is worth.
package s3

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/record"
)

const (
	// DefaultTimeout is the deadline of a request without the bytes of an image.
	DefaultTimeout = 10 * time.Second
	// MinRate is the least rate of transfer, in bytes a second: the deadline of a request is
	// its timeout, and a second more for each so many bytes.
	MinRate = 256 << 10
	// maxIdle is how many connections wait for the next request.
	maxIdle = 64
)

var _ object.Store = (*Client)(nil)

// Options say which store a Client speaks to, and how.
type Options struct {
	Endpoint string // a URL: https://s3.example.com
	Bucket   string
	Prefix   string // before the names of all objects; empty, or it ends in a slash
	Region   string // empty: us-east-1
	// PathStyle has the bucket's name in the path instead of the host.
	PathStyle    bool
	StorageClass string // of originals; empty: the bucket's own
	// Encryption is what the store encrypts with: empty: as the bucket says, "AES256", or
	// "aws:kms", then with KMSKey if that is set.
	Encryption string
	KMSKey     string
	CAs        *x509.CertPool // that may vouch for Endpoint; nil: the system's
	Timeout    time.Duration  // of a request, see MinRate; 0: DefaultTimeout
	Credentials
	// Observe, if it is set, is told of each request: its kind, one of Kinds, what became of it,
	// one of Outcomes, and how long it took.
	Observe func(kind, outcome string, took time.Duration)
}

// Client is an [object.Store]. It may be used concurrently.
type Client struct {
	core       *minio.Core
	o          Options
	encryption encrypt.ServerSide // nil: as the bucket says
}

// New returns a client of a store. It sends no request, but reads the keys: an error says
// that they are missing, or which option is wrong.
func New(o Options) (*Client, error) {
	endpoint, err := url.Parse(o.Endpoint)
	if err != nil || endpoint.Host == "" || endpoint.Scheme != "https" && endpoint.Scheme != "http" || endpoint.User != nil || endpoint.RawQuery != "" || endpoint.Path != "" && endpoint.Path != "/" {
		return nil, errors.New("the endpoint of the object store must be a URL of scheme and host, such as https://s3.example.com")
	}
	if o.Bucket == "" {
		return nil, errors.New("the bucket of the object store has no name")
	}
	if o.Prefix != "" && !strings.HasSuffix(o.Prefix, "/") || strings.HasPrefix(o.Prefix, "/") || strings.Contains(o.Prefix, "//") {
		return nil, fmt.Errorf("the prefix %q must end in a slash, and neither begin with one nor have two in a row", o.Prefix)
	}
	c := &Client{o: o}
	switch o.Encryption {
	case "":
	case "AES256":
		c.encryption = encrypt.NewSSE()
	case "aws:kms":
		if c.encryption, err = encrypt.NewSSEKMS(o.KMSKey, nil); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("unknown encryption %q: want AES256 or aws:kms", o.Encryption)
	}
	if c.o.Timeout == 0 {
		c.o.Timeout = DefaultTimeout
	}
	if c.o.Region == "" {
		c.o.Region = "us-east-1" // which spares a request to ask
	}
	creds, err := o.Credentials.provider()
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupDNS
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	c.core, err = minio.NewCore(endpoint.Host, &minio.Options{
		Creds: creds, Secure: endpoint.Scheme == "https", Region: c.o.Region, BucketLookup: lookup,
		Transport: transport(o.CAs, c.o.Timeout), TrailingHeaders: true, MaxRetries: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	return c, nil
}

// strict is a transport that takes nobody else's answer for the store's: that something is not
// there decides what is kept. A proxy's page for 404 is no such answer. It bounds requests
// without a context of their own: the library passes none for a list.
type strict struct {
	http.RoundTripper
	timeout time.Duration
}

func (s strict) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Context().Done() != nil {
		return s.checked(r)
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.timeout)
	answer, err := s.checked(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	answer.Body = fetched{answer.Body, cancel}
	return answer, nil
}

func (s strict) checked(r *http.Request) (*http.Response, error) {
	answer, err := s.RoundTripper.RoundTrip(r)
	if err != nil || r.Method == http.MethodHead || answer.StatusCode != http.StatusNotFound && answer.StatusCode != http.StatusPreconditionFailed {
		return answer, err
	}
	if kind := answer.Header.Get("Content-Type"); !strings.Contains(kind, "xml") {
		answer.Body.Close()
		return nil, fmt.Errorf("status %d with content of type %q is no answer of an object store: is there a proxy before it?", answer.StatusCode, kind)
	}
	return answer, nil
}

func transport(cas *x509.CertPool, timeout time.Duration) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	return strict{timeout: timeout, RoundTripper: &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cas}, TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns: maxIdle, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: 30 * time.Second,
		DisableCompression: true, ForceAttemptHTTP2: true,
	}}
}

// within is ctx with the deadline of a request that moves so many bytes.
func (c *Client) within(ctx context.Context, n int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.o.Timeout+time.Duration(n)*time.Second/MinRate)
}

// Create does what object.Store says.
func (c *Client) Create(ctx context.Context, key string, content object.Content) error {
	var o minio.PutObjectOptions
	o.SetMatchETagExcept("*")
	return c.write(ctx, "create", key, content, o)
}

// Replace does what object.Store says.
func (c *Client) Replace(ctx context.Context, key string, content object.Content, tag string) error {
	var o minio.PutObjectOptions
	o.SetMatchETag(tag)
	err := c.write(ctx, "replace", key, content, o)
	if errors.Is(err, object.ErrExists) || errors.Is(err, object.ErrAbsent) { // 412, or 404 where there is none
		return object.ErrChanged
	}
	return err
}

// Put does what object.Store says.
func (c *Client) Put(ctx context.Context, key string, content object.Content) error {
	return c.write(ctx, "put", key, content, minio.PutObjectOptions{})
}

func (c *Client) write(ctx context.Context, kind, key string, content object.Content, o minio.PutObjectOptions) error {
	ctx, cancel := c.within(ctx, content.Bytes)
	defer cancel()
	if o.ContentType = content.Type; o.ContentType == "" {
		o.ContentType = "application/octet-stream"
	}
	if strings.HasPrefix(o.ContentType, "image/") {
		o.StorageClass = c.o.StorageClass
	}
	o.ServerSideEncryption = c.encryption
	o.DisableContentSha256 = true // in favour of the one of all bytes, which is signed
	o.UserMetadata = map[string]string{"x-amz-checksum-sha256": base64.StdEncoding.EncodeToString(content.Digest[:])}
	return c.observed(kind, true, func() error {
		_, err := c.core.PutObject(ctx, c.o.Bucket, c.o.Prefix+key, io.NewSectionReader(content.From, 0, content.Bytes), content.Bytes, "", hex.EncodeToString(content.Digest[:]), o)
		return err
	})
}

// Read does what object.Store says.
func (c *Client) Read(ctx context.Context, key string, max int64) (data []byte, tag string, err error) {
	ctx, cancel := c.within(ctx, max)
	defer cancel()
	err = c.observed("get", false, func() error {
		body, info, _, err := c.core.GetObject(ctx, c.o.Bucket, c.o.Prefix+key, minio.GetObjectOptions{})
		if err != nil {
			return err
		}
		defer body.Close()
		if data, err = io.ReadAll(io.LimitReader(body, max+1)); err != nil {
			return err
		}
		tag = info.ETag
		switch {
		case int64(len(data)) > max:
			return object.ErrTooLong
		case int64(len(data)) != info.Size:
			return fmt.Errorf("received %d of %d bytes: %w", len(data), info.Size, io.ErrUnexpectedEOF)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return data, tag, nil
}

// fetched ends the deadline of a request with its body.
type fetched struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (f fetched) Close() error {
	defer f.cancel()
	return f.ReadCloser.Close()
}

// Fetch does what object.Store says.
func (c *Client) Fetch(ctx context.Context, key string) (_ io.ReadCloser, _ object.Info, err error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(c.o.Timeout, cancel) // until it answers, and then for as long as its length allows
	var body io.ReadCloser
	var about minio.ObjectInfo
	err = c.observed("get", false, func() (err error) {
		body, about, _, err = c.core.GetObject(ctx, c.o.Bucket, c.o.Prefix+key, minio.GetObjectOptions{})
		return err
	})
	if err != nil {
		cancel()
		return nil, object.Info{}, err
	}
	late.Reset(c.o.Timeout + time.Duration(about.Size)*time.Second/MinRate)
	return fetched{body, func() { late.Stop(); cancel() }}, infoOf(about), nil
}

// Stat does what object.Store says.
func (c *Client) Stat(ctx context.Context, key string) (object.Info, error) {
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	var about minio.ObjectInfo
	err := c.observed("head", false, func() (err error) {
		about, err = c.core.StatObject(ctx, c.o.Bucket, c.o.Prefix+key, minio.StatObjectOptions{Checksum: true})
		return err
	})
	return infoOf(about), err
}

func infoOf(about minio.ObjectInfo) object.Info {
	i := object.Info{Bytes: about.Size, Tag: about.ETag, Modified: about.LastModified}
	// One of several parts is of their sums, and has another length.
	if sum, err := base64.StdEncoding.DecodeString(about.ChecksumSHA256); err == nil && len(sum) == len(i.Digest) {
		i.Digest = record.Digest(sum)
	}
	return i
}

// Remove does what object.Store says.
func (c *Client) Remove(ctx context.Context, key string) error {
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	err := c.observed("delete", true, func() error {
		return c.core.RemoveObject(ctx, c.o.Bucket, c.o.Prefix+key, minio.RemoveObjectOptions{})
	})
	if errors.Is(err, object.ErrAbsent) {
		return nil
	}
	return err
}

// List does what object.Store says, with a request for each thousand.
func (c *Client) List(ctx context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		token := ""
		for {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			var page minio.ListBucketV2Result
			err := c.observed("list", false, func() (err error) {
				page, err = c.core.ListObjectsV2(c.o.Bucket, c.o.Prefix+folder, "", token, "/", 1000)
				return err
			})
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range merged(page) {
				if !yield(strings.TrimPrefix(name, c.o.Prefix), nil) {
					return
				}
			}
			if !page.IsTruncated {
				return
			}
			if token = page.NextContinuationToken; token == "" {
				yield("", errors.New("list: the object store says that the list continues, and names no continuation token"))
				return
			}
		}
	}
}

// merged are the names of a page, of objects and folders, in their order.
func merged(page minio.ListBucketV2Result) []string {
	var names []string
	objects, folders := page.Contents, page.CommonPrefixes
	for len(objects)+len(folders) > 0 {
		if len(folders) == 0 || len(objects) > 0 && bytes.Compare([]byte(objects[0].Key), []byte(folders[0].Prefix)) < 0 {
			names, objects = append(names, objects[0].Key), objects[1:]
			continue
		}
		names, folders = append(names, folders[0].Prefix), folders[1:]
	}
	return names
}
