package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/pflag"
)

// loadSecretFile loads a configuration with one secret file.
func loadSecretFile(t *testing.T, path string) (Config, Sources, error) {
	t.Helper()
	return load(t, fmt.Sprintf("sign: {secret_files: [%q]}", path))
}

func TestSecretFile(t *testing.T) {
	long := strings.Repeat("s", maxSecret)
	for text, want := range map[string]string{
		goodSecret:               goodSecret,
		goodSecret + "\n":        goodSecret,
		goodSecret + "\r\n":      goodSecret,
		"  " + goodSecret + "  ": "  " + goodSecret + "  ", // spaces may be meant
		"ein längeres Geheimnis": "ein längeres Geheimnis",
		long[1:] + "x":           long[1:] + "x", // as long as allowed
	} {
		c, s, err := loadSecretFile(t, write(t, "secret", text, 0o600))
		if err != nil {
			t.Errorf("%.30q: %v", text, err)
			continue
		}
		if len(c.Sign.Secrets) != 1 || string(c.Sign.Secrets[0]) != want {
			t.Errorf("%.30q is read otherwise", text)
		}
		if len(s.Warnings) != 0 {
			t.Errorf("%.30q: warnings %q", text, s.Warnings)
		}
	}
}

func TestSecretFileRefused(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "missing"), "no such file"},
		{"a folder", dir, "it is a folder"},
		{"empty", write(t, "s", "", 0o600), "is empty"},
		{"an empty line", write(t, "s", "\n", 0o600), "is empty"},
		{"two secrets", write(t, "s", goodSecret+"\n"+otherSecret+"\n", 0o600), "does not hold one line of text"},
		{"an empty line more", write(t, "s", goodSecret+"\n\n", 0o600), "does not hold one line of text"},
		{"binary", write(t, "s", goodSecret+"\x00", 0o600), "does not hold one line of text"},
		{"not UTF-8", write(t, "s", goodSecret+"\xff", 0o600), "does not hold one line of text"},
		{"too long", write(t, "s", strings.Repeat("s", maxSecret-1)+"xy", 0o600), "larger than 4096 bytes"},
		{"weak", write(t, "s", "changeme\n", 0o600), "weak secret"},
		{"every user can change it", write(t, "s", goodSecret, 0o602), "every user of this machine can change"},
	} {
		_, _, err := loadSecretFile(t, tt.path)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if strings.Contains(err.Error(), goodSecret) || strings.Contains(err.Error(), "changeme") {
			t.Errorf("%s: the message shows the secret: %v", tt.name, err)
		}
	}
}

// Every file that cannot be read is named, with its place in the list.
func TestSecretFilesRefusedTogether(t *testing.T) {
	good := write(t, "good", goodSecret, 0o600)
	_, _, err := load(t, fmt.Sprintf("sign:\n  secret_files:\n    - /missing/a\n    - %s\n    - /missing/b\n", good))
	want := []string{
		"imgkeep.yaml:3: sign.secret_files[0]: open /missing/a: no such file or directory",
		"imgkeep.yaml:5: sign.secret_files[2]: open /missing/b: no such file or directory",
	}
	if got := messages(err); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// Of several secrets the weak one is told by its number, and by where to look.
func TestWeakSecretIsFound(t *testing.T) {
	weak := write(t, "weak", "changeme", 0o600)
	for text, want := range map[string]string{
		"sign: {secrets: [" + goodSecret + ", changeme]}":                     "imgkeep.yaml:1: sign.secrets: secret 2 of 2 ",
		"sign: {secret_files: [" + weak + "]}":                                "imgkeep.yaml:1: sign.secret_files: secret 1 of 1 ",
		"sign: {secrets: [" + goodSecret + "], secret_files: [" + weak + "]}": "imgkeep.yaml:1: sign.secrets: counting those of sign.secret_files too: secret 2 of 2 ",
	} {
		_, _, err := load(t, text)
		if got := messages(err); len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: got %q", text, got)
		}
	}
}

// A secret may come from a pipe, as of a password manager.
func TestSecretFromPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(path, []byte(goodSecret+"\n"), 0) }()
	c, s, err := loadSecretFile(t, path)
	if err != nil || string(c.Sign.Secrets[0]) != goodSecret || len(s.Warnings) != 0 {
		t.Errorf("got %v, %v, %q", c.Sign.Secrets, err, s.Warnings)
	}
	if err := <-wrote; err != nil {
		t.Error(err)
	}
}

func TestWarnings(t *testing.T) {
	public := write(t, "public", goodSecret, 0o644)
	_, s, err := loadSecretFile(t, public)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], public+" holds a secret and every user") {
		t.Errorf("a secret file that all can read: %q", s.Warnings)
	}
	for _, tt := range []struct {
		name, text, variable string
		mode                 os.FileMode
		want                 int
	}{
		{"a secret in a file for all", "sign: {secrets: [" + goodSecret + "]}", "", 0o644, 1},
		{"in a file of one's own", "sign: {secrets: [" + goodSecret + "]}", "", 0o640, 0},
		{"no secret", "sign: {secrets: []}", "", 0o644, 0},
		{"keys of an object store", s3Buckets + "fetch: {s3: [{endpoint: 'https://s3.example', buckets: [attachments], " + s3Keys + "}]}", "", 0o644, 1},
		{"the secret from elsewhere", "listen: ':80'", goodSecret, 0o644, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("IMGKEEP_SECRET", tt.variable)
			_, s, err := Load(write(t, "imgkeep.yaml", tt.text, tt.mode), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Warnings) != tt.want {
				t.Errorf("warnings %q", s.Warnings)
			}
		})
	}
}

// What IMGKEEP_SECRET and --secret replace.
func TestOneSecretReplaces(t *testing.T) {
	file := write(t, "secret", otherSecret, 0o600)
	path := write(t, "imgkeep.yaml", fmt.Sprintf("sign: {secrets: [the secret of the list], secret_files: [%s]}", file), 0o600)
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	flags.String("secret", "", "")
	BindFlag(flags.Lookup("secret"), "sign.secrets")

	check := func(what string, want ...Secret) {
		t.Helper()
		c, _, err := Load(path, flags)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Sign.Secrets, want) {
			t.Errorf("%s: wrong secrets, %d of them", what, len(c.Sign.Secrets))
		}
	}
	check("neither", "the secret of the list", otherSecret)
	t.Setenv("IMGKEEP_SECRET", "of, the environment")
	// It signs; links made with the files' secrets stay good.
	check("the environment", "of, the environment", otherSecret)
	if err := flags.Parse([]string{"--secret", "of, the command line"}); err != nil {
		t.Fatal(err)
	}
	// It stands alone: files need not be readable for a user who has the secret.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	check("the flag", "of, the command line")
}
