package control

import (
	"fmt"
	"net/http"
	neturl "net/url"
	"os"
	"strconv"
	"strings"
	"unicode"
)

// Caller is who asks for a change.
type Caller struct {
	Who    string // as Who returns it: what the kernel says; or a moderator, who has signed in
	Claims Claims
}

// Claims are what callers say of themselves: who they were before they became
// the user that asks, by sudo, and at which terminal. Nobody has checked it.
type Claims struct {
	SudoUser string `json:"sudo_user,omitempty"`
	SudoUID  string `json:"sudo_uid,omitempty"`
	TTY      string `json:"tty,omitempty"`
	// Address is where a moderator's browser or a program with a token is, as a proxy says.
	Address string `json:"address,omitempty"`
	// OnBehalf is whom a program with a token acts for, as it says.
	OnBehalf string `json:"on_behalf,omitempty"`
}

// NewClaim is a text from the caller, as it may stand in the log: printable, and cut off
// after 64 bytes.
func NewClaim(s string) string { return claim(s) }

// Self is this process as a caller.
func Self() Caller { return Caller{Who(os.Getuid()), ownClaims()} }

// change is a change by the caller.
func (c Caller) change(x Change) Change {
	x.By = c.Who
	if c.Claims != (Claims{}) {
		x.Claims = &c.Claims
	}
	return x
}

func ownClaims() Claims {
	return Claims{SudoUser: claim(os.Getenv("SUDO_USER")), SudoUID: claim(os.Getenv("SUDO_UID")), TTY: claim(terminal())}
}

// terminal names the controlling terminal of this process, wherever its input and
// output go: "pts/3"; "" where there is none.
func terminal() string {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return ""
	}
	// The name of the program stands in brackets, and may hold anything.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const ttyNr = 4 // of proc_pid_stat(5), counted from what follows the name
	if len(fields) <= ttyNr {
		return ""
	}
	n, err := strconv.ParseUint(fields[ttyNr], 10, 32)
	if err != nil || n == 0 {
		return ""
	}
	major, minor := n>>8&0xfff, n&0xff|n>>12&0xfff00
	switch {
	case 136 <= major && major < 144: // Unix98 terminals
		return fmt.Sprintf("pts/%d", (major-136)<<8+minor)
	case major == 4 && minor < 64:
		return fmt.Sprintf("tty%d", minor)
	}
	return fmt.Sprintf("%d:%d", major, minor)
}

// maxClaim is the longest claim that is noted, in bytes.
const maxClaim = 64

// claim is a text from the caller, as it may stand in the log.
func claim(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s[:min(len(s), maxClaim)])
	return strings.ToValidUTF8(s, "")
}

// claimsHeader carries claims with each request.
const claimsHeader = "Imgkeep-Claims"

func (c Claims) encode() string {
	return neturl.Values{"sudo_user": {c.SudoUser}, "sudo_uid": {c.SudoUID}, "tty": {c.TTY}}.Encode()
}

func decodeClaims(s string) Claims {
	v, err := neturl.ParseQuery(s)
	if err != nil {
		return Claims{}
	}
	return Claims{SudoUser: claim(v.Get("sudo_user")), SudoUID: claim(v.Get("sudo_uid")), TTY: claim(v.Get("tty"))}
}

// callerOf is who has sent a request that guard lets through.
func callerOf(r *http.Request) Caller {
	uid, _ := r.Context().Value(peerKey{}).(int)
	return Caller{Who(uid), decodeClaims(r.Header.Get(claimsHeader))}
}

// Printable is a text that may quote strangers, in one line as a terminal may get it:
// each control character is replaced.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || 0x7f <= r && r < 0xa0 {
			return '\uFFFD'
		}
		return r
	}, s)
}
