package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Tests set the variables that they are about; those of the caller would disturb.
func TestMain(m *testing.M) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, prefix) {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

const (
	goodSecret  = "a long enough secret"
	otherSecret = "another long enough secret"
)

// write puts a file into a folder of the test's.
func write(t testing.TB, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	return path
}

// load loads a file of the given text.
func load(t *testing.T, text string) (Config, Sources, error) {
	t.Helper()
	return Load(write(t, "imgkeep.yaml", text, 0o600), nil)
}

func mustLoad(t *testing.T, text string) (Config, Sources) {
	t.Helper()
	c, s, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return c, s
}

// messages returns what Load says, a line each, with the file's folder cut off.
func messages(err error) []string {
	if err == nil {
		return nil
	}
	var lines []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if i := strings.Index(line, "imgkeep.yaml"); i >= 0 {
			line = line[i:]
		}
		lines = append(lines, line)
	}
	return lines
}

func TestNothingSetIsDefault(t *testing.T) {
	c, s, err := Load("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
	for _, f := range fields(&c) {
		if got := s.Of(f.key); got != "default" {
			t.Errorf("%s is said to come from %s", f.key, got)
		}
	}
	for _, text := range []string{"", "\n", "# nothing\n", "fetch:\n", "---\n"} {
		c, _, err := load(t, text)
		if err != nil || !reflect.DeepEqual(c, Default()) {
			t.Errorf("file %q: got %+v, %v", text, c, err)
		}
	}
}

// The file that is shipped explains every key. It holds the defaults, and names
// them all, those of a bucket too.
func TestShippedFile(t *testing.T) {
	path := filepath.Join("..", "..", "..", "..", "contrib", "imgkeep.yaml")
	c, s, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := Default(); !reflect.DeepEqual(c, want) {
		t.Errorf("it differs from the defaults:\ngot  %+v\nwant %+v", c, want)
	}
	for _, f := range fields(&c) {
		if !strings.HasPrefix(s.Of(f.key), path+":") {
			t.Errorf("it does not name %s", f.key)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d, err := checkFile(path, text)
	if err != nil {
		t.Fatal(err)
	}
	for key := range keysOf(reflect.TypeFor[Bucket]()) {
		if d.place("buckets[0]."+key) == "" {
			t.Errorf("it does not name %s of a bucket", key)
		}
	}
	// Every key has a comment of its own above it.
	lines := strings.Split(string(text), "\n")
	for key, n := range d.lines {
		if strings.HasSuffix(key, "]") || key == "fetch" || key == "sign" || strings.HasPrefix(key, "fetch.removed[") {
			continue
		}
		if before := lines[n-2]; !strings.Contains(before, "#") {
			t.Errorf("line %d, %s: no comment above it", n, key)
		}
	}
}

// Everything that can be set, set.
func TestWholeFile(t *testing.T) {
	secretFile := write(t, "secret", otherSecret+"\n", 0o400)
	const goodToken, otherToken = "a-token.of~these+tests/1=", "another/token/of/these"
	tokenFile := write(t, "token", otherToken+"\n", 0o400)
	c, s := mustLoad(t, `
listen: unix:/run/imgkeep/http.sock
root: /srv/images
admin: /run/imgkeep/admin.sock
base_url: https://img.example.com/
handoff: nginx
placeholder: /srv/missing.png
placeholders: [{errors: [gone], image: /srv/gone.png}]
headers: {resource_policy: same-site, robots: noindex}
cors: {origins: ["https://a.example"]}
access: {tokens: [`+goodToken+`], token_files: [`+tokenFile+`]}
max_connections: 100
shutdown_timeout: 1m30s
sign: {secrets: [`+goodSecret+`], secret_files: [`+secretFile+`], weeks: 4, timezone: Europe/Berlin, bucketless: f, allow_weak_secret: true}
buckets:
  - {name: i, hosts: [example.com, "*.example.net"], max_bytes: 1MiB, strip_metadata: true}
  - {name: f}
sizes: [100]
presets: [{name: tiny, width: 10}]
formats: [webp, png]
fetch:
  timeout: 5s
  header_timeout: 500ms
  max_bytes: 10MB
  max_pixels: 1_000_000
  max_side: 4000
  max_frames: 77
  max_animation_pixels: 2_000_000
  max_redirects: 0
  ports: [8080]
  networks: [10.0.0.0/8, "fd00::/8"]
  deny_hosts: ["*.evil.example"]
  user_agent: Bot/2
  proxy: socks5://user:pass@proxy.example:1080
  profiles: [{hosts: [a.example], user_agent: Bot/3, referer: "https://a.example/", proxy: direct, per_host: 1, headers: ["Accept-Language: de"], insecure: true, tls_min: "1.0"}]
  accept: [webp]
  removed: [{etag: 5c4fb843-ece}]
  fallbacks: ["https://archive.example/{url}"]
  fallback_after: {gone: 2, no_host: 0, unreachable: 7, tls: 8, timeout: 9, server_error: 10, page: 11, blocked: 100}
  own_hosts: [own.example]
  same_image: [{hosts: [cdn.example], params: [ex, "X-Amz-*"]}]
  same_scheme: true
  base_url: https://static.example/
  local_root: /srv/local
  s3: [{endpoint: "https://s3.example", region: eu-1, path_style: true, buckets: [attachments, my.files], access_key_file: `+tokenFile+`, secret_key_file: `+secretFile+`}]
  concurrency: 8
  per_host: 2
  queue: 3
approve: {url: "http://10.0.0.1:8100/?a=b", timeout: 1s, concurrency: 2, fail: open}
hooks: {removed: {url: "http://10.0.0.1:8200/r"}, kept: {url: "http://10.0.0.1:8200/k"}, failed: {url: "http://10.0.0.1:8200/f"}, secrets: [a secret of hooks 1], secret_files: [`+tokenFile+`], timeout: 3s}
resize: {command: /opt/resize, workers: 3, queue: 4, timeout: 1s, quality: 70, max_images: 10, animation_pixels: 1000, animation_excess: original, sandbox: off, max_memory: 1GiB, eager: [100x], avif_quality: 40, negotiate: [webp]}
store: {min_free: 0, min_free_inodes: 0, scrub_interval: 24h, scrub_rate: 1MiB, max_per_site: 5GiB}
linkrot: {interval: 168h, rate: 2}
likeness: on
shared: {endpoint: "https://s3.example", bucket: images, prefix: a/, region: eu-1, path_style: true, access_key_file: /a, secret_key_file: /b, access_key: `+otherToken+`, secret_key: `+otherSecret+`, ca_file: /ca, storage_class: COLD, encryption: "aws:kms", kms_key: k, cache_bytes: 1GiB, max_lag: 1m}
nginx: {hot: /dev/shm/hot, max_links: 10, listen: ["8080"], name: b, listen_tls: ["8443"], certificate: /c, certificate_key: /k, http2: off, rate_limit: 5, rate_burst: 6, include: /own.conf, referers: [a.example], tokens: /t, server_name: [a.example, b.example], valid: 1s, open_files: 5, access_log: ""}
page: {listen: "0.0.0.0:8092", url: "https://moderate.example.com", allow_remote: true, address_header: X-Real-IP, user_header: X-User, reasons: [spam], two_persons: true}
metrics: {listen: '127.0.0.1:9100'}
log: {level: debug, format: json}
`)
	got := fmt.Sprintf("%+v %q", c, c.Sign.Secrets)
	// Nothing is left at its default.
	d := Default()
	defaults := fields(&d)
	for i, f := range fields(&c) {
		if reflect.DeepEqual(f.value.Interface(), defaults[i].value.Interface()) {
			t.Errorf("%s did not arrive", f.key)
		}
		if strings.HasPrefix(s.Of(f.key), "default") {
			t.Errorf("%s is said to be a default", f.key)
		}
	}
	if want := []Secret{goodToken, otherToken}; !slices.Equal(c.Access.Tokens, want) || strings.Contains(got, goodToken) || strings.Contains(got, otherToken) {
		t.Error("the tokens are others, or show")
	}
	if o := c.Fetch.S3[0]; o.AccessKey != otherToken || o.SecretKey != otherSecret || !o.PathStyle || o.Region != "eu-1" || o.Endpoint != "https://s3.example" || !slices.Equal(o.Buckets, []string{"attachments", "my.files"}) {
		t.Error("the keys or the rest of fetch.s3 are others")
	}
	if want := []Secret{"a secret of hooks 1", otherToken}; !slices.Equal(c.Hooks.Secrets, want) || strings.Contains(got, "a secret of hooks") {
		t.Error("the secrets of hooks are others, or show")
	}
	if strings.Contains(got, goodSecret) || strings.Contains(got, otherSecret) {
		t.Errorf("a secret shows when the configuration is printed: %s", got)
	}
	if want := []Secret{goodSecret, otherSecret}; !slices.Equal(c.Sign.Secrets, want) {
		t.Error("the secrets of the list do not come first, those of files after them")
	}
	if c.BaseURL != "https://img.example.com" {
		t.Errorf("base_url is %q", c.BaseURL)
	}
	if c.Fetch.MaxBytes != 10_000_000 || c.Buckets[0].MaxBytes != 1<<20 || c.Fetch.MaxPixels != 1_000_000 {
		t.Errorf("sizes are %d, %d, %d", c.Fetch.MaxBytes, c.Buckets[0].MaxBytes, c.Fetch.MaxPixels)
	}
}

func TestRelativePathsBecomeAbsolute(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("secret", []byte(goodSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := mustLoad(t, `
listen: unix:http.sock
root: store
admin: admin.sock
placeholder: ../missing.png
presets: [{name: a, watermark: {picture: mark.png}}]
sign: {secret_files: [secret]}
fetch: {local_root: ./local/}
resize: {command: bin/resize}
nginx: {hot: hot, access_log: log, certificate: cert, certificate_key: key, include: own}
`)
	want := map[string]string{
		"unix:" + dir + "/http.sock":       c.Listen,
		dir + "/store":                     c.Root,
		dir + "/admin.sock":                c.Admin,
		filepath.Dir(dir) + "/missing.png": c.Placeholder,
		dir + "/secret":                    c.Sign.SecretFiles[0],
		dir + "/local":                     c.Fetch.LocalRoot,
		dir + "/bin/resize":                c.Resize.Command,
		dir + "/hot":                       c.Nginx.Hot,
		dir + "/log":                       c.Nginx.AccessLog,
		dir + "/cert":                      c.Nginx.Certificate,
		dir + "/key":                       c.Nginx.CertificateKey,
		dir + "/own":                       c.Nginx.Include,
		dir + "/mark.png":                  c.Presets[0].Watermark.Picture,
	}
	for want, got := range want {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if c, _ := mustLoad(t, "resize: {command: my-resize}"); c.Resize.Command != "my-resize" {
		t.Errorf("a name in PATH became %q", c.Resize.Command)
	}
}

func TestAdminSocket(t *testing.T) {
	for text, want := range map[string]string{
		"root: /srv/images": "/srv/images/admin.sock",
		"root: /srv/images\nadmin: /run/imgkeep/admin.sock": "/run/imgkeep/admin.sock",
	} {
		if c, _ := mustLoad(t, text); c.AdminSocket() != want {
			t.Errorf("%q: got %q, want %q", text, c.AdminSocket(), want)
		}
	}
	// A socket's path is short, also where it follows from the root.
	long := "/" + strings.Repeat("x", maxSocket-len("/admin.sock")-1)
	for root, good := range map[string]bool{long: true, long + "x": false} {
		if _, _, err := load(t, "root: "+root); (err == nil) != good {
			t.Errorf("%d bytes: %v", len(root), err)
		}
	}
	if _, _, err := load(t, "root: "+long+"x\nadmin: /run/a.sock"); err != nil {
		t.Error(err)
	}
}

// A site cannot have more places than there are in all.
func TestPerHostIsAtMostConcurrency(t *testing.T) {
	for text, want := range map[string]int{
		"fetch: {concurrency: 3}":              3,
		"fetch: {concurrency: 4}":              4,
		"fetch: {concurrency: 5}":              4,
		"fetch: {concurrency: 2, per_host: 8}": 2,
	} {
		if c, _ := mustLoad(t, text); c.Fetch.PerHost != want {
			t.Errorf("%s: per_host is %d, want %d", text, c.Fetch.PerHost, want)
		}
	}
}

func TestPrecedence(t *testing.T) {
	flags := func(args ...string) *pflag.FlagSet {
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		AddFlag(fs, "log.level", "")
		AddFlag(fs, "fetch.timeout", "")
		AddFlag(fs, "sign.allow_weak_secret", "")
		if err := fs.Parse(args); err != nil {
			t.Fatal(err)
		}
		return fs
	}
	path := write(t, "imgkeep.yaml", "root: /a\nlog: {level: warn}\n", 0o600)
	for _, tt := range []struct {
		name, path, variable string
		args                 []string
		want, source         string
	}{
		{"nothing", "", "", nil, "info", "default"},
		{"the file", path, "", nil, "warn", path + ":2"},
		{"the environment", "", "error", nil, "error", "IMGKEEP_LOG_LEVEL"},
		{"the environment before the file", path, "error", nil, "error", "IMGKEEP_LOG_LEVEL"},
		{"the flag before all", path, "error", []string{"--log-level=debug"}, "debug", "flag --log-level"},
		{"the flag before the file", path, "", []string{"--log-level=debug"}, "debug", "flag --log-level"},
		{"a flag with the default's value", path, "error", []string{"--log-level=info"}, "info", "flag --log-level"},
		{"another flag", path, "", []string{"--fetch-timeout=1s"}, "warn", path + ":2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("IMGKEEP_LOG_LEVEL", tt.variable)
			c, s, err := Load(tt.path, flags(tt.args...))
			if err != nil {
				t.Fatal(err)
			}
			if c.Log.Level != tt.want || s.Of("log.level") != tt.source {
				t.Errorf("got %s from %s, want %s from %s", c.Log.Level, s.Of("log.level"), tt.want, tt.source)
			}
		})
	}
	t.Run("a wrong value of a flag", func(t *testing.T) {
		_, _, err := Load(path, flags("--log-level=loud", "--fetch-timeout=5"))
		want := []string{
			`flag --fetch-timeout: fetch.timeout: "5" is not a duration: want a number with a unit, as in 500ms, 30s, 5m, 1h30m`,
			`flag --log-level: log.level: "loud" is not one of debug, info, warn, error`,
		}
		if got := messages(err); !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
	})
	t.Run("a bool", func(t *testing.T) {
		c, _, err := Load("", flags("--sign-allow-weak-secret"))
		if err != nil || !c.Sign.AllowWeakSecret {
			t.Errorf("got %v, %v", c.Sign.AllowWeakSecret, err)
		}
	})
}

func TestFlagsThatCannotBe(t *testing.T) {
	for _, key := range []string{"sizes", "buckets", "no.such", "fetch"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("AddFlag takes %q", key)
				}
			}()
			AddFlag(pflag.NewFlagSet("test", pflag.ContinueOnError), key, "")
		}()
	}
}

func TestConfigVariableNamesTheFile(t *testing.T) {
	path := write(t, "imgkeep.yaml", "root: /a\n", 0o600)
	t.Setenv("IMGKEEP_CONFIG", path)
	if c, s, err := Load("", nil); err != nil || c.Root != "/a" || s.Of("root") != path+":1" {
		t.Errorf("got %q from %s, %v", c.Root, s.Of("root"), err)
	}
	other := write(t, "other.yaml", "root: /b\n", 0o600)
	if c, _, err := Load(other, nil); err != nil || c.Root != "/b" {
		t.Errorf("the path given does not go before: got %q, %v", c.Root, err)
	}
}

func TestSecretsNeverShow(t *testing.T) {
	s := struct{ S []Secret }{[]Secret{goodSecret}}
	j, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []string{
		fmt.Sprint(s), fmt.Sprintf("%v", s), fmt.Sprintf("%+v", s), fmt.Sprintf("%#v", s), fmt.Sprintf("%s", s),
		fmt.Sprintf("%q", s), fmt.Sprintf("%x", s), string(j),
	} {
		if strings.Contains(got, goodSecret) || strings.Contains(got, fmt.Sprintf("%x", goodSecret)) {
			t.Errorf("it shows in %q", got)
		}
	}
}

// Two keys with one variable would be set together.
func TestVariablesAreDistinct(t *testing.T) {
	seen := map[string]string{fileVariable: "", secretVariable: ""}
	for _, f := range fields(&Config{}) {
		name := variable(f.key)
		if other, ok := seen[name]; ok {
			t.Errorf("%s sets %q and %q", name, f.key, other)
		}
		if foreign.MatchString(name + "=x") {
			t.Errorf("%s would be passed over", name)
		}
		seen[name] = f.key
	}
}

// The 50-megapixel modes of phones make pictures of 8192 x 6144 pixels.
func TestPhonesPass(t *testing.T) {
	if most := Default().Fetch.MaxPixels; most < 8192*6144 {
		t.Errorf("%d pixels are allowed by default", most)
	}
}
