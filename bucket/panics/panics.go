// Package panics lets a panic end the work it happens in, and not the process, as net/http does
// with a request: what an attacker's image does to us must not end the server.
//
// It does not undo what the work has left half done: the caller does.
package panics

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Catch is to be deferred: it sets err to "panic: …" if the function panics, and logs that with
// the message, args and the stack. Without a panic it does nothing. It may be called concurrently.
func Catch(err *error, log *slog.Logger, message string, args ...any) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic: %v", p)
		log.Error(message, append(args, "error", *err, "stack", string(debug.Stack()))...)
	}
}
