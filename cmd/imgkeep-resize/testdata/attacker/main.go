//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command attacker is a decoder that an image has taken over, for tests: it is
// started, confined and asked as imgkeep-resize is, and then does what the
// image says.
//
// An image "attack NAME ARGUMENT" is answered with the name of the error that
// the attack met, or "done". Any other is decoded. The environment says which
// layers of the sandbox it goes without (ATTACKER_WITHOUT, names with commas),
// a file that it has open before it is confined (ATTACKER_FILE), its bound
// on processor time (ATTACKER_CPU), and what its libvips cannot do any more
// (ATTACKER_LOSES): "<png" to read a format, ">png" to write it.
//
// As "attacker lacking CALL PROGRAM" it becomes another program, for which the
// kernel does not know a call.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/elastic/go-seccomp-bpf"
	"golang.org/x/sys/unix"

	"imgkeep/resize"
	"imgkeep/resize/sandbox"
	"imgkeep/resize/vips"
)

func main() {
	var err error
	if len(os.Args) == 4 && os.Args[1] == "lacking" {
		err = lacking(os.Args[2], os.Args[3])
	} else {
		err = serve()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "attacker:", err)
		os.Exit(1)
	}
}

// lacking runs a program without a system call, which fails as one that the kernel does
// not have, or with EPERM where the name ends in that.
func lacking(call, program string) error {
	errno := unix.ENOSYS
	if name, forbidden := strings.CutSuffix(call, " EPERM"); forbidden {
		call, errno = name, unix.EPERM
	}
	err := seccomp.LoadFilter(seccomp.Filter{
		NoNewPrivs: true,
		Flag:       seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{
			DefaultAction: seccomp.ActionAllow,
			Syscalls:      []seccomp.SyscallGroup{{Names: []string{call}, Action: seccomp.ActionErrno | seccomp.Action(errno)}},
		},
	})
	if err != nil {
		return err
	}
	return syscall.Exec(program, []string{program}, os.Environ())
}

func serve() error {
	c, err := resize.ReadConfinement(os.Getenv)
	if err != nil {
		return err
	}
	sources, err := resize.ReadSources(os.Getenv)
	if err != nil {
		return err
	}
	outputs, err := resize.ReadOutputs(os.Getenv)
	if err != nil {
		return err
	}
	decoder, err := vips.Start(sources, outputs)
	if err != nil {
		return err
	}
	if what := os.Getenv("ATTACKER_LOSES"); what != "" {
		if err := lose(what); err != nil {
			return err
		}
	}
	d := attacker{decoder, -1}
	if path := os.Getenv("ATTACKER_FILE"); path != "" {
		if d.file, err = unix.Open(path, unix.O_RDWR, 0); err != nil {
			return err
		}
	}
	if cpu := os.Getenv("ATTACKER_CPU"); cpu != "" {
		if c.CPU, err = time.ParseDuration(cpu); err != nil {
			return err
		}
	}
	without := strings.Split(os.Getenv("ATTACKER_WITHOUT"), ",")
	layers := slices.DeleteFunc(sandbox.Layers(sandbox.Limits{Memory: c.Memory, CPU: c.CPU}),
		func(l sandbox.Layer) bool { return slices.Contains(without, l.Name) })
	held, missing := sandbox.Enter(layers)
	if err := errors.Join(missing...); err != nil {
		return err
	}
	return resize.Serve(os.Stdin, os.Stdout, d, resize.Layers{Held: held})
}

type attacker struct {
	*vips.Decoder
	file int
}

func (a attacker) Resize(src []byte, r *resize.Request) ([]resize.Result, error) {
	what, ok := strings.CutPrefix(string(src), "attack ")
	if !ok {
		return a.Decoder.Resize(src, r)
	}
	name, argument, _ := strings.Cut(what, " ")
	err := a.attack(name, argument)
	var no syscall.Errno
	detail := "done"
	if errors.As(err, &no) {
		detail = unix.ErrnoName(no)
	} else if err != nil {
		detail = err.Error()
	}
	return nil, &resize.ImageError{Detail: detail}
}
