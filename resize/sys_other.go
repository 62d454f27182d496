//go:build !linux

package resize

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// procAttr: on other systems a decoder ends at the end of its input after the pool's
// process has died, but not in the middle of an image.
func procAttr() *syscall.SysProcAttr { return nil }

func widen(*os.File) {}

// Room can be asked only on Linux.
func Room(int64) error { return nil }

func allocate(n int64) ([]byte, error) { return make([]byte, n), nil }

func free([]byte) {}

func processorTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func sleeps(int) bool { return false }
