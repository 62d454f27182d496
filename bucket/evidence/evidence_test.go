package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/query"
	"imgkeep/bucket/record"
)

// failing is a disk with room for so many bytes.
type failing struct{ left int }

var errFull = errors.New("no space left on device")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// image is a file of a store.
func image(t *testing.T, root, text string) query.ImageDetails {
	t.Helper()
	digest := record.Digest(sha256.Sum256([]byte(text)))
	file := filepath.Join("i", digest.String()[:1], digest.String()[1:2], digest.String()+".png")
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return query.ImageDetails{Bucket: "i", Digest: digest.String(), File: file, URLs: []string{"https://a.example/" + text}}
}

// Wherever the disk ends, a bundle is an error: at no byte it is taken for whole.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	o := Options{Root: root, Audit: filepath.Join(root, "audit.ndjson"), Images: []query.ImageDetails{image(t, root, "one"), image(t, root, "two")}, Now: time.Now()}
	var whole bytes.Buffer
	if err := Write(t.Context(), &whole, o); err != nil {
		t.Fatal(err)
	}
	for n := range whole.Len() {
		if testing.Short() && n%61 != 0 && n != whole.Len()-1 {
			continue // a sample, which has each kind of step, and the last byte
		}
		if err := Write(t.Context(), &failing{n}, o); !errors.Is(err, errFull) {
			t.Fatalf("with room for %d of %d bytes: %v", n, whole.Len(), err)
		}
	}
	if err := Write(t.Context(), &failing{whole.Len()}, o); err != nil {
		t.Errorf("with room for all: %v", err)
	}
}

// What cannot be evidence is an error.
func TestRefused(t *testing.T) {
	root := t.TempDir()
	good := image(t, root, "one")
	journal := filepath.Join(root, "i", record.JournalDir)
	if err := os.Mkdir(journal, 0o755); err != nil {
		t.Fatal(err)
	}
	with := func(change func(*query.ImageDetails)) query.ImageDetails {
		i := good
		change(&i)
		return i
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, tt := range map[string]struct {
		ctx   context.Context
		image query.ImageDetails
		line  string // of the journal
		want  string
	}{
		"good":                 {t.Context(), good, `{"url":"https://a.example/one"}`, ""},
		"another's bytes":      {t.Context(), with(func(i *query.ImageDetails) { i.Digest = record.Digest{1}.String() }), "", ErrDamaged.Error()},
		"missing":              {t.Context(), with(func(i *query.ImageDetails) { i.File = "i/x/y/z.png" }), "", ErrDamaged.Error()},
		"outside of the store": {t.Context(), with(func(i *query.ImageDetails) { i.File = "../x.png" }), "", "escapes"},
		"a line too long":      {t.Context(), good, strings.Repeat("x", maxLine+1), "token too long"},
		"told to stop":         {ended, good, "", "canceled"},
	} {
		if err := os.WriteFile(filepath.Join(journal, "2026-11.ndjson"), []byte(tt.line+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		err := Write(tt.ctx, &b, Options{Root: root, Audit: filepath.Join(root, "none"), Images: []query.ImageDetails{tt.image}})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A log's lines about an image are those that name it, at any depth, as a whole.
func TestMentions(t *testing.T) {
	root := t.TempDir()
	i := image(t, root, "one")
	lines := []string{
		`{"op":"block","what":{"url":"https:\/\/a.example\/one"}}`,
		`{"removed":[{"digest":"` + i.Digest + `"}]}`,
		`{"url":"https://a.example/one/more"}`,
		`{"other":"x"}`,
		`broken https://a.example/one`,
	}
	var found []string
	digests, urls := map[string]bool{i.Digest: true}, map[string]bool{i.URLs[0]: true}
	for _, line := range lines {
		if about([]byte(line), digests, urls) {
			found = append(found, line)
		}
	}
	if len(found) != 2 || found[0] != lines[0] || found[1] != lines[1] {
		t.Errorf("%q", found)
	}
}
