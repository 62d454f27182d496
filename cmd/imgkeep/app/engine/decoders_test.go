package engine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/resize"
)

// Where decoders cannot be confined as is required, the message says what is missing and
// how to go on, and counts as a wrong configuration: it comes once, and no restart after
// it (RestartPreventExitStatus in the unit).
func TestStartError(t *testing.T) {
	missing := fmt.Errorf("resize: decoder x: %w and incomplete: landlock: the container runtime forbids its system calls", resize.ErrSandbox)
	err := startError(missing)
	var usage config.Error
	if !errors.As(err, &usage) || !errors.Is(err, resize.ErrSandbox) {
		t.Errorf("%v is a %[1]T", err)
	}
	for _, want := range []string{"landlock: the container runtime forbids", "resize.sandbox: auto", "systemctl edit imgkeep", "[Service]", "Environment=IMGKEEP_RESIZE_SANDBOX=auto"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
	if other := errors.New("no greeting within 10s"); startError(other) != other {
		t.Errorf("another error becomes %v", startError(other))
	}
}
