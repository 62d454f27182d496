package engine

import (
	"testing"

	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/config"
)

// The default names whom to write to, where base_url tells; what is configured stays.
func TestUserAgent(t *testing.T) {
	for _, tt := range []struct{ agent, base, want string }{
		{fetch.DefaultUserAgent, "", "Mozilla/5.0 (compatible; imgkeep)"},
		{fetch.DefaultUserAgent, "https://img.example.com", "Mozilla/5.0 (compatible; imgkeep; +https://img.example.com)"},
		{fetch.DefaultUserAgent, "https://bilder.exämple", "Mozilla/5.0 (compatible; imgkeep)"},
		{"Bot/2", "https://img.example.com", "Bot/2"},
	} {
		c := config.Default()
		c.Fetch.UserAgent, c.BaseURL = tt.agent, tt.base
		if got := userAgent(c); got != tt.want {
			t.Errorf("%s and %s: %s", tt.agent, tt.base, got)
		}
	}
}
