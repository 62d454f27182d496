package app

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/blob/s3/s3test"
)

// `imgkeep store check` prints what holds of a store, and names what does not.
func TestStoreCheck(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys := []string{"--access-key-file", file("access", s3test.AccessKey), "--secret-key-file", file("secret", s3test.SecretKey)}
	ignores := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {})) // says yes to all
	defer ignores.Close()
	check := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		status := Run(t.Context(), Env{Args: append([]string{"store", "check"}, args...), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs})
		if strings.Contains(out.String()+errs.String(), s3test.SecretKey) {
			t.Errorf("%v prints the secret: %s%s", args, out.String(), errs.String())
		}
		return status, out.String(), errs.String()
	}
	with := func(args ...string) []string {
		return append(append([]string{"--bucket", s3test.Bucket, "--path-style", "--rounds", "1"}, keys...), args...)
	}
	for name, tt := range map[string]struct {
		args   []string
		status int
		says   string
	}{
		"a store that ignores conditions": {with("--endpoint", ignores.URL), ExitFailure, "FAIL      1 times"},
		"nobody there":                    {with("--endpoint", "http://127.0.0.1:1"), ExitFailure, "does not answer"},
		"no endpoint":                     {with(), ExitUsage, "endpoint"},
		"no bucket":                       {append(keys, "--endpoint", ignores.URL), ExitUsage, "bucket"},
		"an endpoint that is none":        {with("--endpoint", "s3.example.com"), ExitUsage, "must be a URL"},
		"no round":                        {with("--endpoint", ignores.URL, "--rounds", "0"), ExitUsage, "--rounds"},
		"too many rounds":                 {with("--endpoint", ignores.URL, "--rounds", "1001"), ExitUsage, "--rounds"},
		"no such file of certificates":    {with("--endpoint", ignores.URL, "--ca-file", filepath.Join(dir, "none")), ExitUsage, "none"},
		"a file of no certificates":       {with("--endpoint", ignores.URL, "--ca-file", file("pem", "x")), ExitUsage, "holds no certificate"},
		"an argument":                     {with("--endpoint", ignores.URL, "x"), ExitUsage, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out, errs := check(tt.args...)
			if status != tt.status || !strings.Contains(out+errs, tt.says) {
				t.Errorf("status %d, want %d with %q: %s%s", status, tt.status, tt.says, out, errs)
			}
		})
	}
	t.Run("a real store, by two gateways", func(t *testing.T) {
		g := s3test.Start(t)
		status, out, errs := check(with("--endpoint", g.URL, "--endpoint", g.Another(t).URL)...)
		if status != ExitOK || strings.Count(out, "ok        5 times") != 8 || strings.Contains(out, "FAIL") {
			t.Errorf("status %d: %s%s", status, out, errs)
		}
	})
}
