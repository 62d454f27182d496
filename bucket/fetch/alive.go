package fetch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"imgkeep/bucket/probe"
)

// Alive asks whether the image of a URL is still at its origin, without downloading it: nil
// says that it is. It asks by HEAD, and by a GET of the first bytes only if HEAD is
// refused, finds nothing, or does not show whether there is an image: some servers answer
// HEAD with 404, and GET with the image. All rules of Fetch apply: guard, hosts, redirects,
// removed pictures known by a URL or an ETag, times, and places. Nobody waits for the
// answer, so it takes a place as Reserve does. Of r it uses URL, Hosts, Denied and
// Limits.Formats.
//
// Errors are those of Fetch: Gone and NotImage say that the image is no longer there;
// Timeout, and Failed without a Status, that nobody answers; Blocked, Failed with a Status,
// Refused, Denied and Busy leave it open. A local URL is Refused: it has no origin.
//
// It does not promise that the bytes are still the same ones.
func (f *Fetcher) Alive(ctx context.Context, r Request) error {
	if isLocal(r.URL) {
		return errorf(Refused, "", "a local file has no origin")
	}
	place, err := f.Reserve(ctx, r.URL)
	if err != nil {
		return err
	}
	defer place.Release()
	r.Place = place
	if isObject(r.URL) {
		if err = f.aliveObject(ctx, r); err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	err = f.follow(ctx, r, func(ctx context.Context, to target) (string, error) {
		location, open, err := f.glance(ctx, to, http.MethodHead, r.Limits.Formats)
		if open {
			location, _, err = f.glance(ctx, to, http.MethodGet, r.Limits.Formats)
		}
		return location, err
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// glanceBytes is how much of an image is requested: enough to recognise any format.
const glanceBytes = 512

// glance asks one origin, once. open says that the question is not answered.
func (f *Fetcher) glance(ctx context.Context, to target, method string, formats []probe.Format) (location string, open bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	impatience := time.AfterFunc(f.o.HeaderTimeout-to.spent, func() { cancel(errHeaderTimeout) })
	defer impatience.Stop()
	ctx = f.watch(ctx, to.place, func() { cancel(errNetworkBusy) })
	span := ""
	if method == http.MethodGet {
		span = "bytes=0-511" // glanceBytes
	}
	resp, err := f.send(ctx, to, method, formats, span)
	if err != nil {
		return "", false, sendError(ctx, to.host, err)
	}
	defer resp.Body.Close() // and the connection, if the origin sends all of it
	if method == http.MethodHead && refusesHead(resp.StatusCode) {
		return "", true, nil
	}
	if resp.StatusCode == http.StatusPartialContent && method == http.MethodGet {
		resp.StatusCode = http.StatusOK
	}
	if location, err = f.judgeHeader(to.host, resp); err != nil || location != "" {
		return location, false, err
	}
	if method == http.MethodHead {
		// Many servers send a page instead of an image that is gone.
		return "", !strings.HasPrefix(strings.ToLower(resp.Header.Get("Content-Type")), "image/"), nil
	}
	return "", false, recognise(ctx, to.host, resp)
}

// recognise returns an error unless an answer begins as an image does.
func recognise(ctx context.Context, host string, resp *http.Response) error {
	head, err := io.ReadAll(io.LimitReader(resp.Body, glanceBytes))
	if err != nil {
		return sendError(ctx, host, err)
	}
	e := errorf(NotImage, host, "what is there is no image")
	e.Status, e.Head = resp.StatusCode, head[:min(len(head), MaxHead)]
	if _, err := probe.NewScanner(probe.Limits{}).Write(head); errors.Is(err, probe.ErrType) || len(head) == 0 {
		return e
	}
	return nil
}

// refusesHead tells whether a status may be about the method. Servers without HEAD answer
// it in many ways; what is gone or moved is so for any method.
func refusesHead(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusGone,
		http.StatusInternalServerError, http.StatusNotImplemented:
		return true
	}
	return false
}
