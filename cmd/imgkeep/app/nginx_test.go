package app

import (
	"strings"
	"testing"
)

// The command prints what the configuration says, and warns of a site without a name.
func TestNginxCommand(t *testing.T) {
	const start = "sign: {secrets: [the secret of these tests]}\nhandoff: nginx\n"
	for text, want := range map[string]struct {
		site   string
		warned bool
	}{
		"":                                    {"server_name _;", true},
		"base_url: https://img.example.com\n": {"server_name img.example.com;", false},
		"nginx: {name: forum}\n":              {"proxy_pass http://imgkeep_forum$request_uri;", true},
		"nginx: {rate_limit: 7, rate_burst: 8}\n":   {"limit_req zone=imgkeep burst=8 nodelay;", true},
		"nginx: {include: /etc/imgkeep/own.conf}\n": {"include /etc/imgkeep/own.conf;", true},
		"nginx: {server_name: [img.example.com]}\n": {"server_name img.example.com;", false},
		"nginx: {listen: ['80']}\n":                 {"    listen 80;\n    # A name", true},
	} {
		code, out, errs := run(t, t.Context(), Env{Args: []string{"nginx", "--config", written(t, start+text)}})
		if code != 0 || !strings.Contains(out, want.site) || strings.Contains(errs, "the site has no name") != want.warned {
			t.Errorf("%q: %d, %s\n%s", text, code, errs, out)
		}
	}
}
