// Package api is the moderators' page for programs: JSON over HTTP, with tokens that have
// roles, so that a forum's own report button can block an image.
//
// What it promises: what openapi.json in this package says, which a test holds against the
// handlers. Calls are idempotent: to block what is blocked, or to unblock what is not, is no
// error and changes nothing. Each change is in the audit log under the name of the token and
// of its owner before it is answered. A browser cannot be made to call it: it heeds no
// cookies.
package api

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"imgkeep/bucket"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/target"
)

//go:embed openapi.json
var description []byte

// Options say what an API works on.
type Options struct {
	Accounts *account.Book
	As       func(control.Caller) control.Service
	Read     func(text string, hosts bool) (target.Target, error)
	Address  func(*http.Request) netip.Addr // where a request comes from; invalid: nobody knows
	// TwoPersons refuses removals: nobody could agree to them.
	TwoPersons bool
	// MaxUpload bounds a picture that is compared, in bytes.
	MaxUpload int64
	Now       func() time.Time
	Log       *slog.Logger
}

// api is the handler.
type api struct{ opts Options }

// New returns the handler of all below /api/v1.
func New(o Options) http.Handler {
	a := &api{o}
	r := chi.NewRouter()
	r.NotFound(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, refusal{http.StatusNotFound, "not-found", "there is no such call: see openapi.json"})
	})
	r.MethodNotAllowed(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, refusal{http.StatusMethodNotAllowed, "method", "this call has another method: see openapi.json"})
	})
	r.Route("/api/v1", func(r chi.Router) {
		r.Get("/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write(description)
		})
		r.Get("/show", a.call(account.View, a.show))
		r.Get("/search", a.call(account.View, a.search))
		r.Get("/images", a.call(account.View, a.images))
		r.Get("/failures", a.call(account.View, a.failures))
		r.Get("/blocks", a.call(account.View, a.blocks))
		r.Get("/similar", a.call(account.View, a.similar))
		r.Post("/compare", a.call(account.View, a.compare))
		r.Post("/block", a.call(account.Remove, a.remove(control.Block)))
		r.Post("/unblock", a.call(account.Remove, a.remove(control.Unblock)))
	})
	return r
}

// refusal is an error as clients get it.
type refusal struct {
	status  int
	Code    string `json:"code"` // a stable word
	Message string `json:"message"`
}

func (r refusal) Error() string { return r.Message }

func wrong(format string, args ...any) error {
	return refusal{http.StatusBadRequest, "request", fmt.Sprintf(format, args...)}
}

func refuse(w http.ResponseWriter, r refusal) {
	if r.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="imgkeep"`)
	}
	answer(w, r.status, map[string]refusal{"error": r})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.Encode(v)
}

// asker is a program with a token.
type asker struct {
	control.Service
	caller control.Caller
}

// call is a handler of those whose token has these rights.
func (a *api) call(role account.Role, do func(asker, *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who, err := a.asker(r, role)
		var result any
		if err == nil {
			result, err = do(who, r)
		}
		if err != nil {
			refuse(w, a.refusalOf(r, err))
			return
		}
		answer(w, http.StatusOK, result)
	}
}

// asker is who has sent a request.
func (a *api) asker(r *http.Request, role account.Role) (asker, error) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return asker{}, refusal{http.StatusUnauthorized, "token", "want a header Authorization: Bearer TOKEN, with a token of 'imgkeep moderator token'"}
	}
	m, label, err := a.opts.Accounts.ByToken(strings.TrimSpace(secret))
	if errors.Is(err, account.ErrToken) {
		return asker{}, refusal{http.StatusUnauthorized, "token", "this token opens nothing: it was removed, has expired, or is none"}
	}
	if err != nil {
		return asker{}, err
	}
	if !m.Role.May(role) {
		return asker{}, refusal{http.StatusForbidden, "role", fmt.Sprintf("this token has the role %s, and the call needs %s", m.Role, role)}
	}
	c := control.Caller{Who: fmt.Sprintf("token %s of moderator %s", label, m.Name)}
	if at := a.opts.Address(r); at.IsValid() {
		c.Claims.Address = control.NewClaim(at.String())
	}
	c.Claims.OnBehalf = control.NewClaim(r.Header.Get("Imgkeep-On-Behalf"))
	return asker{a.opts.As(c), c}, nil
}

// refusalOf is an error as clients get it. What is the server's fault is in its log only.
func (a *api) refusalOf(r *http.Request, err error) refusal {
	var known refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &large):
		return refusal{http.StatusRequestEntityTooLarge, "too-large", "the request is too large"}
	case errors.Is(err, bucket.ErrNoBucket):
		return refusal{http.StatusNotFound, "bucket", "there is no such bucket"}
	case errors.Is(err, lookalike.ErrOff):
		return refusal{http.StatusNotImplemented, "likeness", "images are not compared by how they look: likeness is off"}
	case errors.Is(err, query.ErrCursor):
		return refusal{http.StatusBadRequest, "request", "before: there is no such page"}
	}
	a.opts.Log.Error("api: a call has failed", "path", r.URL.Path, "error", err)
	return refusal{http.StatusInternalServerError, "failed", "the call has failed: the log of the server says why"}
}

// maxRequest bounds a body, in bytes.
const maxRequest = 1 << 20

// decode reads a body of JSON, and nothing besides.
func decode(r *http.Request, v any) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "application/json" {
		return refusal{http.StatusUnsupportedMediaType, "media-type", "want a body of JSON, with Content-Type: application/json"}
	}
	dec := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, more := dec.Token(); more != io.EOF {
			err = errors.New("there is more than one value")
		}
	}
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		return wrong("the body is not understood: %v", err)
	}
	return err
}
