// Package approve asks an operator's program whether an image may be kept, before
// it is: a scanner for what must not be stored.
//
// The contract is one HTTP request for each image:
//
//	POST {url}
//	Content-Type: image/jpeg                 as recognised by the bytes
//	Content-Length: …
//	X-Imgkeep-Bucket: i
//	X-Imgkeep-URL: https://example.com/a.jpg  canonical, in ASCII
//	X-Imgkeep-Digest: …                      SHA-256 of the body, base64url without padding
//
//	the bytes of the image
//
// The answer is a status: 200 or 204 mean yes, 403 or 451 mean no. Anything else, including
// a redirect or a late answer, is no answer. The body of the answer does not matter.
//
// What it promises: it asks about no image unless a caller waits for the answer; no more
// than Options.Concurrency requests run; each ends within Options.Timeout, including the
// wait for its turn; of the answer it reads only the header, which is bounded, and a little
// of the body.
//
// The endpoint belongs to the operator: it may have a private address, and the rules for
// origins do not apply.
package approve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Errors of Ask.
var (
	// ErrRejected: the answer is no.
	ErrRejected = errors.New("the operator's check rejected the image")
	// ErrNoAnswer: there is neither a yes nor a no.
	ErrNoAnswer = errors.New("the operator's check does not answer")
)

// Options say whom New asks. The zero value of each field except URL means its default.
type Options struct {
	// URL is the endpoint: http or https, without a user name.
	URL string
	// Timeout bounds one question, the wait for its turn included. 0: 10 s.
	Timeout time.Duration
	// Concurrency is how many questions are under way at once. 0: 8.
	Concurrency int
}

// Question is an image.
type Question struct {
	Bucket string
	URL    string // canonical
	Type   string // its media type
	Digest string
	Bytes  int64
}

// Client asks. It may be used concurrently.
type Client struct {
	o      Options
	places chan struct{}
	http   *http.Client
}

// New returns a Client, or an error that says which option is wrong.
func New(o Options) (*Client, error) {
	if err := CheckURL(o.URL); err != nil {
		return nil, fmt.Errorf("approve: url: %w", err)
	}
	if o.Timeout < 0 || o.Concurrency < 0 {
		return nil, errors.New("approve: timeout and concurrency must not be negative")
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Concurrency == 0 {
		o.Concurrency = 8
	}
	return &Client{
		o: o, places: make(chan struct{}, o.Concurrency),
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil, // the image and its URL are for the endpoint alone
				MaxIdleConnsPerHost:    o.Concurrency,
				IdleConnTimeout:        30 * time.Second,
				MaxResponseHeaderBytes: 64 << 10,
				DisableCompression:     true,
			},
			// A redirect is no answer, and the image goes to nobody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// CheckURL returns an error if s cannot be the URL of an endpoint.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Contains(s, "#") {
		return errors.New("want http or https and a host, without a user name, as in http://127.0.0.1:8100/check")
	}
	return nil
}

// maxAnswer is how much of an answer's body is read, so that its connection can be reused.
const maxAnswer = 4 << 10

// Ask returns nil for yes, an error that wraps ErrRejected for no, one that wraps
// ErrNoAnswer for neither, or that of ctx once it has ended. image are the q.Bytes bytes of
// the image.
func (c *Client) Ask(ctx context.Context, q Question, image io.ReaderAt) error {
	asked, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errors.New("no answer in time"))
	defer cancel()
	status, err := c.ask(asked, q, image)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case asked.Err() != nil:
		return fmt.Errorf("%w: %w", ErrNoAnswer, context.Cause(asked))
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	switch status {
	case http.StatusOK, http.StatusNoContent:
		return nil
	case http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return fmt.Errorf("%w: status %d", ErrRejected, status)
	}
	return fmt.Errorf("%w: status %d is neither yes (200, 204) nor no (403, 451)", ErrNoAnswer, status)
}

func (c *Client) ask(ctx context.Context, q Question, image io.ReaderAt) (status int, err error) {
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	body := func() (io.ReadCloser, error) { return io.NopCloser(io.NewSectionReader(image, 0, q.Bytes)), nil }
	first, _ := body()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, first)
	if err != nil {
		return 0, err
	}
	req.ContentLength, req.GetBody = q.Bytes, body
	req.Header = http.Header{
		"Content-Type":     {q.Type},
		"User-Agent":       {"imgkeep"},
		"X-Imgkeep-Bucket": {q.Bucket},
		"X-Imgkeep-Url":    {q.URL},
		"X-Imgkeep-Digest": {q.Digest},
		// If the endpoint has just closed a kept connection, net/http asks again: asking
		// twice is harmless. The empty field allows that, and is not sent.
		"X-Idempotency-Key": {},
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// The text of a url.Error repeats the endpoint, which may hold a token.
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err
		}
		return 0, err
	}
	defer resp.Body.Close()
	// The verdict is the status; what comes after it is not worth waiting for.
	if resp.ContentLength >= 0 && resp.ContentLength <= maxAnswer {
		io.CopyN(io.Discard, resp.Body, resp.ContentLength)
	}
	return resp.StatusCode, nil
}
