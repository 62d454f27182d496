// Package clients_test holds the signing libraries of this folder, and package
// sign, to one list of links: vectors.json. It was made once; a library that
// disagrees with it is wrong.
package clients_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"imgkeep/resize"
	"imgkeep/sign"
)

// update writes the file anew, after a vector was added. Those that are in it
// must never change: links out there are made so.
var update = flag.Bool("update", false, "write vectors.json anew")

type vector struct {
	Name       string `json:"name"`
	Secret     string `json:"secret"`
	Time       int64  `json:"time"` // unix seconds
	Bucket     string `json:"bucket"`
	Size       string `json:"size"`
	URL        string `json:"url"`
	Proxy      bool   `json:"proxy"`
	Bucketless bool   `json:"bucketless"` // the older scheme
	Week       string `json:"week"`       // ISO year and week of Time, in UTC
	Link       string `json:"link"`
}

// secretCase is the text of a secret file, or of a setting, and the link that the
// secret in it signs; none where the text is refused.
type secretCase struct {
	Name string `json:"name"`
	Text string `json:"text"`
	Link string `json:"link"` // at the time of the first vector, of its URL
}

// linkCase is what a program is asked to sign, and whether it must refuse.
type linkCase struct {
	Name    string `json:"name"`
	Bucket  string `json:"bucket"`
	Size    string `json:"size"`
	URL     string `json:"url"`
	Proxy   bool   `json:"proxy"`
	Refused bool   `json:"refused"`
}

// tagCase is a member for whom the link of an image is signed, and the URL that is to be
// signed; none where the tag is refused.
type tagCase struct {
	Name   string `json:"name"`
	Secret string `json:"secret"`
	URL    string `json:"url"`
	By     string `json:"by"`
	Tagged string `json:"tagged"`
}

type file struct {
	About   string       `json:"about"`
	Vectors []vector     `json:"vectors"`
	Secrets []secretCase `json:"secrets"`
	Links   []linkCase   `json:"links"`
	Tags    []tagCase    `json:"tags"`
}

const about = "Links that every program which signs for imgkeep must make. week is what follows the secret in the key. " +
	"bucketless is an older scheme, which new programs need not know. The vectors' secrets are taken even where they are weak. " +
	"secrets: what a secret file may hold, and the link of the first vector's URL at its time; none: refused. " +
	"links: what must be refused and what must not. tags: URLs with a tag, which are signed in the place of those without; none: refused."

// long is a secret as one should be.
const long = "vFmUz2b1w0Gk4y3n5c7p9s8r6t2x1q0L"

const url = "https://example_url/img.jpg"

func unix(s string) int64 {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

// wanted are the vectors without their links.
func wanted() []vector {
	const at = 1640730000
	all := []vector{
		{Name: "first of the design", Secret: "1234", Time: at, URL: url},
		{Name: "another secret", Secret: "123456", Time: at, URL: url},
		{Name: "not to be stored", Secret: "1234", Time: at, URL: url, Proxy: true},
		{Name: "older scheme", Secret: "1234", Time: at, URL: url, Bucketless: true},
		{Name: "older scheme, not to be stored", Secret: "1234", Time: at, URL: url, Proxy: true, Bucketless: true},
		{Name: "long secret", Secret: long, Time: at, URL: url},
		{Name: "secret longer than a block of SHA-256", Secret: strings.Repeat(long, 3), Time: at, URL: url},
		{Name: "secret that is not ASCII", Secret: "Übergrößenträger-Schlüssel", Time: at, URL: url},
		{Name: "bucket f", Secret: "1234", Time: at, Bucket: "f", URL: url},
		{Name: "bucket t, not to be stored", Secret: "1234", Time: at, Bucket: "t", URL: url, Proxy: true},
		{Name: "bucket of sixteen characters", Secret: "1234", Time: at, Bucket: "avatars234567890", URL: url},
	}
	for _, size := range []string{"info", "250x250", "150x", "x200", "150x500"} {
		all = append(all, vector{Name: "size " + size, Secret: "1234", Time: at, Size: size, URL: url})
	}
	for _, moment := range []string{
		"1970-01-01T00:00:00Z",                                                 // week 1
		"2020-12-27T23:59:59Z", "2020-12-28T00:00:00Z", "2020-12-31T12:00:00Z", // week 52, then 53
		"2021-01-01T00:00:00Z", "2021-01-03T23:59:59Z", // still week 53 of 2020
		"2021-01-04T00:00:00Z",
		"2024-12-29T23:59:59Z", "2024-12-30T00:00:00Z", "2024-12-31T23:59:59Z", // week 52, then week 1 of 2025
		"2026-12-28T00:00:00Z", "2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z", "2027-01-03T23:59:59Z", // week 53 of 2026
		"2027-01-04T00:00:00Z",
		"2026-03-01T23:59:59Z", "2026-03-02T00:00:00Z", // Sunday and Monday in UTC, both Monday in Auckland
		"2026-06-15T11:59:59Z",
	} {
		all = append(all, vector{Name: "at " + moment, Secret: "1234", Time: unix(moment), URL: url})
	}
	for _, u := range []string{
		"https://example.com/~x?a=1&b=2", // padding of one
		"https://example.com/??>>~~~",    // "-" and "_" in base64url
		"https://example.com/a~>?b",
		"https://example.com/ÿÿÿ/ûûû?þ=¾",
		"https://example.com/Bären und Öl.jpg",
		"https://bücher.example/日本語/画像.png",
		"https://example.com/😀.gif",
		"https://example.com/100%25/%E2%82%AC.png#fragment",
		"https://example.com/?q=&amp;amp;",
		"http://[2001:db8::1]:8080/img.png",
		"local:///evening.jpg",
		"https://example.com/" + strings.Repeat("long/", 500) + "img.jpg",
		"x",
	} {
		name := "URL " + u
		if len(name) > 80 {
			name = fmt.Sprintf("URL of %d bytes", len(u))
		}
		all = append(all, vector{Name: name, Secret: long, Time: at, URL: u})
	}
	for i := range all {
		if all[i].Bucket == "" {
			all[i].Bucket = "i"
		}
		if all[i].Size == "" {
			all[i].Size = "full"
		}
	}
	return all
}

// secretCases are texts of secrets without their links; those that are to be
// refused are in the second list.
func secretCases() (good, bad []secretCase) {
	return []secretCase{
			{Name: "one line", Text: long + "\n"},
			{Name: "no line end", Text: long},
			{Name: "a line end of Windows", Text: long + "\r\n"},
			{Name: "a line end of the old Macintosh", Text: long + "\r"},
			{Name: "spaces count", Text: "  " + long + " \n"},
			{Name: "a no-break space counts", Text: long + "\u00a0"},
			{Name: "a byte-order mark counts", Text: "\ufeff" + long},
			{Name: "not ASCII", Text: "Übergrößenträger\n"},
			{Name: "16 bytes", Text: "abcdefghijklmnop"},
			{Name: "16 bytes that are 8 characters", Text: "äöüßÄÖÜ÷"},
			{Name: "one character of several bytes", Text: strings.Repeat("ä", 8)},
			{Name: "4096 bytes", Text: long + strings.Repeat("s", 4096-len(long)) + "\n"},
		}, []secretCase{
			{Name: "empty"},
			{Name: "an empty line", Text: "\n"},
			{Name: "an empty line of Windows", Text: "\r\n"},
			{Name: "an empty line more", Text: long + "\n\n"},
			{Name: "an empty line first", Text: "\n" + long},
			{Name: "two secrets", Text: long + "\n" + long + "\n"},
			{Name: "a tab", Text: long + "\t"},
			{Name: "a NUL", Text: long + "\x00"},
			{Name: "DEL", Text: long + "\x7f"},
			{Name: "a control character that is not ASCII", Text: long + "\u0085"},
			{Name: "15 bytes", Text: "abcdefghijklmno\n"},
			{Name: "short and well known", Text: "changeme\n"},
			{Name: "well known", Text: "1234567890123456\n"},
			{Name: "well known, in capitals", Text: "0123456789ABCDEF"},
			{Name: "well known, with spaces", Text: "   changeme         \n"},
			{Name: "well known, with a space that is not ASCII", Text: "\u2003\u2003\u00a0changeme\u3000"},
			{Name: "one character", Text: strings.Repeat("x", 40)},
			{Name: "4097 bytes", Text: long + strings.Repeat("s", 4097-len(long))},
		}
}

// linkCases are links without whether they are refused, which the server says.
func linkCases() []linkCase {
	fits := "https://" + strings.Repeat("u", (4096-len("/i/full/0123456789abcdef/"))*3/4-len("https://"))
	var all []linkCase
	for _, size := range []string{
		"full", "info", "250x250", "150x", "x200", "99999x99999", "avatar", "a", "xx", "x-2", "big_2", strings.Repeat("a", 23),
		"", "Full", "full ", " full", "full\n", "x", "0x", "x0", "01x5", "5x01", "100000x", "x100000", "250X250", "250", "-1x5", "+1x5",
		"1x2x3", "1a", "_a", "-a", strings.Repeat("a", 24), "a/b", "../i", "a%20", "a.b", "ä", "15٠x",
	} {
		all = append(all, linkCase{Name: fmt.Sprintf("size %q", size), Bucket: "i", Size: size, URL: url})
	}
	for _, bucket := range []string{"f", "0", "avatars234567890", "", "I", "a-b", "a_b", "avatars2345678901", "a/b", "i\n", "ä"} {
		all = append(all, linkCase{Name: fmt.Sprintf("bucket %q", bucket), Bucket: bucket, Size: "full", URL: url})
	}
	for _, u := range []string{"x", " ", "a\tb\r\nc", "", "a\x00", "\x1f", "\x7f", "a\x0b", "ä\u0085", fits, fits + "u"} {
		all = append(all, linkCase{Name: fmt.Sprintf("URL %.20q of %d bytes", u, len(u)), Bucket: "i", Size: "full", URL: u})
	}
	for _, size := range []string{"full", "info", "150x", "avatar"} {
		all = append(all, linkCase{Name: "not to be stored, size " + size, Bucket: "i", Size: size, URL: url, Proxy: true})
	}
	all = append(all, linkCase{Name: "too long with its extension", Bucket: "i", Size: "full", URL: fits, Proxy: true})
	for i, c := range all {
		all[i].Refused = sign.Check(c.Bucket, c.Size, c.URL, c.Proxy) != nil
	}
	return all
}

// tagCases are tags, with what package sign makes of them.
func tagCases(t *testing.T) (all []tagCase) {
	t.Helper()
	for _, c := range []tagCase{
		{Name: "a number", URL: url, By: "4711"},
		{Name: "another number", URL: url, By: "4712"},
		{Name: "another secret", Secret: "Übergrößenträger-Schlüssel", URL: url, By: "4711"},
		{Name: "all characters", URL: url, By: "Az09_-"},
		{Name: "64 characters", URL: url, By: strings.Repeat("a", 64)},
		{Name: "in the place of a fragment", URL: "https://example.com/a.png?x=1#top#imgkeep-by=1.x", By: "4711"},
		{Name: "a URL in Unicode", URL: "https://bücher.example/日本語/画像.png", By: "4711"},
		{Name: "empty", URL: url},
		{Name: "65 characters", URL: url, By: strings.Repeat("a", 65)},
		{Name: "a dot", URL: url, By: "a.b"},
		{Name: "a space", URL: url, By: "a b"},
		{Name: "a line end", URL: url, By: "4711\n"},
		{Name: "not ASCII", URL: url, By: "ä"},
		{Name: "digits that are not ASCII", URL: url, By: "٤"},
	} {
		if c.Secret == "" {
			c.Secret = long
		}
		s, err := sign.New(sign.Options{Secrets: []string{c.Secret}})
		if err != nil {
			t.Fatal(err)
		}
		c.Tagged, _ = s.Tag(c.URL, c.By)
		all = append(all, c)
	}
	return all
}

// Tags are what the file says, by the words of the document and no code of the project.
func TestTags(t *testing.T) {
	f := readFile(t)
	if all := tagCases(t); !slices.Equal(f.Tags, all) {
		t.Errorf("vectors.json has other tags; -update writes it anew")
	}
	refused := 0
	for _, c := range f.Tags {
		if c.Tagged == "" {
			refused++
			continue
		}
		plain, _, _ := strings.Cut(c.URL, "#")
		mac := hmac.New(sha256.New, []byte(c.Secret))
		mac.Write([]byte("imgkeep by\n" + c.By + "\n" + plain))
		if want := plain + "#imgkeep-by=" + c.By + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12]); c.Tagged != want {
			t.Errorf("%s: %s, want %s", c.Name, c.Tagged, want)
		}
	}
	if refused != 7 {
		t.Errorf("%d are refused", refused)
	}
}

func readFile(t *testing.T) file {
	t.Helper()
	text, err := os.ReadFile("vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

func read(t *testing.T) []vector {
	t.Helper()
	return readFile(t).Vectors
}

// What package sign makes of the texts of secrets and of odd links is what the
// file says, and what the server knows of sizes is what package sign knows.
func TestGoRefuses(t *testing.T) {
	f := readFile(t)
	good, bad := secretCases()
	for i, c := range good {
		s, err := sign.New(sign.Options{Secrets: []string{c.Text}})
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		good[i].Link = s.Sign("i", "full", url, false, time.Unix(f.Vectors[0].Time, 0)).String()
	}
	for _, c := range bad {
		if _, err := sign.New(sign.Options{Secrets: []string{c.Text}}); err == nil {
			t.Errorf("%s: accepted", c.Name)
		}
	}
	if !slices.Equal(f.Secrets, append(good, bad...)) {
		t.Error("vectors.json has other secrets; -update writes it anew")
	}
	links := linkCases()
	if !slices.Equal(f.Links, links) {
		t.Error("vectors.json has other links; -update writes it anew")
	}
	for _, c := range links {
		_, sizeErr := resize.ParseSize(c.Size)
		known := c.Size == "full" || c.Size == "info" || sizeErr == nil || resize.CheckPresetName(c.Size) == nil
		if !known && !c.Refused {
			t.Errorf("%s: no server knows the size", c.Name)
		}
		if strings.HasPrefix(c.Name, "size ") && known && c.Refused {
			t.Errorf("%s: it is a size", c.Name)
		}
	}
}

// signed is the link of a vector by package sign.
func signed(t *testing.T, v vector) string {
	t.Helper()
	s, err := sign.New(sign.Options{Secrets: []string{v.Secret}, AllowWeak: true})
	if err != nil {
		t.Fatal(err)
	}
	if v.Bucketless {
		return s.SignBucketless(v.Bucket, v.Size, v.URL, v.Proxy, time.Unix(v.Time, 0)).String()
	}
	return s.Sign(v.Bucket, v.Size, v.URL, v.Proxy, time.Unix(v.Time, 0)).String()
}

func TestGo(t *testing.T) {
	all := wanted()
	for i, v := range all {
		year, week := time.Unix(v.Time, 0).UTC().ISOWeek()
		all[i].Week = fmt.Sprintf("%04d%02d", year, week)
		all[i].Link = signed(t, v)
	}
	if *update {
		f, err := os.Create("vectors.json")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		enc := json.NewEncoder(f)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		good, bad := secretCases()
		for i, c := range good {
			good[i].Link = signed(t, vector{Secret: c.Text, Time: all[0].Time, Bucket: "i", Size: "full", URL: url})
		}
		if err := enc.Encode(file{about, all, append(good, bad...), linkCases(), tagCases(t)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(t); !slices.Equal(got, all) {
		for i := range all {
			if i >= len(got) || got[i] != all[i] {
				t.Fatalf("vector %d: package sign makes %+v; the file differs", i, all[i])
			}
		}
		t.Fatalf("the file has %d vectors, want %d", len(got), len(all))
	}
}

// The links of the file, by the words of the design and no code of the project.
func TestVectors(t *testing.T) {
	all := read(t)
	for _, v := range all {
		message := base64.RawURLEncoding.EncodeToString([]byte(v.URL))
		if v.Proxy {
			message += "/proxy"
		}
		ext := message
		if !v.Bucketless {
			message = v.Bucket + "/" + message
		}
		mac := hmac.New(sha256.New, []byte(v.Secret+v.Week))
		mac.Write([]byte(message))
		want := "/" + v.Bucket + "/" + v.Size + "/" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12]) + "/" + ext
		if v.Link != want {
			t.Errorf("%s: %s, want %s", v.Name, v.Link, want)
		}
	}
	for _, link := range []string{ // as they stand in the README
		"/i/full/gnjO6SJxYbeT9VBz/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn",
		"/i/full/4f3OT_te_O37pMOZ/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn",
		"/i/full/u21SyNepGvwmqYgs/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn/proxy",
		"/i/full/ae0_4RXxKhh6_AwX/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn",
	} {
		if !slices.ContainsFunc(all, func(v vector) bool { return v.Link == link && v.Time == 1640730000 }) {
			t.Errorf("no vector has the link %s", link)
		}
	}
	for time, week := range map[string]string{
		"2020-12-31T12:00:00Z": "202053", "2021-01-03T23:59:59Z": "202053", "2024-12-30T00:00:00Z": "202501", "2027-01-01T00:00:00Z": "202653",
	} {
		if !slices.ContainsFunc(all, func(v vector) bool { return v.Time == unix(time) && v.Week == week }) {
			t.Errorf("no vector is of %s in week %s", time, week)
		}
	}
	for _, c := range "-_" {
		if !slices.ContainsFunc(all, func(v vector) bool { return strings.ContainsRune(sign.EncodeURL(v.URL), c) }) {
			t.Errorf("no URL has %q in its base64url", c)
		}
	}
}

// Each library runs its own test, in its own language, over all vectors.
func TestLibraries(t *testing.T) {
	f := readFile(t)
	made := len(f.Secrets) + len(f.Links) + len(f.Tags)
	for _, v := range f.Vectors {
		if !v.Bucketless {
			made++
		}
	}
	vectors, err := filepath.Abs("vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	for dir, command := range map[string][]string{
		"php":        {"php", "test.php"},
		"python":     {"python3", "-B", "test.py"},
		"javascript": {"node", "test.mjs"},
		"perl":       {"perl", "-w", "test.pl"},
	} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(command[0], append(command[1:], vectors)...)
			cmd.Dir = dir
			// The go command remembers that this test has passed until a file
			// changes that it has opened. It does not know what these read.
			for _, dir := range []string{dir, "testdata", "javascript"} { // PHP's test reads a table of JavaScript's
				files, err := os.ReadDir(dir)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					if _, err := os.ReadFile(filepath.Join(dir, f.Name())); err != nil {
						t.Fatal(err)
					}
				}
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %v\n%s", command, err, out)
			}
			if want := fmt.Sprintf("%d cases\n", made); !strings.HasSuffix(string(out), want) {
				t.Errorf("it says %q, want %q", out, want)
			}
		})
	}
}
