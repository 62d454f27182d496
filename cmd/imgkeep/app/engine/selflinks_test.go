package engine

import (
	"errors"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/sign"
)

var ownNow = time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)

// A link of this server is taken for what it shows, if this server's site signed
// it, whenever that was. It imitates imageproxy#72 and weserv#287.
func TestUnwrap(t *testing.T) {
	c := config.Default()
	c.BaseURL = "https://img.example"
	c.Fetch.OwnHosts = []string{"old-img.example", "*.mirror.example", "192.0.2.1", "2001:db8::1"}
	c.Sign.Secrets = []config.Secret{"the secret of these tests", "the secret before that one"}
	signer, err := NewSigner(c.Sign)
	if err != nil {
		t.Fatal(err)
	}
	older, err := sign.New(sign.Options{Secrets: []string{"the secret before that one"}})
	if err != nil {
		t.Fatal(err)
	}
	forger, err := sign.New(sign.Options{Secrets: []string{"a secret of somebody else's"}})
	if err != nil {
		t.Fatal(err)
	}
	o := NewSelfLinks(c, signer, func() time.Time { return ownNow })
	const picture = "https://example.com/a.png?b=1"
	wrap := func(s *sign.Signer, url string, age time.Duration) string {
		return "https://img.example" + s.Sign("i", "150x", url, false, ownNow.Add(-age)).String()
	}
	nested := func(n int) string {
		url := picture
		for range n {
			url = wrap(signer, url, 0)
		}
		return url
	}
	const day = 24 * time.Hour
	link := strings.TrimPrefix(wrap(signer, picture, 0), "https://img.example")
	for name, tt := range map[string]struct{ url, want string }{
		"another host's":          {picture, picture},
		"another host's, signed":  {"https://forum.example" + link, "https://forum.example" + link},
		"a host below":            {"https://a.img.example" + link, "https://a.img.example" + link},
		"a local file":            {"local:///a.png", "local:///a.png"},
		"of this week":            {wrap(signer, picture, 0), picture},
		"plain http, a port":      {"http://img.example:8091" + link, picture},
		"a name of old":           {"https://old-img.example" + link, picture},
		"below a pattern":         {"https://a.mirror.example" + link, picture},
		"an address":              {"http://192.0.2.1" + link, picture},
		"an IPv6 address":         {"http://[2001:db8::1]" + link, picture},
		"one with a port":         {"http://[2001:db8::1]:8080" + link, picture},
		"with a query":            {"https://img.example" + link + "?x=1", picture},
		"with /proxy":             {"https://img.example" + signer.Sign("i", "full", picture, true, ownNow).String(), picture},
		"of another bucket":       {"https://img.example" + signer.Sign("zz", "full", picture, false, ownNow).String(), picture},
		"by the other secret":     {wrap(older, picture, 0), picture},
		"not canonical inside":    {wrap(signer, "HTTPS://Example.com:443/a.png?b=1#c", 0), picture},
		"of the coming week":      {wrap(signer, picture, -7*day), ""},
		"expired":                 {wrap(signer, picture, 21*day), picture},
		"of a year ago":           {wrap(signer, picture, 365*day), picture},
		"of nine years ago":       {wrap(signer, picture, 9*365*day), picture},
		"of eleven years ago":     {wrap(signer, picture, 11*365*day), ""},
		"forged":                  {wrap(forger, picture, 0), ""},
		"no link":                 {"https://img.example/healthz", ""},
		"nothing":                 {"https://img.example/", ""},
		"no URL inside":           {wrap(signer, "nothing", 0), ""},
		"a scheme that is not":    {wrap(signer, "file:///etc/passwd", 0), ""},
		"twice":                   {nested(2), picture},
		"as often as allowed":     {nested(3), picture},
		"once more":               {nested(4), ""},
		"forged inside":           {wrap(signer, wrap(forger, picture, 0), 0), ""},
		"the server itself again": {wrap(signer, "https://img.example/healthz", 0), ""},
	} {
		got, err := o.Unwrap(tt.url)
		var e *fetch.Error
		refused := errors.As(err, &e) && e.Kind == fetch.Refused || errors.Is(err, imageurl.ErrURL)
		if got != tt.want || (tt.want == "") != refused {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
	}
}

// All of a host that is this server's leads back to it; without a name nothing does.
func TestOwn(t *testing.T) {
	c := config.Default()
	c.BaseURL = "https://img.example:8443"
	o := NewSelfLinks(c, nil, time.Now)
	for raw, want := range map[string]bool{
		"https://img.example/i/full/x": true, "http://img.example:80/": true, "https://IMG.example./x": true,
		"https://forum.example/avatars/1.png": false, "https://a.img.example/": false,
	} {
		u, err := imageurl.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Is(u); got != want {
			t.Errorf("%s: %v, want %v", raw, got, want)
		}
	}
	o = NewSelfLinks(config.Default(), nil, time.Now)
	if o.Is("http://127.0.0.1:8091/i/full/x") {
		t.Error("a server without a name has one")
	}
}
