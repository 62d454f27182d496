// Package s3origin asks S3-compatible stores for objects of buckets that the operator has
// listed, by signed GET requests (AWS Signature Version 4).
//
// It promises that a request goes to the endpoint of its bucket and nowhere else, which is
// why that may have a private address; that no object of another bucket is asked for; and
// that no error has a key in it. It makes requests and reads what stores say of those that
// fail; it sends nothing, and limits neither bytes nor time: that is package fetch's part.
package s3origin

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7/pkg/signer"

	"imgkeep/bucket/imageurl"
)

// Options describe one store.
type Options struct {
	// Endpoint is a URL of scheme and host: https://s3.example.com.
	Endpoint string
	// Region is what requests are signed for. Empty: us-east-1.
	Region string
	// PathStyle has the bucket's name in the path instead of the host.
	PathStyle bool
	// Buckets are those that may be read; at least one.
	Buckets []string
	// AccessKey and SecretKey sign the requests. Both empty: this process has none, and
	// must not ask.
	AccessKey, SecretKey string
}

// Origin is one store. It may be used concurrently.
type Origin struct {
	o        Options
	endpoint *url.URL
	dial     map[string]bool // host:port that may be connected to
	dialer   net.Dialer
}

// CheckEndpoint says what is wrong with an Options.Endpoint, without showing it.
func CheckEndpoint(s string) error {
	_, err := parseEndpoint(s)
	return err
}

func parseEndpoint(s string) (*url.URL, error) {
	wrong := errors.New("want http or https and a host, without a path, as in https://s3.example.com")
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#") {
		return nil, wrong
	}
	host, addr, err := imageurl.ParseHost(u.Hostname())
	if err != nil {
		return nil, wrong
	}
	port := u.Port()
	if _, err := netip.ParseAddrPort("127.0.0.1:" + port); port != "" && (err != nil || port == "0") {
		return nil, wrong
	}
	if addr.Is6() {
		host = "[" + host + "]"
	}
	if port != "" && !(port == "443" && u.Scheme == "https") && !(port == "80" && u.Scheme == "http") {
		host += ":" + port
	}
	return &url.URL{Scheme: u.Scheme, Host: host}, nil
}

// CheckRegion says what is wrong with an Options.Region that is not empty.
func CheckRegion(s string) error {
	if len(s) > 64 || strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return errors.New("want the name of a region, as in eu-central-1")
	}
	return nil
}

// CheckKey says what is wrong with an access key or a secret key, without showing it.
func CheckKey(s string) error {
	if s == "" || len(s) > 512 || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("a key must have 1 to 512 printable characters of ASCII")
	}
	return nil
}

// CheckStyle says whether a bucket can be asked for at an endpoint without PathStyle.
func CheckStyle(endpoint, bucket string) error {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return nil // CheckEndpoint tells
	}
	if _, addr, _ := imageurl.ParseHost(u.Hostname()); addr.IsValid() {
		return errors.New("an IP address has no names below it: set path_style: true")
	}
	if u.Scheme == "https" && strings.Contains(bucket, ".") {
		return errors.New("no certificate is valid for a bucket whose name has a dot: set path_style: true")
	}
	return nil
}

// New returns the store that o describes. It asks nothing of it.
func New(o Options) (*Origin, error) {
	endpoint, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint: %w", err)
	}
	if err := CheckRegion(o.Region); err != nil {
		return nil, fmt.Errorf("region: %w", err)
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if len(o.Buckets) == 0 {
		return nil, errors.New("buckets: at least one is needed")
	}
	keys := map[string]string{"access key": o.AccessKey, "secret key": o.SecretKey}
	if o.AccessKey == "" && o.SecretKey == "" {
		keys = nil
	}
	for name, key := range keys {
		if err := CheckKey(key); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	origin := &Origin{o: o, endpoint: endpoint, dial: map[string]bool{}}
	for _, b := range o.Buckets {
		if err := imageurl.CheckObjectBucket(b); err != nil {
			return nil, fmt.Errorf("buckets: %q: %w", b, err)
		}
		if err := CheckStyle(o.Endpoint, b); err != nil && !o.PathStyle {
			return nil, fmt.Errorf("buckets: %q: %w", b, err)
		}
		origin.dial[withPort(origin.url(b, "/"))] = true
	}
	return origin, nil
}

// Keyless tells whether there are no keys, so that no Request can be made.
func (o *Origin) Keyless() bool { return o.o.SecretKey == "" }

// Buckets are those that may be read.
func (o *Origin) Buckets() []string { return o.o.Buckets }

// url is where an object is asked for, whose path is as URL.Object returns it.
func (o *Origin) url(bucket, path string) *url.URL {
	u := *o.endpoint
	if o.o.PathStyle {
		path = "/" + bucket + path
	} else {
		u.Host = bucket + "." + u.Host
	}
	u.Path, u.RawPath = path, path
	if plain, err := url.PathUnescape(path); err == nil { // which it always is
		u.Path = plain
	}
	return &u
}

// withPort is the address that an http.Transport dials for a URL.
func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Request returns a signed GET of an object of one of the buckets, of a span of its bytes
// if one is given, as in "bytes=0-511". It has to be sent within minutes.
func (o *Origin) Request(ctx context.Context, object imageurl.URL, userAgent, span string) *http.Request {
	bucket, path := object.Object()
	r := (&http.Request{Method: http.MethodGet, URL: o.url(bucket, path), Header: http.Header{
		"X-Amz-Content-Sha256": {"UNSIGNED-PAYLOAD"}, // there is none
	}}).WithContext(ctx)
	if span != "" {
		r.Header.Set("Range", span)
	}
	r = signer.SignV4(*r, o.o.AccessKey, o.o.SecretKey, "", o.o.Region)
	// What proxies before a store may change is not signed.
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept-Encoding", "identity")
	return r
}

// DialContext connects to the endpoint, for an http.Transport.
func (o *Origin) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if !o.dial[address] {
		return nil, errors.New("not the endpoint of an S3 origin")
	}
	return o.dialer.DialContext(ctx, network, address)
}

// maxCode is the longest code of an error, in bytes.
const maxCode = 64

// Code returns the code in the XML that comes with an error, such as NoSuchKey. Empty: it
// is none that a store sends. The rest of it is not for logs: it may repeat access keys
// and what was signed.
func Code(body io.Reader) string {
	d := xml.NewDecoder(body)
	var path []string
	var text strings.Builder
	for {
		token, err := d.Token()
		if err != nil {
			return ""
		}
		switch t := token.(type) {
		case xml.StartElement:
			path = append(path, t.Name.Local)
			if len(path) > 2 || path[0] != "Error" {
				return ""
			}
		case xml.EndElement:
			if len(path) == 2 && path[1] == "Code" {
				return code(strings.TrimSpace(text.String()))
			}
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) == 2 && path[1] == "Code" {
				text.Write(t)
			}
		}
	}
}

func code(s string) string {
	if len(s) > maxCode || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return s
}

// Verdict is what an error of a store means.
type Verdict int

// The verdicts.
const (
	// Unclear: the store failed, or what answers is none.
	Unclear Verdict = iota
	// Absent: the object is not there.
	Absent
	// Forbidden: the keys may not read the object; or it is not there, and they may not
	// list the bucket, so that the store does not tell.
	Forbidden
	// Misconfigured: the store does not accept how it is asked: by which keys, for which
	// region or bucket, by what clock.
	Misconfigured
	// Throttled: the store asks for a pause.
	Throttled
)

// verdicts are those of codes. Sources: Amazon S3 API Reference, "Error responses".
var verdicts = map[string]Verdict{
	"NoSuchKey":    Absent,
	"AccessDenied": Forbidden, "AllAccessDisabled": Forbidden, "InvalidObjectState": Forbidden,
	"InvalidAccessKeyId": Misconfigured, "SignatureDoesNotMatch": Misconfigured, "RequestTimeTooSkewed": Misconfigured,
	"AuthorizationHeaderMalformed": Misconfigured, "InvalidToken": Misconfigured, "ExpiredToken": Misconfigured, "InvalidSecurity": Misconfigured,
	"AccountProblem": Misconfigured, "NotSignedUp": Misconfigured, "NoSuchBucket": Misconfigured, "InvalidBucketName": Misconfigured,
	"PermanentRedirect": Misconfigured, "TemporaryRedirect": Misconfigured, "Redirect": Misconfigured, "IllegalLocationConstraintException": Misconfigured,
	"InvalidRequest": Misconfigured, "SlowDown": Throttled, "ServiceUnavailable": Throttled, "TooManyRequests": Throttled, "RequestLimitExceeded": Throttled,
}

// Judge returns what an answer of another status than 200 and 206 means. A proxy's page
// is none of a store: not even one with status 404, which would have an image forgotten.
func Judge(status int, code string) Verdict {
	if v, ok := verdicts[code]; ok {
		return v
	}
	switch {
	case status >= 300 && status < 400:
		return Misconfigured // a store that redirects is not that of the bucket
	case status == http.StatusServiceUnavailable, status == http.StatusTooManyRequests:
		return Throttled
	case status == http.StatusUnauthorized:
		return Misconfigured
	}
	return Unclear
}
