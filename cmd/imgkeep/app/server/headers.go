package server

import (
	"net/http"
	"time"
)

const (
	contentSecurity = "default-src 'none'; sandbox"
	// bodyTime bounds the wait for the body of a request, which is discarded.
	bodyTime = 5 * time.Second
)

// harden sets the headers that every answer has, and refuses other methods first.
func (s *Server) harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", contentSecurity)
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
	h.Set("Cross-Origin-Resource-Policy", s.opts.Page.Policy())
	if s.opts.Page.Robots != "" {
		h.Set("X-Robots-Tag", s.opts.Page.Robots)
	}
	if allowed := s.opts.Page.AllowOrigin(r.Header.Get("Origin")); allowed != "" {
		h.Set("Access-Control-Allow-Origin", allowed)
	}
	s.setVary(h, false)
}

// setVary sets what an answer depends on; accept: the Accept header too.
func (s *Server) setVary(h http.Header, accept bool) {
	if vary := s.opts.Page.Vary(accept); vary != "" {
		h.Set("Vary", vary)
	} else {
		h.Del("Vary")
	}
}
