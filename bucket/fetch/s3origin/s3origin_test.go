package s3origin

import (
	"maps"
	"net"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/imageurl"
)

const key = "s3cr3t-key"

func options() Options {
	return Options{Endpoint: "https://s3.example.com", Buckets: []string{"attachments", "avatars"}, AccessKey: "AKIA", SecretKey: key}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		change func(*Options)
		want   string
	}{
		{func(o *Options) { o.Endpoint = "" }, "endpoint: want http or https"},
		{func(o *Options) { o.Endpoint = "ftp://s3.example.com" }, "endpoint: "},
		{func(o *Options) { o.Endpoint = "https://127.1" }, "endpoint: "},
		{func(o *Options) { o.Endpoint = "https://s3.example.com:65536" }, "endpoint: "},
		{func(o *Options) { o.Endpoint = "https://u:" + key + "@s3.example.com" }, "endpoint: "},
		{func(o *Options) { o.Endpoint = "https://s3.example.com?" }, "endpoint: "},
		{func(o *Options) { o.Endpoint = "https://s3.example.com#" }, "endpoint: "},
		{func(o *Options) { o.Endpoint = "https://192.0.2.1" }, "set path_style: true"},
		{func(o *Options) { o.Region = "eu/1" }, "region: "},
		{func(o *Options) { o.Buckets = nil }, "buckets: "},
		{func(o *Options) { o.Buckets = []string{"../x"} }, "buckets: "},
		{func(o *Options) { o.Buckets = []string{"my.files"} }, "set path_style: true"},
		{func(o *Options) { o.AccessKey = "" }, "access key: "},
		{func(o *Options) { o.AccessKey = "a\nb" }, "access key: "},
		{func(o *Options) { o.SecretKey = "" }, "secret key: "},
		{func(o *Options) { o.SecretKey = key + "\n" }, "secret key: "},
		{func(o *Options) { o.SecretKey = strings.Repeat("k", 513) }, "secret key: "},
	} {
		o := options()
		tt.change(&o)
		_, err := New(o)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), key) {
			t.Errorf("%v; want %q", err, tt.want)
		}
	}
	o := options()
	o.SecretKey = strings.Repeat("k", 512)
	if _, err := New(o); err != nil {
		t.Error(err)
	}
}

// Requests go to the endpoint of their bucket: the key stands in them as it was signed.
func TestRequest(t *testing.T) {
	for _, tt := range []struct {
		endpoint  string
		path      bool
		url, want string
	}{
		{"https://s3.example.com", false, "s3://attachments/a/b.png", "https://attachments.s3.example.com/a/b.png"},
		{"https://S3.Example.com.:443/", true, "s3://attachments/a%20b%2Bc%3F", "https://s3.example.com/attachments/a%20b%2Bc%3F"},
		{"http://[::1]:9000", true, "s3://avatars/%C3%BC", "http://[::1]:9000/avatars/%C3%BC"},
	} {
		o := options()
		o.Endpoint, o.PathStyle = tt.endpoint, tt.path
		origin, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		r := origin.Request(t.Context(), imageurl.URL(tt.url), "agent", "bytes=0-1")
		if got := r.URL.String(); got != tt.want {
			t.Errorf("%s is asked for at %s, want %s", tt.url, got, tt.want)
		}
		auth := r.Header.Get("Authorization")
		if !strings.Contains(auth, "Credential=AKIA/") || !strings.Contains(auth, "/us-east-1/s3/aws4_request") || !strings.Contains(auth, "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,") || r.Header.Get("User-Agent") != "agent" {
			t.Errorf("header %q", r.Header)
		}
	}
}

// The addresses of an endpoint are those that its requests need.
func TestAddresses(t *testing.T) {
	for _, tt := range []struct {
		endpoint string
		path     bool
		want     []string
	}{
		{"https://s3.example.com", true, []string{"s3.example.com:443"}},
		{"https://s3.example.com", false, []string{"attachments.s3.example.com:443", "avatars.s3.example.com:443"}},
		{"http://S3.example.com:8080", true, []string{"s3.example.com:8080"}},
		{"http://[::1]", true, []string{"[::1]:80"}},
	} {
		o := options()
		o.Endpoint, o.PathStyle = tt.endpoint, tt.path
		origin, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Sorted(maps.Keys(origin.dial)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.endpoint, got, tt.want)
		}
	}
}

// Whatever asks it to, it connects to its endpoint only.
func TestDialContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	o := options()
	o.Endpoint, o.PathStyle = "http://"+l.Addr().String(), true
	origin, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := origin.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for _, address := range []string{other.Addr().String(), "localhost:" + strings.Split(l.Addr().String(), ":")[1], "169.254.169.254:80", ""} {
		if c, err := origin.DialContext(t.Context(), "tcp", address); err == nil {
			c.Close()
			t.Errorf("connected to %s", address)
		}
	}
}

func TestCode(t *testing.T) {
	for body, want := range map[string]string{
		`<?xml version="1.0" encoding="UTF-8"?>` + "\n<Error><Code>NoSuchKey</Code><Message>x</Message></Error>":             "NoSuchKey",
		"<Error><Message>m</Message><Code> SlowDown </Code>":                                                                 "SlowDown", // cut off after it
		`<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><AWSAccessKeyId>AKIA</AWSAccessKeyId><Code>A</Code></Error>`: "A",
		"<Error><Code>" + strings.Repeat("A", 64) + "</Code></Error>":                                                        strings.Repeat("A", 64),
		"<Error><Code>" + strings.Repeat("A", 65) + "</Code></Error>":                                                        "",
		"<Error><Code>No\x1b[31m</Code></Error>":                                                                             "", "<Error><Code>a b</Code></Error>": "", "<Error><Code></Code></Error>": "",
		"<Error><Other><Code>NoSuchKey</Code></Other></Error>": "", "<html><Code>NoSuchKey</Code></html>": "",
		"": "", "404 page not found": "", "</a>": "", "<Error><Code>No": "", `{"Code":"NoSuchKey"}`: "",
		`<!DOCTYPE e [<!ENTITY x "NoSuchKey">]><Error><Code>&x;</Code></Error>`: "",
	} {
		if got := Code(strings.NewReader(body)); got != want {
			t.Errorf("%q: %q, want %q", body, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		want   Verdict
	}{
		{404, "NoSuchKey", Absent},
		{404, "NoSuchBucket", Misconfigured}, // or a wrong endpoint would have lost all images
		{404, "", Unclear},                   // a proxy's page
		{410, "", Unclear},
		{403, "AccessDenied", Forbidden},
		{403, "InvalidObjectState", Forbidden},
		{403, "InvalidAccessKeyId", Misconfigured},
		{403, "SignatureDoesNotMatch", Misconfigured},
		{403, "RequestTimeTooSkewed", Misconfigured},
		{400, "AuthorizationHeaderMalformed", Misconfigured},
		{403, "", Unclear}, // a proxy's page
		{401, "", Misconfigured},
		{301, "PermanentRedirect", Misconfigured},
		{307, "", Misconfigured},
		{503, "SlowDown", Throttled},
		{503, "", Throttled},
		{429, "", Throttled},
		{500, "InternalError", Unclear},
		{502, "", Unclear},
	} {
		if got := Judge(tt.status, tt.code); got != tt.want {
			t.Errorf("%d %s: %d, want %d", tt.status, tt.code, got, tt.want)
		}
	}
}

func FuzzCode(f *testing.F) {
	f.Add("<Error><Code>NoSuchKey</Code></Error>")
	f.Add("<a><b></a></b>")
	f.Fuzz(func(t *testing.T, body string) {
		if c := Code(strings.NewReader(body)); c != code(c) {
			t.Fatalf("%q", c)
		}
	})
}
