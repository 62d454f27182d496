// The Go runtime must not watch how many processors the machine grants: for that it would
// keep files open.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command imgkeep-resize decodes and resizes images for imgkeep, which starts
// it. It reads requests on its standard input and answers on its standard
// output, as package resize describes, and ends with the input. Once libvips is
// up, and before it reads anything, it takes from itself the right to open
// files and connections, to start programs, and more: see package sandbox.
//
// Exit codes: 0 at the end of the input; 1 after an error, which it prints on standard
// error; 71 if it is out of memory.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"imgkeep/resize"
	"imgkeep/resize/sandbox"
	"imgkeep/resize/vips"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "imgkeep-resize: takes no arguments: it is started by imgkeep, and reads requests on its standard input")
		os.Exit(2)
	}
	// What is allocated for an image is little, or outside the Go heap: without this, 4 MB of
	// garbage would stay.
	debug.SetGCPercent(25)
	// These signals are for the server, which stops this process when its work is done.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "imgkeep-resize:", err)
		if errors.Is(err, resize.ErrMemory) {
			os.Exit(resize.ExitUnable)
		}
		os.Exit(1)
	}
}

func run() error {
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
	d, err := vips.Start(sources, outputs)
	if err != nil {
		return err
	}
	var layers resize.Layers
	if c.Off {
		layers.Missing = []string{"all: the sandbox is off"}
	} else {
		held, missing := sandbox.Enter(sandbox.Layers(sandbox.Limits{Memory: c.Memory, CPU: c.CPU}))
		layers.Held = held
		for _, err := range missing {
			layers.Missing = append(layers.Missing, err.Error())
		}
	}
	return resize.Serve(os.Stdin, os.Stdout, trimmer{d}, layers)
}
