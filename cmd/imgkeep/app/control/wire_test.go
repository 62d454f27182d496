package control

import (
	"bufio"
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/record"
	"imgkeep/bucket/scrub"
)

// What goes over the socket stays as scripts and commands of other releases know it.
func TestWire(t *testing.T) {
	s := NewServer(New(Options{
		Store: store{Remover: &remover{}, scrub: func(_ context.Context, o scrub.Options) (scrub.Report, error) {
			o.Found(record.Finding{Path: "p"})
			return scrub.Report{}, nil
		}},
		Links: book{}, Keeper: func() Keeper { return keeper{} }, Reload: func() (Reloaded, error) { return Reloaded{}, nil },
	}), nil)
	for request, want := range map[string]struct {
		status int
		lines  []string // the names in each, sorted
	}{
		`GET /status `:                                                  {200, []string{"status"}},
		`POST /compact `:                                                {200, []string{"compacted"}},
		`POST /compact {}`:                                              {200, []string{"compacted"}},
		`POST /reload {}`:                                               {200, []string{"reloaded"}},
		`POST /scrub {"rate":1,"repair":false}`:                         {200, []string{"finding", "scrubbed"}},
		`POST /retry {"what":"https://e.g/"}`:                           {200, []string{"retried"}},
		`POST /remove {"verb":"purge","url":"https://e.g/"}`:            {200, []string{"links removal"}},
		`POST /remove {"verb":"burn","url":"https://e.g/"}`:             {200, []string{"error removal"}},
		`POST /populate {"bucket":"i","url":"aHR0cHM6Ly9lLmcv"}`:        {200, []string{"outcome"}},
		`POST /populate {"n":7,"url":"aHR0cHM6Ly9lLmcv"}{"n":8}`:        {200, []string{"n outcome", "n outcome"}},
		`POST /populate {"what":8}`:                                     {200, []string{"error"}},
		`POST /add?bucket=i&url=aHR0cHM6Ly9lLmcv bytes`:                 {200, []string{"outcome"}},
		`POST /add?bucket=i bytes`:                                      {400, []string{"error"}},
		`POST /ran {"op":"import","urls":1,"kept":1,"failed":0}`:        {200, []string{"noted"}},
		`POST /ran {"op":"burn","urls":1,"kept":1,"failed":0}`:          {400, []string{"error noted"}},
		`POST /remove {"verb":"purge","url":"https://e.g/","more":"x"}`: {400, []string{"error"}},
	} {
		method, rest, _ := strings.Cut(request, " ")
		path, body, _ := strings.Cut(rest, " ")
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r = r.WithContext(context.WithValue(r.Context(), peerKey{}, 0))
		w := httptest.NewRecorder()
		s.guard(s.routes()).ServeHTTP(w, r)
		if w.Code != want.status || w.Header().Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: status %d, %v", request, w.Code, w.Header())
		}
		var got []string
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			var fields map[string]json.RawMessage
			if err := json.Unmarshal(lines.Bytes(), &fields); err != nil {
				t.Errorf("%s: %s: %v", request, lines.Bytes(), err)
			}
			got = append(got, strings.Join(slices.Sorted(maps.Keys(fields)), " "))
		}
		if !slices.Equal(got, want.lines) {
			t.Errorf("%s: %q, want %q", request, got, want.lines)
		}
	}
	// A server without a configuration to read says so by its status too.
	r := httptest.NewRequest(http.MethodPost, "/reload", nil)
	r = r.WithContext(context.WithValue(r.Context(), peerKey{}, 0))
	w := httptest.NewRecorder()
	s = NewServer(New(Options{Store: store{}}), nil)
	if s.guard(s.routes()).ServeHTTP(w, r); w.Code != http.StatusNotImplemented {
		t.Errorf("status %d", w.Code)
	}
}
