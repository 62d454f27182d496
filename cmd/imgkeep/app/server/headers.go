package server

import (
	"net/http"
	"time"

	"imgkeep/bucket/probe"
)

const (
	contentSecurity = "default-src 'none'; sandbox"
	// bodyTime bounds the wait for the body of a request, which is discarded.
	bodyTime = 5 * time.Second
)

// constant is a header whose value is the same for many answers: one slice that all of them
// share, since nobody changes the values in it.
type constant []string

func newConstant(value string) constant { return constant{value} }

// set sets the header, which stays unset without a value. name is in its canonical form.
func (c constant) set(h http.Header, name string) {
	if c != nil && c[0] != "" {
		h[name] = c
	}
}

// constants are the headers that do not depend on the request.
type constants struct {
	nosniff, security, policy, robots constant
	// vary is that of answers that do not depend on the Accept header, and varyAccept that of
	// the others.
	vary, varyAccept constant
	control          constant // Cache-Control of a kept image
	types            map[probe.Format]constant
}

func newConstants(o Options) constants {
	c := constants{
		nosniff: newConstant("nosniff"), security: newConstant(contentSecurity),
		policy: newConstant(o.Page.Policy()), robots: newConstant(o.Page.Robots),
		vary: newConstant(o.Page.Vary(false)), varyAccept: newConstant(o.Page.Vary(true)),
		types: map[probe.Format]constant{},
	}
	if o.Signer != nil {
		c.control = newConstant("private, max-age=" + seconds(o.Signer.MaxAge()) + ", immutable")
	}
	for _, f := range probe.Formats() {
		c.types[f] = newConstant(f.ContentType())
	}
	return c
}

// harden sets the headers that every answer has, and refuses other methods first.
func (s *Server) harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		s.constants.nosniff.set(h, "X-Content-Type-Options")
		s.constants.security.set(h, "Content-Security-Policy")
		s.pageHeaders(h, r)
		if r.ContentLength != 0 {
			// No request needs a body. net/http would wait for it before or after the
			// answer, without a limit.
			h.Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime))
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.refuse(s.newRequest(r), errMethod).send(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// pageHeaders sets what Page says.
func (s *Server) pageHeaders(h http.Header, r *http.Request) {
	s.constants.policy.set(h, "Cross-Origin-Resource-Policy")
	s.constants.robots.set(h, "X-Robots-Tag")
	if allowed := s.opts.Page.AllowOrigin(r.Header.Get("Origin")); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
	}
	s.setVary(h, false)
}

// setVary sets what an answer depends on; accept: the Accept header too.
func (s *Server) setVary(h http.Header, accept bool) {
	delete(h, "Vary")
	if accept {
		s.constants.varyAccept.set(h, "Vary")
	} else {
		s.constants.vary.set(h, "Vary")
	}
}
