package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"imgkeep/bucket"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/query"
	"imgkeep/bucket/scrub"
	"imgkeep/cmd/imgkeep/app/listen"
)

// call is something that can be asked for over the socket: what answers it, and the
// name under which its result stands in the last line of the answer. Empty: the fields
// of the result stand there themselves.
type call[Q, R any] struct {
	method, path, result string
	do                   func(Service, context.Context, Q, Each) (R, error)
}

// none is the request of calls that say nothing more.
type none struct{}

// The calls, but for /add and /similar, whose body is an image, and /populate, which is many.
var (
	callShow    = call[ShowRequest, query.Details]{http.MethodPost, "/show", "facts", quiet(Service.Show)}
	callList    = call[ListRequest, int]{http.MethodPost, "/list", "listed", Service.List}
	callLatest  = call[query.RecentFilter, query.Recent]{http.MethodPost, "/latest", "latest", quiet(Service.Latest)}
	callFailed  = call[FailedRequest, query.RecentFailures]{http.MethodPost, "/failed", "failed", quiet(Service.Failed)}
	callHosts   = call[none, query.Hosts]{http.MethodGet, "/hosts", "hosts", plain(Service.Hosts)}
	callHistory = call[HistoryRequest, History]{http.MethodPost, "/history", "history", quiet(Service.History)}
	callStats   = call[none, Stats]{http.MethodGet, "/stats", "stats", plain(Service.Stats)}
	callFigures = call[none, bucket.Figures]{http.MethodGet, "/status", "status", plain(Service.Figures)}
	callRemove  = call[RemoveRequest, Removal]{http.MethodPost, "/remove", "", quiet(Service.Remove)}
	callRetry   = call[RetryRequest, bucket.Retried]{http.MethodPost, "/retry", "retried", quiet(Service.Retry)}
	callScrub   = call[ScrubRequest, scrub.Report]{http.MethodPost, "/scrub", "scrubbed", Service.Scrub}
	callCompact = call[none, Compacted]{http.MethodPost, "/compact", "compacted", plain(Service.Compact)}
	callReload  = call[none, Reloaded]{http.MethodPost, "/reload", "reloaded", plain(Service.Reload)}
	callAllow   = call[AllowRequest, Allowed]{http.MethodPost, "/allow", "allowed", quiet(Service.Allow)}
	callHashes  = call[BlockHashesRequest, HashesBlocked]{http.MethodPost, "/hashes", "blocked", quiet(Service.BlockHashes)}
	callLooks   = call[IndexLooksRequest, lookalike.IndexReport]{http.MethodPost, "/looks", "looked", Service.IndexLooks}
	callRan     = call[Run, bool]{http.MethodPost, "/ran", "noted",
		func(s Service, ctx context.Context, q Run, _ Each) (bool, error) {
			err := s.Ran(ctx, q)
			return err == nil, err
		}}
)

// quiet is a call without events, and plain one without a request as well.
func quiet[Q, R any](do func(Service, context.Context, Q) (R, error)) func(Service, context.Context, Q, Each) (R, error) {
	return func(s Service, ctx context.Context, q Q, _ Each) (R, error) { return do(s, ctx, q) }
}

func plain[R any](do func(Service, context.Context) (R, error)) func(Service, context.Context, none, Each) (R, error) {
	return func(s Service, ctx context.Context, _ none, _ Each) (R, error) { return do(s, ctx) }
}

// addPath and similarPath are those of the calls whose body is an image, and addResult and
// similarResult their results.
const (
	similarPath   = "/similar"
	similarResult = "similar"
	addPath       = "/add"
	addResult     = "outcome"
)

// line is a line of an answer, but for its result.
type line struct {
	Event
	Error string `json:"error,omitempty"`
}

// lastLine is the line that ends an answer.
func lastLine(name string, result any, err error) (map[string]json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	text, encodeErr := json.Marshal(result)
	if encodeErr != nil {
		return nil, encodeErr
	}
	if name != "" {
		fields[name] = text
	} else if err := json.Unmarshal(text, &fields); err != nil {
		return nil, err
	}
	if err != nil {
		fields["error"], encodeErr = json.Marshal(err.Error())
	}
	return fields, encodeErr
}

// result reads the result from the line that ends an answer, and tells whether there
// is one.
func result[R any](name string, text []byte) (r R, ok bool, err error) {
	if name == "" {
		return r, true, json.Unmarshal(text, &r)
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &fields); err != nil {
		return r, false, err
	}
	text, ok = fields[name]
	if !ok {
		return r, false, nil
	}
	return r, true, json.Unmarshal(text, &r)
}

// remote is an error of the server. Those that callers tell apart are themselves.
func remote(text string) error {
	for _, err := range []error{bucket.ErrNotKept, bucket.ErrNotBlocked, bucket.ErrNoBucket, bucket.ErrAway, lookalike.ErrOff, lookalike.ErrUnknown, lookalike.ErrFaint, lookalike.ErrNotAllowed} {
		if text == err.Error() {
			return err
		}
	}
	return errors.New(text)
}

// Listen makes the socket, in the place of one that a killed server has left. The
// caller has the store open, so that no other server of it lives. Until its mode is set
// others might connect; they are refused by their credentials.
func Listen(path string) (net.Listener, error) {
	l, err := listen.Unix(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}
