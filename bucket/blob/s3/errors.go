package s3

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"

	"imgkeep/bucket/blob/object"
)

// observed carries out a request that writes or not, translates its error to one of package
// object, and calls Options.Observe.
func (c *Client) observed(kind string, writes bool, do func() error) error {
	start := time.Now()
	err := inWords(kind, writes, do())
	if c.o.Observe != nil {
		c.o.Observe(kind, outcome(err), time.Since(start))
	}
	return err
}

// Kinds are the kinds of requests of which Options.Observe is told.
func Kinds() []string { return []string{"create", "replace", "put", "get", "head", "delete", "list"} }

// Outcomes are what becomes of them: it was done; a condition was not met; there is no such
// object; nobody knows whether a write was done; or it was not.
func Outcomes() []string { return []string{"ok", "condition", "absent", "unclear", "error"} }

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, object.ErrExists), errors.Is(err, object.ErrChanged):
		return "condition"
	case errors.Is(err, object.ErrAbsent):
		return "absent"
	case errors.Is(err, object.ErrUnclear):
		return "unclear"
	}
	return "error"
}

// inWords is an error of the library as one of package object. Of a store's answer it has the
// status and the code: the message may name keys.
func inWords(kind string, writes bool, err error) error {
	if err == nil || errors.Is(err, object.ErrTooLong) {
		return err
	}
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		if writes && mayHaveArrived(err) {
			return fmt.Errorf("%s: %w: %w", kind, object.ErrUnclear, err)
		}
		return fmt.Errorf("%s: the object store does not answer: %w", kind, err)
	}
	said := fmt.Errorf("%s: the object store says %d %s", kind, answer.StatusCode, answer.Code)
	switch {
	case answer.StatusCode == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", object.ErrExists, said)
	case answer.StatusCode == http.StatusNotFound && answer.Code != minio.NoSuchBucket:
		return fmt.Errorf("%w: %w", object.ErrAbsent, said)
	// A conflict is with another writer under way, of whom nothing is known either; and what
	// a store does after it has said that it is too busy, or has failed, is its own affair.
	case writes && (answer.StatusCode == http.StatusConflict || answer.StatusCode >= 500 || answer.StatusCode == http.StatusRequestTimeout):
		return fmt.Errorf("%w: %w", object.ErrUnclear, said)
	}
	return said
}

// mayHaveArrived tells whether a request that has no answer may have been carried out: not
// where there was no connection.
func mayHaveArrived(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return false
	}
	var dns *net.DNSError
	return !errors.As(err, &dns)
}
