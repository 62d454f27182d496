package clients_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// post is a case of testdata, which PHP and JavaScript are held to.
type post struct{ Name, Format, Input, Output string }

func posts(t *testing.T) map[string][]post {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]post{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var list []post
		if err := json.Unmarshal(text, &list); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = list
	}
	return all
}

// The corpus has posts of each forum, in which something is rewritten and
// something is not.
func TestPosts(t *testing.T) {
	all := posts(t)
	for _, software := range []string{"phpbb", "xenforo", "vbulletin", "smf", "mybb", "discourse", "gazelle", "html", "bbcode"} {
		changed := 0
		for _, p := range all[software] {
			if p.Input != p.Output {
				changed++
			}
			// What is no link stands in the output as in the input, but for the
			// URL that each link takes the place of.
			parts := link.Split(p.Output, -1)
			rest := p.Input
			for _, part := range parts {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Errorf("%s, %s: %q is not as it was", software, p.Name, part)
					break
				}
				rest = after
			}
		}
		if len(all[software]) == 0 || changed == 0 {
			t.Errorf("%s: %d posts, of which %d change", software, len(all[software]), changed)
		}
	}
}

// link is a link in the corpus, or what takes its place.
var link = regexp.MustCompile(`«[^»]*»|data:,`)

// An independent parser of HTML finds no image of a foreign host in what the
// corpus wants: the hosts of images are no.example where they are none.
func TestNoForeignImageIsLeft(t *testing.T) {
	found := 0
	for software, list := range posts(t) {
		for _, p := range list {
			if p.Format != "html" {
				continue
			}
			for _, scripting := range []bool{false, true} {
				page := link.ReplaceAllString(p.Output, "https://img.example.net/i/full/x/y")
				tree, err := html.ParseWithOptions(strings.NewReader(page), html.ParseOptionEnableScripting(scripting))
				if err != nil {
					t.Fatal(err)
				}
				for n := range tree.Descendants() {
					for _, src := range images(n) {
						found++
						if foreign.MatchString(src) {
							t.Errorf("%s, %s: <%s> shows %s", software, p.Name, n.Data, src)
						}
					}
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("found %d images only", found)
	}
}

var foreign = regexp.MustCompile(`(?i)^\s*(?:https?:)?[/\\]{2}(?:[a-z]+\.)?(?:no\.example|e\.example|example\.com)`)

// images are the URLs of images of an element.
func images(n *html.Node) (urls []string) {
	if n.Type != html.ElementNode {
		return nil
	}
	for _, a := range n.Attr {
		switch n.Data + " " + a.Key {
		case "img src", "img data-src", "img data-url", "image src", "image href", "video poster", "table background", "td background":
			urls = append(urls, a.Val)
		case "img srcset", "source srcset":
			for _, c := range strings.Split(a.Val, ", ") {
				urls = append(urls, strings.TrimSpace(c))
			}
		}
		if a.Key == "style" {
			for _, m := range regexp.MustCompile(`url\(\s*['"]?([^)]*)`).FindAllStringSubmatch(regexp.MustCompile(`/\*.*?\*/|content: '[^']*'`).ReplaceAllString(a.Val, ""), -1) {
				urls = append(urls, m[1])
			}
		}
	}
	return urls
}
