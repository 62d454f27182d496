// Command imgkeep-resize decodes and resizes images for imgkeep, which starts
// it. It reads requests on its standard input and answers on its standard
// output, as package resize describes, and ends with the input. It opens no
// file and no connection.
//
// Exit codes: 0 at the end of the input, 1 after an error, told on standard
// error.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"imgkeep/resize"
	"imgkeep/resize/vips"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "imgkeep-resize: takes no arguments: it is started by imgkeep, and reads requests on its standard input")
		os.Exit(2)
	}
	// These are meant for the server, which ends us when its work is done.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "imgkeep-resize:", err)
		os.Exit(1)
	}
}

func run() error {
	d, err := vips.Start()
	if err != nil {
		return err
	}
	return resize.Serve(os.Stdin, os.Stdout, d)
}
