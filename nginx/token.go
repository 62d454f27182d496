package nginx

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// tokenGrammar is that of RFC 6750, section 2.1. None of its characters means
// something to nginx in quotes.
var tokenGrammar = regexp.MustCompile(`^[A-Za-z0-9._~+/-]{16,512}={0,2}$`)

// CheckToken says what is wrong with a token. The error does not contain it.
func CheckToken(token string) error {
	if !tokenGrammar.MatchString(token) {
		return errors.New("want 16 to 512 of A-Z, a-z, 0-9, . _ ~ + / and -, as `openssl rand -base64 32` makes them")
	}
	return nil
}

// Admits tells whether an Authorization header, "Bearer" and a token, names one of these
// tokens. Its time reveals nothing about them.
func Admits(authorization string, tokens []string) bool {
	scheme, token, _ := strings.Cut(authorization, " ")
	given, good := sha256.Sum256([]byte(token)), 0
	for _, t := range tokens {
		sum := sha256.Sum256([]byte(t))
		good |= subtle.ConstantTimeCompare(given[:], sum[:])
	}
	return good == 1 && strings.EqualFold(scheme, "Bearer")
}

// WriteTokens writes the file that Site.Tokens names: entries of a map of nginx that admit
// requests with one of these tokens, by the rule of Admits. The file contains the tokens:
// make it readable for root only.
func WriteTokens(w io.Writer, tokens []string) error {
	var b strings.Builder
	for _, t := range tokens {
		if err := CheckToken(t); err != nil {
			return fmt.Errorf("nginx: a token: %w", err)
		}
		// The case of the token counts; a plain text of a map would ignore it.
		t = strings.NewReplacer(".", "[.]", "+", "[+]").Replace(t)
		fmt.Fprintf(&b, "\"~^(?i:bearer) %s$\" 1;\n", t)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
