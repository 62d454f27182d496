package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sharedStore = "shared: {endpoint: 'https://s3.example', bucket: images"

// What makes no sense is refused, without a key in the message.
func TestSharedRefused(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{sharedStore + "}", ""},
		{sharedStore + ", prefix: a/b/, " + s3Keys + "}", ""},
		{"shared: {}", ""},
		{"shared: {cache_bytes: 1, max_lag: 1s}", ""}, // of nobody
		{"shared: {bucket: images}", "shared.bucket: it is set, and shared.endpoint is empty: name the object store, as in https://s3.example.com"},
		{"shared: {endpoint: 'https://u:hunter3@s3.example', bucket: images}", "shared.endpoint: want http or https and a host, without a path, as in https://s3.example.com"},
		{"shared: {endpoint: 'https://s3.example'}", "shared.endpoint: it is set, and shared.bucket is empty: name the bucket of the object store"},
		{"shared: {endpoint: 'https://s3.example', bucket: Images}", `shared.bucket: "Images" is not a bucket of an object store: want 3 to 63 of a-z, 0-9, - and ., with a letter or digit at both ends, no two dots in a row, and no IP address`},
		{"shared: {endpoint: 'http://192.0.2.1:9000', bucket: images}", `shared.bucket: "images": an IP address has no names below it: set path_style: true`},
		{"shared: {endpoint: 'http://192.0.2.1:9000', bucket: images, path_style: true}", ""},
		{sharedStore + ", region: 'eu 1'}", `shared.region: "eu 1": want the name of a region, as in eu-central-1`},
		{sharedStore + ", prefix: /a/}", `shared.prefix: "/a/" must end in a slash, and neither begin with one nor have two in a row`},
		{sharedStore + ", prefix: a}", `shared.prefix: "a" must end in a slash, and neither begin with one nor have two in a row`},
		{sharedStore + ", prefix: a//}", `shared.prefix: "a//" must end in a slash, and neither begin with one nor have two in a row`},
		{sharedStore + ", access_key: hunter1}", "shared: of access_key and secret_key only one is set: set both, or none"},
		{sharedStore + ", access_key_file: /a}", "shared: of access_key_file and secret_key_file only one is set: set both, or none"},
		{sharedStore + ", access_key: AKIA, secret_key: hünter2}", "shared.secret_key: a key must have 1 to 512 printable characters of ASCII"},
		{sharedStore + ", encryption: aes}", `shared.encryption: "aes" is not one of AES256, aws:kms`},
		{sharedStore + ", kms_key: k}", "shared.kms_key: it is only for encryption: aws:kms"},
		{sharedStore + ", kms_key: k, encryption: 'aws:kms'}", ""},
		{sharedStore + ", cache_bytes: 64MiB}", ""},
		{sharedStore + ", cache_bytes: 67108863}", "shared.cache_bytes: 67108863 is not in the range 64MiB to 1024TiB"},
		{"buckets: [{name: i, max_bytes: 32MiB}]\n" + sharedStore + ", cache_bytes: 64MiB}", "shared.cache_bytes: 64MiB is not in the range 128MiB to 1024TiB"},
		{sharedStore + ", max_lag: 10s}", ""},
		{sharedStore + ", max_lag: 9999ms}", "shared.max_lag: 9.999s is not in the range 10s to 24h0m0s"},
		{sharedStore + ", max_lag: 24h1ms}", "shared.max_lag: 24h0m0.001s is not in the range 10s to 24h0m0s"},
	} {
		_, _, err := load(t, tt.text)
		var got []string
		for _, m := range messages(err) {
			_, m, _ = strings.Cut(m, ": ") // the place
			got = append(got, m)
		}
		if text := strings.Join(got, "|"); text != tt.want || strings.Contains(text, "hunter") {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.text, text, tt.want)
		}
	}
}

// Keys are not printed, and a file of them that others can read is warned of.
func TestSharedKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "imgkeep.yaml")
	if err := os.WriteFile(path, []byte(sharedStore+", "+s3Keys+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o600, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		c, s, err := Load(path, nil)
		if err != nil || !c.Shared.IsSet() || c.Shared.SecretKey != "hunter2/+x" || c.Shared.MaxLag != 10*time.Minute {
			t.Fatalf("%+v %v", c.Shared, err)
		}
		if out := written(t, c, s); strings.Contains(out, "hunter") || !strings.Contains(out, "secret_key: \"\" # keys hidden; ") {
			t.Errorf("printed:\n%s", out)
		}
		if warned := len(s.Warnings) == 1; warned != (mode == 0o644) {
			t.Errorf("mode %o: warnings %q", mode, s.Warnings)
		}
	}
	if c, _ := mustLoad(t, ""); c.Shared.IsSet() {
		t.Error("a server is one of several without having been told")
	}
}

// Where the store is does not change while the server runs.
func TestSharedReload(t *testing.T) {
	old, _ := mustLoad(t, sharedStore+"}")
	fresh, _ := mustLoad(t, strings.Replace(sharedStore, "images", "others", 1)+", max_lag: 1m}")
	merged, changed, restart := Merge(old, fresh)
	if merged.Shared != old.Shared || len(changed) != 0 || len(restart) != 2 {
		t.Errorf("%v %v", changed, restart)
	}
}
