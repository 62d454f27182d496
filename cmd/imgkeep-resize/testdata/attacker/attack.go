package main

/*
#cgo pkg-config: vips
#include <stdlib.h>
#include "attack.h"
*/
import "C"

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lose has libvips refuse to read ("<png") or to write (">png") a format.
func lose(what string) error {
	name := strings.NewReplacer("avif", "heif", "heic", "heif").Replace(what[1:]) + map[byte]string{'<': "load", '>': "save"}[what[0]] + "_buffer"
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	if C.attack_lose(c) != 0 {
		return fmt.Errorf("libvips has no %s", name)
	}
	return nil
}

// attack does what it is named after, from Go or, with a c, from C.
func (a attacker) attack(name, argument string) error {
	switch name {
	case "lose":
		return lose(argument)
	case "abort":
		C.attack_abort()
	case "g_malloc":
		C.attack_gmalloc(size(argument))
	case "new":
		C.attack_new(size(argument))
	case "open":
		f, err := os.Open(argument)
		if err == nil {
			f.Close()
		}
		return err
	case "list":
		_, err := os.ReadDir(argument)
		return err
	case "write":
		return os.WriteFile(argument, []byte("owned"), 0o600)
	case "write-open": // to what was open before
		_, err := unix.Write(a.file, []byte("owned"))
		return err
	case "tcp":
		return dial(argument, unix.SOCK_STREAM)
	case "udp":
		return dial(argument, unix.SOCK_DGRAM)
	case "unix":
		return dialUnix(argument)
	case "exec":
		return syscall.Exec(argument, []string{argument}, nil)
	case "start":
		p, err := os.StartProcess(argument, []string{argument}, &os.ProcAttr{})
		if err == nil {
			p.Wait()
		}
		return err
	case "signal": // nothing is sent: may it be?
		return unix.Kill(os.Getppid(), 0)
	case "peek": // at a process that is not traced: ESRCH is as far as it gets
		_, err := unix.PtracePeekData(os.Getppid(), 0, make([]byte, 8))
		return err
	case "read-memory": // of the server
		buf := make([]byte, 8)
		_, err := unix.ProcessVMReadv(os.Getppid(),
			[]unix.Iovec{{Base: &buf[0], Len: 8}}, []unix.RemoteIovec{{Base: uintptr(unsafe.Pointer(&buf[0])), Len: 8}}, 0)
		return err
	case "run-memory":
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	case "make-runnable":
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err != nil {
			return err
		}
		return unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
	case "memfd":
		return closing(unix.MemfdCreate("code", 0))
	case "pipe":
		return unix.Pipe(make([]int, 2))
	case "duplicate":
		return closing(unix.Dup(0))
	case "pidfd":
		return closing(unix.PidfdOpen(os.Getpid(), 0))
	case "raise-limit":
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1})
	case "io_uring", "userfaultfd", "unshare":
		numbers := map[string]uintptr{"io_uring": unix.SYS_IO_URING_SETUP, "userfaultfd": unix.SYS_USERFAULTFD, "unshare": unix.SYS_UNSHARE}
		if _, _, no := unix.Syscall(numbers[name], 0, 0, 0); no != 0 {
			return no
		}
		return nil
	case "allocate": // as Go does, which dies of it
		n, err := strconv.Atoi(argument)
		if err != nil {
			return err
		}
		kept = make([]byte, n)
		return nil
	case "burn": // until so much processor time is used
		d, err := time.ParseDuration(argument)
		if err != nil {
			return err
		}
		for {
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &now); err != nil || time.Duration(now.Nano()) > d {
				return err
			}
		}
	case "crash":
		C.attack_crash()
		return nil
	}
	text := C.CString(argument)
	defer C.free(unsafe.Pointer(text))
	n, _ := strconv.ParseInt(argument, 10, 64)
	var no C.int
	switch name {
	case "c-open":
		no = C.attack_open(text)
	case "c-thread-open":
		no = C.attack_thread_open(text)
	case "c-fork":
		no = C.attack_fork()
	case "c-vfork":
		no = C.attack_vfork()
	case "c-spawn":
		no = C.attack_spawn(text)
	case "c-allocate":
		no = C.attack_allocate(C.size_t(n))
	case "c-threads":
		no = C.attack_threads(C.int(n))
	case "c-concurrency":
		C.vips_concurrency_set(C.int(n))
	case "c-other-abi":
		no = C.attack_other_abi()
	default:
		return fmt.Errorf("there is no attack %q", name)
	}
	if no != 0 {
		return syscall.Errno(no)
	}
	return nil
}

// kept is what is allocated: the compiler must not see that nobody reads it.
var kept []byte

func closing(fd int, err error) error {
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func dial(address string, kind int) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, kind, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()})
}

func dialUnix(name string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: name})
}

func size(s string) C.size_t {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		panic(err)
	}
	return C.size_t(n)
}
