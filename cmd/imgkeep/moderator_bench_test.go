package main_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// BenchmarkPages is how long pages of moderators take, by how many images are kept: whole
// pages, from the request to the last byte. The store keeps that many, of a thousand hosts,
// by links to one file.
func BenchmarkPages(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchPages(b, n) })
	}
}

func benchPages(b *testing.B, n int) {
	w := newWorld(b, settings{"page.listen": "127.0.0.1:0", "log.level": "info"})
	dir := filepath.Join(w.root(), "i", "journal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "2026-11.ndjson"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriterSize(f, 1<<20)
	begun := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	picture, size := filepath.Join(w.dir, "picture"), 4096
	if err := os.WriteFile(picture, make([]byte, size), 0o600); err != nil {
		b.Fatal(err)
	}
	shards := map[string]bool{}
	var middle, digest string
	for i := range n {
		sum := sha256.Sum256(fmt.Append(nil, i))
		name, kind := base64.RawURLEncoding.EncodeToString(sum[:]), "jpeg"
		if i%10 == 0 {
			kind = "png"
		}
		host := fmt.Sprintf("host%d.example", i%1000)
		if i == n/2 {
			host = "rare.example"
		}
		u := fmt.Sprintf("https://%s/2026/11/picture-%d.jpg", host, i)
		if i == n/2 {
			middle, digest = u, name
		}
		shard := filepath.Join(w.root(), "i", name[:1], name[1:2])
		if !shards[shard] {
			shards[shard] = true
			if err := os.MkdirAll(shard, 0o700); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.Link(picture, filepath.Join(shard, name+map[string]string{"jpeg": ".jpg", "png": ".png"}[kind])); err != nil {
			b.Fatal(err)
		}
		fmt.Fprintf(out, `{"time":"%s","op":"keep","url":"%s","digest":"%s","type":"%s","bytes":%d,"width":%d,"height":600}`+"\n",
			begun.Add(time.Duration(i)*time.Second).Format(time.RFC3339), u, name, kind, size, 400+i%1000)
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
	f.Close()
	if out, err := w.command(b.Context(), "reindex").CombinedOutput(); err != nil {
		b.Fatalf("%v: %.500s", err, out)
	}
	s := w.start()
	base, _ := s.logged("serving the moderators' page")["url"].(string)
	client := signedIn(b, w, base)
	for _, page := range []struct{ name, path string }{
		{"gallery", "/"}, {"older", "/?until=" + begun.Add(time.Duration(n/2)*time.Second).Format(time.DateOnly)}, {"type", "/?type=png"}, {"rare_host", "/?host=rare.example"},
		{"text", "/?text=" + fmt.Sprintf("picture-%d.", n/2)}, {"nothing", "/?text=nothing"}, {"small", "/?max_kb=1"},
		{"image", "/image?bucket=i&url=" + url.QueryEscape(middle)}, {"search_digest", "/search?q=" + digest}, {"remove", "/remove?pick=url+" + url.QueryEscape(middle)},
		{"failed", "/?state=failed"}, {"audit", "/audit"}, {"hosts", "/hosts"}, {"figures", "/figures"},
	} {
		b.Run(page.name, func(b *testing.B) {
			get(b, client, base+page.path) // figures are counted for the first one
			for page.name == "hosts" || page.name == "figures" {
				if !regexp.MustCompile("Being counted").MatchString(get(b, client, base+page.path)) {
					break
				}
			}
			for b.Loop() {
				get(b, client, base+page.path)
			}
		})
	}
	s.stop()
}

func get(b *testing.B, client *http.Client, address string) string {
	b.Helper()
	resp, err := client.Get(address)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		b.Fatal(address, resp.Status, err)
	}
	return string(text)
}

// signedIn is a client that has signed in to the page.
func signedIn(b *testing.B, w *world, base string) *http.Client {
	b.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Jar: jar}
	link := w.invite(base, "anna", "remove")
	csrf := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindStringSubmatch(get(b, client, link))
	resp, err := client.PostForm(link, url.Values{"csrf": {csrf[1]}, "password": {password}, "again": {password}})
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	return client
}
