// Package sandbox takes rights away from the process that it is called in, for
// good.
//
// It is for a decoder of images, which reads what strangers have made with
// libraries that have had holes and will have more. What it needs by then is
// memory, its own threads, and three pipes that are open. [Layers] take away
// what else a process can do, each by another means of the kernel, so that a
// mistake in one of them is not the end:
//
//	descriptors  what is open besides the three standard ones is closed
//	folder       the working folder is an empty one that has no name any more
//	landlock     no path can be used, no TCP port, and nobody outside signalled
//	limits       of address space, CPU time, file size, descriptors, core files
//	seccomp      calls of the kernel that decoding does not need are refused
//
// # What it promises
//
// A layer that [Enter] names as held is in force for every thread of the
// process, present and future, and nothing that the process does can end it.
// With landlock as with seccomp come no new privileges (PR_SET_NO_NEW_PRIVS).
// Refused calls fail, with EPERM or EACCES; they do not end the process, since
// a library may ask for what it can do without, like the name of a time zone.
//
// # What it does not do
//
// It does not bound the number of processes (RLIMIT_NPROC): that limit counts
// all that a user runs, the server and its threads among them, and a decoder
// could start no thread any more. It is seccomp that refuses to fork. It does
// not hide the machine's clock, nor what the kernel tells any process about
// itself. Memory that is taken is bounded as address space; what all decoders
// take together is for the service manager to bound.
package sandbox

import (
	"fmt"
	"time"
)

// Limits are bounds on what the process takes from now on.
type Limits struct {
	// Memory is how many bytes of address space it may take besides what it
	// has. 0: no bound.
	Memory int64
	// CPU is how much processor time it may use in all, rounded up to seconds;
	// the kernel then kills it. 0: no bound.
	CPU time.Duration
}

// A Layer is one means of holding the process back.
type Layer struct {
	Name string
	set  func() error
}

// Enter puts layers into force, in their order. It returns the names of those
// that hold, and for each other an error that begins with its name and says
// what it lacks. It is called once, when all that the process needs is loaded
// and before it reads anything of a stranger's.
func Enter(layers []Layer) (held []string, missing []error) {
	for _, l := range layers {
		if err := l.set(); err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", l.Name, err))
		} else {
			held = append(held, l.Name)
		}
	}
	return held, missing
}
