package panics

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestCatch(t *testing.T) {
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		work func() error
		want string
		log  []string // what one line has; none: there is no line
	}{
		"a panic":        {func() error { panic("too much") }, "panic: too much", []string{`level=ERROR msg="work failed" bucket=i error="panic: too much" stack="goroutine`, "panics_test.go"}},
		"of the runtime": {func() error { return []error{}[len(t.Name())] }, "panic: runtime error: index out of range [9] with length 0", []string{"runtime error"}},
		"an error":       {func() error { return failed }, "failed", nil},
		"none":           {func() error { return nil }, "", nil},
	} {
		var log bytes.Buffer
		err := func() (err error) {
			defer Catch(&err, slog.New(slog.NewTextHandler(&log, nil)), "work failed", "bucket", "i")
			return c.work()
		}()
		if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if lines := strings.Count(log.String(), "\n"); lines != min(1, len(c.log)) {
			t.Errorf("%s: %d lines: %s", name, lines, log.String())
		}
		for _, want := range c.log {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: the log lacks %s: %s", name, want, log.String())
			}
		}
	}
}
