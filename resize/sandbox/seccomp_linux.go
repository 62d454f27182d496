package sandbox

import (
	"errors"
	"os"
	"runtime"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/sys/unix"
)

// allowed are the calls that the Go runtime, the C library, glib and libvips make while
// they decode images: to read and write open files, to manage memory, threads and signals
// of this process, and to read the clock. None of them opens anything, or reaches another
// process. Some exist only on some processors.
var allowed = []string{
	"read", "readv", "write", "writev", "close", "fstat",
	"epoll_ctl", "epoll_pwait", "epoll_wait",
	"brk", "madvise", "munmap", "mremap",
	"futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "exit", "exit_group",
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
	"getpid", "gettid",
	"clock_gettime", "clock_nanosleep", "gettimeofday", "nanosleep", "time",
	"getrandom", "sysinfo",
}

// namespaces are the flags of clone(2) that create new namespaces.
const namespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS |
	unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

// conditional are calls that are allowed with some arguments. The kernel compares numbers;
// it does not see what they point at.
func conditional() []seccomp.NameWithConditions {
	only := func(name string, conditions ...seccomp.Condition) seccomp.NameWithConditions {
		return seccomp.NameWithConditions{Name: name, Conditions: conditions}
	}
	return []seccomp.NameWithConditions{
		// A thread, not a process. See also clone3 below.
		only("clone",
			seccomp.Condition{Argument: 0, Operation: seccomp.BitsSet, Value: unix.CLONE_THREAD},
			seccomp.Condition{Argument: 0, Operation: seccomp.BitsNotSet, Value: namespaces}),
		// No executable memory: what an image brings cannot become code.
		only("mmap", seccomp.Condition{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}),
		only("mprotect", seccomp.Condition{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}),
		// A thread of this process; abort(3) and the Go runtime send such signals.
		only("tgkill", seccomp.Condition{Argument: 0, Operation: seccomp.Equal, Value: uint64(os.Getpid())}),
		// The names of threads, and of memory.
		only("prctl", seccomp.Condition{Argument: 0, Operation: seccomp.Equal, Value: unix.PR_SET_NAME}),
		only("prctl", seccomp.Condition{Argument: 0, Operation: seccomp.Equal, Value: unix.PR_SET_VMA}),
	}
}

// filterCalls refuses all calls except those above.
//
// There are two filters, of which the kernel obeys the stricter. The first answers that
// clone3 does not exist: its flags are in memory, where no filter sees them, and the C
// library then uses clone, which it would not do after any other error. That is why the
// second filter allows clone3.
func filterCalls() error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	names := []string{"clone3"}
	for _, name := range allowed {
		if _, ok := info.SyscallNames[name]; ok {
			names = append(names, name)
		}
	}
	missing := seccomp.Policy{
		DefaultAction: seccomp.ActionAllow,
		Syscalls: []seccomp.SyscallGroup{{
			Names: []string{"clone3"}, Action: seccomp.ActionErrno | seccomp.Action(unix.ENOSYS),
		}},
	}
	listed := seccomp.Policy{
		DefaultAction: seccomp.ActionErrno,
		Syscalls: []seccomp.SyscallGroup{{
			Names: names, NamesWithCondtions: conditional(), Action: seccomp.ActionAllow,
		}},
	}
	// The thread that loads them must also be the thread without new privileges; the kernel
	// passes both on to the others.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, p := range []seccomp.Policy{missing, listed} {
		err := seccomp.LoadFilter(seccomp.Filter{
			NoNewPrivs: true,
			// With TSYNC alone (Linux 3.17) the kernel reports a thread that it could not
			// restrict in a way that the library ignores.
			Flag:   seccomp.FilterFlagTSync | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH,
			Policy: p,
		})
		if err != nil {
			return errors.Join(err, needs(err))
		}
	}
	return nil
}

func needs(err error) error {
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return errors.New("it needs Linux 5.7 or later")
	}
	return nil
}
