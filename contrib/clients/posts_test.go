package clients_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
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
			t.Logf("%s, %s", software, p.Name)
			found += noForeignImage(t, link.ReplaceAllString(p.Output, "https://img.example.net/i/full/x/y"))
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
		if a.Key == "style" && !strings.ContainsAny(a.Val, "\\@\n") { // what needs a tokenizer of CSS

			for _, m := range regexp.MustCompile(`url\(\s*['"]?([^)]*)`).FindAllStringSubmatch(regexp.MustCompile(`/\*.*?(?:\*/|$)|content: '[^']*'`).ReplaceAllString(a.Val, ""), -1) {
				urls = append(urls, m[1])
			}
		}
	}
	return urls
}

// Random posts, made of what tokenizers stumble over: both languages agree, a
// second time changes nothing, and another parser of HTML finds no foreign image.
func TestRandomPosts(t *testing.T) {
	pieces := map[string][]string{
		"html": {
			"<", ">", `"`, "'", "=", " ", "/", "<img ", "<a ", "src=", `style="`, "url(", `\`, "&amp;", "&quot;", "&#104", "/own", "<!--", "-->", "--!>",
			"<svg>", "</svg>", "<style>", "</style>", "<script>", "</script>", "<noscript>", "</noscript>", "<textarea>", "</textarea>", "<title>", "</title>",
			"<p>", "</p>", "<math>", "<mtext>", "<desc>", "<![CDATA[", "]]>", `srcset="`, ", ", "2x", ")", "(", "<image ", "href=", "\n", "data-src",
			"<div ", "<b>", "<input type=image ", "poster=", "<video ", "image-set(", "/*", "*/", "@import ", ";", "}", "é", "\x01", "&copy",
		},
		"bbcode": {
			"[", "]", "[img]", "[/img]", "[img=", `[IMG alt="`, `"`, "'", "=", " ", "[code]", "[/code]", `[url="`, "[/url]", "[img2=json]", `{"src":"`, `"}`,
			"[/img2]", `\`, "&quot;", "[b]", "[/b]", ":uid", "src=", "width=3", "\n", "{", "}", ":", "[thumb]", "[/thumb]", "é", "[php]", "[/php]", "/",
		},
	}
	whole := map[string][]string{
		"html": {
			"<img src=https://e.example/1.png>", `<img src="https://e.example/2.png">`, `<p style="background:url(//e.example/3)">`,
			`<img srcset="//e.example/1 2x, https://e.example/2, `, `src="https://e.example/`, "//e.example/a",
		},
		"bbcode": {
			"[img]https://e.example/1[/img]", "[img]https://e.example/", "[img=https://e.example/2]", `[img2=json]{"src":"//e.example/1"}[/img2]`,
			`[img alt="x"]//e.example/9`, "//e.example/a b",
		},
	}
	random := rand.New(rand.NewPCG(1, 2))
	input := make([][2]string, 3000)
	for i := range input {
		format := []string{"html", "bbcode"}[i%2]
		var b strings.Builder
		for range 3 + random.IntN(37) {
			from := pieces[format]
			if random.IntN(3) == 0 {
				from = whole[format]
			}
			b.WriteString(from[random.IntN(len(from))])
		}
		input[i] = [2]string{format, b.String()}
	}
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "posts.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	php, js := rewritten(t, len(input), "php", "php/rewrite.php", file), rewritten(t, len(input), "node", "javascript/rewrite.mjs", file)
	changed := 0
	for i, in := range input {
		if php[i][0] != in[1] {
			changed++
		}
		if php[i] != js[i] {
			t.Fatalf("%q:\nPHP        %q\nJavaScript %q", in, php[i], js[i])
		}
		if php[i][0] != php[i][1] {
			t.Fatalf("%q:\nonce  %q\ntwice %q", in, php[i][0], php[i][1])
		}
		if in[0] == "html" {
			noForeignImage(t, php[i][0])
		}
	}
	if changed < len(input)/2 {
		t.Errorf("only %d of %d posts change", changed, len(input))
	}
}

func rewritten(t *testing.T, n int, command ...string) (out [][2]string) {
	t.Helper()
	text, err := exec.Command(command[0], command[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	if err := json.Unmarshal(text, &out); err != nil || len(out) != n {
		t.Fatalf("%v: %d answers, %v", command, len(out), err)
	}
	return out
}

// noForeignImage parses HTML as a browser does that runs scripts, and as one that
// does not. It returns the number of images.
func noForeignImage(t *testing.T, page string) (found int) {
	t.Helper()
	for _, scripting := range []bool{false, true} {
		body := &html.Node{Type: html.ElementNode, Data: "div", DataAtom: atom.Div}
		nodes, err := html.ParseFragmentWithOptions(strings.NewReader(page), body, html.ParseOptionEnableScripting(scripting))
		if err != nil {
			t.Fatal(err)
		}
		for _, root := range nodes {
			for n := range root.Descendants() {
				nodes = append(nodes[:len(nodes):len(nodes)], n)
			}
		}
		for _, n := range nodes {
			for _, src := range images(n) {
				found++
				if foreign.MatchString(src) {
					t.Errorf("<%s> shows %s in %q", n.Data, src, page)
				}
			}
		}
	}
	return found
}
