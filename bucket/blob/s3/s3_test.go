package s3_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"imgkeep/bucket/blob"
	"imgkeep/bucket/blob/blobtest"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/record"
	"imgkeep/scripts/ports"
)

// lossy is a proxy that passes requests on, and breaks the connection in the place of an
// answer when it is told to: from the n-th request on, before or after it is carried out.
type lossy struct {
	*httptest.Server
	at, done atomic.Int64
	failed   atomic.Bool
	before   bool
}

func newLossy(t testing.TB, target string, before bool) *lossy {
	l, proxy := &lossy{before: before}, passOn(t, target)
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := l.at.Load(); n == 0 || l.done.Add(1) < n {
			proxy.ServeHTTP(w, r)
			return
		}
		l.failed.Store(true)
		if !l.before {
			proxy.ServeHTTP(httptest.NewRecorder(), r)
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(l.Close)
	return l
}

// TestBlobs has a real store pass the suite, also where requests and answers get lost.
func TestBlobs(t *testing.T) {
	gateway := s3test.Start(t)
	for name, before := range map[string]bool{"requests get lost": true, "answers get lost": false} {
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t testing.TB) blobtest.Place {
				proxy := newLossy(t, gateway.URL, before)
				o := gateway.Options(t)
				o.Endpoint = proxy.URL
				c, err := s3.New(o)
				if err != nil {
					t.Fatal(err)
				}
				direct, dir := gateway.Client(t), t.TempDir()
				return blobtest.Place{
					Open: func(testing.TB) blob.Store { return object.NewBlobs(c, dir) },
					Temp: func(t testing.TB) *os.File {
						f, err := os.CreateTemp(dir, "image-*")
						if err != nil {
							t.Fatal(err)
						}
						return f
					},
					FailAt: func(n int) bool {
						proxy.at.Store(int64(n))
						proxy.done.Store(0)
						return proxy.failed.Swap(false)
					},
					Damage: func(t testing.TB, image record.Image, bytes []byte) {
						if err := direct.Put(t.Context(), object.Key(image), object.Text(bytes, "")); err != nil {
							t.Fatal(err)
						}
					},
				}
			})
		})
	}
}

// What object.Store promises, of a real store.
func TestConditions(t *testing.T) {
	c := s3test.Start(t).Client(t)
	ctx := t.Context()
	one, two := object.Text([]byte("one"), "text/plain"), object.Text([]byte("two"), "text/plain")
	want := func(what string, got, want error) {
		t.Helper()
		if !errors.Is(got, want) || want == nil && got != nil {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	_, _, err := c.Read(ctx, "a/b", 10)
	want("read of nothing", err, object.ErrAbsent)
	_, err = c.Stat(ctx, "a/b")
	want("stat of nothing", err, object.ErrAbsent)
	_, _, err = c.Fetch(ctx, "a/b")
	want("fetch of nothing", err, object.ErrAbsent)
	want("replacing nothing", c.Replace(ctx, "a/b", one, "0123"), object.ErrChanged)
	want("removing nothing", c.Remove(ctx, "a/b"), nil)
	want("create", c.Create(ctx, "a/b", one), nil)
	want("create again", c.Create(ctx, "a/b", two), object.ErrExists)
	data, tag, err := c.Read(ctx, "a/b", 3)
	if want("read", err, nil); string(data) != "one" {
		t.Errorf("read %q", data)
	}
	_, _, err = c.Read(ctx, "a/b", 2)
	want("read of less than there is", err, object.ErrTooLong)
	want("replacing another", c.Replace(ctx, "a/b", two, "0123"), object.ErrChanged)
	want("replacing it", c.Replace(ctx, "a/b", two, tag), nil)
	want("replacing what it was", c.Replace(ctx, "a/b", one, tag), object.ErrChanged)
	if info, err := c.Stat(ctx, "a/b"); err != nil || info.Bytes != 3 || info.Digest != two.Digest {
		t.Errorf("stat: %+v, %v", info, err)
	}
	body, info, err := c.Fetch(ctx, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || string(got) != "two" || info.Bytes != 3 {
		t.Errorf("fetched %q, %+v, %v", got, info, err)
	}
	body.Close()
	wrong := two
	wrong.Digest[0]++
	if err := c.Create(ctx, "a/c", wrong); err == nil || errors.Is(err, object.ErrExists) {
		t.Errorf("other bytes than their checksum: %v", err)
	}
	_, err = c.Stat(ctx, "a/c")
	want("what was refused", err, object.ErrAbsent)
	for _, key := range []string{"a/x/1", "a/x/2", "a/Z", "a/b2"} {
		want(key, c.Create(ctx, key, one), nil)
	}
	var names []string
	for name, err := range c.List(ctx, "a/") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if got := []string{"a/Z", "a/b", "a/b2", "a/x/"}; !slices.Equal(names, got) {
		t.Errorf("listed %v, want %v", names, got)
	}
	want("remove", c.Remove(ctx, "a/b"), nil)
	_, err = c.Stat(ctx, "a/b")
	want("what was removed", err, object.ErrAbsent)
}

// A list has more than one page.
func TestLongList(t *testing.T) {
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query().Get("continuation-token"))
		w.Header().Set("Content-Type", "application/xml")
		if len(asked) == 1 {
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>p/a/1</Key></Contents></ListBucketResult>`)
			return
		}
		fmt.Fprint(w, `<ListBucketResult><Contents><Key>p/a/3</Key></Contents><CommonPrefixes><Prefix>p/a/2/</Prefix></CommonPrefixes></ListBucketResult>`)
	}))
	defer server.Close()
	c := client(t, s3.Options{Endpoint: server.URL, Prefix: "p/"})
	var names []string
	for name, err := range c.List(t.Context(), "a/") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if !slices.Equal(names, []string{"a/1", "a/2/", "a/3"}) || !slices.Equal(asked, []string{"", "t"}) {
		t.Errorf("listed %v, asked for %q", names, asked)
	}
}

const secret = "the secret key that nobody may see"

func client(t testing.TB, o s3.Options) *s3.Client {
	t.Helper()
	o.Bucket, o.PathStyle = "images", true
	o.Credentials = s3.Credentials{AccessKey: "the access key", SecretKey: secret}
	c, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What an answer means. An answer that is not the store's decides nothing.
func TestAnswers(t *testing.T) {
	const xml = "application/xml"
	for _, tt := range []struct {
		name, kind, body string
		status           int
		create, read     error // nil: an error of no name
	}{
		{"the object is not there", xml, "<Error><Code>NoSuchKey</Code></Error>", 404, object.ErrAbsent, object.ErrAbsent},
		{"the bucket is not there", xml, "<Error><Code>NoSuchBucket</Code></Error>", 404, nil, nil},
		{"a proxy's page", "text/html", "<html>not found</html>", 404, object.ErrUnclear, nil},
		{"there is one", xml, "<Error><Code>PreconditionFailed</Code></Error>", 412, object.ErrExists, nil},
		{"a proxy's condition", "text/html", "", 412, object.ErrUnclear, nil},
		{"another writer", xml, "<Error><Code>ConditionalRequestConflict</Code></Error>", 409, object.ErrUnclear, nil},
		{"busy", xml, "<Error><Code>SlowDown</Code></Error>", 503, object.ErrUnclear, nil},
		{"failed", "text/html", "", 500, object.ErrUnclear, nil},
		{"not allowed", xml, "<Error><Code>AccessDenied</Code></Error>", 403, nil, nil},
		{"conditions unknown", xml, "<Error><Code>NotImplemented</Code></Error>", 501, object.ErrUnclear, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requests := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				requests++
				w.Header().Set("Content-Type", tt.kind)
				w.WriteHeader(tt.status)
				io.WriteString(w, tt.body)
			}))
			defer server.Close()
			c := client(t, s3.Options{Endpoint: server.URL})
			check := func(what string, got, want error) {
				t.Helper()
				if got == nil {
					t.Errorf("%s: no error", what)
				}
				for _, e := range []error{object.ErrAbsent, object.ErrExists, object.ErrChanged, object.ErrUnclear} {
					if errors.Is(got, e) != (e == want) {
						t.Errorf("%s: %v, want %v", what, got, want)
					}
				}
				if strings.Contains(fmt.Sprint(got), secret) {
					t.Errorf("the error has the secret: %v", got)
				}
			}
			check("create", c.Create(t.Context(), "k", object.Text([]byte("x"), "")), tt.create)
			_, _, err := c.Read(t.Context(), "k", 10)
			if tt.status == 412 && tt.kind == xml {
				tt.read = object.ErrExists // which nobody asks a GET
			}
			check("read", err, tt.read)
			if requests != 2 {
				t.Errorf("%d requests for 2 calls", requests)
			}
		})
	}
}

// Without an answer a write is unclear, unless there was nobody to write to.
func TestNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := client(t, s3.Options{Endpoint: "http://" + l.Addr().String(), Timeout: 50e6})
	if err := c.Create(t.Context(), "k", object.Text([]byte("x"), "")); !errors.Is(err, object.ErrUnclear) {
		t.Errorf("nobody answers: %v", err)
	}
	if _, _, err := c.Read(t.Context(), "k", 1); err == nil || errors.Is(err, object.ErrAbsent) {
		t.Errorf("nobody answers: %v", err)
	}
	if _, _, err := c.Fetch(t.Context(), "k"); err == nil || errors.Is(err, object.ErrAbsent) {
		t.Errorf("nobody answers: %v", err)
	}
	lists := func(c *s3.Client) (err error) {
		for _, err = range c.List(t.Context(), "f/") {
		}
		return err
	}
	if err := lists(c); err == nil {
		t.Error("nobody answers, and a list is empty")
	}
	halts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("<ListBucketResult>"))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer halts.Close()
	if err := lists(client(t, s3.Options{Endpoint: halts.URL, Timeout: 50e6})); err == nil {
		t.Error("the answer halts, and a list is empty")
	}
	c = client(t, s3.Options{Endpoint: "http://" + ports.Address(t)})
	if err := c.Create(t.Context(), "k", object.Text([]byte("x"), "")); err == nil || errors.Is(err, object.ErrUnclear) {
		t.Errorf("nobody listens: %v", err)
	}
}

// What a request says of the object.
func TestHeaders(t *testing.T) {
	var seen *http.Request
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Clone(r.Context()) }))
	defer server.Close()
	c := client(t, s3.Options{Endpoint: server.URL, Prefix: "p/q/", Region: "eu-north-7", StorageClass: "STANDARD_IA", Encryption: "aws:kms", KMSKey: "k7"})
	content := object.Text([]byte("x"), "image/png")
	if err := c.Create(t.Context(), "i/o", content); err != nil {
		t.Fatal(err)
	}
	if seen.URL.Path != "/images/p/q/i/o" || seen.Method != http.MethodPut || seen.ContentLength != 1 {
		t.Errorf("asked for %s %s with %d bytes", seen.Method, seen.URL, seen.ContentLength)
	}
	for name, want := range map[string]string{
		"If-None-Match": "*", "X-Amz-Checksum-Sha256": "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=", "Content-Type": "image/png",
		"X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "k7",
	} {
		if got := seen.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if auth := seen.Header.Get("Authorization"); !strings.Contains(auth, "/eu-north-7/s3/") || !strings.Contains(auth, "x-amz-checksum-sha256") || !strings.Contains(auth, "if-none-match") {
		t.Errorf("signed is %s", auth)
	}
	if err := c.Replace(t.Context(), "i/u", object.Text([]byte("x"), "application/json"), "the tag"); err != nil {
		t.Fatal(err)
	}
	if got := seen.Header.Get("If-Match"); got != `"the tag"` || seen.Header.Get("X-Amz-Storage-Class") != "" {
		t.Errorf("If-Match is %s, the class %q", got, seen.Header.Get("X-Amz-Storage-Class"))
	}
}

// A certificate that nobody vouches for is refused.
func TestCertificate(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {}))
	defer server.Close()
	server.Config.ErrorLog = nil
	if err := client(t, s3.Options{Endpoint: server.URL}).Remove(t.Context(), "k"); err == nil {
		t.Error("an unknown certificate is accepted")
	}
	pool := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	if err := client(t, s3.Options{Endpoint: server.URL, CAs: pool}).Put(t.Context(), "k", object.Text([]byte("x"), "")); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	good := s3.Options{Endpoint: "https://s3.example.com", Bucket: "images", Credentials: s3.Credentials{AccessKey: "a", SecretKey: secret}}
	if _, err := s3.New(good); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*s3.Options){
		"no endpoint":              func(o *s3.Options) { o.Endpoint = "" },
		"an endpoint of no scheme": func(o *s3.Options) { o.Endpoint = "s3.example.com" },
		"another scheme":           func(o *s3.Options) { o.Endpoint = "ftp://s3.example.com" },
		"keys in the endpoint":     func(o *s3.Options) { o.Endpoint = "https://a:b@s3.example.com" },
		"a path in the endpoint":   func(o *s3.Options) { o.Endpoint = "https://s3.example.com/images" },
		"no bucket":                func(o *s3.Options) { o.Bucket = "" },
		"a prefix without a slash": func(o *s3.Options) { o.Prefix = "p" },
		"a prefix with one before": func(o *s3.Options) { o.Prefix = "/p/" },
		"an unknown encryption":    func(o *s3.Options) { o.Encryption = "rot13" },
		"half a key":               func(o *s3.Options) { o.SecretKey = "" },
		"half a file":              func(o *s3.Options) { o.Credentials = s3.Credentials{SecretKeyFile: "/x"} },
	} {
		o := good
		change(&o)
		if _, err := s3.New(o); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", good, good, good, good.SecretKey); strings.Contains(got, secret) {
		t.Errorf("the options are printed as %s", got)
	}
}

// Keys come from files, systemd's or the environment.
func TestCredentials(t *testing.T) {
	var seen string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen = r.Header.Get("Authorization") }))
	defer server.Close()
	dir := t.TempDir()
	for name, text := range map[string]string{"access": "of-a-file\n", "secret": "s", "empty": "\n", "two": "a\nb", "long": strings.Repeat("x", 4097), "fits": strings.Repeat("x", 4096)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try := func(c s3.Credentials) error {
		client, err := s3.New(s3.Options{Endpoint: server.URL, Bucket: "images", PathStyle: true, Credentials: c})
		if err != nil {
			return err
		}
		return client.Put(t.Context(), "k", object.Text([]byte("x"), ""))
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "CREDENTIALS_DIRECTORY"} {
		t.Setenv(name, "")
	}
	if err := try(s3.Credentials{}); err == nil {
		t.Error("no keys, and no error")
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for what, c := range map[string]s3.Credentials{
		"an empty file":     {AccessKeyFile: in("access"), SecretKeyFile: in("empty")},
		"two lines":         {AccessKeyFile: in("access"), SecretKeyFile: in("two")},
		"too long":          {AccessKeyFile: in("access"), SecretKeyFile: in("long")},
		"no file":           {AccessKeyFile: in("none"), SecretKeyFile: in("secret")},
		"no systemd folder": {AccessKeyFile: "access", SecretKeyFile: "secret"},
	} {
		if err := try(c); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if err := try(s3.Credentials{AccessKeyFile: in("access"), SecretKeyFile: in("fits")}); err != nil {
		t.Errorf("a key as long as it may be: %v", err)
	}
	expect := func(who string, c s3.Credentials) {
		t.Helper()
		if err := try(c); err != nil || !strings.Contains(seen, "Credential="+who+"/") {
			t.Errorf("%s: %v, signed by %s", who, err, seen)
		}
	}
	expect("of-a-file", s3.Credentials{AccessKeyFile: in("access"), SecretKeyFile: in("secret")})
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	expect("of-a-file", s3.Credentials{AccessKeyFile: "access", SecretKeyFile: "secret"})
	t.Setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	expect("of-the-environment", s3.Credentials{})
	expect("set", s3.Credentials{AccessKey: "set", SecretKey: "s"})
}
