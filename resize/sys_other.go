//go:build !linux

package resize

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// procAttr: elsewhere a decoder ends at the end of its input, when the pool's
// process has died, but not in the middle of an image.
func procAttr() *syscall.SysProcAttr { return nil }

func widen(*os.File) {}

// Room is known on Linux alone.
func Room(int64) error { return nil }

func processorTime(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

func sleeps(int) bool { return false }
