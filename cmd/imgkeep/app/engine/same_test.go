package engine

import (
	"context"
	"errors"
	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
	"io"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

func TestKey(t *testing.T) {
	c := config.Default()
	c.Fetch.SameImage = []config.SameImage{
		{Hosts: []string{"cdn.example", "*.cdn.example"}, Params: []string{"ex", "is", "X-Amz-*"}},
		{Hosts: []string{"*.cdn.example"}, Params: []string{"never"}},
	}
	for _, scheme := range []bool{false, true} {
		c.Fetch.SameScheme = scheme
		key := newSameImage(c).key
		for in, want := range map[string]string{
			"https://cdn.example/a.png":                               "https://cdn.example/a.png",
			"https://cdn.example/a.png?":                              "https://cdn.example/a.png",
			"https://cdn.example/a.png?ex=1&is=2":                     "https://cdn.example/a.png",
			"https://cdn.example/a.png?ex":                            "https://cdn.example/a.png",
			"https://cdn.example/a.png?w=3&ex=1&b=%20&&is=":           "https://cdn.example/a.png?w=3&b=%20&",
			"https://a.cdn.example:8443/?X-Amz-Date=1&X-Amz=2&x-amz-": "https://a.cdn.example:8443/?X-Amz=2&x-amz-",
			"https://a.cdn.example/?exx=1&e=2&never=3":                "https://a.cdn.example/?exx=1&e=2&never=3",
			"https://other.example/a.png?ex=1":                        "https://other.example/a.png?ex=1",
			"https://other.example/?u=https://cdn.example/a.png?ex=1": "https://other.example/?u=https://cdn.example/a.png?ex=1",
			"http://h.example:8080/":                                  "http://h.example:8080/",
			"http://[2001:db8::1]:81/":                                "http://[2001:db8::1]:81/",
			"local:///a.png?ex=1":                                     "local:///a.png?ex=1",
		} {
			if got := key(in); got != want || key(got) != got {
				t.Errorf("%s: %s, want %s; its key is %s", in, got, want, key(got))
			}
		}
		for in, want := range map[string]string{
			"http://h.example/a?b": "https://h.example/a?b", "http://[2001:db8::1]/": "https://[2001:db8::1]/",
			"http://cdn.example/a.png?ex=1": "https://cdn.example/a.png",
		} {
			if !scheme {
				want = strings.Replace(want, "https:", "http:", 1)
			}
			if got := key(in); got != want {
				t.Errorf("%s: %s, want %s", in, got, want)
			}
		}
	}
}

// expiring has an image for those who come with the token of today.
type expiring struct {
	token   string
	fetched []string
}

func (e *expiring) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	e.fetched = append(e.fetched, r.URL)
	if !strings.Contains(r.URL, "ex="+e.token) {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New("expired")}
	}
	n, err := io.WriteString(dst, "the bytes")
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	return fetch.Result{Info: info, Bytes: int64(n), FinalURL: r.URL}, err
}

type noDecoder struct{}

func (noDecoder) Resize(context.Context, io.Reader, int64, resize.Job) ([]resize.Result, error) {
	return nil, errors.New("there is none")
}

// An attachment whose link is signed anew each time is one entry: for links, populate
// and import, and for show, retry, forget and block by any of its URLs. An old link that
// fails does not stand in the way of a new one.
func TestSameImage(t *testing.T) {
	const secret, at = "a secret of some length", "https://cdn.example/a.png?id=7"
	c := config.Default()
	c.Root = filepath.Join(t.TempDir(), "store")
	c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
	c.Sign.Secrets = []config.Secret{secret}
	c.Fetch.SameImage = []config.SameImage{{Hosts: []string{"cdn.example"}, Params: []string{"ex"}}}
	log, origin := slog.New(slog.DiscardHandler), &expiring{token: "2"}
	so, err := storeOptions(c, origin, nil, log, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	store, err := openStore(so)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close(context.Background())
	signer, err := NewSigner(c.Sign)
	if err != nil {
		t.Fatal(err)
	}
	o := sizeOptions(c, nil)
	o.Store, o.Signer, o.Unwrap, o.Resizer = store, signer, NewSelfLinks(c, signer, time.Now).Unwrap, noDecoder{}
	handler, err := server.New(o)
	if err != nil {
		t.Fatal(err)
	}
	view := func(url string, status int) {
		t.Helper()
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", signer.Sign("i", "full", url, false, time.Now()).String(), nil))
		if w.Code != status {
			t.Errorf("%s: status %d, want %d: %s", url, w.Code, status, w.Body)
		}
	}
	view(at+"&ex=1", 404)
	view(at+"&ex=1", 404) // is not asked again
	view(at+"&ex=2", 200)
	for _, token := range []string{"&ex=1", "&ex=2", "&ex=3", ""} {
		view(at+token, 200)
	}
	view("https://cdn.example/a.png?id=8&ex=1", 404) // another image
	if got := len(origin.fetched); got != 3 {
		t.Errorf("fetched %v", origin.fetched)
	}
	k, err := newKeeper(c, nil, store, nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if o := k.Populate(t.Context(), control.PopulateRequest{Bucket: "i", URL: []byte(at + "&ex=4")}); o.Code != "" || o.Kept {
		t.Errorf("populate: %+v", o)
	}
	key := NewSelfLinks(c, signer, time.Now).Key(at + "&ex=5")
	if key != at {
		t.Errorf("commands take it for %s", key)
	}
	if facts, err := query.Show(t.Context(), store.Maintenance(), key, record.Digest{}); err != nil || len(facts.Images) != 1 || len(facts.Images[0].URLs) != 1 {
		t.Errorf("show: %+v, %v", facts, err)
	}
	if _, err := store.Block(t.Context(), bucket.Target{URL: key}, bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"&ex=2", "&ex=6", ""} {
		view(at+token, 451)
	}
	if got := len(origin.fetched); got != 3 {
		t.Errorf("what is blocked was fetched: %v", origin.fetched)
	}
	// Nobody knows whether the origin would still send it.
	var e *fetch.Error
	if err := (&current{config: c}).alive(t.Context(), fetch.Request{URL: at}); !errors.As(err, &e) || e.Kind != fetch.Refused {
		t.Errorf("asked whether it is alive: %v", err)
	}
}
