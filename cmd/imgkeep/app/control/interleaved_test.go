package control_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/approve"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/nginx"
	"imgkeep/resize"
	"imgkeep/sign"
)

// stops is a request that is stopped between two of its steps. In all that it goes
// through, from the origin to the hot link, it tells where it is.
type stops struct {
	at     string        // the step to stop at
	there  chan struct{} // closed when it is there
	goOn   chan struct{}
	passed bool
}

func newStops(at string) *stops {
	return &stops{at: at, there: make(chan struct{}), goOn: make(chan struct{})}
}

func (s *stops) step(name string) {
	if s == nil || name != s.at || s.passed {
		return
	}
	s.passed = true
	close(s.there)
	<-s.goOn
}

// removalSite is a server with a store and a tree of hot links, whose every part
// tells of its steps.
type removalSite struct {
	*testing.T
	store   *bucket.Store
	hot     *nginx.Hot
	hotDir  string
	signer  *sign.Signer
	handler *server.Server
	stops   *stops
	bodies  map[string][]byte // what the origin has, by URL
}

func pngOf(width, height int, c color.Color) []byte {
	m := image.NewRGBA(image.Rect(0, 0, width, height))
	for x := range width {
		for y := range height {
			m.Set(x, y, c)
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, m); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func newRemovalSite(t *testing.T) *removalSite {
	t.Helper()
	dir := t.TempDir()
	s := &removalSite{T: t, hotDir: filepath.Join(dir, "hot"), bodies: map[string][]byte{}}
	var err error
	if s.signer, err = sign.New(sign.Options{Secrets: []string{"the secret of these tests"}}); err != nil {
		t.Fatal(err)
	}
	if s.store, err = bucket.Open(bucket.Options{
		Root: filepath.Join(dir, "store"), Buckets: []bucket.Bucket{{Name: "i"}, {Name: "f"}}, Origin: s, Approver: s,
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.store.Close(context.Background()) })
	if s.hot, err = nginx.OpenHot(nginx.HotOptions{Dir: s.hotDir, Fingerprint: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	if s.handler, err = server.New(server.Options{
		Store: s.store, Signer: s.signer, Resizer: s, Sizes: []int{10}, Quality: 80, Handoff: true, HandoffValid: time.Minute, Hot: s, Observer: s,
		Negotiate: map[string][]string{nginx.AnySize: {"webp"}}, Stripped: []string{"f"},
	}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *removalSite) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	body := s.bodies[r.URL]
	if body == nil {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New("gone")}
	}
	s.stops.step("fetch begins")
	info, err := probe.Read(bytes.NewReader(body), probe.Limits{})
	if err == nil {
		_, err = dst.Write(body[:len(body)/2])
	}
	s.stops.step("half is fetched")
	if err == nil {
		_, err = dst.Write(body[len(body)/2:])
	}
	s.stops.step("all is fetched")
	return fetch.Result{Info: info, Bytes: int64(len(body)), FinalURL: r.URL}, err
}

func (s *removalSite) Ask(context.Context, approve.Question, io.ReaderAt) error {
	s.stops.step("it is approved of")
	return nil
}

func (s *removalSite) Resize(_ context.Context, src io.Reader, _ int64, j resize.Job) (all []resize.Result, err error) {
	s.stops.step("a decoder begins")
	if _, err := io.Copy(io.Discard, src); err != nil {
		return nil, err
	}
	if j.LateTargets != nil {
		j.Targets = j.LateTargets()
	}
	for _, target := range j.Targets {
		r := resize.Result{Data: pngOf(10, 10, color.White), Format: "png", Width: 10, Height: 10, Frames: 1}
		if target.FormatOf(j.Format) == "webp" {
			r.Data, r.Format = tinyWebP, "webp"
		}
		all = append(all, r)
	}
	s.stops.step("a decoder is done")
	return all, j.Check(all)
}

func (s *removalSite) AddWhile(bucket, size, signature, ext, target string, expires time.Time, still func() bool) error {
	s.stops.step("the file is there")
	// Between question and link nothing passes: see nginx' own tests.
	err := s.hot.AddWhile(bucket, size, signature, ext, target, expires, still)
	s.stops.step("the hot link is made")
	return err
}

func (s *removalSite) Answered(string, server.CacheStatus, time.Duration) {
	s.stops.step("it is answered")
}

// view has the handler answer a link, as asked by nginx or by a viewer.
func (s *removalSite) view(path string, behind bool) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", "image/webp,*/*")
	if behind {
		r.Header.Set(nginx.HeaderHandoff, nginx.HandoffNginx)
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// visible is what nginx can show by a signature without asking.
func (s *removalSite) visible(path string) (files []string) {
	l, err := sign.Parse(path)
	if err != nil {
		s.Fatal(err)
	}
	targets, err := nginx.Targets(s.hotDir, l.Bucket, l.Signature)
	if err != nil {
		s.Fatal(err)
	}
	// The classes of viewers who accept other formats are folders of their own.
	filepath.WalkDir(s.hotDir, func(p string, e fs.DirEntry, err error) error {
		if err == nil && e.Type()&fs.ModeSymlink != 0 && strings.HasPrefix(e.Name(), l.Signature[2:]) && !strings.Contains(p, ".dropped") {
			target, _ := os.Readlink(p)
			targets = append(targets, target)
		}
		return nil
	})
	for _, target := range targets {
		// A name that is tried before the link itself stands for a folder.
		if info, err := os.Stat(target); err == nil && !info.IsDir() {
			files = append(files, target)
		}
	}
	return files
}

// A keep, a view, or a size that is being made is stopped at each of its steps; an
// image is removed in each way; the request goes on. Nothing is visible afterwards of
// what was removed: by a hot link, by the handler, in any size, whatever was found at
// first. Nor is it when the same bytes come back under another URL.
func TestRemovalInterleaved(t *testing.T) {
	const url, other = "https://origin.example/cat.png", "https://other.example/cat.png"
	body := pngOf(60, 40, color.Black)
	digest := record.Digest(sha256.Sum256(body)).String()
	steps := []string{"before", "fetch begins", "half is fetched", "all is fetched", "it is approved of", "a decoder begins", "a decoder is done", "it is answered", "the file is there", "the hot link is made"}
	removals := map[string]control.RemoveRequest{
		"forget":        {Verb: control.Forget, URL: url},
		"purge":         {Verb: control.Purge, URL: url},
		"purge bytes":   {Verb: control.Purge, Digest: digest},
		"block":         {Verb: control.Block, URL: url},
		"block, keep":   {Verb: control.Block, URL: url, Keep: true},
		"block bytes":   {Verb: control.Block, Digest: digest},
		"block, keep 2": {Verb: control.Block, Digest: digest, Keep: true},
		"block host":    {Verb: control.Block, Host: "origin.example"},
	}
	if testing.Short() {
		removals = map[string]control.RemoveRequest{"forget": removals["forget"], "purge bytes": removals["purge bytes"], "block, keep": removals["block, keep"], "block host": removals["block host"]}
	}
	s := newRemovalSite(t)
	reached := map[string]bool{}
	for name, q := range removals {
		for _, size := range []string{"full", "10x10"} {
			for _, kept := range []string{"new", "kept", "made", "damaged"} {
				for _, bucketName := range []string{"i", "f"} {
					for _, step := range steps {
						if testing.Short() && (bucketName == "f") != (step == "a decoder is done" || step == "the file is there") {
							continue
						}
						x := interleaved{removalSite: s, q: q, url: url, other: other, body: body, bucket: bucketName, size: size, kept: kept, step: step}
						if x.run(fmt.Sprintf("%s, %s of %s in %s, %s", name, size, kept, bucketName, step)) {
							reached[step] = true
						}
					}
				}
			}
		}
	}
	for _, step := range steps {
		if !reached[step] {
			t.Errorf("no request was ever stopped at %q", step)
		}
	}
}

type interleaved struct {
	*removalSite
	q                        control.RemoveRequest
	url, other               string
	body                     []byte
	bucket, size, kept, step string
}

// run tells whether the request came to the step.
func (x interleaved) run(name string) (reached bool) {
	path := x.signer.Sign(x.bucket, x.size, x.url, false, time.Now()).String()
	whole := x.signer.Sign(x.bucket, "full", x.url, false, time.Now()).String()
	x.prepare(path, whole)
	defer x.clean()

	x.removalSite.stops = newStops(x.step)
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		x.removalSite.stops.step("before")
		x.view(path, true)
	}()
	select {
	case <-x.removalSite.stops.there:
		reached = true
	case <-answered: // this request does not come there
		return false
	}
	delete(x.bodies, x.url) // what is seen from now on has been kept
	_, err := control.New(control.Options{Store: control.OpenStore{Store: x.store}, Hot: x.hot}).Remove(x.Context(), x.q)
	if err != nil && !errors.Is(err, bucket.ErrNotKept) {
		x.Errorf("%s: %v", name, err)
	}
	close(x.removalSite.stops.goOn)
	<-answered
	x.removalSite.stops = nil
	if x.step == "before" && err != nil {
		return reached // nothing was there, and nothing is
	}
	check := func(when string) {
		x.Helper()
		if files := x.visible(path); len(files) > 0 {
			x.Errorf("%s: %s nginx shows %v", name, when, files)
		}
		for _, p := range []string{path, whole, strings.Replace(whole, "/full/", "/info/", 1), x.signer.Sign(x.bucket, "full", x.url, true, time.Now()).String()} {
			for _, behind := range []bool{true, false} {
				if w := x.view(p, behind); w.Code < 400 {
					x.Errorf("%s: %s %s answers %d", name, when, p, w.Code)
				}
			}
		}
		if files := x.visible(path); len(files) > 0 {
			x.Errorf("%s: %s, looked at, nginx shows %v", name, when, files)
		}
	}
	check("afterwards")
	// The bytes come back, under another URL.
	if x.q.Verb == control.Block && x.q.Digest == "" {
		if _, err := x.store.Unblock(x.Context(), bucket.Target{Digest: sha256.Sum256(x.body)}, bucket.RemoveOptions{}); err != nil && !errors.Is(err, bucket.ErrNotBlocked) {
			x.Error(err)
		}
	}
	x.bodies[x.other] = x.body
	x.view(x.signer.Sign(x.bucket, x.size, x.other, false, time.Now()).String(), true)
	check("with the same bytes under another URL")
	return reached
}

func (x interleaved) prepare(path, whole string) {
	x.Helper()
	x.bodies[x.url] = x.body
	if x.kept == "new" {
		return
	}
	if w := x.view(whole, false); w.Code != 200 {
		x.Fatalf("status %d", w.Code)
	}
	if x.kept == "made" {
		x.view(path, true)
	}
	if x.kept == "damaged" {
		image, err := x.store.Find(x.bucket, x.url)
		if err == nil {
			err = os.Remove(x.store.Path(image.File()))
		}
		if err != nil {
			x.Fatal(err)
		}
	}
}

// clean leaves nothing for the next.
func (x interleaved) clean() {
	x.removalSite.stops = nil
	for b := range x.store.Blocks() {
		t := bucket.Target{}
		switch b.Kind {
		case record.BlockURL:
			t.URL = b.Subject
		case record.BlockHost:
			t.Host = b.Subject
		default:
			t.Digest, _ = record.ParseDigest(b.Subject)
		}
		if _, err := x.store.Unblock(x.Context(), t, bucket.RemoveOptions{}); err != nil {
			x.Error(err)
		}
	}
	digest := record.Digest(sha256.Sum256(x.body))
	if _, err := x.store.Purge(x.Context(), bucket.Target{Digest: digest}, bucket.RemoveOptions{}); err != nil && !errors.Is(err, bucket.ErrNotKept) {
		x.Error(err)
	}
	for _, url := range []string{x.url, x.other} {
		delete(x.bodies, url)
		if _, err := x.store.Retry(url); err != nil {
			x.Error(err)
		}
	}
	if _, err := x.hot.Drop(); err != nil {
		x.Error(err)
	}
}

// tinyWebP is an image of 10 x 10.
var tinyWebP = slices.Concat([]byte("RIFF"), []byte{0x1a, 0, 0, 0}, []byte("WEBPVP8L"), []byte{0x0d, 0, 0, 0, 0x2f, 9, 0x40, 2, 0, 7, 0x10, 0x11, 0x11, 0x88, 0x88, 8, 0, 0})
