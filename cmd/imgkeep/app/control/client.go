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
	"sync"
	"syscall"

	"imgkeep/bucket"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/query"
	"imgkeep/bucket/scrub"
)

// ErrNoServer: nobody answers at the socket.
var ErrNoServer = errors.New("no server answers")

// errCutOff: an answer has ended without a result.
var errCutOff = errors.New("the server has ended before it was done")

// Client is a Service of the server that listens on a socket.
type Client struct {
	http *http.Client
	path string

	mu         sync.Mutex
	populating *populating // nil: no call of Populate runs
}

var _ Service = (*Client)(nil)

// maxIdle is how many connections are kept for further calls: each of many at once
// uses one.
const maxIdle = 1024

// Dial returns a client of the server that listens on a socket, after having
// asked it for a sign of life: ErrNoServer where there is none.
func Dial(ctx context.Context, path string) (*Client, error) {
	var d net.Dialer
	c := &Client{path: path, http: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: maxIdle,
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", path) },
	}}}
	_, err := c.Figures(ctx)
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

// Show and all that follows ask the server, as Service says.
func (c *Client) Show(ctx context.Context, q ShowRequest) (query.Details, error) {
	return ask(ctx, c, callShow, q, nil)
}

func (c *Client) List(ctx context.Context, q ListRequest, each Each) (int, error) {
	return ask(ctx, c, callList, q, each)
}

func (c *Client) Latest(ctx context.Context, q query.RecentFilter) (query.Recent, error) {
	return ask(ctx, c, callLatest, q, nil)
}

func (c *Client) Failed(ctx context.Context, q FailedRequest) (query.RecentFailures, error) {
	return ask(ctx, c, callFailed, q, nil)
}

func (c *Client) Hosts(ctx context.Context) (query.Hosts, error) {
	return ask(ctx, c, callHosts, none{}, nil)
}

func (c *Client) History(ctx context.Context, q HistoryRequest) (History, error) {
	return ask(ctx, c, callHistory, q, nil)
}

func (c *Client) Stats(ctx context.Context) (Stats, error) {
	return ask(ctx, c, callStats, none{}, nil)
}

func (c *Client) Figures(ctx context.Context) (bucket.Figures, error) {
	return ask(ctx, c, callFigures, none{}, nil)
}

func (c *Client) Remove(ctx context.Context, q RemoveRequest) (Removal, error) {
	return ask(ctx, c, callRemove, q, nil)
}

func (c *Client) Retry(ctx context.Context, q RetryRequest) (bucket.Retried, error) {
	return ask(ctx, c, callRetry, q, nil)
}

func (c *Client) Scrub(ctx context.Context, q ScrubRequest, each Each) (scrub.Report, error) {
	return ask(ctx, c, callScrub, q, each)
}

func (c *Client) Compact(ctx context.Context) (Compacted, error) {
	return ask(ctx, c, callCompact, none{}, nil)
}

func (c *Client) Reload(ctx context.Context) (Reloaded, error) {
	return ask(ctx, c, callReload, none{}, nil)
}

// Similar implements Service.
func (c *Client) Similar(ctx context.Context, q SimilarRequest, image io.Reader) (Similar, error) {
	text, err := json.Marshal(q)
	if err != nil {
		return Similar{}, err
	}
	if image == nil {
		image = http.NoBody
	}
	return send[Similar](ctx, c, http.MethodPost, similarPath+"?"+neturl.Values{"q": {string(text)}}.Encode(), similarResult, io.NopCloser(image), nil)
}

func (c *Client) Allow(ctx context.Context, q AllowRequest) (Allowed, error) {
	return ask(ctx, c, callAllow, q, nil)
}

func (c *Client) BlockHashes(ctx context.Context, q BlockHashesRequest) (HashesBlocked, error) {
	return ask(ctx, c, callHashes, q, nil)
}

func (c *Client) IndexLooks(ctx context.Context, q IndexLooksRequest, each Each) (lookalike.IndexReport, error) {
	return ask(ctx, c, callLooks, q, each)
}

// Add implements Service.
func (c *Client) Add(ctx context.Context, q AddRequest, image io.Reader) (Outcome, error) {
	if q.Path != "" {
		return Outcome{}, ErrLinkServer
	}
	query := neturl.Values{"bucket": {q.Bucket}, "url": {base64.StdEncoding.EncodeToString([]byte(q.URL))}}
	if q.Run {
		query.Set("run", "1")
	}
	return send[Outcome](ctx, c, http.MethodPost, addPath+"?"+query.Encode(), addResult, io.NopCloser(image), nil)
}

// ErrLinkServer: a server takes no files by their names, since it may not be allowed to
// read them, and its caller may not be either.
var ErrLinkServer = errors.New("--link does not go with a running server: stop it, or have the images copied")

// Ran implements Service.
func (c *Client) Ran(ctx context.Context, run Run) error {
	_, err := ask(ctx, c, callRan, run, nil)
	return err
}

// ask has the server do something.
func ask[Q, R any](ctx context.Context, c *Client, k call[Q, R], q Q, each Each) (r R, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	return send[R](ctx, c, k.method, k.path, k.result, bytes.NewReader(body), each)
}

// send sends a request and reads its answer.
func send[R any](ctx context.Context, c *Client, method, path, name string, body io.Reader, each Each) (r R, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the work, if each does not want more
	request, err := http.NewRequestWithContext(ctx, method, "http://imgkeep"+path, body)
	if err != nil {
		return r, err
	}
	request.Header.Set(claimsHeader, ownClaims().encode())
	answer, err := c.http.Do(request)
	if err != nil {
		return r, fmt.Errorf("ask the server at %s: %w", c.path, errors.Unwrap(err))
	}
	defer answer.Body.Close()
	for dec := json.NewDecoder(answer.Body); ; {
		var text json.RawMessage
		var l line
		if err = dec.Decode(&text); err == nil {
			err = json.Unmarshal(text, &l)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return r, ctx.Err()
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return r, errCutOff
		case err != nil:
			return r, fmt.Errorf("ask the server at %s: %w", c.path, err)
		case l.Error != "":
			r, _, err = result[R](name, text)
			return r, errors.Join(remote(l.Error), err)
		case l.Event == Event{}:
			io.Copy(io.Discard, answer.Body) // its end, so that the connection can be used again
			r, ok, err := result[R](name, text)
			if err == nil && !ok {
				err = errCutOff
			}
			return r, err
		case each != nil:
			if err := each(l.Event); err != nil {
				return r, err
			}
		}
	}
}
