package app

import (
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

const aLink = "/i/250x250/gnjO6SJxYbeT9VBz/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn"

func namesOf(base string) targets {
	c := config.Default()
	c.BaseURL = base
	c.Fetch.OwnHosts = []string{"pics.example.net"}
	return targets{target.Reader{Self: engine.NewSelfLinks(c, nil, time.Now)}}
}

func TestParseTarget(t *testing.T) {
	const base, url = "https://img.example.net", "https://example_url/img.jpg"
	whole := base + aLink
	digest, dashed := record.Digest{1}.String(), record.Digest{0xf8, 1}.String()
	if dashed[0] != '-' {
		t.Fatal(dashed)
	}
	around := base + "/i/full/gnjO6SJxYbeT9VBz/" + extURLOf(whole)
	for arg, want := range map[string]target.Target{
		aLink:                              {URL: url},
		aLink + "/proxy":                   {URL: url},
		whole:                              {URL: url},
		whole + "?x=1#y":                   {URL: url},
		"https://pics.example.net" + aLink: {URL: url},
		"http://another.name" + aLink:      {URL: url},
		around:                             {URL: url},
		"https://Example.com:443/a.png#x":  {URL: "https://example.com/a.png"},
		digest:                             {Digest: digest},
		" " + digest + "\n":                {Digest: digest},
		dashed:                             {Digest: dashed},
		target.Prefix + dashed:             {Digest: dashed},
		"Example.com":                      {Host: "example.com"},
		"*.example.com":                    {Host: "*.example.com"},
		"minio":                            {Host: "minio"},

		// As pasted.
		whole + ".":                              {URL: url},
		whole + ",":                              {URL: url},
		whole + ")":                              {URL: url},
		whole + ").":                             {URL: url},
		"(" + whole + ")":                        {URL: url},
		" " + whole + "\t\r\n":                   {URL: url},
		whole + "\"":                             {URL: url},
		"'" + whole + "'":                        {URL: url},
		"\u201c" + whole + "\u201d":              {URL: url},
		"\u00ab" + whole + "\u00bb":              {URL: url},
		"<" + whole + ">":                        {URL: url},
		whole + "\u200b":                         {URL: url},
		"\ufeff" + whole:                         {URL: url},
		whole + "\u00a0":                         {URL: url},
		whole + "\u3002":                         {URL: url},
		whole + "&quot;&gt;":                     {URL: url},
		whole + "/":                              {URL: url},
		aLink + ".":                              {URL: url},
		"[img]" + whole + "[/img]":               {URL: url},
		whole + "[/img]":                         {URL: url},
		"[url=" + whole + "]" + whole + "[/url]": {URL: url},
		"[IMG=" + whole + "]":                    {URL: url},
		`<img src="` + whole + `" alt="a cat">`:  {URL: url},
		"<a href='" + whole + "'>cat</a>":        {URL: url},
		"![cat](" + whole + ")":                  {URL: url},
		"see " + whole + " please":               {URL: url},
		"\"https://example.com/a.png\"":          {URL: "https://example.com/a.png"},
		" https://example.com/a.png ":            {URL: "https://example.com/a.png"},
		"[img]https://example.com/a.png[/img]":   {URL: "https://example.com/a.png"},
		"https://example.com/a_(b)":              {URL: "https://example.com/a_(b)"},
		"https://archive.example/2020/" + whole:  {URL: "https://archive.example/2020/" + whole},
		"https://cdn.example/?u=" + whole:        {URL: "https://cdn.example/?u=" + whole},
		"https://example.com/i/full/cat.jpg":     {URL: "https://example.com/i/full/cat.jpg"},
	} {
		want.Source = want.URL // nothing says that the two differ
		got, err := namesOf(base).parse(arg, true)
		if got.Link = ""; err != nil || got.Target != want {
			t.Errorf("%q: got %+v, %v; want %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{
		"", "example.com", "/i/full/short/aHR0", "ftp://example.com/a",
		base, base + "/", base + "/i/full/short/aHR0", whole[:len(whole)-60], whole + "!a", "<" + base + "/i/full/gnjO6SJxYbeT9VBz>",
		"https://pics.example.net/cat.jpg", whole + " " + strings.Replace(whole, "/i/", "/f/", 1), digest[1:],
		base + "/i/full/gnjO6SJxYbeT9VBz/" + extURLOf(base+"/cat.jpg"), // around what is no link
	} {
		if got, err := namesOf(base).parse(arg, false); err == nil {
			t.Errorf("%q is read as %+v", arg, got)
		}
	}
	for _, arg := range []string{digest[1:], digest + "A", "cat cat", whole[:len(whole)-60]} {
		if got, err := namesOf(base).parse(arg, true); err == nil {
			t.Errorf("%q is read as %+v", arg, got)
		}
	}
}

// Any URL of an image names what is kept under its key, and what failed under itself.
func TestParseTargetOfSeveral(t *testing.T) {
	const at = "https://cdn.example/a.png?id=7"
	c := config.Default()
	c.Fetch.SameImage = []config.SameImage{{Hosts: []string{"cdn.example"}, Params: []string{"ex"}}}
	got, err := targets{target.Reader{Self: engine.NewSelfLinks(c, nil, time.Now)}}.parse(at+"&ex=5", false)
	if err != nil || got.URL != at || got.Source != at+"&ex=5" || len(got.failed()) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func extURLOf(url string) string { return sign.EncodeURL(url) }

// A digest that begins with "-" is an argument, and nothing else that does.
func TestPlainArguments(t *testing.T) {
	dashed := record.Digest{0xf8, 1}.String()
	for args, want := range map[string]string{
		"show " + dashed + " --json":       "show digest:" + dashed + " --json",
		"purge --why x " + dashed:          "purge --why x digest:" + dashed,
		"show -- " + dashed:                "show -- " + dashed,
		"show --json " + dashed[1:]:        "show --json " + dashed[1:],
		"show " + dashed + "A":             "show " + dashed + "A",
		"show " + record.Digest{}.String(): "show " + record.Digest{}.String(),
	} {
		if got := strings.Join(plainArguments(strings.Fields(args)), " "); got != want {
			t.Errorf("%s: got %s, want %s", args, got, want)
		}
	}
	// In every command that takes one: none of them takes it for a flag.
	root := t.TempDir()
	for _, command := range []string{"show", "retry", "purge", "block", "unblock", "forget"} {
		_, out, errs := run(t, t.Context(), Env{Args: []string{command, dashed, "--root", root}})
		if strings.Contains(errs, "flag") || strings.Contains(out+errs, target.Prefix) {
			t.Errorf("%s: %s%s", command, out, errs)
		}
	}
}
