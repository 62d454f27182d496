package engine

import (
	"encoding/base64"
	"strings"
	"testing"

	"imgkeep/cmd/imgkeep/app/config"
)

// A mark is known by all who have the secret, whatever stands beside it; nobody else
// can make one, and two tell nothing of each other.
func TestLoopMarks(t *testing.T) {
	mine := loop{[]config.Secret{"the secret of these tests", "the one before it"}}
	before := loop{mine.secrets[1:]}
	mark := mine.mark()
	if again := mine.mark(); again == mark || len(mark) != 27 {
		t.Errorf("marks %q and %q", mark, again)
	}
	b, err := base64.RawURLEncoding.DecodeString(mark)
	if err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	for name, tt := range map[string]struct {
		headers []string
		want    bool
	}{
		"its own":              {[]string{mark}, true},
		"of an earlier secret": {[]string{before.mark()}, true},
		"behind others":        {[]string{"cloudflare; loops=1, fastly", `a;b="c", ` + mark + ";x=1"}, true},
		"of another server":    {[]string{loop{[]config.Secret{"another secret"}}.mark()}, false},
		"made up":              {[]string{strings.Repeat("A", 27)}, false},
		"another number":       {[]string{base64.RawURLEncoding.EncodeToString(b)}, false},
		"cut":                  {[]string{mark[:26]}, false},
		"a CDN's":              {[]string{"cloudflare"}, false},
		"empty":                {[]string{""}, false},
		"none":                 {nil, false},
	} {
		if got := mine.own(tt.headers); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := (loop{}).mark(); got != "" {
		t.Errorf("without a secret: %q", got)
	}
	if (loop{}).own([]string{mark}) {
		t.Error("known without a secret")
	}
}
