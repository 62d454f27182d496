package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
	"imgkeep/cmd/imgkeep/app/target"
	"imgkeep/sign"
)

type origin struct{}

func (origin) Fetch(context.Context, fetch.Request, io.Writer) (fetch.Result, error) {
	return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Host: "gone.example", Err: errors.New("404")}
}

// self knows the links of img.example.
type self struct{}

func (self) ImageOf(l sign.Link) (string, error) { return l.URL() }
func (self) Key(canonical string) string         { return canonical }
func (self) Is(u imageurl.URL) bool              { return u.Host() == "img.example" }

// patient is a service that looks for images as long as it takes.
type patient struct{ control.Service }

func (p patient) Latest(ctx context.Context, f query.RecentFilter) (query.Recent, error) {
	f.Budget = time.Hour
	return p.Service.Latest(ctx, f)
}

// world is an API on a store of its own, and tokens of each role.
type world struct {
	t      *testing.T
	root   string
	store  *bucket.Store
	api    http.Handler
	tokens map[account.Role]string
	book   *account.Book
}

func newWorld(t *testing.T, two bool) *world {
	t.Helper()
	w := &world{t: t, root: t.TempDir(), tokens: map[account.Role]string{}}
	now := func() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }
	var err error
	if w.store, err = bucket.Open(bucket.Options{Root: w.root, Buckets: []bucket.Bucket{{Name: "i"}}, Origin: origin{}, Now: now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.store.Close(context.Background()) })
	service := control.New(control.Options{Store: control.OpenStore{Store: w.store}, Audit: &control.Audit{Path: filepath.Join(w.root, "audit.ndjson"), Now: now}})
	w.book = account.Open(w.root, now)
	if _, err := w.book.Add("anna", account.Admin, time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, role := range account.Roles() {
		if w.tokens[role], err = w.book.NewToken("anna", string(role), role, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.api = New(Options{
		Accounts: w.book, Read: target.Reader{Self: self{}}.Read, TwoPersons: two, Now: now,
		As:      func(c control.Caller) control.Service { return patient{service.As(c)} },
		Address: func(*http.Request) netip.Addr { return netip.MustParseAddr("192.0.2.7") },
	})
	return w
}

func (w *world) keep(u string) {
	w.t.Helper()
	var b bytes.Buffer
	m := image.NewGray(image.Rect(0, 0, 8, 8))
	for i := range u {
		m.Set(i%8, i/8%8, color.Gray{u[i]})
	}
	if err := png.Encode(&b, m); err != nil {
		w.t.Fatal(err)
	}
	if _, _, err := w.store.Add("i", u, &b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) send(method, path, token, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if strings.HasPrefix(body, "\x89PNG") {
		r.Header.Set("Content-Type", "image/png")
	}
	r.Header.Set("Imgkeep-On-Behalf", "forum user\n 12")
	a := httptest.NewRecorder()
	w.api.ServeHTTP(a, r)
	return a
}

const cat = "https://cats.example/cat.png?a=1&b=2"

// schema is a part of JSON Schema: what the description uses.
type schema struct {
	Ref                  string `json:"$ref"`
	Type, Format         string
	Required             []string
	Properties           map[string]*schema
	AdditionalProperties *bool
	Items                *schema
	Enum                 []string
	MinItems, MaxItems   int
	Minimum, Maximum     int
	Description          string
}

type operation struct {
	OperationID string
	Security    []any
	Parameters  []struct {
		Name, In, Description string
		Required              bool
		Schema                *schema
	}
	RequestBody struct {
		Content map[string]struct{ Schema *schema }
	}
	Responses map[string]struct {
		Content map[string]struct{ Schema *schema }
	}
}

type described struct {
	OpenAPI    string
	Paths      map[string]map[string]operation
	Components struct{ Schemas map[string]*schema }
}

func describe(t *testing.T) described {
	t.Helper()
	var d described
	if err := json.Unmarshal(description, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// check tells where a value is not as a schema says.
func (d described) check(s *schema, v any, at string) []string {
	if s.Ref != "" {
		of := d.Components.Schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if of == nil {
			return []string{at + ": there is no " + s.Ref}
		}
		return d.check(of, v, at)
	}
	var wrong []string
	switch x := v.(type) {
	case map[string]any:
		if s.Type != "object" {
			return []string{at + ": it is an object, and described as " + s.Type}
		}
		for _, key := range s.Required {
			if _, ok := x[key]; !ok {
				wrong = append(wrong, at+"."+key+" is missing")
			}
		}
		for key, value := range x {
			p := s.Properties[key]
			if p == nil {
				if s.AdditionalProperties != nil {
					wrong = append(wrong, at+"."+key+" is not described")
				}
				continue
			}
			wrong = append(wrong, d.check(p, value, at+"."+key)...)
		}
	case []any:
		if s.Type != "array" {
			return []string{at + ": it is a list, and described as " + s.Type}
		}
		for i, value := range x {
			wrong = append(wrong, d.check(s.Items, value, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case string:
		if s.Type != "string" || len(s.Enum) > 0 && !slices.Contains(s.Enum, x) {
			wrong = append(wrong, at+": "+x+" is not as described")
		}
		if _, err := time.Parse(time.RFC3339, x); s.Format == "date-time" && err != nil {
			wrong = append(wrong, at+": "+err.Error())
		}
	case float64:
		if s.Type != "integer" || x != float64(int64(x)) {
			wrong = append(wrong, at+": a number is described as "+s.Type)
		}
	case bool:
		if s.Type != "boolean" {
			wrong = append(wrong, at+": a boolean is described as "+s.Type)
		}
	default:
		wrong = append(wrong, fmt.Sprintf("%s is %v", at, v))
	}
	return wrong
}

// The description has each call, with each of its parameters, and no other.
func TestDescription(t *testing.T) {
	w, d := newWorld(t, false), describe(t)
	if !strings.HasPrefix(d.OpenAPI, "3.1") {
		t.Errorf("OpenAPI %q", d.OpenAPI)
	}
	there := map[string]bool{}
	if err := chi.Walk(w.api.(chi.Routes), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		there[method+" "+strings.TrimPrefix(route, "/api/v1")] = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for path, operations := range d.Paths {
		for method, o := range operations {
			name := strings.ToUpper(method) + " " + path
			if !there[name] {
				t.Errorf("there is no call %s", name)
			}
			delete(there, name)
			if path == "/openapi.json" {
				continue
			}
			// A parameter that is described is known, and one that is not is refused.
			known := []string{}
			for _, p := range o.Parameters {
				if p.Description == "" || p.Schema == nil {
					t.Errorf("%s: %s is not explained", name, p.Name)
				}
				if p.In == "query" {
					known = append(known, p.Name)
				}
			}
			a := w.send(strings.ToUpper(method), path+"?no-such-parameter=1", w.tokens[account.Admin], `{"of":["a"]}`)
			if a.Code != http.StatusBadRequest {
				t.Errorf("%s: an unknown parameter: %d", name, a.Code)
			}
			_, list, _ := strings.Cut(a.Body.String(), "want ")
			list, _, _ = strings.Cut(list, `"`)
			if got := strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(known))) {
				t.Errorf("%s takes %q, and %q are described", name, got, known)
			}
		}
	}
	for name := range there {
		t.Errorf("%s is not described", name)
	}
}

// Each call answers as it is described to, in good and in bad.
func TestCalls(t *testing.T) {
	w, d := newWorld(t, false), describe(t)
	w.keep(cat)
	w.keep("https://dogs.example/dog.png")
	if _, err := w.store.Keep(t.Context(), "i", "https://gone.example/x"); err == nil {
		t.Fatal("kept")
	}
	i, err := w.store.Find("i", cat)
	if err != nil {
		t.Fatal(err)
	}
	link := "https://img.example/i/250x250/" + strings.Repeat("A", 16) + "/" + sign.EncodeURL(cat)
	q := func(pairs ...string) string {
		v := url.Values{}
		for n := 0; n < len(pairs); n += 2 {
			v.Set(pairs[n], pairs[n+1])
		}
		return "?" + v.Encode()
	}
	order := func(why string, of ...string) string {
		text, err := json.Marshal(map[string]any{"of": of, "why": why})
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	many := func(n int) (all []string) {
		for i := range n {
			all = append(all, fmt.Sprintf("https://many.example/%d", i))
		}
		return all
	}
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		want                     string
	}{
		{"openapi", "GET", "/openapi.json", "", 200, `"openapi": "3.1.0"`},
		{"show a link", "GET", "/show" + q("of", link), "", 200, i.Digest.String()},
		{"show a digest", "GET", "/show" + q("of", i.Digest.String()), "", 200, cat},
		{"show what failed", "GET", "/show" + q("of", "https://gone.example/x"), "", 200, `"class":"gone"`},
		{"show nothing known", "GET", "/show" + q("of", "https://none.example/"), "", 200, `"images":[]`},
		{"show nonsense", "GET", "/show" + q("of", "x y"), "", 422, `"code":"name"`},
		{"search a link", "GET", "/search" + q("q", link), "", 200, `"image":{`},
		{"search a part", "GET", "/search" + q("q", "dog.png"), "", 200, "dogs.example"},
		{"search a host", "GET", "/search" + q("q", "cats.example"), "", 200, cat},
		{"search nothing", "GET", "/search", "", 400, `"code":"request"`},
		{"images", "GET", "/images", "", 200, cat},
		{"images by all", "GET", "/images" + q("bucket", "i", "host", "cats.example", "type", "png", "text", "cat", "since", "2026-01-01T00:00:00Z", "until", "2027-01-01T00:00:00Z", "min_bytes", "1", "max_bytes", "100000", "limit", "500"), "", 200, cat},
		{"images of no bucket", "GET", "/images" + q("bucket", "x"), "", 404, `"code":"bucket"`},
		{"images, no page", "GET", "/images" + q("before", "!"), "", 400, `"code":"request"`},
		{"images, too many", "GET", "/images" + q("limit", "501"), "", 400, `"code":"request"`},
		{"images, no time", "GET", "/images" + q("since", "now"), "", 400, `"code":"request"`},
		{"images, twice", "GET", "/images?limit=1&limit=2", "", 400, "twice"},
		{"images, no query", "GET", "/images?%zz", "", 400, `"code":"request"`},
		{"failures", "GET", "/failures" + q("class", "gone", "host", "gone.example"), "", 200, `"all":1`},
		{"blocks", "GET", "/blocks", "", 200, `"blocks":[]`},
		{"block, dry run", "POST", "/block", `{"of":["` + cat + `"],"why":"spam","dry_run":true}`, 200, cat},
		{"block", "POST", "/block", order("spam", link, "https://dogs.example/dog.png"), 200, `"failed":0`},
		{"block again", "POST", "/block", order("another reason", cat, cat), 200, `"why":"spam"`},
		{"block a host", "POST", "/block", order("spam", "*.evil.example"), 200, `"kind":"host"`},
		{"block a host again", "POST", "/block", order("another reason", "*.evil.example"), 200, `"why":"spam"`},
		{"blocks there are", "GET", "/blocks", "", 200, `"by":"token admin of moderator anna"`},
		{"block, in part", "POST", "/block", order("spam", "https://a.example/", "x y"), 200, `"failed":1`},
		{"block without a reason", "POST", "/block", order("", cat), 400, "why"},
		{"block, the longest reason", "POST", "/block", order(strings.Repeat("x", maxWhy), cat), 200, `"failed":0`},
		{"block, a longer one", "POST", "/block", order(strings.Repeat("x", maxWhy+1), cat), 400, "why"},
		{"block, as many as may be", "POST", "/unblock", order("", many(maxOf)...), 200, `"failed":0`},
		{"block, one too many", "POST", "/unblock", order("", many(maxOf+1)...), 400, "of: want 1 to 100"},
		{"block nothing", "POST", "/block", order("spam"), 400, "of: want 1 to 100"},
		{"unblock", "POST", "/unblock", order("a mistake", cat), 200, `"unblocked":[{`},
		{"unblock again", "POST", "/unblock", order("", cat), 200, `"unblocked":[]`},
		{"similar, off", "GET", "/similar" + q("of", cat), "", 501, `"code":"likeness"`},
		{"similar, nonsense", "GET", "/similar" + q("of", "x y"), "", 422, `"code":"name"`},
		{"similar, too far", "GET", "/similar" + q("of", cat, "within", "49"), "", 400, "within from 0 to 48"},
		{"similar, too many", "GET", "/similar" + q("of", cat, "limit", "1001"), "", 400, "limit"},
		{"compare, off", "POST", "/compare" + q("within", "48", "limit", "1000"), "\x89PNG", 501, `"code":"likeness"`},
		{"compare no image", "POST", "/compare", "{}", 415, `"code":"media-type"`},
		{"unknown field", "POST", "/block", `{"of":["x"],"force":true}`, 400, "not understood"},
		{"two values", "POST", "/block", `{"of":["x"]}{}`, 400, "more than one"},
		{"no JSON", "POST", "/block", `of=x`, 400, "not understood"},
		{"the largest body", "POST", "/block", `{"of":["x y"],"why":"s"` + strings.Repeat(" ", maxRequest-24) + `}`, 200, `"failed":1`},
		{"a larger one", "POST", "/block", `{"of":["x y"],"why":"s"` + strings.Repeat(" ", maxRequest) + `}`, 413, `"code":"too-large"`},
	} {
		a := w.send(c.method, c.path, w.tokens[account.Admin], c.body)
		if a.Code != c.status || !strings.Contains(a.Body.String(), c.want) {
			t.Errorf("%s: %d, want %d with %q: %.500s", c.name, a.Code, c.status, c.want, a.Body)
		}
		path, _, _ := strings.Cut(c.path, "?")
		answer, ok := d.Paths[path][strings.ToLower(c.method)].Responses[fmt.Sprint(a.Code)]
		if !ok {
			t.Errorf("%s: an answer of %d is not described", c.name, a.Code)
			continue
		}
		var v any
		if err := json.Unmarshal(a.Body.Bytes(), &v); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if a.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s: %q", c.name, a.Header().Get("Content-Type"))
		}
		for _, problem := range d.check(answer.Content["application/json"].Schema, v, c.name) {
			t.Error(problem)
		}
		if c.body != "" && a.Code == http.StatusOK && path != "/compare" { // what was sent is described too
			var sent any
			if err := json.Unmarshal([]byte(c.body), &sent); err != nil {
				t.Fatal(err)
			}
			for _, problem := range d.check(d.Paths[path]["post"].RequestBody.Content["application/json"].Schema, sent, c.name+", sent") {
				t.Error(problem)
			}
		}
	}
	log, err := os.ReadFile(filepath.Join(w.root, "audit.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	if want := `"by":"token admin of moderator anna","claims":{"address":"192.0.2.7","on_behalf":"forum user 12"},"op":"block"`; !strings.Contains(string(log), want) {
		t.Errorf("the audit log lacks %s: %s", want, log)
	}
	if strings.Contains(string(log), "another reason") {
		t.Error("to block again has changed something")
	}
}

// A token opens what its role may, as long as it is there; no cookie opens anything.
func TestTokens(t *testing.T) {
	w := newWorld(t, false)
	for path, least := range map[string]account.Role{"GET /images": account.View, "GET /show?of=https://a.example/": account.View, "GET /blocks": account.View, "POST /block": account.Remove, "POST /unblock": account.Remove} {
		method, path, _ := strings.Cut(path, " ")
		body := ""
		if method == "POST" {
			body = `{"of":["https://a.example/"],"why":"spam"}`
		}
		for role, token := range w.tokens {
			want := http.StatusOK
			if !role.May(least) {
				want = http.StatusForbidden
			}
			if a := w.send(method, path, token, body); a.Code != want {
				t.Errorf("%s with %s: %d, want %d", path, role, a.Code, want)
			}
		}
		for _, token := range []string{"", "x", strings.TrimPrefix(w.tokens[account.Admin], account.TokenPrefix)} {
			if a := w.send(method, path, token, body); a.Code != http.StatusUnauthorized || a.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %d", path, token, a.Code)
			}
		}
	}
	r := httptest.NewRequest("GET", "/api/v1/images", nil)
	r.Header.Set("Authorization", "Basic "+w.tokens[account.Admin])
	r.AddCookie(&http.Cookie{Name: "imgkeep-session", Value: w.tokens[account.Admin]})
	a := httptest.NewRecorder()
	if w.api.ServeHTTP(a, r); a.Code != http.StatusUnauthorized {
		t.Errorf("no Bearer: %d", a.Code)
	}
	r = httptest.NewRequest("POST", "/api/v1/block", strings.NewReader(`{"of":["https://a.example/"],"why":"spam"}`))
	r.Header.Set("Authorization", "Bearer "+w.tokens[account.Admin])
	r.Header.Set("Content-Type", "text/plain") // as a form of another site could send it
	a = httptest.NewRecorder()
	if w.api.ServeHTTP(a, r); a.Code != http.StatusUnsupportedMediaType {
		t.Errorf("no JSON: %d", a.Code)
	}
	if err := w.book.DropToken("anna", "admin"); err != nil {
		t.Fatal(err)
	}
	if a := w.send("GET", "/images", w.tokens[account.Admin], ""); a.Code != http.StatusUnauthorized {
		t.Errorf("removed: %d", a.Code)
	}
	if a := w.send("GET", "/nothing", w.tokens[account.View], ""); a.Code != http.StatusNotFound || !strings.Contains(a.Body.String(), `"code":"not-found"`) {
		t.Errorf("no call: %d %s", a.Code, a.Body)
	}
	if a := w.send("GET", "/block", w.tokens[account.View], ""); a.Code != http.StatusMethodNotAllowed {
		t.Errorf("another method: %d", a.Code)
	}
}

// Where another moderator has to agree, a program cannot remove.
func TestTwoPersons(t *testing.T) {
	w := newWorld(t, true)
	if a := w.send("POST", "/block", w.tokens[account.Admin], `{"of":["https://a.example/"],"why":"spam"}`); a.Code != http.StatusForbidden || !strings.Contains(a.Body.String(), "two-persons") {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	if a := w.send("POST", "/block", w.tokens[account.Admin], `{"of":["https://a.example/"],"why":"spam","dry_run":true}`); a.Code != http.StatusOK {
		t.Errorf("%d %s", a.Code, a.Body)
	}
}
