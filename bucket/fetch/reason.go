package fetch

import (
	"errors"
	"io"
	"strings"
	"syscall"

	"imgkeep/bucket/fetch/outbound"
)

// Reason says more exactly than ErrorKind what was wrong with an origin, as far as that
// indicates whether its images are lost for good.
type Reason string

// The reasons.
const (
	// ReasonGone: kind Gone.
	ReasonGone Reason = "gone"
	// ReasonNoHost: the name of the host does not exist, or has no address.
	ReasonNoHost Reason = "no_host"
	// ReasonUnreachable: the host refuses or breaks off the connection, or no route
	// leads there.
	ReasonUnreachable Reason = "unreachable"
	// ReasonTLS: no valid certificate, or no TLS version in common.
	ReasonTLS Reason = "tls"
	// ReasonTimeout: kind Timeout.
	ReasonTimeout Reason = "timeout"
	// ReasonServerError: status 500 to 599.
	ReasonServerError Reason = "server_error"
	// ReasonPage: a page instead of an image, with status 200, as parked domains send it.
	ReasonPage Reason = "page"
	// ReasonBlocked: kind Blocked. Some storage services answer 403 for objects that do
	// not exist.
	ReasonBlocked Reason = "blocked"
)

// Reason is why the image could not be fetched; empty: the reason does not indicate whether
// the origin is lost.
func (e *Error) Reason() Reason {
	switch {
	case e.Kind == Gone:
		return ReasonGone
	case e.Kind == Timeout:
		return ReasonTimeout
	case e.Kind == Blocked:
		return ReasonBlocked
	case e.Kind == NotImage && markup(e.Head):
		return ReasonPage
	case e.Kind != Failed:
		return ""
	case e.Status/100 == 5:
		return ReasonServerError
	case errors.Is(e.Err, errNoHost):
		return ReasonNoHost
	case errors.Is(e.Err, outbound.Err):
		return ""
	case isTLS(e.Err):
		return ReasonTLS
	case isUnreachable(e.Err):
		return ReasonUnreachable
	}
	return ""
}

var errNoHost = errors.New("no such host")

// isTLS tells whether an error is one of TLS with the origin. The errors of crypto/tls
// have no type in common; each begins like this.
func isTLS(err error) bool {
	return strings.Contains(err.Error(), "tls: ") || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// isUnreachable tells whether an error of connecting is the host's. A missing network here,
// or a missing address family, is not.
func isUnreachable(err error) bool {
	closed := errors.Is(err, io.EOF) || strings.Contains(err.Error(), "server closed idle connection") // net/http's words
	return closed || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EHOSTUNREACH)
}
