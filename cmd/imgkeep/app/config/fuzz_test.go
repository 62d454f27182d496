package config

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/viper"
)

// parse is Load for one text, without environment, flags and secret files.
func parse(text []byte) (Config, error) {
	l := loader{viper: viper.New(), over: map[string]string{}}
	if err := l.readText("imgkeep.yaml", text, false); err != nil {
		return Config{}, err
	}
	c := l.decode()
	c.clean(&l.problems)
	c.validate(&l.problems)
	if len(l.problems) > 0 {
		return Config{}, invalid(l.problems)
	}
	return c, nil
}

// No text makes the parser panic or run for long, and what it accepts is printed
// so that it is read alike.
func FuzzFile(f *testing.F) {
	shipped, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "contrib", "imgkeep.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped)
	for _, s := range []string{
		"", "a: &a [*a]", "sizes: &a [*a, *a]", "log: {<<: {level: info}}", "fetch: {timeout: 1s, max_bytes: 10MB}",
		"buckets: [{name: i, hosts: ['*.example.com']}, {name: f, max_bytes: 1MiB}]", "buckets: &b [{name: i}]\nsizes: *b",
		"fetch: {networks: [10.0.0.0/8, 'fd00::/8'], ports: [80], proxy: 'http://a:b@c:80'}", "listen: unix:/a", "listen: '[::1]:80'",
		"sign: {secrets: [a long enough secret], bucketless: i}", "fetch: 1", "sizes: {a: b}", "? [a]\n: b", "root: !!binary aGVsbG8=", "root: |\n  /a\n",
		"fetch: {profiles: [{hosts: [a.example], proxy: direct}], removed: [{url: 'https://a.example/b'}], fallbacks: ['https://a.example/{url}'], own_hosts: []}",
		"approve: {url: 'http://127.0.0.1:1/', fail: open}", "fetch: {removed: [{}]}",
		"---\na: b\n---\n", "%YAML 1.2\n---\nroot: /a", "sizes: [0x10, 0o17, 1_000]", "fetch: {timeout: .inf}", "root: \"\\x00\"", "\xff\xfer\x00",
		"buckets: [{name: i, hosts: [bücher.example]}]", "nginx: {listen: ['80'], server_name: [_]}", "a: 2026-11-01", "FETCH: {Timeout: 1s}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parse(text)
		if err != nil {
			if strings.TrimSpace(err.Error()) == "" {
				t.Error("an error says nothing")
			}
			return
		}
		if u, err := url.Parse(c.Fetch.Proxy); err == nil && u.User != nil {
			return // its password is hidden
		}
		for _, p := range c.Fetch.Profiles {
			if u, err := url.Parse(p.Proxy); err == nil && u.User != nil {
				return
			}
		}
		if strings.Contains(c.Approve.URL, "?") {
			return // its query is hidden
		}
		var out bytes.Buffer
		if err := Write(&out, c, Sources{}); err != nil {
			t.Fatalf("it cannot be printed: %v", err)
		}
		again, err := parse(out.Bytes())
		if err != nil {
			t.Fatalf("it is printed as\n%s\nwhich is refused: %v", out.String(), err)
		}
		c.Sign.Secrets = nil // hidden
		if !reflect.DeepEqual(c, again) {
			t.Errorf("it is printed as\n%s\nwhich is\n%+v\nand was\n%+v", out.String(), again, c)
		}
	})
}
