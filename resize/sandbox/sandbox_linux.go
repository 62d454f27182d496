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

// Layers are all layers, in the order in which they can be set: each leaves to
// those after it what they need.
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

// closeDescriptors closes what whoever started us has left open, beginning with
// the first after standard error. The server leaves nothing open, but another
// parent may, and a library of the server's may one day forget to.
func closeDescriptors() error {
	const folder = "/proc/self/fd"
	// To open it as a file has the Go runtime make the two descriptors that it
	// waits with, which must be there before seccomp and limits are.
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	// Of these, others would do no harm: they lead to nothing but each other.
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

// enterNowhere makes the working folder one that was removed: in it nothing can
// be found or made, by anyone, whatever rights they have.
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

// restrictPaths allows no path at all, no TCP port and no signal or abstract
// socket to the outside, or as much of it as the kernel knows (paths: Linux
// 5.13, ports: 6.7, the rest: 6.12).
//
// Up to Linux 6.19 (ABI 7) go-landlock lets the folder /proc/{pid}/task be
// listed, which it needs to restrict all threads: their numbers are no secret.
func restrictPaths() error {
	if err := landlock.V11.BestEffort().Restrict(); err != nil {
		return err
	}
	// Best effort is nothing where the kernel has nothing.
	if dir, err := os.Open("/"); err == nil {
		dir.Close()
		return noLandlock()
	}
	return nil
}

// noLandlock says why there is no Landlock, by what the kernel answers to the question
// which version it has.
func noLandlock() error {
	const version = 1 // LANDLOCK_CREATE_RULESET_VERSION
	switch _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, version); errno {
	case unix.ENOSYS:
		return errors.New("the kernel has none (it came with Linux 5.13), or what runs this container hides it")
	case unix.EOPNOTSUPP:
		return errors.New("the kernel has it switched off: it begins with landlock among its security modules where its command line has lsm=landlock,… before what /sys/kernel/security/lsm lists")
	case unix.EPERM, unix.EACCES:
		return errors.New("what runs this container forbids its system calls: allow landlock_create_ruleset, landlock_add_rule and landlock_restrict_self there")
	case 0:
		return errors.New("paths can be opened all the same")
	default:
		return fmt.Errorf("the kernel does not tell which it has: %w", errno)
	}
}

// set sets limits whose soft and hard values are the same, so that they
// cannot be raised. size is the address space that the process has.
func (l Limits) set(size uint64) error {
	type limit struct {
		name     string
		resource int
		most     uint64
	}
	limits := []limit{
		{"CORE", unix.RLIMIT_CORE, 0},
		{"FSIZE", unix.RLIMIT_FSIZE, 0},
		// No more descriptors, of whatever kind: those that are open go on.
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

// addressSpace is what the process has of it, in bytes: the first figure of
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
