package server

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"

	"imgkeep/nginx"
)

// refusalHead ends the head of each error page that net/http writes by itself, before a
// request reaches a handler.
const refusalHead = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Refusal returns what to write to a connection instead of an error page that net/http
// writes by itself when it cannot read a request: the same status with our headers, and the
// code and line that nginx answers with. It returns anything else unchanged.
func Refusal(page []byte) []byte {
	const proto = "HTTP/1.1 "
	if len(page) > 512 || !bytes.HasPrefix(page, []byte(proto)) || len(page) < len(proto)+3 {
		return page
	}
	status, err := strconv.Atoi(string(page[len(proto):][:3]))
	_, _, ours := bytes.Cut(page, []byte(refusalHead))
	if err != nil || status < 400 || !ours && status != http.StatusExpectationFailed {
		return page
	}
	code, line := "malformed", "malformed request"
	for _, p := range nginx.ErrorPages() {
		if p.Status == status {
			code, line = p.Code, p.Line
		}
	}
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"+
		"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Security-Policy: %s\r\n"+
		"Cross-Origin-Resource-Policy: cross-origin\r\n%s: %s\r\nConnection: close\r\n\r\n%s\n",
		status, http.StatusText(status), len(line)+1, contentSecurity, nginx.HeaderError, code, line)
}
