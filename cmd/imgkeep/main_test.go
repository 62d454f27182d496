// The end-to-end tests: they run the programs as they are installed, against
// origins that are real HTTP servers, and look at what viewers get and what lies
// on disk.
//
//	main_test.go          builds the programs
//	server_test.go        a server, started and stopped; log_test.go: its log
//	links_test.go         signed links, made without the program's code
//	answer_test.go        requests, and what holds of every answer
//	origin_test.go        where images come from
//	relay_test.go         what stands between the server and its decoder
//	pictures_test.go      images
//
// The other files are the tests, a concern each.
package main_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// programs is the folder that holds the programs under test, built once.
var programs string

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == relayName {
		if err := relay(filepath.Dir(os.Args[0])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "imgkeep")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs = dir
		if built := os.Getenv("TESTED_PROGRAMS"); built != "" { // by scripts/test, just so
			if err := copyPrograms(built); err != nil {
				fmt.Fprintln(os.Stderr, err)
				return 1
			}
			return m.Run()
		}
		// The server must build, and work, where there is no C compiler.
		if err := goBuild("CGO_ENABLED=0", "imgkeep/cmd/imgkeep"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := goBuild("CGO_ENABLED=1", "imgkeep/cmd/imgkeep-resize"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// copyPrograms brings the programs to where tests have their files, which may be
// another file system: each world links them.
func copyPrograms(from string) error {
	for _, name := range []string{"imgkeep", "imgkeep-resize"} {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(programs, name), b, 0o755)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// goBuild builds a program into the folder of programs, with the flags that
// scripts/run builds it with.
func goBuild(cgo, path string) error {
	cmd := exec.Command("go", "build", "-o", filepath.Join(programs, filepath.Base(path)), path)
	cmd.Env = append(os.Environ(), cgo)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s go build %s: %w\n%s", cgo, path, err, out)
	}
	return nil
}
