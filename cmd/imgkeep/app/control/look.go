package control

import (
	"context"
	"fmt"
	"iter"
	"net/http"

	"imgkeep/bucket"
)

// ShowRequest asks what is known of a URL or a digest.
type ShowRequest struct {
	URL    string `json:"url,omitempty"`
	Digest string `json:"digest,omitempty"`
	Named
}

// ListRequest asks for what is kept, or for what else List says.
type ListRequest struct {
	bucket.Filter
	What    string   `json:"what"`              // "images", "failures" or "blocks"
	Classes []string `json:"classes,omitempty"` // of failures; empty: all
}

// Item is an item of a list: one of its fields is set.
type Item struct {
	Image   *bucket.Listed       `json:"image,omitempty"`
	Failure *bucket.FailureFacts `json:"failure,omitempty"`
	Block   *bucket.Block        `json:"block,omitempty"`
}

// Looker looks into a store: a *bucket.Store.
type Looker interface {
	Show(context.Context, bucket.Target) (bucket.Facts, error)
	Stats(context.Context) (bucket.Stats, error)
	List(context.Context, bucket.Filter) iter.Seq2[bucket.Listed, error]
	ListFailures(context.Context, bucket.Filter, []bucket.Class) iter.Seq2[bucket.FailureFacts, error]
	Blocks() iter.Seq2[bucket.Block, error]
}

// Do returns what is known. links may be nil.
func (q ShowRequest) Do(ctx context.Context, s Looker, links Links) (bucket.Facts, error) {
	if err := q.check(links); err != nil {
		return bucket.Facts{}, err
	}
	t := bucket.Target{URL: q.URL}
	if q.URL == "" {
		var err error
		if t.Digest, err = bucket.ParseDigest(q.Digest); err != nil {
			return bucket.Facts{}, err
		}
	}
	return s.Show(ctx, t)
}

// Do calls each for every item, until it returns an error.
func (q ListRequest) Do(ctx context.Context, s Looker, each func(Item) error) error {
	switch q.What {
	case "images":
		return forEach(s.List(ctx, q.Filter), func(l bucket.Listed) error { return each(Item{Image: &l}) })
	case "failures":
		var classes []bucket.Class
		for _, c := range q.Classes {
			classes = append(classes, bucket.Class(c))
		}
		return forEach(s.ListFailures(ctx, q.Filter, classes), func(f bucket.FailureFacts) error { return each(Item{Failure: &f}) })
	case "blocks":
		return forEach(s.Blocks(), func(b bucket.Block) error { return each(Item{Block: &b}) })
	}
	return fmt.Errorf("%q cannot be listed: want images, failures or blocks", q.What)
}

func forEach[T any](all iter.Seq2[T, error], each func(T) error) error {
	for v, err := range all {
		if err == nil {
			err = each(v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) show(w http.ResponseWriter, r *http.Request) {
	var q ShowRequest
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	facts, err := q.Do(r.Context(), s.Store, s.Links)
	newAnswers(w).end(message{Facts: &facts}, err)
}

func (s *Server) stats(w http.ResponseWriter, r *http.Request) {
	stats, err := s.Store.Stats(r.Context())
	newAnswers(w).end(message{Stats: &stats}, err)
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	var q ListRequest
	if err := decode(r, &q); err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	a := newAnswers(w)
	n := 0
	err := q.Do(r.Context(), s.Store, func(i Item) error {
		n++
		a.write(message{Item: &i})
		return r.Context().Err()
	})
	a.end(message{Listed: &n}, err)
}

// Show returns all that is known of a URL or a digest.
func (c *Client) Show(ctx context.Context, q ShowRequest) (bucket.Facts, error) {
	m, err := c.ask(ctx, http.MethodPost, "/show", q, nil)
	if err != nil || m.Facts == nil {
		return bucket.Facts{}, cutOff(err)
	}
	return *m.Facts, nil
}

// Stats returns the figures of the store.
func (c *Client) Stats(ctx context.Context) (bucket.Stats, error) {
	m, err := c.ask(ctx, http.MethodGet, "/stats", nil, nil)
	if err != nil || m.Stats == nil {
		return bucket.Stats{}, cutOff(err)
	}
	return *m.Stats, nil
}

// List calls each for every item, as they come, until it returns an error.
func (c *Client) List(ctx context.Context, q ListRequest, each func(Item) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var stopped error
	m, err := c.ask(ctx, http.MethodPost, "/list", q, func(m message) {
		if m.Item != nil && stopped == nil {
			if stopped = each(*m.Item); stopped != nil {
				cancel(stopped)
			}
		}
	})
	if stopped != nil {
		return stopped
	}
	if err != nil || m.Listed == nil {
		return cutOff(err)
	}
	return nil
}
