package resize

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"
)

// procAttr makes the kernel kill a decoder when the thread that started it ends (see
// launcher), and keeps the decoder out of the server's process group: a Ctrl-C for the
// server must not interrupt the images in work.
func procAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// widen enlarges a pipe beyond the usual 64 KiB, so that an image costs few switches
// between the processes. It may fail (the kernel bounds a user's pipes in total); the pipe
// then works as it is.
func widen(pipe *os.File) {
	const setPipeSize = 1031 // F_SETPIPE_SZ of fcntl(2), not in package syscall
	if c, err := pipe.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) {
			_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, 512<<10)
		})
	}
}

// Room returns [ErrMemory] if this process cannot get n more bytes, if these are many. The
// Go runtime ends the process when it gets no memory, which looks like a crash.
func Room(n int64) error {
	const (
		many  = 4 << 20
		arena = 64 << 20 // the least address space that the runtime takes at once
	)
	if n < many {
		return nil
	}
	m, err := syscall.Mmap(-1, 0, int(n)+arena, syscall.PROT_NONE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return fmt.Errorf("%w: %d bytes: %w", ErrMemory, n, err)
	}
	return syscall.Munmap(m)
}

// allocate returns memory that free gives back to the system.
func allocate(n int64) ([]byte, error) {
	return syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
}

func free(b []byte) { _ = syscall.Munmap(b) }

// processorTime is what a process has used, all its threads together
// (clock_getcpuclockid(3)).
func processorTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED, of a process
	var t syscall.Timespec
	clock := uintptr(^pid<<3 | scheduled)
	if _, _, no := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&t)), 0); no != 0 {
		return 0, no
	}
	return time.Duration(t.Nano()), nil
}

// sleeps says whether every thread of a process sleeps, as in a deadlock: none runs or is
// ready to run, waits for the disk, or was stopped.
func sleeps(pid int) bool {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(names) == 0 {
		return false
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // a thread that has ended since
		}
		// The state follows the name, which is in parentheses, whatever it holds.
		if i := bytes.LastIndexByte(text, ')'); i < 0 || !bytes.HasPrefix(text[i+1:], []byte(" S")) {
			return false
		}
	}
	return true
}
