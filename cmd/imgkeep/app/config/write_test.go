package config

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

func written(t *testing.T, c Config, s Sources) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, c, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What is printed can be loaded, and means the same.
func TestWriteIsLoadable(t *testing.T) {
	for _, text := range []string{
		"",
		"buckets: [{name: i, hosts: ['*.example.com', '192.0.2.1'], max_bytes: 1MiB}, {name: '1'}, {name: 'null'}, {name: 'true'}]\nsign: {bucketless: 'null'}",
		"root: '/srv/a b/ #c: d'\nplaceholder: '/tmp/\"x\"'\nfetch: {user_agent: 'Bot: [1] # \"2\"', networks: [10.0.0.0/8]}\nsizes: []",
		"base_url: https://a.example\nshutdown_timeout: 90s\nfetch: {max_bytes: 10000001}\nstore: {min_free: 0}\nnginx: {listen: ['80', '[::]:80']}",
		"placeholders: [{errors: [gone], image: /a.png}]\nheaders: {robots: 'noindex, nofollow'}\ncors: {origins: ['*']}\nnginx: {referers: ['*.a.example']}\nfetch: {base_url: 'https://a.example/'}",
		"fetch: {proxy: 'socks5://me@proxy.example:1080'}",
		"fetch: {profiles: [{hosts: [a.example, '*.b.example'], referer: 'https://a.example/?x=1'}, {hosts: [c.example], proxy: direct}], removed: [], fallbacks: ['https://a.example/?u={url}'], own_hosts: [o.example]}",
		"fetch: {removed: [{url: 'https://a.example/gone.png'}, {etag: '\"12345678\"'}]}\napprove: {url: 'http://127.0.0.1:1/check', fail: open}",
		`presets: [{name: a, width: 5, blur: 1.5, padding: [1, 2], background: '#ff0000', watermark: {text: 'a: "b" #c', margin: 3}, format: webp, quality: {webp: 3}, max_bytes: 5KiB}, {name: b}]`,
	} {
		c, s := mustLoad(t, text)
		out := written(t, c, s)
		again, _, err := load(t, out)
		if err != nil {
			t.Errorf("%s\nis printed as\n%s\nwhich is refused: %v", text, out, err)
			continue
		}
		if !reflect.DeepEqual(c, again) {
			t.Errorf("%s\nis printed as\n%s\nwhich is\n%+v\nand was\n%+v", text, out, again, c)
		}
	}
}

func TestWriteHides(t *testing.T) {
	t.Setenv("IMGKEEP_SECRET", goodSecret)
	file := write(t, "secret", otherSecret, 0o600)
	c, s := mustLoad(t, "sign: {secret_files: ["+file+"]}\naccess: {tokens: [hunter6-hunter6-hunter6]}\n"+
		"fetch: {proxy: 'http://me:hunter2@proxy.example:3128', profiles: [{hosts: [a.example], proxy: 'socks5://me:hunter3@p.example'}, {hosts: [b.example], headers: ['Cookie: a=hunter5']}]}\n"+
		"approve: {url: 'http://127.0.0.1:1/check?token=hunter4'}\nhooks: {removed: {url: 'http://127.0.0.1:1/r?token=hunter7'}, secrets: [hunter8-hunter8-hunter8]}")
	out := written(t, c, s)
	for _, secret := range []string{goodSecret, otherSecret, "hunter2", "hunter3", "hunter4", "hunter5", "hunter6", "hunter7", "hunter8"} {
		if strings.Contains(out, secret) {
			t.Errorf("it shows %q:\n%s", secret, out)
		}
	}
	for _, want := range []string{
		"  secrets: [] # 2 hidden; IMGKEEP_SECRET\n",
		"  secret_files: [" + file + "] # ",
		"  proxy: http://me:xxxxx@proxy.example:3128 # password hidden; ",
		"proxy: 'socks5://me:xxxxx@p.example'",
		"  profiles: # passwords and headers hidden; ",
		"headers: ['Cookie: xxxxx']",
		"  url: http://127.0.0.1:1/check?xxxxx # query hidden; ",
		"    url: http://127.0.0.1:1/r?xxxxx # query hidden; ",
		"  secrets: [] # 1 hidden; ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	// Loaded as it is, it would use a wrong password: that is refused.
	t.Setenv("IMGKEEP_SECRET", "")
	_, _, err := load(t, out)
	for _, key := range []string{"fetch.proxy: the password is", "fetch.profiles[0].proxy: the password is", "fetch.profiles[1].headers[0]: the value is", "approve.url: the query is", "hooks.removed.url: the query is"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("what is hidden is taken (%s): %v", key, err)
		}
	}
	// The configuration itself is left alone.
	if len(c.Sign.Secrets) != 2 || !strings.Contains(c.Fetch.Proxy, "hunter2") || !strings.Contains(c.Fetch.Profiles[0].Proxy, "hunter3") || !strings.Contains(c.Fetch.Profiles[1].Headers[0], "hunter5") {
		t.Error("Write changes what it writes")
	}
}

func TestWriteSaysWhereFrom(t *testing.T) {
	t.Setenv("IMGKEEP_SIZES", "100,200")
	c, s := mustLoad(t, "listen: :80\nbuckets:\n  - name: a\n  - {name: b, hosts: [x.com]}\n")
	out := written(t, c, s)
	for _, want := range []string{
		"/imgkeep.yaml:1\n",
		"/imgkeep.yaml:2\n  - {name: a, hosts: [], max_bytes: 0, strip_metadata: false}\n  - {name: b, hosts: [x.com], max_bytes: 0, strip_metadata: false}\n",
		"sizes: [100, 200] # IMGKEEP_SIZES\n",
		"secrets: [] # none is set; the server needs one\n",
		"root: /var/lib/imgkeep\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
}
