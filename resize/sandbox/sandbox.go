// Package sandbox permanently takes rights away from the process that calls it.
//
// It is for a decoder of images: a program that reads what strangers have made, with
// libraries that have had vulnerabilities and will have more. By then it needs only memory,
// its own threads, and three open pipes. [Layers] take away everything else that a process
// can do, each by another mechanism of the kernel, so that a mistake in one of them is not
// the end:
//
//	descriptors  what is open besides the three standard ones is closed
//	folder       the working folder is an empty one that has no name any more
//	landlock     no path can be used, no TCP port, and nobody outside signalled
//	limits       of address space, CPU time, file size, descriptors, core files
//	seccomp      calls of the kernel that decoding does not need are refused
//
// # What it promises
//
// A layer that [Enter] reports as held is in force for every thread of the process, present
// and future, and nothing that the process does can end it. landlock and seccomp both set
// no new privileges (PR_SET_NO_NEW_PRIVS). Refused calls fail with EPERM or EACCES; they do
// not end the process, since a library may ask for something that it can do without, such
// as the name of a time zone.
//
// # What it does not do
//
// It does not bound the number of processes (RLIMIT_NPROC): that limit counts everything
// that a user runs, including the server and its threads, and a decoder could no longer
// start a thread. seccomp forbids fork instead. The package does not hide the machine's
// clock, nor what the kernel tells any process about itself. It bounds memory as address
// space; the service manager has to bound the memory of all decoders together.
package sandbox

import (
	"fmt"
	"time"
)

// Limits bound what the process takes from now on.
type Limits struct {
	// Memory is how many bytes of address space it may take besides what it
	// has. 0: no bound.
	Memory int64
	// CPU is how much processor time it may use in all, rounded up to seconds;
	// the kernel then kills it. 0: no bound.
	CPU time.Duration
}

// A Layer is one mechanism that confines the process.
type Layer struct {
	Name string
	set  func() error
}

// Enter puts layers into force, in their order. It returns the names of those that hold,
// and for each other an error that begins with its name and says what is missing. Call it
// once, when everything that the process needs is loaded and before it reads anything from
// a stranger.
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
