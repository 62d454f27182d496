package fetch

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"imgkeep/bucket/imageurl"
)

// TestRemoved imitates imgur, which leads to a picture that says that the image is
// no longer there, with status 200: it would be kept in its place for good.
func TestRemoved(t *testing.T) {
	picture := pngOf(t, 20, 20)
	sum := sha256.Sum256(picture)
	hits := map[string]int{}
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hits[r.URL.Path]++
		switch r.URL.Path {
		case "/gone.png":
			http.Redirect(w, r, "/removed.png", http.StatusFound)
			return
		case "/tagged.png":
			w.Header().Set("ETag", `"d835884373f4d6c8f24742ceabe74946"`)
		case "/weak.png":
			w.Header().Set("ETag", `W/"d835884373f4d6c8f24742ceabe74946"`)
		case "/other.png":
			w.Header().Set("ETag", `"d835884373f4d6c8f24742ceabe74947"`)
		}
		w.Write(picture)
	})
	const tag = "d835884373f4d6c8f24742ceabe74946"
	for _, tt := range []struct {
		mark Removed
		path string
		want ErrorKind
		hits int // of the path
	}{
		{Removed{URL: origin.URL + "/removed.png"}, "/gone.png", Gone, 1},
		{Removed{URL: origin.URL + "/removed.png"}, "/removed.png", Gone, 0},
		{Removed{URL: strings.Replace(origin.URL, "http:", "https:", 1) + "/removed.png"}, "/removed.png", Gone, 0},
		{Removed{URL: origin.URL + "/removed.png?x"}, "/gone.png", "", 1},
		{Removed{URL: origin.URL + "/removed"}, "/gone.png", "", 1},
		{Removed{ETag: tag}, "/tagged.png", Gone, 1},
		{Removed{ETag: `W/"` + tag + `"`}, "/tagged.png", Gone, 1},
		{Removed{ETag: tag}, "/weak.png", Gone, 1},
		{Removed{ETag: tag}, "/other.png", "", 1},
		{Removed{ETag: tag}, "/untagged.png", "", 1},
		{Removed{Digest: hex.EncodeToString(sum[:])}, "/a.png", Gone, 1},
		{Removed{Digest: strings.ToUpper(hex.EncodeToString(sum[:]))}, "/a.png", Gone, 1},
		{Removed{Digest: base64.RawURLEncoding.EncodeToString(sum[:])}, "/a.png", Gone, 1},
		{Removed{Digest: strings.Repeat("0", 64)}, "/a.png", "", 1},
	} {
		clear(hits)
		f := newFetcher(t, Options{MaxRedirects: 1, Removed: []Removed{{ETag: "another-tag"}, tt.mark}}, origin.URL)
		var dst bytes.Buffer
		_, err := f.Fetch(t.Context(), Request{
			URL: origin.URL + tt.path, MaxBytes: 1 << 20,
			Digest: func() [32]byte { return sha256.Sum256(dst.Bytes()) },
		}, &dst)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%+v, %s: %v", tt.mark, tt.path, err)
			}
		} else {
			wantClass(t, err, tt.want, "127.0.0.1", "removed")
		}
		if hits[tt.path] != tt.hits || tt.want != "" && hits["/removed.png"] > 0 {
			t.Errorf("%+v, %s: requests %v", tt.mark, tt.path, hits)
		}
	}
}

// TestRemovedCheck: a mark that would be that of other images too, or of none, is
// refused.
func TestRemovedCheck(t *testing.T) {
	for _, tt := range []struct {
		mark Removed
		want string // empty: it is accepted
	}{
		{Removed{URL: "https://i.imgur.com/removed.png"}, ""},
		{Removed{URL: "http://h.example:8080/?removed=1"}, ""},
		{Removed{ETag: "5c4fb843-ece"}, ""},
		{Removed{ETag: "12345678"}, ""},
		{Removed{Digest: strings.Repeat("ab", 32)}, ""},
		{Removed{Digest: strings.Repeat("A", 43)}, ""},

		{Removed{}, "exactly one"},
		{Removed{URL: "https://h.example/a", ETag: "12345678"}, "exactly one"},
		{Removed{ETag: "12345678", Digest: strings.Repeat("ab", 32)}, "exactly one"},
		{Removed{URL: "https://h.example"}, "a path"},
		{Removed{URL: "https://h.example/"}, "a path"},
		{Removed{URL: "h.example/a"}, "http or https"},
		{Removed{URL: "ftp://h.example/a"}, "http or https"},
		{Removed{URL: "https://u@h.example/a"}, "http or https"},
		{Removed{URL: "https://127.1/a"}, "a host"},
		{Removed{URL: "https:///a"}, "a host"},
		{Removed{ETag: "1234567"}, "at least 8"},
		{Removed{ETag: `W/"1234567"`}, "at least 8"},
		{Removed{ETag: "12345678\n"}, ""}, // spaces around it are nobody's
		{Removed{ETag: "1234\n5678"}, "printable"},
		{Removed{Digest: strings.Repeat("ab", 31)}, "64 hexadecimal"},
		{Removed{Digest: strings.Repeat("ab", 33)}, "64 hexadecimal"},
		{Removed{Digest: strings.Repeat("A", 42)}, "64 hexadecimal"},
		{Removed{Digest: strings.Repeat("A", 42) + "B"}, "64 hexadecimal"}, // not canonical
		{Removed{Digest: strings.Repeat("x", 64)}, "64 hexadecimal"},
	} {
		err := tt.mark.Check()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%+v: %v, want %q", tt.mark, err, tt.want)
		}
		if f, newErr := New(Options{Removed: []Removed{tt.mark}}); (newErr == nil) != (err == nil) {
			t.Errorf("%+v: New says %v, Check %v", tt.mark, newErr, err)
		} else if f != nil {
			f.Close()
		}
	}
}

// TestOwn imitates imageproxy#72 and weserv#287, which were made to fetch from
// themselves: what leads back is refused, as it is and as the aim of a redirect.
func TestOwn(t *testing.T) {
	var own bool
	picture := pngOf(t, 2, 2)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/loop":
			http.Redirect(w, r, "/own/i/full/x", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/own/"):
			own = true
		default:
			w.Write(picture)
		}
	})
	f := newFetcher(t, Options{MaxRedirects: 3, Own: func(u imageurl.URL) bool { return strings.HasPrefix(u.Path(), "/own/") }}, origin.URL)
	_, _, err := pull(t, f, origin.URL+"/own/"+secret)
	wantClass(t, err, Refused, "back to this server")
	_, _, err = pull(t, f, origin.URL+"/loop")
	wantClass(t, err, Refused, "redirected from 127.0.0.1", "back to this server")
	if own {
		t.Error("it was asked")
	}
	if _, _, err = pull(t, f, fmt.Sprint(origin.URL, "/owner/a.png")); err != nil {
		t.Error(err)
	}
}

// FuzzRemoved: a mark that is accepted is found again by what it is the mark of.
func FuzzRemoved(f *testing.F) {
	f.Add("https://i.imgur.com/removed.png", "d835884373f4d6c8f24742ceabe74946", "9b5936f4006146e4e1e9025b474c02863c0b5614132ad40db4b925a10e8bfbb9")
	f.Add("http://A.example:80/%41?b c", `W/"12345678"`, strings.Repeat("A", 43))
	fetcher := newFetcher(f, Options{Ports: []int{80, 443, 8080}})
	f.Fuzz(func(t *testing.T, rawURL, etag, digest string) {
		for _, m := range []Removed{{URL: rawURL}, {ETag: etag}, {Digest: digest}} {
			r, err := newRemovals([]Removed{m})
			if err != nil {
				continue
			}
			if m.ETag != "" && (!r.isETag(m.ETag) || r.isETag("")) {
				t.Fatalf("%+v is not found", m)
			}
			if to, err := fetcher.target("", rawURL, nil); m.URL != "" && err == nil && !r.isURL(to.image) {
				t.Fatalf("%+v is not found: %v", m, to.url)
			}
			if sum, err := parseDigest(digest); m.Digest != "" && (err != nil || !r.isDigest(func() [32]byte { return sum })) {
				t.Fatalf("%+v is not found: %v", m, err)
			}
		}
	})
}
