package control

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	neturl "net/url"
	"syscall"

	"imgkeep/bucket"
)

// Client asks a server.
type Client struct {
	http *http.Client
	path string
}

// Dial returns a client of the server that listens on a socket, after having
// asked it for a sign of life: ErrNoServer where there is none.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	c := &Client{path: path, http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: maxIdle,
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}
	_, err := c.Status(ctx)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("%w at %s", ErrNoServer, path)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%s: a server runs, and you may not talk to it: be root, or the user that it runs as", path)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Status returns the figures of the server's index.
func (c *Client) Status(ctx context.Context) (bucket.Figures, error) {
	m, err := c.ask(ctx, http.MethodGet, "/status", nil, nil)
	if err != nil || m.Status == nil {
		return bucket.Figures{}, cutOff(err)
	}
	return *m.Status, nil
}

// Scrub has the store scrubbed. It calls found and progress, which may be nil,
// as the messages come.
func (c *Client) Scrub(ctx context.Context, q ScrubRequest, found func(bucket.Finding), progress func(bucket.Progress)) (bucket.ScrubReport, error) {
	m, err := c.ask(ctx, http.MethodPost, "/scrub", q, func(m message) {
		switch {
		case m.Finding != nil && found != nil:
			found(*m.Finding)
		case m.Progress != nil && progress != nil:
			progress(*m.Progress)
		}
	})
	if err != nil || m.Scrubbed == nil {
		return bucket.ScrubReport{}, cutOff(err)
	}
	return *m.Scrubbed, nil
}

// Compact has the index compacted.
func (c *Client) Compact(ctx context.Context) (Compacted, error) {
	m, err := c.ask(ctx, http.MethodPost, "/compact", struct{}{}, nil)
	if err != nil || m.Compacted == nil {
		return Compacted{}, cutOff(err)
	}
	return *m.Compacted, nil
}

// Retry has the store forget what stands against an image.
func (c *Client) Retry(ctx context.Context, what string, n Named) (bucket.Retried, error) {
	m, err := c.ask(ctx, http.MethodPost, "/retry", RetryRequest{what, n}, nil)
	if err != nil || m.Retried == nil {
		return bucket.Retried{}, cutOff(err)
	}
	return *m.Retried, nil
}

// Populate has a URL kept, behind all viewers. It may be called concurrently, and
// then uses a connection for each call.
func (c *Client) Populate(ctx context.Context, q PopulateRequest) (Outcome, error) {
	m, err := c.ask(ctx, http.MethodPost, "/populate", q, nil)
	if err != nil || m.Outcome == nil {
		return Outcome{}, cutOff(err)
	}
	return *m.Outcome, nil
}

// Ran has the end of a run noted.
func (c *Client) Ran(ctx context.Context, run Run) error {
	m, err := c.ask(ctx, http.MethodPost, "/ran", run, nil)
	if err != nil || !m.Noted {
		return cutOff(err)
	}
	return nil
}

// Add has the bytes of an image kept under a URL.
func (c *Client) Add(ctx context.Context, bucket, url string, image io.Reader) (Outcome, error) {
	query := neturl.Values{"bucket": {bucket}, "url": {base64.StdEncoding.EncodeToString([]byte(url))}}
	if IsInRun(ctx) {
		query.Set("run", "1")
	}
	m, err := c.send(ctx, http.MethodPost, "/add?"+query.Encode(), io.NopCloser(image), nil)
	if err != nil || m.Outcome == nil {
		return Outcome{}, cutOff(err)
	}
	return *m.Outcome, nil
}

// maxIdle is how many connections are kept for further calls.
const maxIdle = 1024

// cutOff makes an error of an answer that ended without a result.
func cutOff(err error) error {
	if err != nil {
		return err
	}
	return errors.New("the server has ended before it was done")
}

// remote is an error of the server. Those that callers tell apart are themselves.
func remote(text string) error {
	for _, err := range []error{bucket.ErrNotKept, bucket.ErrNotBlocked, bucket.ErrNoBucket} {
		if text == err.Error() {
			return err
		}
	}
	return errors.New(text)
}

// Reload has the server read its configuration anew.
func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	m, err := c.ask(ctx, http.MethodPost, "/reload", struct{}{}, nil)
	if err != nil || m.Reloaded == nil {
		return Reloaded{}, cutOff(err)
	}
	return *m.Reloaded, nil
}

// ask returns the last message of an answer.
func (c *Client) ask(ctx context.Context, method, path string, request any, each func(message)) (message, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return message{}, err
	}
	return c.send(ctx, method, path, bytes.NewReader(body), each)
}

func (c *Client) send(ctx context.Context, method, path string, body io.Reader, each func(message)) (message, error) {
	var last message
	r, err := http.NewRequestWithContext(ctx, method, "http://imgkeep"+path, body)
	if err != nil {
		return last, err
	}
	r.Header.Set(claimsHeader, ownClaims().encode())
	answer, err := c.http.Do(r)
	if err != nil {
		return last, fmt.Errorf("ask the server at %s: %w", c.path, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	dec := json.NewDecoder(answer.Body)
	for {
		last = message{}
		if err := dec.Decode(&last); err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return last, cutOff(ctx.Err())
		} else if err != nil {
			return last, fmt.Errorf("ask the server at %s: %w", c.path, err)
		}
		if last.Error != "" {
			return last, remote(last.Error)
		}
		if last.Finding == nil && last.Progress == nil && last.Item == nil {
			io.Copy(io.Discard, answer.Body) // its end, so that the connection can be used again
			return last, nil
		}
		if each != nil {
			each(last)
		}
	}
}
