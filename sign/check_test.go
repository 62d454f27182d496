package sign_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"imgkeep/sign"
)

func TestParseSecret(t *testing.T) {
	for text, want := range map[string]string{
		secret:                    secret,
		secret + "\n":             secret,
		secret + "\r\n":           secret,
		secret + "\r":             secret,
		" " + secret + "  \n":     " " + secret + "  ", // spaces may be meant
		"é":                       "é",
		strings.Repeat("s", 4096): strings.Repeat("s", 4096),
	} {
		got, err := sign.ParseSecret(text)
		if err != nil || got != want {
			t.Errorf("%.40q: got %.40q, %v; want %.40q", text, got, err, want)
		}
	}
	for text, want := range map[string]error{
		"":                        sign.ErrNoSecret,
		"\n":                      sign.ErrNoSecret,
		"\r\n":                    sign.ErrNoSecret,
		secret + "\n\n":           sign.ErrBadSecret,
		"\n" + secret:             sign.ErrBadSecret,
		secret + "\n" + other:     sign.ErrBadSecret,
		secret + "\t":             sign.ErrBadSecret,
		secret + "\x7f":           sign.ErrBadSecret,
		secret + "\u0085":         sign.ErrBadSecret,
		secret + "\xff":           sign.ErrBadSecret,
		strings.Repeat("s", 4097): sign.ErrBadSecret,
	} {
		_, err := sign.ParseSecret(text)
		if !errors.Is(err, want) {
			t.Errorf("%.40q: %v, want %v", text, err, want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
		if _, err := sign.New(sign.Options{Secrets: []string{text}, AllowWeak: true}); !errors.Is(err, want) {
			t.Errorf("New, %.40q: %v, want %v", text, err, want)
		}
	}
}

// What a file, a variable and a setting hold are one secret, with a line end or
// without.
func TestNewParsesSecrets(t *testing.T) {
	now := at("2026-11-18T12:00:00Z")
	link := newSigner(t, sign.Options{}).Sign("i", "full", image, false, now)
	for _, text := range []string{secret + "\n", secret + "\r\n"} {
		if got := newSigner(t, sign.Options{Secrets: []string{text}}).Sign("i", "full", image, false, now); got != link {
			t.Errorf("%q signs %s, want %s", text, got, link)
		}
	}
}

// What Check refuses the server cannot serve, and what it accepts is a link.
func TestCheck(t *testing.T) {
	s := newSigner(t, sign.Options{})
	for size, ok := range map[string]bool{
		"full": true, "info": true, "250x250": true, "150x": true, "x200": true, "99999x99999": true, "avatar": true, "xx": true,
		"": false, "Full": false, "x": false, "0x": false, "01x5": false, "100000x": false, "250": false, "a/b": false, "a\n": false,
	} {
		if err := sign.Check("i", size, image, false); (err == nil) != ok {
			t.Errorf("size %q: %v", size, err)
		}
	}
	fits := strings.Repeat("u", (4096-len("/i/full/0123456789abcdef/"))*3/4)
	for _, tt := range []struct {
		bucket, url string
		proxy, ok   bool
	}{
		{"i", image, false, true}, {"i", image, true, true}, {"", image, false, false}, {"I", image, false, false}, {"a-b", image, false, false},
		{strings.Repeat("b", 16), image, false, true}, {strings.Repeat("b", 17), image, false, false},
		{"i", "", false, false}, {"i", "x", false, true}, {"i", "a\x00b", false, false}, {"i", "a\x7fb", false, false}, {"i", "\ta\r\nb ", false, true},
		{"i", fits, false, true}, {"i", fits + "u", false, false}, {"i", fits, true, false},
	} {
		err := sign.Check(tt.bucket, "full", tt.url, tt.proxy)
		if (err == nil) != tt.ok || err != nil && !errors.Is(err, sign.ErrRefused) {
			t.Errorf("bucket %q, URL %.20q, proxy %v: %v", tt.bucket, tt.url, tt.proxy, err)
		}
		if _, parseErr := sign.Parse(s.Sign(tt.bucket, "full", tt.url, tt.proxy, time.Now()).String()); err == nil && parseErr != nil {
			t.Errorf("bucket %q, URL %.20q: passes Check, and: %v", tt.bucket, tt.url, parseErr)
		}
	}
	if err := sign.Check("i", "150x", image, true); err == nil {
		t.Error("a size of what is not stored passes")
	}
}
