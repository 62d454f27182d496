package fetch

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/probe"
	"imgkeep/scripts/patience"
)

// bombHeader is the beginning of a PNG that claims width and height.
func bombHeader(width, height uint32) string {
	chunk := []byte("IHDR")
	chunk = binary.BigEndian.AppendUint32(chunk, width)
	chunk = binary.BigEndian.AppendUint32(chunk, height)
	chunk = append(chunk, 8, 2, 0, 0, 0)
	b := []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d")
	b = append(b, chunk...)
	return string(binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(chunk)))
}

// TestAnswers are answers that an origin gets wrong, by mistake or on purpose.
// hang: the origin sends nothing more and keeps the connection, so that a verdict
// can only come from what is there.
func TestAnswers(t *testing.T) {
	picture := string(pngOf(t, 20, 20))
	n := len(picture)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	io.CopyN(z, zeros{}, 10<<20)
	z.Close()
	ok := "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		name string
		sent string
		hang bool
		want ErrorKind // empty: the picture is taken
		text string
	}{
		{"plain", ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", n) + picture, true, "", ""},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n" + picture, false, "", ""},
		{"chunked", ok + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", n) + picture + "\r\n0\r\n\r\n", true, "", ""},
		{"same length twice", ok + fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n\r\n", n, n) + picture, true, "", ""},

		// Cut off (imagor#329): each of these would be a grey half for good.
		{"cut inside the length", ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", n) + picture[:n/3], false, Broken, fmt.Sprintf("cut off after %d of %d", n/3, n)},
		{"cut one byte before the end", ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", n) + picture[:n-1], false, Broken, fmt.Sprintf("cut off after %d of %d", n-1, n)},
		{"complete image, length not reached", ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", n+1) + picture, false, Broken, "cut off"},
		{"length shorter than the image", ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", n-1) + picture, true, Broken, "truncated"},
		{"cut inside a chunk", ok + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", n) + picture[:n/3], false, Broken, "cut off"},
		{"last chunk missing", ok + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n", n) + picture + "\r\n", false, Broken, "cut off"},
		{"cut where only the connection ends", "HTTP/1.0 200 OK\r\n\r\n" + picture[:n/3], false, Broken, "truncated"},
		{"end marker cut", "HTTP/1.0 200 OK\r\n\r\n" + picture[:n-1], false, Broken, "truncated"},
		{"length announced, nothing sent", ok + "Content-Length: 100\r\n\r\n", false, Broken, "cut off after 0 of 100"},
		{"bad chunk size", ok + "Transfer-Encoding: chunked\r\n\r\nxyz\r\n" + picture, false, Broken, ""},
		{"chunk of impossible length", ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + picture, false, Broken, ""},

		// Nothing, or no image.
		{"empty", ok + "Content-Length: 0\r\n\r\n", true, Failed, "empty body"},
		{"empty, chunked", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", true, Failed, "empty body"},
		{"empty until the end", ok + "\r\n", false, Failed, "empty body"},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", true, Failed, "status 204"},
		{"HTML with 200", ok + "Content-Type: image/png\r\nContent-Length: 9999\r\n\r\n<!DOCTYPE html><title>Sign in</title>" + strings.Repeat(" ", maxPage), true, NotImage, ""},
		{"text", ok + "Content-Length: 9999\r\n\r\nnot found, sorry" + strings.Repeat(".", 100), true, NotImage, ""},
		{"JSON", ok + "Content-Length: 2\r\n\r\n{}", true, NotImage, ""},
		{"SVG (CVE-2023-1496)", ok + "Content-Type: image/svg+xml\r\n\r\n" + `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`, false, NotImage, ""},
		{"PDF (CVE-2026-66066)", ok + "Content-Type: image/png\r\n\r\n%PDF-1.7\n" + strings.Repeat(" ", 100), true, NotImage, ""},
		{"challenge (Cloudflare)", ok + "Content-Length: 9999\r\n\r\n<!DOCTYPE html><html><title>Just a moment...</title>" + strings.Repeat(" ", maxPage), true, Blocked, "challenge"},
		{"challenge, far into the page", ok + "\r\n<html>" + strings.Repeat(" ", 3000) + "/CDN-CGI/challenge-platform/h/b" + strings.Repeat(" ", maxPage), true, Blocked, "challenge"},
		{"challenge, too far into the page", ok + "\r\n<html>" + strings.Repeat(" ", maxPage) + "/cdn-cgi/challenge-platform/h/b", true, NotImage, ""},
		{"challenge, short and cut", ok + "Content-Length: 9999\r\n\r\n\xef\xbb\xbf <script>_cf_chl_opt={}", false, Blocked, "challenge"},
		{"challenge by header", ok + "Cf-Mitigated: challenge\r\n\r\nhello, who is there", false, Blocked, "challenge"},

		// Bombs: dropped before they are downloaded (CVE-2021-29453).
		{"50,000 x 50,000", ok + "Content-Length: 400000\r\n\r\n" + bombHeader(50000, 50000), true, TooManyPixels, ""},
		{"exactly the pixels, and nothing more", "HTTP/1.0 200 OK\r\n\r\n" + bombHeader(10000, 1000), false, Broken, ""},
		{"one row too many", ok + "Content-Length: 400000\r\n\r\n" + bombHeader(10000, 1001), true, TooManyPixels, ""},
		{"more than 31 bits of side", ok + "Content-Length: 400000\r\n\r\n" + bombHeader(1<<31-1, 1<<31-1), true, TooManyPixels, ""},
		{"more bytes announced than taken", ok + "Content-Length: 1048577\r\n\r\n", true, TooLarge, "1048577"},
		{"gzip bomb although identity was asked for (imgproxy#1699)", ok + "Content-Encoding: gzip\r\nContent-Length: " + fmt.Sprint(zipped.Len()) + "\r\n\r\n" + zipped.String(), false, Failed, "encoded as gzip"},
		{"encoded twice", ok + "Content-Encoding: identity, BR\r\n\r\n" + picture, true, Failed, "encoded as br"},
		{"encoded in a second field", ok + "Content-Encoding: identity\r\nContent-Encoding: zstd\r\n\r\n" + picture, true, Failed, "encoded as zstd"},
		{"gzip without saying so", ok + "Content-Length: " + fmt.Sprint(zipped.Len()) + "\r\n\r\n" + zipped.String(), false, NotImage, ""},
		{"odd words for no encoding", ok + fmt.Sprintf("Content-Encoding: utf-8\r\nContent-Length: %d\r\n\r\n", n) + picture, true, "", ""},

		// Against HTTP.
		{"no HTTP", "SSH-2.0-OpenSSH_9.6\r\n", true, Failed, ""},
		{"HTTP/0.9", picture, false, Failed, ""},
		{"two lengths", ok + fmt.Sprintf("Content-Length: %d\r\nContent-Length: 1\r\n\r\n", n) + picture, true, Failed, ""},
		{"negative length", ok + "Content-Length: -1\r\n\r\n" + picture, true, Failed, ""},
		{"signed length", ok + fmt.Sprintf("Content-Length: +%d\r\n\r\n", n) + picture, true, Failed, ""},
		{"endless length", ok + "Content-Length: 99999999999999999999\r\n\r\n" + picture, true, Failed, ""},
		{"largest length", ok + "Content-Length: 9223372036854775807\r\n\r\n" + picture, true, TooLarge, ""},
		{"transfer coding", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n" + picture, true, Failed, ""},
		{"terminal codes in a header", ok + "\x1b[2J\x1b]0;owned\x07\r\n\r\n" + picture, true, Failed, ""},
		{"other protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", true, Failed, "101"},
		{"closed at once", "", false, Failed, ""},
		{"closed inside the header", "HTTP/1.1 200 OK\r\nContent-Le", false, Failed, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			speak := answering(tt.sent)
			if tt.hang {
				speak = thenHang(speak)
			}
			origin := "http://" + rawOrigin(t, speak)
			f := newFetcher(t, Options{}, origin)
			got, _, err := pullRequest(t, f, Request{URL: origin + "/" + secret, Limits: probe.Limits{MaxPixels: 10_000_000}})
			if tt.want == "" {
				if err != nil || string(got) != picture {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				return
			}
			e := wantClass(t, err, tt.want, "127.0.0.1", tt.text)
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Errorf("control characters in %q", err)
			}
			if tt.want == NotImage && (len(e.Head) == 0 || len(e.Head) > MaxHead || !strings.Contains(tt.sent, string(e.Head))) {
				t.Errorf("first bytes are %q", e.Head)
			}
		})
	}
}

// An image whose end its own bytes do not tell is taken where the answer tells it.
func TestEndlessFormat(t *testing.T) {
	// A JPEG XL of 8 x 8, as far as that is looked at.
	bare := "\xFF\x0A\x41\x40\x52\x5C\x08\x00" + strings.Repeat("x", 100)
	boxed := "\x00\x00\x00\x0CJXL \x0D\x0A\x87\x0A\x00\x00\x00\x14ftypjxl \x00\x00\x00\x00jxl \x00\x00\x00\x74jxlc" + bare
	ok := "HTTP/1.1 200 OK\r\n"
	for _, tt := range []struct {
		name, sent string
		taken      bool
	}{
		{"by its length", ok + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(bare)) + bare, true},
		{"in chunks", ok + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(bare), bare), true},
		{"by the end of the connection", ok + "\r\n" + bare, false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n" + bare, false},
		{"in a box", "HTTP/1.0 200 OK\r\n\r\n" + boxed, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			origin := "http://" + rawOrigin(t, answering(tt.sent))
			_, _, err := pullRequest(t, newFetcher(t, Options{}, origin), Request{URL: origin + "/" + secret})
			switch {
			case tt.taken && err != nil:
				t.Error(err)
			case !tt.taken:
				wantClass(t, err, Broken, "127.0.0.1", "may be cut off")
			}
		})
	}
}

// TestResetConnection: RST instead of FIN is a cut as well.
func TestResetConnection(t *testing.T) {
	picture := string(pngOf(t, 20, 20))
	arrived := make(signal, 1)
	origin := "http://" + rawOrigin(t, func(c net.Conn) {
		answering("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n" + picture[:100])(c)
		<-arrived // or the reset would overtake what was sent before it
		c.(*net.TCPConn).SetLinger(0)
	})
	_, err := newFetcher(t, Options{}, origin).Fetch(t.Context(), Request{URL: origin, MaxBytes: 9999}, arrived)
	wantClass(t, err, Broken, "cut off after 100 of 9999", "reset")
}

// signal is a Writer that tells of what is written to it.
type signal chan struct{}

func (s signal) Write(p []byte) (int, error) {
	if len(p) > 0 {
		s <- struct{}{}
	}
	return len(p), nil
}

// TestHeaderSize: both sides of the limit, to the byte.
func TestHeaderSize(t *testing.T) {
	const limit = 8 << 10
	picture := string(pngOf(t, 2, 2))
	header := func(size int) string {
		h := "HTTP/1.1 200 OK\r\nContent-Length: " + fmt.Sprint(len(picture)) + "\r\nX: "
		return h + strings.Repeat("x", size-len(h)-4) + "\r\n\r\n"
	}
	interim := func(h string) string { return strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10) + h }
	const interims = 10 * len("HTTP/1.1 103 Early Hints\r\n\r\n")
	for _, tt := range []struct {
		name string
		sent string
		ok   bool
	}{
		{"at the limit", header(limit), true},
		{"one byte more", header(limit + 1), false},
		{"interim answers at the limit", interim(header(limit - interims)), true},
		{"interim answers, one byte more", interim(header(limit - interims + 1)), false},
	} {
		origin := "http://" + rawOrigin(t, thenHang(answering(tt.sent, picture)))
		_, _, err := pull(t, newFetcher(t, Options{MaxHeaderBytes: limit}, origin), origin)
		if tt.ok && err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if !tt.ok {
			wantClass(t, err, Failed, "exceeded")
		}
	}
}

// TestEndless: whatever an origin repeats for ever ends at some limit, and the
// connection with it, or these origins would never return.
func TestEndless(t *testing.T) {
	picture := string(pngOf(t, 20, 20))
	for _, tt := range []struct {
		name, first, again string
		want               ErrorKind
	}{
		{"1xx storm", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", Failed},
		{"100 storm", "", "HTTP/1.1 100 Continue\r\n\r\n", Failed},
		{"header fields", "HTTP/1.1 200 OK\r\n", "X: y\r\n", Failed},
		{"one header field", "HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy", Failed},
		{"status line", "HTTP/1.1 200 ", "OK ", Failed},
		{"body after the image", "HTTP/1.1 200 OK\r\n\r\n" + picture, strings.Repeat("\x00", 1000), ""},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(picture), picture), "1\r\n\x00\r\n", ""},
		{"chunk extensions (CVE-2023-39326)", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", Broken},
		{"chunk extensions, a byte a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1;" + strings.Repeat("x", 2000) + "\r\n\xff\r\n", NotImage},
		{"trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n", len(picture), picture), "X: y\r\n", Broken},
		{"comments in a PNG", "HTTP/1.1 200 OK\r\n\r\n" + picture[:33], "\x00\x00\x00\x00tEXt\x91\x90\x5b\x2e", TooLarge},
		{"HTML", "HTTP/1.1 200 OK\r\n\r\n<html>", "<p>more</p>", NotImage},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			origin := "http://" + rawOrigin(t, func(c net.Conn) {
				defer close(done)
				answering(tt.first)(c)
				again := []byte(strings.Repeat(tt.again, 1+1000/len(tt.again)))
				for {
					if _, err := c.Write(again); err != nil {
						return
					}
				}
			})
			_, _, err := pull(t, newFetcher(t, Options{MaxRedirects: 3}, origin), origin+"/"+secret)
			if tt.want != "" {
				wantClass(t, err, tt.want)
			} else if err != nil { // what follows is cut off
				t.Error(err)
			}
			<-done
		})
	}
}

// TestSilence are origins that really hang, at each place where one can. What ends
// them, to the moment, is the shorter of the two limits; the other is an hour.
func TestSilence(t *testing.T) {
	picture := string(pngOf(t, 50, 50))
	ok := "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"
	for _, tt := range []struct {
		name   string
		speak  func(net.Conn)
		header bool // HeaderTimeout ends it
		secure bool
	}{
		{name: "before the request is read", speak: func(c net.Conn) {}, header: true},
		{name: "after the request", speak: answering(), header: true},
		{name: "inside the header", speak: answering("HTTP/1.1 200 OK\r\nX-A: "), header: true},
		{name: "after an interim answer", speak: answering("HTTP/1.1 103 Early Hints\r\n\r\n"), header: true},
		{name: "in the TLS handshake", speak: func(c net.Conn) {}, header: true, secure: true},
		{name: "a byte of header at a time", speak: trickle("HTTP/1.1 200 OK\r\nX: ", "x"), header: true},
		{name: "before the body", speak: answering(ok)},
		{name: "inside the body", speak: answering(ok, picture[:100])},
		{name: "a byte of the image at a time", speak: trickle(ok, picture)},
		{name: "a byte after the image at a time", speak: trickle("HTTP/1.1 200 OK\r\n\r\n"+picture, "\x00")},
		{name: "inside a page that may be a challenge", speak: answering("HTTP/1.1 200 OK\r\n\r\n<html>" + strings.Repeat(" ", 1000))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit = time.Second
				o := Options{Timeout: limit}
				if tt.header {
					o = Options{HeaderTimeout: limit}
				}
				m := newMemory()
				speakOn(t, m, thenHang(tt.speak))
				f := newFetcher(t, o, m.Addr().String())
				f.usual.dialer.connect = m.connect
				url := "http://127.0.0.1:8080/" + secret
				if tt.secure {
					url = "https://127.0.0.1:8080/" + secret
				}
				began := time.Now()
				_, _, err := pull(t, f, url)
				if strings.Contains(tt.name, "challenge") {
					wantClass(t, err, NotImage) // decided by what came
				} else {
					wantClass(t, err, Timeout, "127.0.0.1")
				}
				if took := time.Since(began); took != limit {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// trickle sends first, and then a byte of rest every few milliseconds, over and
// over: a slow origin in fast motion.
func trickle(first, rest string) func(net.Conn) {
	return func(c net.Conn) {
		answering(first)(c)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			<-tick.C
			if _, err := io.WriteString(c, rest[i%len(rest):][:1]); err != nil {
				return
			}
		}
	}
}

// TestPatienceIsNotForEachByte is the other side: an origin that takes its time, and
// gets there within both limits, is waited for.
func TestPatienceIsNotForEachByte(t *testing.T) {
	t.Parallel()
	picture := string(pngOf(t, 2, 2))
	origin := "http://" + rawOrigin(t, func(c net.Conn) {
		readHeader(c)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for _, b := range []byte("HTTP/1.0 200 OK\r\n\r\n" + picture) {
			<-tick.C
			c.Write([]byte{b})
		}
	})
	if _, _, err := pull(t, newFetcher(t, Options{}, origin), origin); err != nil {
		t.Error(err)
	}
}

type hangingResolver struct{}

func (hangingResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestSilentNameServer(t *testing.T) {
	t.Parallel()
	f := newFetcher(t, Options{Timeout: time.Hour, HeaderTimeout: 100 * time.Millisecond, Resolver: hangingResolver{}})
	_, _, err := pull(t, f, "http://i.example/"+secret)
	wantClass(t, err, Timeout, "i.example")
}

// blackHole returns an address of ip that drops SYNs: a listener that accepts
// nobody, and whose queue is full.
func blackHole(t *testing.T, ip [4]byte, port int) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port, Addr: ip}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.AddrFrom4(ip), uint16(name.(*syscall.SockaddrInet4).Port))
	first, err := net.Dial("tcp", address.String()) // for which there is room in any queue
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { first.Close() })
	for range 3 { // fill the queue until a connection does not come about
		c, err := net.DialTimeout("tcp", address.String(), 50*time.Millisecond)
		if err != nil {
			return address
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill up")
	return address
}

func TestSilentAddress(t *testing.T) {
	t.Parallel()
	hole := blackHole(t, [4]byte{127, 0, 0, 1}, 0)
	f := newFetcher(t, Options{Timeout: time.Hour, HeaderTimeout: 200 * time.Millisecond}, hole.String())
	_, _, err := pull(t, f, "http://"+hole.String()+"/"+secret)
	wantClass(t, err, Timeout, "127.0.0.1")

	f = newFetcher(t, Options{Timeout: 200 * time.Millisecond, HeaderTimeout: time.Hour}, hole.String())
	_, _, err = pull(t, f, "http://"+hole.String()+"/"+secret)
	wantClass(t, err, Timeout, "127.0.0.1")
}

// TestDialEndsWithItsFetch: a fetch that is over has no connection half made, which
// an http.Transport would go on with for HeaderTimeout.
func TestDialEndsWithItsFetch(t *testing.T) {
	f := newFetcher(t, Options{Timeout: 100 * time.Millisecond, HeaderTimeout: time.Hour, Resolver: resolves("i.example", "93.184.215.14")})
	over := make(chan struct{})
	f.usual.dialer.connect = func(ctx context.Context, _ netip.AddrPort) (net.Conn, error) {
		<-ctx.Done()
		close(over)
		return nil, ctx.Err()
	}
	_, _, err := pull(t, f, "http://i.example/"+secret)
	wantClass(t, err, Timeout, "i.example")
	select {
	case <-over:
	case <-time.After(patience.Of(t)):
		t.Error("the connection is still being made")
	}
}

// TestNextAddress: a name some of whose addresses are dead still leads to the other.
func TestNextAddress(t *testing.T) {
	t.Parallel()
	origin := serveBytes(t, pngOf(t, 2, 2))
	port := portIn(t, origin.URL)
	resolver := resolves("refusing.example", "127.0.0.4,::1,127.0.0.1", "dead.example", "127.0.0.4")
	f := newFetcher(t, Options{Resolver: resolver, Networks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}, origin.URL)
	if _, _, err := pull(t, f, fmt.Sprintf("http://refusing.example:%d/", port)); err != nil {
		t.Error(err)
	}
	_, _, err := pull(t, f, fmt.Sprintf("http://dead.example:%d/%s", port, secret))
	wantClass(t, err, Failed, "dead.example", "refused")
	_, _, err = pull(t, f, fmt.Sprintf("http://nowhere.example:%d/%s", port, secret))
	wantClass(t, err, Failed, "nowhere.example", "no such host")
}

// TestSilentAddressHasItsPart: an address that does not answer leaves the next one its part of
// the time until the header.
func TestSilentAddressHasItsPart(t *testing.T) {
	picture := pngOf(t, 2, 2)
	const most = 4 * time.Second
	for answered, want := range map[time.Duration]ErrorKind{most/2 - 1: "", most/2 + 1: Timeout} {
		synctest.Test(t, func(t *testing.T) {
			origin, m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
				time.Sleep(answered)
				w.Write(picture)
			})
			origin.Start()
			f := newFetcher(t, Options{HeaderTimeout: most, Resolver: resolves("i.example", "93.184.215.14,93.184.215.15")}, origin.URL)
			f.usual.dialer.connect = m.connectIf(func(to netip.AddrPort) bool { return to.Addr() == netip.MustParseAddr("93.184.215.15") })
			began := time.Now()
			_, _, err := pull(t, f, "http://i.example:8080/")
			if want != "" {
				wantClass(t, err, want)
			} else if err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took != most/2+min(answered, most/2) {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// TestHTTP2 sends over HTTP/2 what TestAnswers and TestEndless send over HTTP/1.
func TestHTTP2(t *testing.T) {
	synctest.Test(t, testHTTP2)
}

func testHTTP2(t *testing.T) {
	picture := pngOf(t, 20, 20)
	hung := make(chan struct{})
	origin, m := serveMemory(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("spoke %s", r.Proto)
		}
		flush := w.(http.Flusher).Flush
		switch r.URL.Path {
		case "/plain":
			w.Write(picture)
		case "/cut":
			w.Header().Set("Content-Length", fmt.Sprint(len(picture)))
			w.Write(picture[:100])
			flush()
			panic(http.ErrAbortHandler)
		case "/short":
			w.Write(picture[:100])
		case "/bomb":
			io.WriteString(w, bombHeader(50000, 50000))
			flush()
			<-r.Context().Done()
		case "/endless":
			w.Write(picture)
			for r.Context().Err() == nil {
				w.Write(make([]byte, 1000))
			}
		case "/silent":
			<-r.Context().Done()
		case "/silent-body":
			w.Write(picture[:100])
			flush()
			<-r.Context().Done()
		case "/header":
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		case "/storm":
			w.Header().Set("Link", strings.Repeat("x", 1000))
			for r.Context().Err() == nil {
				w.WriteHeader(103)
			}
		}
		if r.URL.Path == "/silent" {
			close(hung)
		}
	})
	origin.EnableHTTP2 = true
	origin.StartTLS()
	roots := x509.NewCertPool()
	roots.AddCert(origin.Certificate())
	for _, tt := range []struct {
		path string
		want ErrorKind
	}{
		{"/plain", ""}, {"/cut", Broken}, {"/short", Broken}, {"/bomb", TooManyPixels}, {"/endless", ""}, {"/silent", Timeout}, {"/silent-body", Timeout},
		{"/header", Failed}, {"/storm", Failed},
	} {
		o := Options{RootCAs: roots}
		switch tt.path {
		case "/silent":
			o.HeaderTimeout = time.Second
		case "/silent-body":
			o.Timeout = time.Second
		}
		f := newFetcher(t, o, origin.URL)
		f.usual.dialer.connect = m.connect
		_, _, err := pullRequest(t, f, Request{URL: origin.URL + tt.path, Limits: probe.Limits{MaxPixels: 1e6}})
		if tt.want != "" {
			wantClass(t, err, tt.want)
		} else if err != nil {
			t.Errorf("%s: %v", tt.path, err)
		}
	}
	<-hung // the origin noticed that we left
}
