package app

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket"
	"imgkeep/bucket/evidence"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
)

// opened is what a bundle holds, by names; its sums are right.
func opened(t *testing.T, file string) map[string]string {
	t.Helper()
	z, err := zip.OpenReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	all := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[f.Name] = string(text)
	}
	for line := range strings.Lines(all["SHA256SUMS"]) {
		sum, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
		if got := sha256.Sum256([]byte(all[name])); hex.EncodeToString(got[:]) != sum {
			t.Errorf("the sum of %s is wrong", name)
		}
	}
	if n := strings.Count(all["SHA256SUMS"], "\n"); n != len(all)-1 {
		t.Errorf("%d sums of %d files", n, len(all)-1)
	}
	return all
}

// What purge --evidence removes is in the bundle: bytes, URLs, times and logs, from the
// server as from the store.
func TestPurgeEvidence(t *testing.T) {
	for _, who := range []string{"the server", "the command"} {
		t.Run(who, func(t *testing.T) {
			c := config.Default()
			c.Root = filepath.Join(t.TempDir(), "store")
			c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
			store := openStore(t, c, same{})
			urls := []string{"https://a.example/1.png?x&y", "https://b.example/2.png"}
			for _, url := range urls {
				if _, err := store.Keep(t.Context(), "i", url); err != nil {
					t.Fatal(err)
				}
			}
			image, err := store.Find("i", urls[0])
			if err != nil {
				t.Fatal(err)
			}
			file := written(t, "root: "+c.Root+"\nstore: {min_free: 0, min_free_inodes: 0}\n")
			if who == "the server" {
				defer store.Close(context.Background())
				defer answer(t, t.Context(), c, store)()
			} else if err := store.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(c.Root, "audit.ndjson"), []byte(`{"op":"retry","what":{"of":"`+urls[1]+`"}}`+"\n"+`{"op":"compact"}`+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}

			to := filepath.Join(t.TempDir(), "evidence.zip")
			status, out, errs := run(t, t.Context(), Env{Args: []string{"purge", "--config", file, "--why", "ticket 4711", "--evidence", to, urls[0], image.Digest.String()}})
			if status != ExitOK || strings.Count(out, "i/"+image.Digest.String()) != 1 {
				t.Fatalf("status %d: %s%s", status, out, errs)
			}
			if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
			all := opened(t, to)
			name := "images/i/" + image.Digest.String() + ".png"
			var doc evidence.Bundle
			if err := json.Unmarshal([]byte(all["evidence.json"]), &doc); err != nil {
				t.Fatal(err)
			}
			if all[name] != "the bytes" || len(doc.Images) != 1 || doc.Why != "ticket 4711" || doc.By == "" || len(doc.Names) != 2 || strings.Count(doc.Program, "imgkeep") != 1 {
				t.Fatalf("%q: %+v", all[name], doc)
			}
			got := doc.Images[0]
			if slices.Sort(got.URLs); got.Path != name || !slices.Equal(got.URLs, urls) || !got.Stored.Equal(image.Stored) || got.SHA256 != hex.EncodeToString(image.Digest[:]) {
				t.Errorf("%+v", got)
			}
			journal := "" // of this month
			for name, text := range all {
				if strings.HasPrefix(name, "journal/i/") {
					journal += text
				}
			}
			if strings.Count(journal, "\n") != 2 || strings.Count(all["audit.ndjson"], "\n") != 1 || !strings.Contains(all["audit.ndjson"], "retry") {
				t.Errorf("journal:\n%saudit log:\n%s", journal, all["audit.ndjson"])
			}
			if status, _, _ := run(t, t.Context(), Env{Args: []string{"show", "--config", file, urls[1]}}); status != ExitFailure {
				t.Error("it is not removed")
			}
			// The audit log names the bundle.
			text, err := os.ReadFile(to)
			if err != nil {
				t.Fatal(err)
			}
			if who == "the server" { // whose audit log a test has not
				return
			}
			audit, err := os.ReadFile(filepath.Join(c.Root, "audit.ndjson"))
			if want := fmt.Sprintf(`"evidence":"%s sha256:%x"`, to, sha256.Sum256(text)); err != nil || !strings.Contains(string(audit), want) {
				t.Errorf("the audit log has no %s: %s", want, audit)
			}
		})
	}
}

// Without a whole bundle nothing is removed, and no half of one is left.
func TestEvidenceFailsClosed(t *testing.T) {
	c := config.Default()
	c.Root = filepath.Join(t.TempDir(), "store")
	c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
	store := openStore(t, c, pages{})
	const kept, other = "https://a.example/1.png", "https://b.example/2.png"
	if _, err := store.Keep(t.Context(), "i", kept); err != nil {
		t.Fatal(err)
	}
	image, err := store.Find("i", kept)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Block(t.Context(), bucket.Target{Host: "x.example"}, bucket.RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	original := store.Path(image.File())
	if err := store.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	there := filepath.Join(dir, "there.zip")
	if err := os.WriteFile(there, []byte("another's"), 0o600); err != nil {
		t.Fatal(err)
	}
	fresh := filepath.Join(dir, "fresh.zip")
	file := written(t, "root: "+c.Root+"\nstore: {min_free: 0, min_free_inodes: 0}\n")
	overwrite := func(text string) {
		if err := os.Chmod(original, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(original, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		args   []string
		bytes  string // of the original
		status int
		want   string
	}{
		"the file is there":         {[]string{"--evidence", there, kept}, "the bytes", ExitFailure, there + " is there already, and may be evidence of something else"},
		"no folder":                 {[]string{"--evidence", filepath.Join(dir, "no", "x.zip"), kept}, "the bytes", ExitFailure, "--evidence: open "},
		"a dry run":                 {[]string{"--evidence", fresh, "--dry-run", kept}, "the bytes", ExitUsage, "do not go together"},
		"one of two is not kept":    {[]string{"--evidence", fresh, kept, other}, "the bytes", ExitFailure, "nothing was removed: " + other + ": "},
		"a digest that is not kept": {[]string{"--evidence", fresh, record.Digest{1}.String()}, "the bytes", ExitFailure, "nothing was removed: "},
		"damaged":                   {[]string{"--evidence", fresh, kept}, "the bites", ExitFailure, "nothing was removed: i/" + image.Digest.String() + ": the stored original is missing or damaged"},
		"not a store":               {[]string{"--evidence", fresh, kept, "--root", dir}, "the bytes", ExitUsage, "there is no store in "},
	} {
		overwrite(tt.bytes)
		status, out, errs := run(t, t.Context(), Env{Args: append([]string{"purge", "--config", file}, tt.args...)})
		if status != tt.status || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: status %d, %s%s; want %q", name, status, out, errs, tt.want)
		}
		if _, err := os.Lstat(fresh); err == nil {
			t.Errorf("%s: a bundle is left", name)
			os.Remove(fresh)
		}
		if text, err := os.ReadFile(original); err != nil || string(text) != tt.bytes {
			t.Errorf("%s: the original: %q, %v", name, text, err)
		}
	}
	if text, err := os.ReadFile(there); err != nil || string(text) != "another's" {
		t.Errorf("the file that was there: %q, %v", text, err)
	}
}
