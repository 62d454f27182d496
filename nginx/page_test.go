package nginx_test

import (
	"bytes"
	"strings"
	"testing"

	"imgkeep/nginx"
)

func TestPageAllowOrigin(t *testing.T) {
	some := nginx.Page{Origins: []string{"https://a.example", "http://[2001:db8::1]:8080"}}
	for _, c := range []struct {
		page       nginx.Page
		header     string
		want, vary string
	}{
		{nginx.Page{}, "https://a.example", "", ""},
		{nginx.Page{Origins: []string{"*"}}, "https://a.example", "*", ""},
		{nginx.Page{Origins: []string{"https://a.example", "*"}}, "", "*", ""},
		{some, "https://a.example", "https://a.example", "Origin"},
		{some, "HTTPS://A.example", "https://a.example", "Origin"},
		{some, "http://[2001:db8::1]:8080", "http://[2001:db8::1]:8080", "Origin"},
		{some, "https://a.example:8443", "", "Origin"},
		{some, "https://a.example.evil.example", "", "Origin"},
		{some, "https://aXexample", "", "Origin"},
		{some, "", "", "Origin"},
	} {
		if got, vary := c.page.AllowOrigin(c.header), c.page.Vary(false); got != c.want || vary != c.vary {
			t.Errorf("%v, %q: %q, %q; want %q, %q", c.page.Origins, c.header, got, vary, c.want, c.vary)
		}
	}
}

func TestCheckPage(t *testing.T) {
	for s, ok := range map[string]bool{
		"*": true, "https://a.example": true, "http://localhost:8080": true, "http://192.0.2.1": true, "https://[::1]:1": true, "https://a_b.example": true,
		"": false, "a.example": false, "https://a.example/": false, "https://A.example": false, "ftp://a.example": false, "null": false,
		"https://*.a.example": false, "https://a.example:080": false, "https://a\"b": false, "https://a b": false, "https://a;": false, "https://$host": false,
	} {
		if err := nginx.CheckOrigin(s); (err == nil) != ok {
			t.Errorf("origin %q: %v", s, err)
		}
	}
	for s, ok := range map[string]bool{
		"": true, "noindex": true, "noindex, nofollow": true, "googlebot: noindex": true, "max-image-preview:none": true, strings.Repeat("a", 256): true,
		"a;": false, "\"": false, "a\nb": false, "$a": false, ",": false, strings.Repeat("a", 257): false,
	} {
		if err := nginx.CheckRobots(s); (err == nil) != ok {
			t.Errorf("robots %q: %v", s, err)
		}
	}
	for s, ok := range map[string]bool{
		strings.Repeat("t", 16): true, strings.Repeat("t", 15): false, strings.Repeat("t", 512) + "==": true, strings.Repeat("t", 513): false,
		"0123456789abcdef+/._~-=": true, "0123456789abcdef$": false, "0123456789abcdef\"": false, "0123456789abcdef 1": false, "0123456789abcdef\n": false, "0123456789abcdef===": false,
	} {
		if err := nginx.CheckToken(s); (err == nil) != ok || err != nil && strings.Contains(err.Error(), s) {
			t.Errorf("token %q: %v", s, err)
		}
	}
	var b bytes.Buffer
	if err := nginx.WriteTokens(&b, []string{"0123456789abcdef", "a \"token\"; "}); err == nil || b.Len() > 0 {
		t.Errorf("a token that means something to nginx is written: %q", &b)
	}
	for _, change := range []func(*nginx.Site){
		func(s *nginx.Site) { s.Page.Origins = []string{"a"} },
		func(s *nginx.Site) { s.Page.Robots = "\"" },
		func(s *nginx.Site) { s.Page.ResourcePolicy = "none" },
		func(s *nginx.Site) { s.Referers = []string{"a;"} },
		func(s *nginx.Site) { s.Referers = []string{"_"} },
		func(s *nginx.Site) { s.Tokens = "tokens" },
	} {
		s := nginx.Default()
		if change(&s); s.Render(&b) == nil || b.Len() > 0 {
			t.Errorf("%+v is accepted", s)
		}
	}
}

func TestAdmits(t *testing.T) {
	tokens := []string{"the-first-of-two-tokens", "the-second-of-them=="}
	for header, want := range map[string]bool{
		"Bearer the-first-of-two-tokens": true, "bearer the-first-of-two-tokens": true, "BEARER the-second-of-them==": true,
		"": false, "Bearer": false, "Bearer ": false, "the-first-of-two-tokens": false, "Basic the-first-of-two-tokens": false,
		"Bearer the-first-of-two-token": false, "Bearer the-first-of-two-tokenss": false, "Bearer The-first-of-two-tokens": false, "Bearer  the-first-of-two-tokens": false,
	} {
		if got := nginx.Admits(header, tokens); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
	if nginx.Admits("Bearer ", nil) || nginx.Admits("Bearer ", []string{}) {
		t.Error("no token is admitted where there is none")
	}
}
