package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/landlock-lsm/go-landlock/landlock"
	"golang.org/x/sys/unix"
)

// Layers are all layers, in the only order in which they can be set: each leaves later ones
// what they need.
func Layers(l Limits) []Layer {
	// Memory is counted from what there is: the Go runtime alone reserves more
	// than a GiB that it never uses. No path can be read once landlock holds, and
	// landlock needs the descriptors that the limits end.
	size, err := addressSpace()
	return []Layer{
		{"descriptors", closeDescriptors},
		{"folder", enterNowhere},
		{"landlock", restrictPaths},
		{"limits", func() error {
			if err != nil {
				return err
			}
			return l.set(size)
		}},
		{"seccomp", filterCalls},
	}
}

// closeDescriptors closes every descriptor after standard error that the parent left open.
// The server leaves none open, but another parent may, and a library of the server may one
// day forget to.
func closeDescriptors() error {
	const folder = "/proc/self/fd"
	// Opening it as a file makes the Go runtime create the two descriptors that it waits
	// with; they must exist before seccomp and limits do.
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	// Other descriptors of these types would do no harm: they lead only to each other.
	runtimes := []string{"anon_inode:[eventpoll]", "anon_inode:[eventfd]"}
	for _, name := range names {
		fd, err := strconv.Atoi(name)
		if err != nil || fd <= unix.Stderr || fd == int(dir.Fd()) {
			continue
		}
		if to, err := os.Readlink(filepath.Join(folder, name)); err == nil && slices.Contains(runtimes, to) {
			continue
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("close %d: %w", fd, err)
		}
	}
	return nil
}

// enterNowhere makes a removed folder the working folder: nobody can find or create
// anything in it, whatever their rights.
func enterNowhere() error {
	var errs []error
	for _, parent := range []string{os.TempDir(), "/dev/shm", "/run"} {
		dir, err := os.MkdirTemp(parent, "imgkeep-resize-")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		err = os.Chdir(dir)
		return errors.Join(err, os.Remove(dir))
	}
	return errors.Join(errs...)
}

// restrictPaths allows no path, no TCP port and no signal or abstract socket to the
// outside, as far as the kernel supports it (paths: Linux 5.13, ports: 6.7, the rest:
// 6.12).
//
// Up to Linux 6.19 (ABI 7) go-landlock allows listing the folder /proc/{pid}/task, which it
// needs to restrict all threads: their numbers are no secret.
func restrictPaths() error {
	if err := landlock.V11.BestEffort().Restrict(); err != nil {
		return err
	}
	// Best effort does nothing on a kernel without Landlock.
	if dir, err := os.Open("/"); err == nil {
		dir.Close()
		return noLandlock()
	}
	return nil
}

// noLandlock says why there is no Landlock, from the kernel's answer to the question which
// version it has.
func noLandlock() error {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	switch _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version); errno {
	case unix.ENOSYS:
		return errors.New("the kernel has none (it needs Linux 5.13), or the container runtime hides it")
	case unix.EOPNOTSUPP:
		return errors.New("the kernel has it switched off: it begins with landlock among its security modules where its command line has lsm=landlock,… before what /sys/kernel/security/lsm lists")
	case unix.EPERM, unix.EACCES:
		return errors.New("the container runtime forbids its system calls: allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self there")
	case 0:
		return errors.New("paths can still be opened")
	default:
		return fmt.Errorf("the kernel does not tell which it has: %w", errno)
	}
}

// set sets the soft and the hard limit to the same value, so that they cannot be raised.
// size is the address space that the process has.
func (l Limits) set(size uint64) error {
	type limit struct {
		name     string
		resource int
		most     uint64
	}
	limits := []limit{
		{"CORE", unix.RLIMIT_CORE, 0},
		{"FSIZE", unix.RLIMIT_FSIZE, 0},
		// No new descriptors of any kind: those that are open stay.
		{"NOFILE", unix.RLIMIT_NOFILE, 0},
		{"MEMLOCK", unix.RLIMIT_MEMLOCK, 0},
		{"MSGQUEUE", unix.RLIMIT_MSGQUEUE, 0},
	}
	if l.Memory > 0 {
		limits = append(limits, limit{"AS", unix.RLIMIT_AS, size + uint64(l.Memory)})
	}
	if l.CPU > 0 {
		limits = append(limits, limit{"CPU", unix.RLIMIT_CPU, uint64((l.CPU + time.Second - 1) / time.Second)})
	}
	for _, x := range limits {
		if err := unix.Setrlimit(x.resource, &unix.Rlimit{Cur: x.most, Max: x.most}); err != nil {
			return fmt.Errorf("RLIMIT_%s: %w", x.name, err)
		}
	}
	return nil
}

// addressSpace is the address space of the process, in bytes: the first figure of
// proc_pid_statm(5), in pages.
func addressSpace() (uint64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	first, _, _ := bytes.Cut(text, []byte(" "))
	pages, err := strconv.ParseUint(string(first), 10, 50)
	if err != nil {
		return 0, fmt.Errorf("/proc/self/statm: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}
