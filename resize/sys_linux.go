package resize

import (
	"os"
	"syscall"
)

// procAttr has the kernel kill a decoder when the thread that started it ends
// (see launcher), and keeps it out of the server's process group: a Ctrl-C
// meant for the server must not cut off the images it still works on.
func procAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// widen makes a pipe hold more than the usual 64 KiB, so that an image costs
// few switches between the processes. It may fail (a user's pipes are bounded
// in all); the pipe then works as it is.
func widen(pipe *os.File) {
	const setPipeSize = 1031 // F_SETPIPE_SZ of fcntl(2), not in package syscall
	if c, err := pipe.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) {
			_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, 512<<10)
		})
	}
}
