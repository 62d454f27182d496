package server

import (
	stdlog "log"
	"log/slog"
	"strings"
)

// ErrorLog is for http.Server.ErrorLog. What clients do wrong is for who debugs. But a panic,
// which net/http lets end its request alone, is a mistake of ours, and nobody else tells of it.
func ErrorLog(log *slog.Logger) *stdlog.Logger { return stdlog.New(errorLog{log}, "", 0) }

type errorLog struct{ log *slog.Logger }

func (l errorLog) Write(p []byte) (int, error) {
	text, panicked := strings.CutPrefix(strings.TrimSpace(string(p)), "http: panic serving ")
	if !panicked {
		l.log.Debug(text)
		return len(p), nil
	}
	what, stack, _ := strings.Cut(text, "\n")
	_, what, _ = strings.Cut(what, ": ") // behind the address of the client
	l.log.Error("a request has panicked", "error", "panic: "+what, "stack", stack)
	return len(p), nil
}
