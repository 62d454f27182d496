package sign

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Every error of Check wraps ErrRefused.
var ErrRefused = errors.New("every server would refuse this link")

var (
	bucketForm = regexp.MustCompile(`^[a-z0-9]{1,16}$`)
	lengthForm = regexp.MustCompile(`^[0-9]*x[0-9]*$`)
	sizeForm   = regexp.MustCompile(`^(?:[1-9][0-9]{0,4}x(?:[1-9][0-9]{0,4})?|x[1-9][0-9]{0,4})$`)
	presetForm = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,22}$`)
)

// Check says why no server would serve a link, whatever its configuration: the bucket is
// not 1 to 16 of a-z and 0-9; the size is neither full nor info nor height x width, and
// cannot be the name of a preset; a link that is not stored has another size than full; the
// URL is empty or contains control characters (tabs and line ends pass, as browsers drop
// them), or the link would be longer than 4096 bytes. The libraries in contrib/clients
// refuse the same. nil does not mean that the bucket and the size exist.
func Check(bucket, size, url string, proxied bool) error {
	l := Link{Bucket: bucket, Size: size, Signature: strings.Repeat("-", signatureLen), ExtURL: EncodeURL(url), Proxy: proxied}
	switch {
	case !bucketForm.MatchString(bucket):
		return refused("bucket %q: want 1 to 16 of a-z and 0-9", bucket)
	case !isSize(size):
		return refused("size %q: want full, info, height x width as in 250x250, 150x, x200, or the name of a preset", size)
	case proxied && size != SizeFull:
		return refused("size %q: what is not stored has the size full only", size)
	case url == "":
		return refused("the URL is empty")
	case strings.ContainsFunc(url, func(r rune) bool { return r < ' ' && !slices.Contains([]rune("\t\r\n"), r) || r == 0x7f }):
		return refused("the URL holds a control character")
	case len(l.String()) > maxPath:
		return refused("the link is longer than %d bytes, as its URL is too long", maxPath)
	}
	return nil
}

func isSize(s string) bool {
	if lengthForm.MatchString(s) {
		return sizeForm.MatchString(s)
	}
	return presetForm.MatchString(s) // full and info have its form
}

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrRefused}, args...)...)
}
