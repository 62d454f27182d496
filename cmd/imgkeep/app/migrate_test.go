package app

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/migrate"
)

// A store goes up and comes back by commands, which say what is wrong with their configuration.
func TestPushAndPull(t *testing.T) {
	g := s3test.Start(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const local = "sign: {secrets: [a secret of some length]}\nbuckets: [{name: i}]\n"
	single := file("single.yaml", local)
	nodes := file("nodes.yaml", fmt.Sprintf("%sshared: {endpoint: %s, bucket: %s, path_style: true, prefix: moved/, access_key_file: %s, secret_key_file: %s}\n",
		local, g.URL, s3test.Bucket, file("access", s3test.AccessKey), file("secret", s3test.SecretKey)))
	run := func(want int, args ...string) (out, errs string) {
		t.Helper()
		var o, e bytes.Buffer
		if status := Run(t.Context(), Env{Args: args, Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e}); status != want {
			t.Fatalf("%v: status %d, want %d: %s%s", args, status, want, &o, &e)
		}
		return o.String(), e.String()
	}
	says := func(text, want string) {
		t.Helper()
		if !strings.Contains(text, want) {
			t.Errorf("it says %q, want %q", text, want)
		}
	}
	root, back := filepath.Join(dir, "root"), filepath.Join(dir, "back")
	for n := range 2 {
		var picture bytes.Buffer
		if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, n+1, 1))); err != nil {
			t.Fatal(err)
		}
		run(ExitOK, "add", "--config", single, "--root", root, "--url", fmt.Sprintf("https://example.com/%d", n), file("image", picture.String()))
	}
	_, errs := run(ExitUsage, "push", "--config", single, "--root", root)
	says(errs, "shared.endpoint")
	_, errs = run(ExitUsage, "push", "--config", nodes, "--root", filepath.Join(dir, "nowhere"))
	says(errs, "there is no store")
	out, _ := run(ExitOK, "push", "--config", nodes, "--root", root)
	says(out, "2 URLs (")
	says(out, "all good")
	out, _ = run(ExitOK, "push", "--config", nodes, "--root", root, "--json", "--verify")
	var report migrate.Report
	if err := json.Unmarshal([]byte(out), &report); err != nil || report.URLs != 2 {
		t.Errorf("%v: %s", err, out)
	}
	pulled, _ := run(ExitOK, "pull", "--config", nodes, "--root", filepath.Join(dir, "json"), "--json")
	for _, text := range []string{out, pulled} {
		var v any
		if err := json.Unmarshal([]byte(text), &v); err != nil || nullIn(v, "") != "" {
			t.Errorf("%v, null at %q: %s", err, nullIn(v, ""), text)
		}
	}
	_, errs = run(ExitFailure, "pull", "--config", nodes, "--root", root)
	says(errs, "is not empty")
	out, _ = run(ExitOK, "pull", "--config", nodes, "--root", back)
	says(out, "2 URLs of 2 images")
	for _, root := range []string{root, back} {
		out, _ = run(ExitOK, "list", "--config", single, "--root", root)
		says(out, "https://example.com/1")
	}
	// What was not brought to its end is served by nobody.
	if err := os.WriteFile(filepath.Join(back, "pull.unfinished"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs = run(ExitFailure, "list", "--config", single, "--root", back)
	says(errs, "run 'imgkeep pull' again")
}
