package page

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/page/trend"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

const password = "correct horse battery"

// hostile is what strangers write.
const hostile = `<script>alert(1)</script>"><img src=x onerror=alert(2)>`

// origin has nothing, and says so in words of a stranger.
type origin struct{}

func (origin) Fetch(_ context.Context, r fetch.Request, _ io.Writer) (fetch.Result, error) {
	return fetch.Result{}, &fetch.Error{Kind: fetch.NotImage, Host: "evil.example", Err: errors.New(hostile), Head: []byte(hostile)}
}

// self knows the links of img.example.
type self struct{}

func (self) ImageOf(l sign.Link) (string, error) { return l.URL() }
func (self) Key(canonical string) string         { return canonical }
func (self) Is(u imageurl.URL) bool              { return u.Host() == "img.example" }

// patient is a service that looks for images as long as it takes.
type patient struct{ control.Service }

func (p patient) Latest(ctx context.Context, f query.RecentFilter) (query.Recent, error) {
	f.Budget = time.Hour
	return p.Service.Latest(ctx, f)
}

// world is a page on a store of its own.
type world struct {
	t     *testing.T
	root  string
	store *bucket.Store
	page  *Server
	http  *httptest.Server
	book  *account.Book
	at    time.Time
}

func newWorld(t *testing.T, change func(*Options)) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), at: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return w.at }
	var err error
	w.store, err = bucket.Open(bucket.Options{Root: w.root, Buckets: []bucket.Bucket{{Name: "f"}, {Name: "i"}}, Origin: origin{}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close(context.Background()) })
	audit := &control.Audit{Path: filepath.Join(w.root, "audit.ndjson"), Now: now}
	service := control.New(control.Options{Store: control.OpenStore{Store: w.store}, Audit: audit})
	w.book = account.Open(w.root, now)
	o := Options{
		URL: "http://page.example", Accounts: w.book, Audit: audit.Write, Buckets: []string{"f", "i"}, Now: now,
		As:      func(c control.Caller) control.Service { return patient{service.As(c)} },
		Read:    target.Reader{Self: self{}}.Read,
		Sizes:   func() []int { return []int{150, 250} },
		Reasons: func() []string { return []string{"spam", hostile} },
		Trend: func() []trend.Sample {
			return []trend.Sample{{At: w.at, Warm: 3, Cold: 2, Failed: 1, Hot: 7, FetchWait: 1.5}}
		},
		Code: func(error) string { return "gone" },
		Picture: func(_ context.Context, bucket, u, size string) (*os.File, string, error) {
			i, err := w.store.Find(bucket, u)
			if err != nil || size != "250x250" {
				return nil, "", errors.Join(err, errors.New("no such size"))
			}
			f, err := w.store.Open(context.Background(), i)
			return f, "image/png", err
		},
	}
	if change != nil {
		change(&o)
	}
	if w.page, err = New(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.page.Close)
	w.http = httptest.NewServer(w.page)
	t.Cleanup(w.http.Close)
	return w
}

// keep keeps an image of a number under a URL.
func (w *world) keep(bucket, u string, n int) {
	w.t.Helper()
	var b bytes.Buffer
	m := image.NewGray(image.Rect(0, 0, 8, 8))
	m.Set(n%8, n/8, color.White)
	if err := png.Encode(&b, m); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.store.Add(bucket, u, &b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) audit() string {
	text, _ := os.ReadFile(filepath.Join(w.root, "audit.ndjson"))
	return string(text)
}

// visitor is somebody's browser.
type visitor struct {
	w       *world
	cookies map[string]string
	header  http.Header
	host    string
}

func (w *world) visitor() *visitor {
	return &visitor{w: w, cookies: map[string]string{}, header: http.Header{}, host: strings.TrimPrefix(w.page.opts.URL[strings.Index(w.page.opts.URL, "//"):], "//")}
}

// answer is what a visitor got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (v *visitor) send(method, path string, form url.Values) answer {
	v.w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, v.w.http.URL+path, body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	r.Host = v.host
	for name, values := range v.header {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range v.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		v.w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		v.w.t.Fatal(err)
	}
	for _, c := range resp.Cookies() {
		if v.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(v.cookies, c.Name)
		}
	}
	if method == http.MethodPost {
		v.w.settle()
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// settle waits for the jobs that were begun: an answer waits for them for seconds only.
func (w *world) settle() {
	w.page.jobs.mu.Lock()
	all := slices.Clone(w.page.jobs.all)
	w.page.jobs.mu.Unlock()
	for _, j := range all {
		<-j.ended
	}
}

func (v *visitor) get(path string) answer { v.w.t.Helper(); return v.send("GET", path, nil) }

var tokenIn = regexp.MustCompile(`name="csrf" value="([^"]+)"`)

// post sends a form of a page.
func (v *visitor) post(from, to string, form url.Values) answer {
	v.w.t.Helper()
	found := tokenIn.FindStringSubmatch(v.get(from).body)
	if found == nil {
		v.w.t.Fatalf("%s has no form", from)
	}
	form.Set("csrf", found[1])
	return v.send("POST", to, form)
}

// signedIn is a visitor who has an account of this role, and is signed in.
func (w *world) signedIn(name string, role account.Role) *visitor {
	w.t.Helper()
	secret, err := w.book.Add(name, role, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	v := w.visitor()
	if a := v.post("/join/"+secret, "/join/"+secret, url.Values{"password": {password}, "again": {password}}); a.status != http.StatusSeeOther {
		w.t.Fatalf("join: %d %s", a.status, a.body)
	}
	return v
}

const cat = "https://cats.example/cat.png?a=1&b=2"
