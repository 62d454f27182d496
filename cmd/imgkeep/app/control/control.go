// Package control is what an operator can do with a store, as one interface, Service,
// and its two implementations: Local on a store that this process has open, and Client,
// which asks the server that has it. Commands are written against Service once.
//
// One process has the store open, so a command that needs it while a server runs asks
// the server, over a Unix socket, in HTTP: a request is JSON, an answer is NDJSON, one
// message a line. Events come as they happen; the last line holds the result, under a
// name, or the error, or both:
//
//	POST /scrub    {"rate":N,"repair":B}   finding and progress events, then the report
//	POST /compact  {}                      the figures of the index before and after
//	POST /retry    RetryRequest            what was cleared of a URL or digest
//	GET  /status                           the figures of the index
//	POST /remove   RemoveRequest           what was removed and blocked, and the links of it
//	POST /show     ShowRequest             all that is known of a URL or a digest
//	POST /list     ListRequest             the items, then how many there were
//	POST /latest   query.RecentFilter      a page of what was kept last
//	POST /failed   FailedRequest           a page of what failed last
//	GET  /hosts                            figures by host
//	POST /history  HistoryRequest          lines of the audit log, the newest first
//	GET  /stats                            the figures of the store
//	POST /reload   {}                      which settings have changed
//	GET  /metrics                          what Prometheus reads, in its own format
//	POST /populate {"n":N} and the fields of a PopulateRequest, a line for each URL
//	                                       what became of each, by its n, as soon as it is done
//	POST /ran      Run                     the end of a run, for the audit log
//	POST /allow    AllowRequest            what was let through
//	POST /hashes   BlockHashesRequest      how many were blocked
//	POST /looks    {"rate":N}              progress events, then the report
//	POST /similar  the bytes of an image, or none; in the query q (a SimilarRequest in JSON)
//	                                       what looks like it
//	POST /add      the bytes of an image; in the query bucket and url (URL-encoded base64),
//	               and run if it is one of a run
//	                                       what became of it
//
// What it promises: both implementations do the same, and note the same in the audit
// log. Over the socket only root and the user that the server runs as are answered, by
// the credentials that the kernel tells of the peer; the socket's mode, 0600, says the
// same. Work ends when its caller leaves, except removals, blocks and what is done at once.
// One scrub, one compact and one look at images without hashes run at a time; another is
// refused. But a scrub of the server's own, which may take days, gives way to one that is
// asked for.
//
// What it does not do: backup, restore and reindex, which work on the folder of a
// store and not on an open one. The protocol has no version to speak of; both ends are
// one program, and a command of another release may be refused.
package control

import (
	"context"
	"io"

	"imgkeep/bucket"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

// Service is what an operator can do. It may be used concurrently. What a method returns
// together with an error has happened.
type Service interface {
	// Show returns all that is known of a URL or a digest.
	Show(context.Context, ShowRequest) (query.Details, error)
	// List tells each item as an Event, and returns how many there were.
	List(context.Context, ListRequest, Each) (int, error)
	// Latest returns a page of what was kept last, and Failed of what could not be kept.
	Latest(context.Context, query.RecentFilter) (query.Recent, error)
	Failed(context.Context, FailedRequest) (query.RecentFailures, error)
	// Hosts returns figures by host: seconds for some millions of images.
	Hosts(context.Context) (query.Hosts, error)
	// History returns lines of the audit log, the newest first.
	History(context.Context, HistoryRequest) (History, error)
	// Stats returns the figures of the store; Figures those of its index alone.
	Stats(context.Context) (Stats, error)
	Figures(context.Context) (bucket.Figures, error)

	// Remove forgets, purges, blocks or unblocks. It continues when its caller leaves.
	Remove(context.Context, RemoveRequest) (Removal, error)
	// Retry clears the failures that are recorded of an image.
	Retry(context.Context, RetryRequest) (bucket.Retried, error)

	// Similar returns the images that look like one: like one that is kept, or like the one
	// whose bytes image has. nil: there is none.
	Similar(ctx context.Context, q SimilarRequest, image io.Reader) (Similar, error)
	// Allow lets an image through for good that was refused for what it looks like.
	Allow(context.Context, AllowRequest) (Allowed, error)
	// BlockHashes blocks all hashes of a list. It continues when its caller leaves.
	BlockHashes(context.Context, BlockHashesRequest) (HashesBlocked, error)
	// IndexLooks has decoders look at what no hash is known of, and tells progress.
	IndexLooks(context.Context, IndexLooksRequest, Each) (lookalike.IndexReport, error)

	// Scrub looks for damage, and tells findings and progress as Events.
	Scrub(context.Context, ScrubRequest, Each) (scrub.Report, error)
	// Compact makes the index as small as it can be.
	Compact(context.Context) (Compacted, error)
	// Reload has a server reload its configuration.
	Reload(context.Context) (Reloaded, error)

	// Populate has a URL kept, behind all viewers; Add the bytes of an image, or a file
	// by another name of it, which no server does: ErrLinkServer. An error means that it
	// could not even be tried; what became of it is in the Outcome.
	Populate(context.Context, PopulateRequest) (Outcome, error)
	Add(context.Context, AddRequest, io.Reader) (Outcome, error)
	// Ran notes the end of a run in the audit log.
	Ran(context.Context, Run) error
}

// Event is a part of an answer that comes in parts: one of its fields is set.
type Event struct {
	Finding  *record.Finding  `json:"finding,omitempty"`
	Progress *record.Progress `json:"progress,omitempty"`
	Item     *Item            `json:"item,omitempty"`
}

// Each is called with the events of an answer, as they come, one at a time, until it
// returns an error, which ends the work and is its error. nil: nobody wants them.
type Each func(Event) error

// ShowRequest asks what is known of a URL or a digest.
type ShowRequest struct {
	URL    string `json:"url,omitempty"`
	Source string `json:"source,omitempty"` // that URL was made of: failures, and older images, are under it; empty: URL
	Digest string `json:"digest,omitempty"`
	Named
}

// FailedRequest asks for a page of failures: of the filter it heeds what Failures heeds,
// and where the page is.
type FailedRequest struct {
	query.RecentFilter
	Classes []string `json:"classes,omitempty"` // empty: all
}

// ListRequest asks for what is kept, or for what else What says.
type ListRequest struct {
	query.Filter
	What    string   `json:"what"`              // "images", "failures", "blocks", or "similar": what was refused for that
	Classes []string `json:"classes,omitempty"` // of failures; empty: all
	By      []string `json:"by,omitempty"`      // of images: members for whom links of them were signed; empty: all
}

// Item is an item of a list: one of its fields is set.
type Item struct {
	Image   *query.Entry          `json:"image,omitempty"`
	Failure *query.FailureDetails `json:"failure,omitempty"`
	Block   *record.Block         `json:"block,omitempty"`
	Refusal *lookalike.Refusal    `json:"refusal,omitempty"`
}

// ScrubRequest asks for a scrub.
type ScrubRequest struct {
	Rate   int64 `json:"rate"` // as scrub.Options
	Repair bool  `json:"repair"`
}

// RetryRequest asks to clear what is recorded against an image.
type RetryRequest struct {
	What string `json:"what"` // as bucket.Store.Retry
	Named
}

// Verbs of a RemoveRequest.
const (
	Forget  = "forget"
	Purge   = "purge"
	Block   = "block"
	Unblock = "unblock"
)

// RemoveRequest asks for a removal. One of URL, Digest, Host and Hash is set.
type RemoveRequest struct {
	Verb   string `json:"verb"`
	URL    string `json:"url,omitempty"`    // canonical
	Source string `json:"source,omitempty"` // as of ShowRequest: an older image, which is shown as well, is removed too
	Digest string `json:"digest,omitempty"`
	Host   string `json:"host,omitempty"`
	Hash   string `json:"hash,omitempty"` // PDQ, of what looks alike, to block and unblock
	// Similar, of a block: what looks like it within so many bits is kept out as well; see
	// likeness.Within.
	Similar bool     `json:"similar,omitempty"`
	Within  int      `json:"within,omitempty"`
	Buckets []string `json:"buckets,omitempty"`
	Why     string   `json:"why,omitempty"`
	DryRun  bool     `json:"dry_run,omitempty"`
	Keep    bool     `json:"keep,omitempty"` // the files of what is blocked
	// AllVersions, of a purge or block: also what an object store keeps of earlier versions.
	AllVersions bool `json:"all_versions,omitempty"`
	// Evidence names a bundle of what is removed, for the audit log; empty: there is none.
	Evidence string `json:"evidence,omitempty"`
	Named
}

// Removal is what was done.
type Removal struct {
	record.Removal `json:"removal"`
	Links          []string `json:"links,omitempty"` // the paths of those that were good
}

// Named tells that a URL was read from a link.
type Named struct {
	Link       string `json:"link,omitempty"`       // its path; empty: from none
	Unverified bool   `json:"unverified,omitempty"` // whatever its signature stands for
}

// Reloaded is what a reload of the configuration has done.
type Reloaded struct {
	Changed []string `json:"changed"` // keys that hold now
	Restart []string `json:"restart"` // keys that have changed too, and hold after a restart
}

// Compacted is what compacting has done.
type Compacted struct {
	Before bucket.Figures `json:"before"`
	After  bucket.Figures `json:"after"`
}

// PopulateRequest asks for a URL to be kept before somebody looks at it. The URL is
// base64 in JSON, since what people have in their files need not be UTF-8.
type PopulateRequest struct {
	Bucket string   `json:"bucket"`
	URL    []byte   `json:"url"`   // as it was written
	Sizes  []string `json:"sizes"` // to be made of it
}

// AddRequest asks for bytes, or a file, to be kept under a URL, as it was written.
type AddRequest struct {
	Bucket, URL string
	Path        string // of a file that is kept by another name of it; empty: bytes are
	Run         bool   // it is one of a run, which Ran notes as a whole
}

// Run is what a run of populate or import has done.
type Run struct {
	Op     string   `json:"op,omitempty"` // "populate" or "import"
	Bucket string   `json:"bucket,omitempty"`
	From   string   `json:"from,omitempty"` // the folder of an import
	Sizes  []string `json:"sizes,omitempty"`
	URLs   int      `json:"urls"`   // that were looked at
	Kept   int      `json:"kept"`   // now
	Failed int      `json:"failed"` // the rest was there
	Made   int      `json:"made"`   // sizes
	Bytes  int64    `json:"bytes"`  // fetched, or added
	// Stopped says why it has ended before its list; empty: it has not.
	Stopped string `json:"stopped,omitempty"`
}

// Outcome is what became of a URL that was to be kept.
type Outcome struct {
	Kept  bool  `json:"kept"`            // now; otherwise it was there, or failed
	Bytes int64 `json:"bytes,omitempty"` // of the original
	Made  int   `json:"made,omitempty"`  // sizes, now
	// Code and Detail say why it failed: a stable word, and a line for the
	// operator. Empty: it has not.
	Code   string `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Stop says that others would fail as well.
	Stop bool `json:"stop,omitempty"`
}
