// Package hook tells programs of the operator's what a server has removed, kept, and failed
// to keep: a CDN's purge, a forum's own records.
//
// The contract is one HTTP request for each message, signed as Standard Webhooks 1.0.0 are
// (https://www.standardwebhooks.com), so that receivers find libraries that check it:
//
//	POST {url}
//	Content-Type: application/json
//	webhook-id: msg_…                stays the same when a message is sent again
//	webhook-timestamp: 1795000000    when it was sent, Unix time
//	webhook-signature: v1,…          base64 of HMAC-SHA256 over "{id}.{timestamp}.{body}";
//	                                 one for each secret, with a space between them
//
// A status from 200 to 299 accepts it. After anything else, a redirect included, or without
// an answer in time, it is sent again, with pauses that grow from a second to five minutes.
//
// What it promises of removals: each is sent, at least once, in order, also if the server is
// killed or restarted, because messages wait in files. Of kept and failed images it promises
// order, and that a message says how many were left out before it: they wait in memory,
// which is bounded. Nothing in the server waits for a receiver.
//
// What it does not do: it checks no address, since the receiver is the operator's own, and
// reads nothing of an answer but its status.
package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"imgkeep/bucket/pace"
)

// Types of messages.
const (
	Removed = "removed"
	Kept    = "kept"
	Failed  = "failed"
)

const (
	// MinSecret is the least length of a secret, in bytes.
	MinSecret = 16
	// secretPrefix begins a secret that is written as Standard Webhooks has it: in base64.
	secretPrefix = "whsec_"

	firstPause   = time.Second
	longestPause = 5 * time.Minute
	// maxAnswer is how much of an answer's body is read, so that its connection can be
	// used again.
	maxAnswer = 4 << 10
)

// Options say whom New tells. The zero value of each field but URL and Secrets means its
// default.
type Options struct {
	// URL is the receiver: http or https, without a user name. It may have a private
	// address.
	URL string
	// Secrets sign, all of them, so that a receiver may know either while one is replaced.
	// At least one, of MinSecret bytes or more.
	Secrets []string
	// Timeout bounds one request. 0: 10 s.
	Timeout time.Duration

	Now func() time.Time // nil: time.Now
	Log *slog.Logger     // nil: none
	// Sent is told of each attempt and how it ended; nil: nobody.
	Sent func(error)
	// Wait waits; nil: for that time, or until the context ends, whose error it returns.
	Wait func(context.Context, time.Duration) error
}

// Client sends messages to one receiver. It may be used concurrently.
type Client struct {
	o    Options
	keys [][]byte
	http *http.Client
}

// New returns a Client, or an error that says which option is wrong.
func New(o Options) (*Client, error) {
	if err := CheckURL(o.URL); err != nil {
		return nil, err
	}
	c := &Client{http: &http.Client{
		Transport: &http.Transport{
			Proxy:                  nil, // what is told is for the receiver alone
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		// A redirect does not take a message, which goes to nobody else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if len(o.Secrets) == 0 {
		return nil, errors.New("there is no secret to sign messages with")
	}
	for i, s := range o.Secrets {
		key, err := ParseSecret(s)
		if err != nil {
			return nil, fmt.Errorf("secret %d of %d: %w", i+1, len(o.Secrets), err)
		}
		c.keys = append(c.keys, key)
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sent == nil {
		o.Sent = func(error) {}
	}
	if o.Wait == nil {
		o.Wait = pace.Sleep
	}
	c.o = o
	return c, nil
}

// CheckURL returns an error if s cannot be the URL of a receiver.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Contains(s, "#") {
		return errors.New("want http or https and a host, without a user name, as in http://127.0.0.1:8100/removed")
	}
	return nil
}

// ParseSecret returns the key that a secret stands for: its bytes, or, where it begins with
// whsec_, what follows in base64.
func ParseSecret(s string) ([]byte, error) {
	key := []byte(s)
	if text, encoded := strings.CutPrefix(s, secretPrefix); encoded {
		var err error
		if key, err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, errors.New("what follows whsec_ is not base64")
		}
	}
	if len(key) < MinSecret {
		return nil, fmt.Errorf("it has %d bytes, fewer than %d", len(key), MinSecret)
	}
	return key, nil
}

// newID is a name for a message.
func newID() string {
	b := make([]byte, 15)
	rand.Read(b) // never fails
	return "msg_" + base64.RawURLEncoding.EncodeToString(b)
}

// signature is what says that a message is ours, by each of the secrets.
func (c *Client) signature(id string, at time.Time, body []byte) string {
	var all []string
	for _, key := range c.keys {
		m := hmac.New(sha256.New, key)
		fmt.Fprintf(m, "%s.%d.", id, at.Unix())
		m.Write(body)
		all = append(all, "v1,"+base64.StdEncoding.EncodeToString(m.Sum(nil)))
	}
	return strings.Join(all, " ")
}

// post sends a message once.
func (c *Client) post(ctx context.Context, id string, body []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.Timeout, errors.New("no answer in time"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.o.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	at := c.o.Now()
	req.Header = http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"imgkeep"},
		"Webhook-Id": {id}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)}, "Webhook-Signature": {c.signature(id, at, body)},
	}
	resp, err := c.http.Do(req)
	if err != nil {
		// Without the URL, whose query may hold a token.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// deliver sends a message until it is taken, or ctx ends, which is then the error. The log
// has a line when a receiver fails, and one when it takes messages again.
func (c *Client) deliver(ctx context.Context, kind, id string, body []byte) error {
	pause, failures := firstPause, 0
	for {
		err := c.post(ctx, id, body)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.o.Sent(err)
		if err == nil {
			if failures > 0 {
				c.o.Log.Info("a hook takes messages again", "kind", kind, "failures", failures)
			}
			return nil
		}
		if failures++; failures == 1 {
			c.o.Log.Warn("a hook does not take a message: it is sent again until it does", "kind", kind, "error", err)
		}
		if err := c.o.Wait(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}
