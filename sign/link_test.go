package sign_test

import (
	"errors"
	"strings"
	"testing"

	"imgkeep/sign"
)

const (
	sig = "gnjO6SJxYbeT9VBz"
	ext = "aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn"
)

func TestParse(t *testing.T) {
	for path, want := range map[string]sign.Link{
		"/i/full/" + sig + "/" + ext:                           {Bucket: "i", Size: "full", Signature: sig, ExtURL: ext},
		"/i/250x250/" + sig + "/" + ext:                        {Bucket: "i", Size: "250x250", Signature: sig, ExtURL: ext},
		"/i/150x/" + sig + "/" + ext:                           {Bucket: "i", Size: "150x", Signature: sig, ExtURL: ext},
		"/avatars/info/" + sig + "/" + ext:                     {Bucket: "avatars", Size: "info", Signature: sig, ExtURL: ext},
		"/i/full/" + sig + "/" + ext + "/proxy":                {Bucket: "i", Size: "full", Signature: sig, ExtURL: ext, Proxy: true},
		"/i/x200/" + sig + "/" + ext + "/proxy":                {Bucket: "i", Size: "x200", Signature: sig, ExtURL: ext, Proxy: true},
		"/i/full/" + sig + "/YQ==":                             {Bucket: "i", Size: "full", Signature: sig, ExtURL: "YQ=="},
		"/i/full/" + sig + "/YQ%3D%3d":                         {Bucket: "i", Size: "full", Signature: sig, ExtURL: "YQ=="},
		"/i/full/" + sig + "/YQ%3D=/proxy":                     {Bucket: "i", Size: "full", Signature: sig, ExtURL: "YQ==", Proxy: true},
		"/i/full/" + sig + "/" + ext + ".jpg":                  {Bucket: "i", Size: "full", Signature: sig, ExtURL: ext, Ending: ".jpg"},
		"/i/x200/" + sig + "/YQ%3D=.webp":                      {Bucket: "i", Size: "x200", Signature: sig, ExtURL: "YQ==", Ending: ".webp"},
		"/i/full/" + sig + "/proxy.png":                        {Bucket: "i", Size: "full", Signature: sig, ExtURL: "proxy", Ending: ".png"},
		"/i/full/" + sig + "/proxy":                            {Bucket: "i", Size: "full", Signature: sig, ExtURL: "proxy"},
		"/i/full/----------------/" + ext:                      {Bucket: "i", Size: "full", Signature: "----------------", ExtURL: ext},
		"/" + strings.Repeat("b", 32) + "/full/" + sig + "/YQ": {Bucket: strings.Repeat("b", 32), Size: "full", Signature: sig, ExtURL: "YQ"},
	} {
		got, err := sign.Parse(path)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", path, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, path := range []string{
		"", "/", "//", "i/full/" + sig + "/" + ext, "/i", "/i/", "/i/full", "/i/full/" + sig, "/i/full/" + sig + "/",
		"/i/full/" + sig + "//proxy",
		"/i/full/" + sig + "/" + ext + "/", // a trailing slash
		"/i/full/" + sig + "/" + ext + "/Proxy",
		"/i/full/" + sig + "/" + ext + "/proxy/",
		"/i/full/" + sig + "/" + ext + "/proxy/proxy",
		"/i/full/" + sig + "/" + ext + "/other",
		"//i/full/" + sig + "/" + ext,
		"/i//full/" + sig + "/" + ext,
		"/i/full//" + sig + "/" + ext,
		"/./i/full/" + sig + "/" + ext,
		"/x/../i/full/" + sig + "/" + ext,
		"/../full/" + sig + "/" + ext,
		"/i/../" + sig + "/" + ext,
		"/i/.hidden/" + sig + "/" + ext,
		"/I/full/" + sig + "/" + ext,
		"/i/FULL/" + sig + "/" + ext,
		"/%69/full/" + sig + "/" + ext, // an encoded letter
		"/i%2Ffull/" + sig + "/" + ext,
		"/i/full/" + sig[:15] + "/" + ext,
		"/i/full/" + sig + "A/" + ext,
		"/i/full/" + sig[:15] + "+/" + ext, // base64, not base64url
		"/i/full/" + sig[:15] + "=/" + ext,
		"/i/full/" + sig + "/" + ext + "%2Fproxy",
		"/i/full/" + sig + "/aHR0cHM6Ly9+",
		"/i/full/" + sig + "/aHR0.cHM6",
		"/i/full/" + sig + "/=",
		"/i/full/" + sig + "/.jpg",
		"/i/full/" + sig + "/" + ext + ".",
		"/i/full/" + sig + "/" + ext + ".JPG",
		"/i/full/" + sig + "/" + ext + ".svg",
		"/i/full/" + sig + "/" + ext + ".html",
		"/i/full/" + sig + "/" + ext + ".jpg.png",
		"/i/full/" + sig + "/" + ext + "..png",
		"/i/full/" + sig + "/" + ext + ".jpg/",
		"/i/full/" + sig + "/" + ext + ".jpg/proxy",
		"/i/full/" + sig + "/" + ext + "/proxy.jpg",
		"/i/full/" + sig + "/" + ext + "%2Ejpg",
		"/i/full/" + sig + "/YQ===",
		"/i/full/" + sig + "/Y=Q",
		"/i/full/" + sig + "/YQ\x00",
		"/i/full/" + sig + "/YQ\r\nX: y",
		"/i/full/" + sig + "/bild\xc3\xa9",
		"/" + strings.Repeat("b", 33) + "/full/" + sig + "/YQ",
		"/i/" + strings.Repeat("s", 33) + "/" + sig + "/YQ",
	} {
		if l, err := sign.Parse(path); !errors.Is(err, sign.ErrMalformed) {
			t.Errorf("%q: got %+v, %v; want ErrMalformed", path, l, err)
		}
	}
}

func TestParseLength(t *testing.T) {
	head := "/i/full/" + sig + "/"
	longest := head + strings.Repeat("A", 4096-len(head))
	if _, err := sign.Parse(longest); err != nil {
		t.Errorf("4,096 characters: %v", err)
	}
	if _, err := sign.Parse(longest + "A"); !errors.Is(err, sign.ErrMalformed) {
		t.Errorf("4,097 characters: %v", err)
	}
}

func TestURL(t *testing.T) {
	for ext, want := range map[string]string{
		ext:                        "https://example_url/img.jpg",
		"YQ":                       "a",
		"YQ==":                     "a",
		"aHR0cHM6Ly_DpC5kZS8_YT1i": "https://ä.de/?a=b",
	} {
		got, err := sign.Link{ExtURL: ext}.URL()
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", ext, got, err, want)
		}
	}
	if _, err := (sign.Link{ExtURL: "A"}).URL(); !errors.Is(err, sign.ErrMalformed) {
		t.Errorf("a lone character is no base64: %v", err)
	}
}

// What Parse accepts, String gives back: a link has one spelling, so nothing
// can be smuggled through what Parse ignores.
func FuzzLink(f *testing.F) {
	f.Add("/i/full/" + sig + "/" + ext)
	f.Add("/i/150x/" + sig + "/" + ext + "/proxy")
	f.Add("/i/full/" + sig + "/YQ%3D=")
	f.Add("/i/full/" + sig + "/proxy/proxy")
	f.Fuzz(func(t *testing.T, path string) {
		l, err := sign.Parse(path)
		if err != nil {
			return
		}
		plain := strings.NewReplacer("%3D", "=", "%3d", "=").Replace(path)
		if l.String() != plain {
			t.Errorf("%q is read as %+v and written as %q", path, l, l)
		}
		if again, err := sign.Parse(l.String()); err != nil || again != l {
			t.Errorf("%q: read again: %+v, %v", path, again, err)
		}
		if url, err := l.URL(); err == nil && strings.TrimRight(l.ExtURL, "=") != sign.EncodeURL(url) {
			// Base64 whose last character has bits that stand for nothing:
			// another spelling of the same URL, which needs its own signature.
			if len(sign.EncodeURL(url)) != len(strings.TrimRight(l.ExtURL, "=")) {
				t.Errorf("%q: URL %q", path, url)
			}
		}
	})
}
