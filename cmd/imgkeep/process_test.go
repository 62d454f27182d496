package main_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// What processes use, by proc(5).

// cpu is what a process and its children, living or not, have used of the
// processor, in seconds.
func cpu(b *testing.B, pid int) float64 {
	b.Helper()
	if pid == 0 {
		return 0
	}
	own, ended := times(b, pid)
	total := own + ended
	for _, child := range children(b, pid) {
		own, ended := times(b, child)
		total += own + ended
	}
	return total
}

// times are what a process has used of the processor, and what those of its
// children that it knows to have ended had, in seconds: 0 if it has ended itself,
// and is among those of its parent.
func times(b *testing.B, pid int) (own, ended float64) {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return 0, 0
	}
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	for i, field := range strings.Fields(string(rest))[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseFloat(field, 64)
		if err != nil {
			b.Fatal(err)
		}
		if n /= 100; i < 2 { // USER_HZ, which is 100 on every Linux
			own += n
		} else {
			ended += n
		}
	}
	return own, ended
}

// ownTime is what this process has used of the processor, without those that it has
// started, in seconds.
func ownTime(b *testing.B) float64 {
	b.Helper()
	own, _ := times(b, os.Getpid())
	return own
}

// children are the processes that a process has started and that live.
func children(b *testing.B, pid int) (pids []int) {
	b.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		b.Fatal(err)
	}
	for _, path := range lists {
		list, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that has ended
		}
		for child := range strings.FieldsSeq(string(list)) {
			n, err := strconv.Atoi(child)
			if err != nil {
				b.Fatal(err)
			}
			pids = append(pids, n)
		}
	}
	return pids
}

// peak is the most memory that these processes have had, in MB, added up as if they
// all had it at once. What they have in common, the pages of programs and
// libraries, counts once.
func peak(pids ...int) int64 {
	var own, common int64
	for _, pid := range pids {
		files := statusOf(pid, "RssFile:")
		own += statusOf(pid, "VmHWM:") - files
		common = max(common, files)
	}
	return (own + common) >> 10
}

// statusOf is a figure of a process, of those in its status; 0 if it has ended.
func statusOf(pid int, name string) (n int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "\n"+name)
	_, _ = fmt.Sscan(rest, &n)
	return n
}
