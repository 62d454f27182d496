package app

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const root = "../../.."

// documents are all texts for people, by their paths below the project's folder.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if e.IsDir() && (name == "var" || name == "dist" || name == "bin" || name != "." && strings.HasPrefix(e.Name(), ".")) {
			return fs.SkipDir
		}
		if filepath.Ext(name) == ".md" {
			text, err := os.ReadFile(path)
			texts[name] = string(text)
			return err
		}
		return nil
	})
	if err != nil || len(texts) < 12 {
		t.Fatalf("%d documents, %v", len(texts), err)
	}
	return texts
}

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	docCode    = regexp.MustCompile("(?s)```.*?```")
)

// anchors are what links to parts of a document may name, as GitHub makes them.
func anchors(text string) map[string]bool {
	all := map[string]bool{}
	for _, m := range docHeading.FindAllStringSubmatch(docCode.ReplaceAllString(text, ""), -1) {
		a := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 0x7f:
				return r
			}
			return -1
		}, strings.ToLower(m[1]))
		all[a] = true
	}
	return all
}

// Every relative link of the documents leads somewhere.
func TestDocumentLinks(t *testing.T) {
	t.Parallel()
	texts := documents(t)
	for name, text := range texts {
		for _, m := range docLink.FindAllStringSubmatch(text, -1) {
			target, part, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			file := name
			if target != "" {
				file = filepath.Join(filepath.Dir(name), target)
			}
			if _, err := os.Stat(filepath.Join(root, file)); err != nil {
				t.Errorf("%s: %s leads nowhere: %v", name, m[1], err)
			}
			if part != "" && !anchors(texts[file])[part] {
				t.Errorf("%s: %s: %s has no such heading", name, m[1], file)
			}
		}
	}
}

// commandLine finds command lines of ours in a document: in code, inline or in blocks.
var commandLine = regexp.MustCompile("(?m)(?:^|[`(|]|&& |sudo |-u imgkeep |; )(?:bin/)?imgkeep( [a-z][^`\n|<>]*)")

// Every command line that the documents show is one: the command exists, and so do its
// flags.
func TestDocumentCommands(t *testing.T) {
	t.Parallel()
	seen := 0
	for name, text := range documents(t) {
		if name == "CHANGELOG.md" {
			continue // tells of other versions too
		}
		text = strings.ReplaceAll(text, "\\\n", " ")
		for _, m := range commandLine.FindAllStringSubmatch(text, -1) {
			words := strings.Fields(m[1])
			cmd, _, err := newRootCommand(&app{}).Find(words[:min(len(words), 2)]) // which may be a command of a command
			if err != nil {
				t.Errorf("%s: imgkeep%s: %v", name, m[1], err)
				continue
			}
			seen++
			for _, word := range words[1:] {
				word, _, _ = strings.Cut(strings.Trim(word, "'\").,;"), "=")
				if long, ok := strings.CutPrefix(word, "--"); ok && long != "" && !hasFlag(cmd, long) {
					t.Errorf("%s: imgkeep%s: no flag %s", name, m[1], word)
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("%d command lines were found", seen)
	}
}

func hasFlag(cmd *cobra.Command, name string) bool {
	cmd.InitDefaultHelpFlag()
	return cmd.Flags().Lookup(name) != nil || cmd.InheritedFlags().Lookup(name) != nil
}

// scriptLine finds our scripts in a document.
var scriptLine = regexp.MustCompile(`\bscripts/([a-z]+(?:\.[a-z]+)?)\b`)

// Every script that the documents name exists, and the picture is what its script draws.
func TestDocumentScripts(t *testing.T) {
	t.Parallel()
	for name, text := range documents(t) {
		for _, m := range scriptLine.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, "scripts", m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	want, err := exec.CommandContext(t.Context(), filepath.Join(root, "scripts", "picture"), "--print").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "contrib", "docs", "requests.svg")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("contrib/docs/requests.svg is not what scripts/picture draws: %v", err)
	}
}
