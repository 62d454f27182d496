package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// s3Buckets and s3Keys are parts of a configuration with one object store.
const (
	s3Buckets = "buckets: [{name: i}, {name: a, hosts: [attachments.s3, my.files.s3]}]\n"
	s3Keys    = "access_key: AKIA-hunter1, secret_key: hunter2/+x"
)

func TestS3Refused(t *testing.T) {
	for _, tt := range []struct{ item, want string }{
		{"endpoint: s3.example, buckets: [attachments], " + s3Keys, "fetch.s3[0].endpoint: want http or https and a host, without a path, as in https://s3.example.com"},
		{"endpoint: 'https://u:hunter3@s3.example', buckets: [attachments], " + s3Keys, "fetch.s3[0].endpoint: want http or https and a host, without a path, as in https://s3.example.com"},
		{"endpoint: 'https://s3.example/x', buckets: [attachments], " + s3Keys, "fetch.s3[0].endpoint: want http or https and a host, without a path, as in https://s3.example.com"},
		{"endpoint: 'https://s3.example:0', buckets: [attachments], " + s3Keys, "fetch.s3[0].endpoint: want http or https and a host, without a path, as in https://s3.example.com"},
		{"buckets: [attachments], " + s3Keys, "fetch.s3[0].endpoint: want http or https and a host, without a path, as in https://s3.example.com"},
		{"endpoint: 'https://s3.example', region: 'eu 1', buckets: [attachments], " + s3Keys, `fetch.s3[0].region: "eu 1": want the name of a region, as in eu-central-1`},
		{"endpoint: 'https://s3.example', " + s3Keys, "fetch.s3[0].buckets: it is empty, so that nothing could be read"},
		{"endpoint: 'https://s3.example', buckets: [Attachments], " + s3Keys, `fetch.s3[0].buckets[0]: "Attachments" is not a bucket of an object store: want 3 to 63 of a-z, 0-9, - and ., with a letter or digit at both ends, no two dots in a row, and no IP address`},
		{"endpoint: 'https://s3.example', buckets: [attachments, attachments], " + s3Keys, `fetch.s3[0].buckets[1]: "attachments" is listed twice`},
		{"endpoint: 'https://s3.example', buckets: [my.files], " + s3Keys, `fetch.s3[0].buckets[0]: "my.files": no certificate is valid for a bucket whose name has a dot: set path_style: true`},
		{"endpoint: 'http://192.0.2.1:9000', buckets: [attachments], " + s3Keys, `fetch.s3[0].buckets[0]: "attachments": an IP address has no names below it: set path_style: true`},
		{"endpoint: 'https://s3.example', buckets: [attachments], path_style: maybe, " + s3Keys, `fetch.s3[0].path_style: "maybe" is neither true nor false`},
		{"endpoint: 'https://s3.example', buckets: [attachments], versions: x, " + s3Keys, "fetch.s3[0].versions: there is no such key; want one of access_key, access_key_file, buckets, endpoint, path_style, region, secret_key, secret_key_file"},
		{"endpoint: 'https://s3.example', buckets: [attachments], access_key: AKIA", "fetch.s3[0]: of access_key and secret_key only one is set: set both, or none"},
		{"endpoint: 'https://s3.example', buckets: [attachments], access_key_file: /a", "fetch.s3[0]: of access_key_file and secret_key_file only one is set: set both, or none"},
		{"endpoint: 'https://s3.example', buckets: [attachments], access_key: AKIA, secret_key: hünter2", "fetch.s3[0].secret_key: a key must have 1 to 512 printable characters of ASCII"},
		{"endpoint: 'https://s3.example', buckets: [attachments], access_key: 5, secret_key: hunter2", "fetch.s3[0].access_key: it is not text; write it in quotes"},
		{"endpoint: 'https://s3.example', buckets: [attachments], access_key_file: /missing/a, secret_key_file: /missing/b", "fetch.s3[0].access_key_file: open /missing/a: no such file or directory|fetch.s3[0].secret_key_file: open /missing/b: no such file or directory"},
	} {
		_, _, err := load(t, s3Buckets+"fetch: {s3: [{"+tt.item+"}]}")
		var got []string
		for _, m := range messages(err) {
			_, m, _ = strings.Cut(m, ": ") // the place
			got = append(got, m)
		}
		if text := strings.Join(got, "|"); text != tt.want || strings.Contains(text, "hunter") {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.item, text, tt.want)
		}
	}
	// A bucket is in one store.
	one := "{endpoint: 'https://s3.example', buckets: [attachments], " + s3Keys + "}"
	if _, _, err := load(t, s3Buckets+"fetch: {s3: ["+one+", "+one+"]}"); err == nil || !strings.Contains(err.Error(), `fetch.s3[1].buckets[0]: "attachments" is listed twice`) {
		t.Errorf("%v", err)
	}
}

// Keys come from the configuration, files or the environment, and show nowhere.
func TestS3Keys(t *testing.T) {
	dir := t.TempDir()
	access, secret := filepath.Join(dir, "access"), filepath.Join(dir, "secret")
	if err := errors.Join(os.WriteFile(access, []byte("AKIA-hunter1\n"), 0o600), os.WriteFile(secret, []byte("hunter2/+x"), 0o600), os.Chmod(secret, 0o644)); err != nil {
		t.Fatal(err)
	}
	const store = s3Buckets + "fetch: {s3: [{endpoint: 'https://s3.example', buckets: [attachments]"
	for _, tt := range []struct {
		text, warning string
		env           map[string]string
		refused       string
		none          bool // no keys
	}{
		{text: store + ", " + s3Keys + "}]}"},
		{text: store + ", access_key_file: " + access + ", secret_key_file: " + secret + "}]}", warning: secret + " holds a secret"},
		{text: store + "}]}", env: map[string]string{"AWS_ACCESS_KEY_ID": "AKIA-hunter1", "AWS_SECRET_ACCESS_KEY": "hunter2/+x"}},
		{text: store + ", access_key_file: access, secret_key_file: secret}]}", env: map[string]string{"CREDENTIALS_DIRECTORY": filepath.Dir(access)}, warning: filepath.Dir(access) + "/secret holds a secret"},
		// A command that does not fetch does without keys that only the server has.
		{text: store + ", access_key_file: access, secret_key_file: secret}]}", none: true},
		{text: store + "}]}", env: map[string]string{"AWS_ACCESS_KEY_ID": "AKIA-hunter1"}, none: true},
		{text: store + ", access_key_file: missing, secret_key_file: missing}]}", env: map[string]string{"CREDENTIALS_DIRECTORY": filepath.Dir(access)}, refused: "no such file"},
		{
			text: store + "}]}", env: map[string]string{"AWS_ACCESS_KEY_ID": "AKIA-hunter1", "AWS_SECRET_ACCESS_KEY": "hunter2/+x", "AWS_SESSION_TOKEN": "t"},
			refused: "the keys of the environment are temporary (AWS_SESSION_TOKEN)",
		},
		{text: strings.Replace(store, "attachments.s3", "b.example", 1) + ", " + s3Keys + "}]}", warning: `fetch.s3[0].buckets[0]: no link can name "attachments" until attachments.s3 is in the hosts of a bucket`},
	} {
		t.Run("", func(t *testing.T) {
			for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "CREDENTIALS_DIRECTORY"} {
				t.Setenv(name, tt.env[name])
			}
			c, s, err := load(t, tt.text)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) || strings.Contains(err.Error(), "hunter") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckS3Keys(); (err != nil) != tt.none || tt.none && (c.Fetch.S3[0].AccessKey != "" || !strings.Contains(err.Error(), "fetch.s3[0]: it has no keys: set access_key_file and secret_key_file, or AWS_ACCESS_KEY_ID")) {
				t.Errorf("check: %v", err)
			}
			if tt.none {
				return
			}
			if o := c.Fetch.S3[0]; o.AccessKey != "AKIA-hunter1" || o.SecretKey != "hunter2/+x" {
				t.Error("the keys are others")
			}
			if out := written(t, c, s); strings.Contains(out, "hunter") || !strings.Contains(out, "  s3: # keys hidden; ") {
				t.Errorf("printed:\n%s", out)
			}
			if c.Fetch.S3[0].SecretKey == "" {
				t.Error("Write changes what it writes")
			}
			if (tt.warning == "") != (len(s.Warnings) == 0) || tt.warning != "" && !slices.ContainsFunc(s.Warnings, func(w string) bool { return strings.HasPrefix(w, tt.warning) }) {
				t.Errorf("warnings %q", s.Warnings)
			}
		})
	}
}

// Who only asks a running server needs no keys, and a key that changes is taken over by one.
func TestS3Reload(t *testing.T) {
	path := write(t, "imgkeep.yaml", s3Buckets+"fetch: {s3: [{endpoint: 'https://s3.example', buckets: [attachments], access_key_file: /missing/a, secret_key_file: /missing/b}]}", 0o600)
	if _, _, err := LoadPublic(path, nil); err != nil {
		t.Error(err)
	}
	old, _ := mustLoad(t, s3Buckets+"fetch: {s3: [{endpoint: 'https://s3.example', buckets: [attachments], access_key: a, secret_key: b}]}")
	fresh, _ := mustLoad(t, s3Buckets+"fetch: {s3: [{endpoint: 'https://s3.example', buckets: [attachments], access_key: a, secret_key: c}]}")
	merged, changed, restart := Merge(old, fresh)
	if merged.Fetch.S3[0].SecretKey != "c" || !slices.Equal(changed, []string{"fetch.s3"}) || len(restart) != 0 {
		t.Errorf("changed %v, restart %v", changed, restart)
	}
}
