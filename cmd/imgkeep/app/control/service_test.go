package control_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/server"
)

const (
	kept = "https://origin.example/kept.png"
	gone = "https://origin.example/gone.png"
)

// origin has an image under each URL but gone.
type origin struct{}

func (origin) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	if r.URL == gone {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Host: "origin.example", Err: errors.New("404")}
	}
	n, err := io.WriteString(dst, "the bytes of "+r.URL)
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	return fetch.Result{Info: info, Bytes: int64(n), FinalURL: r.URL}, err
}

// book takes links that begin with /bad for those of another image.
type book struct{}

func (book) Life(string) *query.LinkDetails { return &query.LinkDetails{Good: true} }

func (book) Check(path string) error {
	if strings.HasPrefix(path, "/bad") {
		return errors.New("another image")
	}
	return nil
}

func (book) Good(r record.Removal) ([]string, error) {
	var all []string
	for _, i := range r.Images {
		all = append(all, "/i/full/"+i.Digest)
	}
	return all, nil
}

// look takes images for alike that have the same first 20 bytes, but for their length.
func look(_ context.Context, image record.Image, src io.ReaderAt, _ bool) (p likeness.Print, err error) {
	first := make([]byte, 20)
	if _, err := src.ReadAt(first, 0); err != nil {
		return p, fmt.Errorf("%w: %w", lookalike.ErrNoPrint, err)
	}
	p.Quality = 100
	for i := range p.Hashes {
		p.Hashes[i] = likeness.Hash(sha256.Sum256(append(first, byte(i))))
	}
	p.Hashes[0][0] = byte(image.Bytes)
	return p, nil
}

// services are the implementations of Service, each on a store of its own with its
// audit log.
func services(t *testing.T) map[string]func() (s control.Service, root, audit string) {
	local := func() (*control.Local, string, string) {
		root := filepath.Join(t.TempDir(), "store")
		now := func() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }
		store, err := bucket.Open(bucket.Options{Root: root, Buckets: []bucket.Bucket{{Name: "i"}, {Name: "f"}}, Origin: origin{}, Now: now, Look: look})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { store.Close(context.Background()) })
		populator, err := server.NewPopulator(server.Options{Store: store, Now: now}, 0)
		if err != nil {
			t.Fatal(err)
		}
		audit := &control.Audit{Path: filepath.Join(t.TempDir(), "audit.ndjson"), Now: now}
		keeper := &control.StoreKeeper{Store: store, Populator: populator, Key: func(url string) string { return url }}
		return control.New(control.Options{
			Store: control.OpenStore{Store: store}, Audit: audit, Links: book{}, Keeper: func() control.Keeper { return keeper },
			Reload: func() (control.Reloaded, error) { return control.Reloaded{Changed: []string{"sizes"}}, nil },
		}), root, audit.Path
	}
	return map[string]func() (control.Service, string, string){
		"local": func() (control.Service, string, string) { return local() },
		"socket": func() (control.Service, string, string) {
			l, root, audit := local()
			path := filepath.Join(t.TempDir(), "admin.sock")
			socket, err := control.Listen(path)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error)
			go func() { ended <- control.NewServer(l, nil).Serve(ctx, socket) }()
			t.Cleanup(func() { cancel(); <-ended })
			c, err := control.Dial(t.Context(), path)
			if err != nil {
				t.Fatal(err)
			}
			return c, root, audit
		},
	}
}

var errEnough = errors.New("enough")

// events are what a call with events tells, in a line each; after most of them it wants
// no more.
func events(most int, do func(control.Each) (any, error)) (any, error) {
	var all []string
	r, err := do(func(e control.Event) error {
		if e.Progress != nil {
			return nil // which is told now and then
		}
		if len(all) == most {
			return errEnough
		}
		text, err := json.Marshal(e)
		all = append(all, string(text))
		return err
	})
	return []any{all, r}, err
}

// Whether the server does it or the process itself: what an operator can do has the
// same results, errors and lines in the audit log.
func TestService(t *testing.T) {
	picture := pngOf(4, 4, color.Black)
	digest := record.Digest(sha256.Sum256(picture)).String()
	other := likeness.Hash{1, 2, 3}
	const alike = "https://origin.example/alike.png"
	const added, latin = "https://origin.example/added.png", "https://origin.example/B\xe4r.png"
	type service = control.Service
	steps := []struct {
		name string
		do   func(context.Context, service) (any, error)
		want string // in the result, as JSON, or in the error
		err  error  // that callers tell apart
	}{
		{"figures", func(ctx context.Context, s service) (any, error) { return s.Figures(ctx) }, `"schema":`, nil},
		{"populate", func(ctx context.Context, s service) (any, error) {
			return s.Populate(ctx, control.PopulateRequest{Bucket: "i", URL: []byte(kept)})
		}, `"kept":true`, nil},
		{"populate again", func(ctx context.Context, s service) (any, error) {
			return s.Populate(ctx, control.PopulateRequest{Bucket: "i", URL: []byte(kept)})
		}, `"kept":false`, nil},
		{"populate what is no UTF-8", func(ctx context.Context, s service) (any, error) {
			return s.Populate(ctx, control.PopulateRequest{Bucket: "i", URL: []byte(latin)})
		}, `"kept":true`, nil},
		{"populate what fails", func(ctx context.Context, s service) (any, error) {
			return s.Populate(ctx, control.PopulateRequest{Bucket: "i", URL: []byte(gone)})
		}, `"code":"gone"`, nil},
		{"populate sizes without decoders", func(ctx context.Context, s service) (any, error) {
			return s.Populate(ctx, control.PopulateRequest{Bucket: "i", URL: []byte(kept), Sizes: []string{"1x1"}})
		}, `no decoder`, nil},
		{"add", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "f", URL: added}, bytes.NewReader(picture))
		}, `"kept":true`, nil},
		{"add what is taken", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "i", URL: kept}, bytes.NewReader(picture))
		}, `"code":"taken"`, nil},
		{"add to no bucket", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "x", URL: kept}, bytes.NewReader(picture))
		}, `"stop":true`, nil},
		{"add in a run", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "f", URL: added, Run: true}, bytes.NewReader(picture))
		}, `"kept":false`, nil},
		{"ran", func(ctx context.Context, s service) (any, error) {
			return nil, s.Ran(ctx, control.Run{Op: "import", From: "/old", URLs: 1, Stopped: "told to"})
		}, ``, nil},
		{"ran nothing", func(ctx context.Context, s service) (any, error) { return nil, s.Ran(ctx, control.Run{Op: "burn"}) }, `"burn" is none`, nil},
		{"show", func(ctx context.Context, s service) (any, error) { return s.Show(ctx, control.ShowRequest{URL: kept}) }, `"here":true`, nil},
		{"show what failed under the URL that it was made of", func(ctx context.Context, s service) (any, error) {
			return s.Show(ctx, control.ShowRequest{URL: kept, Source: gone})
		}, `"class":"gone"`, nil},
		{"show a failure", func(ctx context.Context, s service) (any, error) { return s.Show(ctx, control.ShowRequest{URL: gone}) }, `"class":"gone"`, nil},
		{"show a digest", func(ctx context.Context, s service) (any, error) {
			return s.Show(ctx, control.ShowRequest{Digest: digest})
		}, added, nil},
		{"show a link", func(ctx context.Context, s service) (any, error) {
			return s.Show(ctx, control.ShowRequest{URL: kept, Named: control.Named{Link: "/i/full/x/y"}})
		}, `"link":{"good":true`, nil},
		{"show another's link", func(ctx context.Context, s service) (any, error) {
			return s.Show(ctx, control.ShowRequest{URL: kept, Named: control.Named{Link: "/bad/link"}})
		}, `another image`, nil},
		{"show no digest", func(ctx context.Context, s service) (any, error) {
			return s.Show(ctx, control.ShowRequest{Digest: "x"})
		}, `is no digest`, nil},
		{"list", func(ctx context.Context, s service) (any, error) {
			return events(9, func(each control.Each) (any, error) {
				return s.List(ctx, control.ListRequest{What: "images"}, each)
			})
		}, `,3]`, nil},
		{"list one", func(ctx context.Context, s service) (any, error) {
			return events(1, func(each control.Each) (any, error) {
				_, err := s.List(ctx, control.ListRequest{What: "images"}, each)
				return nil, err
			})
		}, ``, errEnough},
		{"list failures", func(ctx context.Context, s service) (any, error) {
			return events(9, func(each control.Each) (any, error) {
				return s.List(ctx, control.ListRequest{What: "failures", Classes: []string{"gone"}}, each)
			})
		}, `,1]`, nil},
		{"list in no bucket", func(ctx context.Context, s service) (any, error) {
			return s.List(ctx, control.ListRequest{What: "images", Filter: query.Filter{Buckets: []string{"x"}}}, nil)
		}, ``, bucket.ErrNoBucket},
		{"list nonsense", func(ctx context.Context, s service) (any, error) {
			return s.List(ctx, control.ListRequest{What: "x"}, nil)
		}, `cannot be listed`, nil},
		{"latest", func(ctx context.Context, s service) (any, error) {
			return s.Latest(ctx, query.RecentFilter{Filter: query.Filter{Buckets: []string{"f"}}, Budget: time.Hour})
		}, added, nil},
		{"latest in no bucket", func(ctx context.Context, s service) (any, error) {
			return s.Latest(ctx, query.RecentFilter{Filter: query.Filter{Buckets: []string{"x"}}})
		}, ``, bucket.ErrNoBucket},
		{"failed", func(ctx context.Context, s service) (any, error) {
			return s.Failed(ctx, control.FailedRequest{Classes: []string{"gone"}})
		}, `"all":1`, nil},
		{"hosts", func(ctx context.Context, s service) (any, error) { return s.Hosts(ctx) }, `"host":"origin.example"`, nil},
		{"history", func(ctx context.Context, s service) (any, error) {
			return s.History(ctx, control.HistoryRequest{Ops: []string{"import"}})
		}, `"told to"`, nil},
		{"too much history", func(ctx context.Context, s service) (any, error) {
			return s.History(ctx, control.HistoryRequest{Limit: control.MaxHistory + 1})
		}, `1 to 1000 lines`, nil},
		{"index looks", func(ctx context.Context, s service) (any, error) {
			return s.IndexLooks(ctx, control.IndexLooksRequest{}, nil)
		}, `"images":3,"known":0,"added":3`, nil},
		{"index looks again", func(ctx context.Context, s service) (any, error) {
			return s.IndexLooks(ctx, control.IndexLooksRequest{}, nil)
		}, `"known":3,"added":0`, nil},
		{"index looks slowly", func(ctx context.Context, s service) (any, error) {
			return s.IndexLooks(ctx, control.IndexLooksRequest{Rate: -1}, nil)
		}, `below 0`, nil},
		{"similar to a URL", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{URL: kept, Within: 8}, nil)
		}, `"distance":0,"buckets":["i"]},{"digest":`, nil},
		{"the most similar", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{URL: kept, Within: 8, Limit: 1}, nil)
		}, `"buckets":["i"]}]`, nil},
		{"similar to a digest", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{Digest: digest}, nil)
		}, `{"digest":"` + digest + `","distance":0,"buckets":["f"]}]`, nil},
		{"similar to bytes", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{}, bytes.NewReader(picture))
		}, `{"digest":"` + digest + `","distance":0,"buckets":["f"]}]`, nil},
		{"similar to a hash", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{Hash: other.String(), Within: 31}, nil)
		}, `"hash":"` + other.String() + `","quality":100,"images":[]`, nil},
		{"similar to nothing", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{}, nil)
		}, `type`, nil},
		{"similar to what is not kept", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{URL: gone}, nil)
		}, ``, lookalike.ErrUnknown},
		{"similar to another's link", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{URL: kept, Named: control.Named{Link: "/bad/link"}}, nil)
		}, `another image`, nil},
		{"similar from afar", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{URL: kept, Within: likeness.MaxWithin + 1}, nil)
		}, `is not from 0 to 48`, nil},
		{"too many similar", func(ctx context.Context, s service) (any, error) {
			return s.Similar(ctx, control.SimilarRequest{URL: kept, Limit: control.MaxSimilar + 1}, nil)
		}, `from 1 to 1000`, nil},
		{"block hashes", func(ctx context.Context, s service) (any, error) {
			return s.BlockHashes(ctx, control.BlockHashesRequest{Hashes: []likeness.Listed{{Hash: other, Within: 31}}, From: "list.csv", Why: "a list"})
		}, `"added":1`, nil},
		{"block hashes again", func(ctx context.Context, s service) (any, error) {
			return s.BlockHashes(ctx, control.BlockHashesRequest{Hashes: []likeness.Listed{{Hash: other, Within: 31}}})
		}, `"added":0`, nil},
		{"block no hashes", func(ctx context.Context, s service) (any, error) {
			return s.BlockHashes(ctx, control.BlockHashesRequest{})
		}, `from 1 to 500`, nil},
		{"unblock a hash", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Unblock, Hash: other.String()})
		}, `"kind":"similar"`, nil},
		{"unblock a hash again", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Unblock, Hash: other.String()})
		}, ``, bucket.ErrNotBlocked},
		{"purge a hash", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Purge, Hash: other.String()})
		}, `does not go with this`, nil},
		{"block what looks like it", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Block, Digest: digest, Similar: true, Within: 3})
		}, `"within":3`, nil},
		{"add what looks like it", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "f", URL: alike}, bytes.NewReader(pngOf(4, 4, color.White)))
		}, `"code":"similar"`, nil},
		{"what was refused", func(ctx context.Context, s service) (any, error) {
			return events(9, func(each control.Each) (any, error) {
				return s.List(ctx, control.ListRequest{What: "similar"}, each)
			})
		}, alike, nil},
		{"allow", func(ctx context.Context, s service) (any, error) {
			return s.Allow(ctx, control.AllowRequest{URL: alike, Why: "it is another"})
		}, `"digests":["`, nil},
		{"add what was allowed", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "f", URL: alike}, bytes.NewReader(pngOf(4, 4, color.White)))
		}, `"kept":true`, nil},
		{"allow no more", func(ctx context.Context, s service) (any, error) {
			return s.Allow(ctx, control.AllowRequest{URL: alike, Undo: true})
		}, `"digests":["`, nil},
		{"allow no more, again", func(ctx context.Context, s service) (any, error) {
			return s.Allow(ctx, control.AllowRequest{URL: alike, Undo: true})
		}, ``, lookalike.ErrNotAllowed},
		{"allow what was not refused", func(ctx context.Context, s service) (any, error) {
			return s.Allow(ctx, control.AllowRequest{URL: kept})
		}, `nothing was refused`, nil},
		{"allow nothing", func(ctx context.Context, s service) (any, error) {
			return s.Allow(ctx, control.AllowRequest{})
		}, `want a URL or a digest`, nil},
		{"forget what was allowed", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Forget, URL: alike})
		}, alike, nil},
		{"unblock what looks like it", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Unblock, Digest: digest})
		}, `"kind":"similar"`, nil},
		{"add it again", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "f", URL: added}, bytes.NewReader(picture))
		}, `"kept":true`, nil},
		{"stats", func(ctx context.Context, s service) (any, error) { return s.Stats(ctx) }, `"blocks":0`, nil},
		{"retry", func(ctx context.Context, s service) (any, error) {
			return s.Retry(ctx, control.RetryRequest{What: gone})
		}, `"failures":1`, nil},
		{"retry another's link", func(ctx context.Context, s service) (any, error) {
			return s.Retry(ctx, control.RetryRequest{What: gone, Named: control.Named{Link: "/bad/link"}})
		}, `another image`, nil},
		{"block, dry run", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Block, Digest: digest, DryRun: true})
		}, `"/i/full/` + digest + `"`, nil},
		{"block", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Block, Digest: digest, Why: "a ticket"})
		}, `"/i/full/` + digest + `"`, nil},
		{"list blocks", func(ctx context.Context, s service) (any, error) {
			return events(9, func(each control.Each) (any, error) {
				return s.List(ctx, control.ListRequest{What: "blocks"}, each)
			})
		}, `,1]`, nil},
		{"add what is blocked", func(ctx context.Context, s service) (any, error) {
			return s.Add(ctx, control.AddRequest{Bucket: "f", URL: added}, bytes.NewReader(picture))
		}, `"code":"removed"`, nil},
		{"unblock", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Unblock, Digest: digest})
		}, `"unblocked":`, nil},
		{"unblock again", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Unblock, Digest: digest})
		}, ``, bucket.ErrNotBlocked},
		{"forget", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Forget, URL: kept, Buckets: []string{"i"}})
		}, kept, nil},
		{"forget again", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Forget, URL: kept})
		}, ``, bucket.ErrNotKept},
		{"remove nothing", func(ctx context.Context, s service) (any, error) {
			return s.Remove(ctx, control.RemoveRequest{Verb: control.Purge})
		}, `want one`, nil},
		{"compact", func(ctx context.Context, s service) (any, error) { return s.Compact(ctx) }, `"after":`, nil},
		{"reload", func(ctx context.Context, s service) (any, error) { return s.Reload(ctx) }, `"changed":["sizes"]`, nil},
		{"scrub", func(ctx context.Context, s service) (any, error) {
			return events(9, func(each control.Each) (any, error) {
				return s.Scrub(ctx, control.ScrubRequest{}, each)
			})
		}, `"found":{"foreign":1}`, nil},
		{"scrub, repair", func(ctx context.Context, s service) (any, error) {
			return s.Scrub(ctx, control.ScrubRequest{Repair: true}, nil)
		}, `"remain":0`, nil},
		// The last, since a server may not have ended it yet when it is asked again.
		{"scrub, stopped", func(ctx context.Context, s service) (any, error) {
			return events(0, func(each control.Each) (any, error) {
				_, err := s.Scrub(ctx, control.ScrubRequest{}, each)
				return nil, err
			})
		}, ``, errEnough},
	}
	// What differs from run to run.
	varies := regexp.MustCompile(`"(seconds|bytes|free_pages|page_size|[a-z_]*pages|tx|figures|quarantine)":[0-9.e+-]+`)
	said := map[string]string{}
	for name, start := range services(t) {
		s, root, audit := start()
		foreign := func() {
			if err := os.WriteFile(filepath.Join(root, "i", "foreign"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		foreign()
		var all strings.Builder
		for _, step := range steps {
			if step.name == "scrub, stopped" {
				foreign() // again, since it was repaired
			}
			result, err := step.do(t.Context(), s)
			text, jsonErr := json.Marshal(result)
			if jsonErr != nil {
				t.Fatal(jsonErr)
			}
			if step.err != nil && !errors.Is(err, step.err) {
				t.Errorf("%s: %s: got error %v, want %v", name, step.name, err, step.err)
			}
			line := fmt.Sprintf("%s: %s %v\n", step.name, text, err)
			if !strings.Contains(line, step.want) {
				t.Errorf("%s: want %q: %s", name, step.want, line)
			}
			all.WriteString(varies.ReplaceAllString(line, `"$1":0`))
		}
		log, err := os.ReadFile(audit)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(varies.ReplaceAllString(string(log), `"$1":0`))
		said[name] = all.String()
		for _, op := range []string{"add", "import", "retry", "block", "unblock", "block-hashes", "allow", "forget", "compact", "reload", "scrub --repair"} {
			if !strings.Contains(string(log), `"op":"`+op+`"`) {
				t.Errorf("%s: no %s in the audit log:\n%s", name, op, log)
			}
		}
	}
	local, socket := strings.Split(said["local"], "\n"), strings.Split(said["socket"], "\n")
	for i := range min(len(local), len(socket)) {
		if local[i] != socket[i] {
			t.Errorf("the two differ:\n%s\n%s", local[i], socket[i])
		}
	}
	if len(local) != len(socket) {
		t.Errorf("one says more than the other")
	}
}

// A server takes no files by their names; a process that has the store open does.
func TestLink(t *testing.T) {
	start := services(t)
	path := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(path, pngOf(4, 4, color.White), 0o600); err != nil {
		t.Fatal(err)
	}
	q := control.AddRequest{Bucket: "i", URL: kept, Path: path}
	s, _, _ := start["socket"]()
	if _, err := s.Add(t.Context(), q, nil); !errors.Is(err, control.ErrLinkServer) {
		t.Errorf("over the socket: %v", err)
	}
	s, _, audit := start["local"]()
	o, err := s.Add(t.Context(), q, nil)
	if err != nil || !o.Kept && !o.Stop { // Stop: another file system
		t.Errorf("here: %+v, %v", o, err)
	}
	if log, err := os.ReadFile(audit); err != nil || !strings.Contains(string(log), `"op":"add"`) {
		t.Errorf("the audit log: %s, %v", log, err)
	}
}

// What was kept under the URL that was named, before another one stood for its image, is what
// viewers are shown: each verb removes it as well, and is no error where there is one of both.
func TestRemoveOlder(t *testing.T) {
	const key, older = "https://cdn.example/a.png", "https://cdn.example/a.png?ex=1"
	for _, kept := range [][]string{{}, {key}, {older}, {key, older}} {
		for _, verb := range []string{control.Forget, control.Purge, control.Block} {
			t.Run(fmt.Sprint(verb, " of ", len(kept), kept), func(t *testing.T) {
				s, _, _ := services(t)["local"]()
				for n, url := range kept {
					if o, err := s.Add(t.Context(), control.AddRequest{Bucket: "i", URL: url}, bytes.NewReader(pngOf(4+n, 4, color.Black))); err != nil || !o.Kept {
						t.Fatalf("%+v, %v", o, err)
					}
				}
				q := control.RemoveRequest{Verb: verb, URL: key, Source: older, DryRun: true}
				var r control.Removal
				var err error
				for range 2 { // first dry, which changes nothing
					r, err = s.Remove(t.Context(), q)
					if none := len(kept) == 0 && verb != control.Block; errors.Is(err, bucket.ErrNotKept) != none || !none && err != nil || len(r.Images) != len(kept) {
						t.Errorf("dry %v: %d images, %v", q.DryRun, len(r.Images), err)
					}
					q.DryRun = false
				}
				blocks := 0
				if verb == control.Block { // of URLs and bytes; the older URL only where it has some
					if blocks = 1 + len(kept); slices.Contains(kept, older) {
						blocks++
					}
				}
				if len(r.Blocked) != blocks {
					t.Errorf("blocks: %+v, want %d", r.Blocked, blocks)
				}
				if d, err := s.Show(t.Context(), control.ShowRequest{URL: key, Source: older}); err != nil || len(d.Images) > 0 {
					t.Errorf("still kept: %+v, %v", d.Images, err)
				}
				if verb == control.Block {
					r, err := s.Remove(t.Context(), control.RemoveRequest{Verb: control.Unblock, URL: key, Source: older})
					if err != nil || len(r.Unblocked) != blocks {
						t.Errorf("unblocked: %+v, %v, want %d", r.Unblocked, err, blocks)
					}
				}
			})
		}
	}
}
