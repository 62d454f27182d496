package fetch

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/fetch/place"
	"imgkeep/scripts/patience"
)

const (
	accessKey = "AKIA-access"
	secretKey = "s3cr3t/k+y"
	// private stands in what the fake store says of its errors, as it does in what real
	// ones say, and must show nowhere.
	private = "what-was-signed"
)

// fakeStore is an object store that knows one pair of keys, and checks the signature of
// each request by itself (Amazon S3 API Reference, "Signature Calculations for the
// Authorization Header").
type fakeStore struct {
	*httptest.Server
	answers map[string]http.HandlerFunc // by what stands in the request line

	mu    sync.Mutex
	asked []*http.Request
}

func newStore(t testing.TB) *fakeStore {
	s := &fakeStore{answers: map[string]http.HandlerFunc{}}
	s.Server = serve(t, s.answer)
	return s
}

// newMemoryStore is one of which memory is the way to it.
func newMemoryStore(t testing.TB) (*fakeStore, *memory) {
	s, m := &fakeStore{answers: map[string]http.HandlerFunc{}}, (*memory)(nil)
	s.Server, m = serveMemory(t, s.answer)
	s.Server.Start()
	return s, m
}

func (s *fakeStore) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r)
	s.mu.Unlock()
	if code := s.judge(r); code != "" {
		says(http.StatusForbidden, code)(w, r)
		return
	}
	answer := s.answers[r.RequestURI]
	if answer == nil {
		answer = says(http.StatusNotFound, "NoSuchKey")
	}
	answer(w, r)
}

func (s *fakeStore) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// says answers with an error as stores write them.
func says(status int, code string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>m</Message><AWSAccessKeyId>%s</AWSAccessKeyId><StringToSign>%s</StringToSign></Error>", code, accessKey, private)
	}
}

func holds(object []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(object)) // ranges too
	}
}

// judge returns the code of what is wrong with the signature of a request; empty: nothing.
func (s *fakeStore) judge(r *http.Request) string {
	fields, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "AccessDenied"
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(fields, ", ") {
		name, value, _ := strings.Cut(part, "=")
		parts[name] = value
	}
	key, scope, _ := strings.Cut(parts["Credential"], "/")
	if key != accessKey {
		return "InvalidAccessKeyId"
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || time.Since(at).Abs() > 15*time.Minute {
		return "RequestTimeTooSkewed"
	}
	if scope != at.Format("20060102")+"/eu-test-1/s3/aws4_request" {
		return "AuthorizationHeaderMalformed"
	}
	var headers strings.Builder
	for name := range strings.SplitSeq(parts["SignedHeaders"], ";") {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + value + "\n")
	}
	path, query, _ := strings.Cut(r.RequestURI, "?")
	request := strings.Join([]string{r.Method, path, query, headers.String(), parts["SignedHeaders"], r.Header.Get("X-Amz-Content-Sha256")}, "\n")
	sum := sha256.Sum256([]byte(request))
	mac := func(key []byte, text string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	signing := []byte("AWS4" + secretKey)
	for part := range strings.SplitSeq(scope, "/") {
		signing = mac(signing, part)
	}
	want := mac(signing, strings.Join([]string{"AWS4-HMAC-SHA256", r.Header.Get("X-Amz-Date"), scope, hex.EncodeToString(sum[:])}, "\n"))
	if parts["Signature"] != hex.EncodeToString(want) {
		return "SignatureDoesNotMatch"
	}
	return ""
}

func (s *fakeStore) options() S3 {
	return S3{Endpoint: s.URL, Region: "eu-test-1", PathStyle: true, Buckets: []string{"attachments"}, AccessKey: accessKey, SecretKey: secretKey}
}

// objectFetcher is a Fetcher of the objects of s, which may connect to no network at all.
func objectFetcher(t testing.TB, s *fakeStore, o Options) *Fetcher {
	t.Helper()
	if o.S3 == nil {
		o.S3 = []S3{s.options()}
	}
	f, err := New(o.unhurried())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

var attachments = []string{"attachments.s3"}

func pullObject(t testing.TB, f *Fetcher, url string) ([]byte, Result, error) {
	t.Helper()
	b, res, err := pullRequest(t, f, Request{URL: url, Hosts: attachments})
	showsNothing(t, err)
	return b, res, err
}

// showsNothing fails the test if an error shows keys, or what stores say of them.
func showsNothing(t testing.TB, err error) {
	t.Helper()
	text := fmt.Sprint(err)
	if e, ok := errors.AsType[*Error](err); ok {
		text += string(e.Head)
	}
	for _, s := range []string{accessKey, secretKey, private, "Signature="} {
		if strings.Contains(text, s) {
			t.Errorf("the error shows %s: %s", s, text)
		}
	}
}

func TestObject(t *testing.T) {
	s, picture := newStore(t), pngOf(t, 30, 20)
	s.answers["/attachments/2026/a.png"] = holds(picture)
	s.answers["/attachments/%C3%BC%20%2B%25%3F.png"] = holds(picture)
	f := objectFetcher(t, s, Options{})
	for _, url := range []string{"s3://attachments/2026/a.png", "S3://attachments/2026/a%2epng", "s3://attachments/%C3%BC%20%2B%25%3F.png"} {
		b, res, err := pullObject(t, f, url)
		if err != nil || !bytes.Equal(b, picture) || res.Bytes != int64(len(picture)) || !strings.HasPrefix(res.FinalURL, "s3://attachments/") {
			t.Errorf("%s: %d bytes, %+v, %v", url, len(b), res, err)
		}
		if err := f.Alive(t.Context(), Request{URL: url, Hosts: attachments}); err != nil {
			t.Errorf("%s: alive: %v", url, err)
		}
	}
	for _, r := range s.asked {
		if r.Method != http.MethodGet || r.Header.Get("User-Agent") != DefaultUserAgent || r.Header.Get("Cookie") != "" || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s with %q", r.Method, r.Header)
		}
	}
}

// Nothing is asked for but what the operator has listed, twice.
func TestObjectRefused(t *testing.T) {
	s := newStore(t)
	keyless := s.options()
	keyless.AccessKey, keyless.SecretKey = "", ""
	for _, tt := range []struct {
		url    string
		o      Options
		hosts  []string
		denied bool
		want   ErrorKind
		text   string
	}{
		{"s3://attachments/a", Options{S3: []S3{}}, attachments, false, Refused, "fetch.s3 is empty"},
		{"s3://attachments/a", Options{S3: []S3{keyless}}, attachments, false, Refused, "no keys for its store here"},
		{"s3://other/a", Options{}, []string{"other.s3"}, false, Refused, "not on the list of an S3 origin"},
		{"s3://attachments/a", Options{}, nil, false, Refused, "list of hosts, which has to name it"},
		{"s3://attachments/a", Options{}, []string{"attachments", "*.example.com"}, false, Refused, "list of hosts"},
		{"s3://attachments/a", Options{DenyHosts: []string{"*.s3"}}, attachments, false, Denied, ""},
		{"s3://attachments/a", Options{}, attachments, true, Denied, ""},
		{"s3://attachments/../other/a", Options{}, attachments, false, Refused, ""},
		{"s3://attachments/%2e%2e/other/a", Options{}, attachments, false, Refused, ""},
		{"s3:attachments/a", Options{}, attachments, false, Refused, ""},
		{"s3://attachments/a?uploads", Options{}, attachments, false, Refused, ""},
		// By no other way: such a host could be on a list that means the bucket.
		{"http://attachments.s3/a", Options{}, attachments, false, Refused, "want s3://bucket/key"},
	} {
		f := objectFetcher(t, s, tt.o)
		r := Request{URL: tt.url, Hosts: tt.hosts, MaxBytes: 1 << 20, Denied: func(string) bool { return tt.denied }}
		_, err := f.Fetch(t.Context(), r, io.Discard)
		wantClass(t, err, tt.want, tt.text)
		wantClass(t, f.Alive(t.Context(), r), tt.want, tt.text)
	}
	if n := s.count(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// The endpoint is asked, and still no URL reaches its address.
func TestEndpointIsNoOrigin(t *testing.T) {
	s := newStore(t)
	f := objectFetcher(t, s, Options{Ports: []int{portIn(t, s.URL)}})
	_, _, err := pull(t, f, s.URL+"/attachments/a.png")
	wantClass(t, err, Refused, "loopback")
	if n := s.count(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// No redirect leads to an object, and none of a store's is followed.
func TestObjectRedirects(t *testing.T) {
	s := newStore(t)
	s.answers["/attachments/a.png"] = holds(pngOf(t, 5, 5))
	s.answers["/attachments/moved"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/attachments/a.png")
		says(http.StatusTemporaryRedirect, "TemporaryRedirect")(w, r)
	}
	f := objectFetcher(t, s, Options{MaxRedirects: 3})
	_, _, err := pullObject(t, f, "s3://attachments/moved")
	wantClass(t, err, Failed, "status 307 TemporaryRedirect")

	web := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "s3://attachments/a.png", http.StatusFound)
	})
	f = newFetcher(t, Options{S3: []S3{s.options()}, MaxRedirects: 3}, web.URL)
	_, _, err = pullRequest(t, f, Request{URL: web.URL + "/x", Hosts: []string{"127.0.0.1", "attachments.s3"}})
	wantClass(t, err, Refused, "scheme s3")
	if n := s.count(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// What stores say, and what that is.
func TestObjectErrors(t *testing.T) {
	page := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			io.WriteString(w, "<html>"+private)
		}
	}
	picture := pngOf(t, 30, 20)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		change func(*S3)
		want   ErrorKind
		status int
		text   string
		reason Reason
		told   bool // the log
	}{
		{"missing", nil, nil, Gone, 404, "NoSuchKey", ReasonGone, false},
		{"no such bucket", says(404, "NoSuchBucket"), nil, Failed, 404, "NoSuchBucket: the store refuses the request", "", true},
		{"a proxy's 404", page(404), nil, Failed, 404, "no answer of an S3-compatible store", "", false},
		{"denied, or missing", says(403, "AccessDenied"), nil, Blocked, 403, "may not list the bucket", ReasonBlocked, false},
		{"wrong access key", nil, func(o *S3) { o.AccessKey = "AKIA-other" }, Failed, 403, "InvalidAccessKeyId", "", true},
		{"wrong secret key", nil, func(o *S3) { o.SecretKey = "other" }, Failed, 403, "SignatureDoesNotMatch", "", true},
		{"wrong region", nil, func(o *S3) { o.Region = "" }, Failed, 403, "AuthorizationHeaderMalformed", "", true},
		{"clock", says(403, "RequestTimeTooSkewed"), nil, Failed, 403, "and the clock", "", true},
		{"archived", says(403, "InvalidObjectState"), nil, Blocked, 403, "InvalidObjectState", ReasonBlocked, false},
		{"failing", says(500, "InternalError"), nil, Failed, 500, "InternalError", ReasonServerError, false},
		{"a forged code", says(500, "No\x1b[31m"), nil, Failed, 500, "no answer of an S3-compatible store", ReasonServerError, false},
		{"no image", holds([]byte("<html>")), nil, NotImage, 200, "", ReasonPage, false},
		{"cut", holds(picture[:100]), nil, Broken, 200, "", "", false},
		{"too large", holds(make([]byte, 1<<20+1)), nil, TooLarge, 200, "", "", false},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(picture)
		}, nil, Failed, 200, "gzip", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t)
			s.answers["/attachments/a"] = tt.answer
			o := s.options()
			if tt.change != nil {
				tt.change(&o)
			}
			var log bytes.Buffer
			f := objectFetcher(t, s, Options{S3: []S3{o}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			for range 2 {
				_, _, err := pullObject(t, f, "s3://attachments/a")
				e := wantClass(t, err, tt.want, tt.text)
				if e.Status != tt.status || e.Host != "attachments.s3" || e.Reason() != tt.reason {
					t.Errorf("status %d, host %s, reason %q", e.Status, e.Host, e.Reason())
				}
			}
			// The log tells once a minute.
			if n := strings.Count(log.String(), "an S3 origin refuses this server"); (n == 1) != tt.told || n > 1 {
				t.Errorf("the log tells %d times: %s", n, log.String())
			}
			showsNothing(t, errors.New(log.String()))
		})
	}
}

// A line of the log comes again after a minute.
func TestObjectToldAgain(t *testing.T) {
	s := newStore(t)
	s.answers["/attachments/a"] = says(404, "NoSuchBucket")
	var log bytes.Buffer
	now := time.Now()
	f := objectFetcher(t, s, Options{Now: func() time.Time { return now }, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {tellPause - 1, 1}, {1, 2}, {-time.Hour, 3}} { // or the clock was set back
		now = now.Add(step.after)
		pullObject(t, f, "s3://attachments/a")
		if n := strings.Count(log.String(), "refuses this server"); n != step.want {
			t.Errorf("after %v: %d lines, want %d", step.after, n, step.want)
		}
	}
}

// A store that is too busy is left alone, for as long as it says or else a little while.
func TestObjectPause(t *testing.T) {
	for _, tt := range []struct {
		answer http.HandlerFunc
		want   time.Duration
	}{
		{says(503, "SlowDown"), throttlePause},
		{says(429, "TooManyRequests"), throttlePause},
		{func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "120")
			says(503, "SlowDown")(w, r)
		}, 2 * time.Minute},
	} {
		s := newStore(t)
		s.answers["/attachments/a"], s.answers["/attachments/b"] = tt.answer, holds(pngOf(t, 5, 5))
		now := time.Now()
		f := objectFetcher(t, s, Options{Now: func() time.Time { return now }})
		_, _, err := pullObject(t, f, "s3://attachments/a")
		if e := wantClass(t, err, Failed); e.RetryAfter != tt.want {
			t.Errorf("pause %v, want %v", e.RetryAfter, tt.want)
		}
		_, _, err = pullObject(t, f, "s3://attachments/b")
		wantClass(t, err, Paused)
		now = now.Add(tt.want)
		if _, _, err = pullObject(t, f, "s3://attachments/b"); err != nil {
			t.Error(err)
		}
	}
}

// All waits end: for the header, the body, the place.
func TestObjectBounds(t *testing.T) {
	synctest.Test(t, testObjectBounds)
}

func testObjectBounds(t *testing.T) {
	s, m := newMemoryStore(t)
	hang := func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	s.answers["/attachments/header"] = func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	s.answers["/attachments/body"] = hang
	s.answers["/attachments/error"] = func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		hang(w, r)
	}
	s.answers["/attachments/long"] = func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
	}
	for _, tt := range []struct {
		key  string
		o    Options
		took time.Duration
		want ErrorKind
		text string
	}{
		{"header", Options{HeaderTimeout: time.Minute}, time.Minute, Timeout, "no answer in time"},
		{"body", Options{Timeout: time.Minute}, time.Minute, Timeout, ""},
		{"error", Options{Timeout: time.Second}, time.Second, Failed, "status 403"},
		{"error", Options{}, pageTime, Failed, "status 403"},
		{"body", Options{interval: time.Minute}, time.Minute, Timeout, place.ErrTooSlow.Error()},
		{"long", Options{}, 0, Failed, ""},
	} {
		f := objectFetcher(t, s, tt.o)
		f.objects.all[0].transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return m.connect(ctx, netip.AddrPort{})
		}
		began := time.Now()
		_, _, err := pullObject(t, f, "s3://attachments/"+tt.key)
		wantClass(t, err, tt.want, tt.text)
		if took := time.Since(began); took != tt.took {
			t.Errorf("%s: it took %v, want %v", tt.key, took, tt.took)
		}
	}
}

// A bucket has as many places as other sites, or as many as its profile says.
func TestObjectPlaces(t *testing.T) {
	for _, tt := range []struct {
		profiles []Profile
		want     int
	}{{nil, 1}, {[]Profile{{Hosts: []string{"*.s3"}, PerHost: 3}}, 3}} {
		s := newStore(t)
		var mu sync.Mutex
		running, most := 0, 0
		full, release := make(chan struct{}), make(chan struct{})
		s.answers["/attachments/a"] = func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			if running++; running > most {
				if most = running; most == tt.want {
					close(full)
				}
			}
			mu.Unlock()
			<-release
			mu.Lock()
			running--
			mu.Unlock()
			says(404, "NoSuchKey")(w, r)
		}
		f := objectFetcher(t, s, Options{PerHost: 1, Profiles: tt.profiles})
		ctx, cancel := context.WithTimeout(t.Context(), patience.Of(t))
		defer cancel()
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				f.Fetch(ctx, Request{URL: "s3://attachments/a", Hosts: attachments, MaxBytes: 1}, io.Discard)
			})
		}
		select {
		case <-full:
		case <-ctx.Done():
			t.Error("the places are not all taken")
		}
		close(release)
		all.Wait()
		if most != tt.want || s.count() != 8 {
			t.Errorf("%d at once, want %d; %d in all", most, tt.want, s.count())
		}
	}
}

// Alive tells what is lost from what cannot be told.
func TestObjectAlive(t *testing.T) {
	s := newStore(t)
	s.answers["/attachments/page"] = holds([]byte("<html>"))
	s.answers["/attachments/empty"] = func(w http.ResponseWriter, r *http.Request) {
		says(http.StatusRequestedRangeNotSatisfiable, "InvalidRange")(w, r)
	}
	s.answers["/attachments/denied"] = says(403, "AccessDenied")
	f := objectFetcher(t, s, Options{})
	for key, want := range map[string]ErrorKind{"missing": Gone, "page": NotImage, "empty": NotImage, "denied": Blocked} {
		err := f.Alive(t.Context(), Request{URL: "s3://attachments/" + key, Hosts: attachments})
		wantClass(t, err, want)
		showsNothing(t, err)
	}
	for _, r := range s.asked {
		if r.Method != http.MethodGet || r.Header.Get("Range") != "bytes=0-511" {
			t.Errorf("%s of %q", r.Method, r.Header.Get("Range"))
		}
	}
}

// Each bucket is in one store, and the store is what is asked for it.
func TestObjectsOfTwoStores(t *testing.T) {
	one, two := newStore(t), newStore(t)
	other := two.options()
	other.Buckets = []string{"avatars"}
	f := objectFetcher(t, nil, Options{S3: []S3{one.options(), other}})
	for _, url := range []string{"s3://attachments/a", "s3://avatars/a"} {
		_, err := f.Fetch(t.Context(), Request{URL: url, Hosts: []string{"*.s3"}, MaxBytes: 1}, io.Discard)
		wantClass(t, err, Gone)
	}
	if one.count() != 1 || two.count() != 1 {
		t.Errorf("asked %d and %d times", one.count(), two.count())
	}
	other.Buckets = []string{"avatars", "attachments"}
	if _, err := New(Options{S3: []S3{one.options(), other}}); err == nil || !strings.Contains(err.Error(), `s3[1]: buckets: "attachments" is listed twice`) {
		t.Errorf("%v", err)
	}
	if slices.Contains(f.objects.all[0].Buckets(), "avatars") {
		t.Error("a store has the other's bucket")
	}
}
