// Command imgkeep is a permanent, content-addressed image store that serves
// expiring signed links. `imgkeep help` tells what it can do.
package main

import (
	"context"
	"os"
	_ "time/tzdata" // sign.timezone works where the system has no zones, as in small containers

	"imgkeep/cmd/imgkeep/app"
)

// version is set by releases: go build -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	os.Exit(app.Run(context.Background(), app.Env{
		Args:    os.Args[1:],
		Stdin:   os.Stdin,
		Stdout:  os.Stdout,
		Stderr:  os.Stderr,
		Version: version,
	}))
}
