package fetch

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"
)

// BenchmarkFetch fetches an image of about 20 KB from loopback. BenchmarkHTTPClient
// does the same without a single check: the difference is what the checks cost.
//
//	go test -run - -bench 'Fetch|HTTPClient' -count 10 ./bucket/fetch | benchstat -col .name -
func BenchmarkFetch(b *testing.B) {
	origin := serveBytes(b, pngOf(b, 81, 81))
	f := newFetcher(b, Options{}, origin.URL)
	r := Request{URL: origin.URL + "/a.png", MaxBytes: 1 << 20}
	var dst bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		dst.Reset()
		res, err := f.Fetch(context.Background(), r, &dst)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(res.Bytes)
	}
}

func BenchmarkHTTPClient(b *testing.B) {
	origin := serveBytes(b, pngOf(b, 81, 81))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var dst bytes.Buffer
	b.ReportAllocs()
	for b.Loop() {
		dst.Reset()
		resp, err := client.Get(origin.URL + "/a.png")
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(&dst, resp.Body)
		resp.Body.Close()
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
}
