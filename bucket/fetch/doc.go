// Package fetch downloads one image from one URL that nobody trusts.
//
// A stranger wrote the URL, and may control the name server that resolves it and the server
// that answers. So a [Fetcher] promises:
//
//   - It connects only to global unicast addresses, and to the private networks
//     that the operator lists. The address is checked after resolution, in the
//     dialer, for every connection: a redirect, a second answer of the name
//     server (DNS rebinding) or an odd spelling of an address gets no further
//     than a plain one. Addresses that hide an IPv4 address (mapped, compatible,
//     6to4, NAT64, Teredo, ISATAP) are judged by that one too.
//   - Scheme, userinfo, host and port are judged again at every redirect, by the
//     same lists as the first URL.
//   - It asks for an object of a store (s3://bucket/key) only where Options.S3 lists the
//     bucket and Request.Hosts names it: by a signed GET of the operator's own endpoint,
//     whatever its address is. No redirect leads there, none of a store's is followed,
//     and no error has a key, or more of what a store says than its code.
//   - It sends the same few header fields for every viewer, and nothing of theirs:
//     no address, no cookie but what the origins of this one fetch have set, and no
//     Referer or other field but the operator's own for a host, which no other host
//     sees (see [Profile]). What an origin says in its header is used to read its
//     body, and never returned.
//   - It stops at the first byte beyond the limit, and as soon as the image's own header
//     announces too many pixels, so that a bomb is not downloaded.
//   - It recognises an image by its bytes alone, and accepts it only when it is
//     complete: all the bytes announced, and the format's end marker; and when it
//     is not a picture that says that the image was removed (see [Removed]).
//   - It does not fetch from its own server (see Options.Own), and marks its requests so that
//     this server recognises them if they reach it by an unknown name (see Options.Loop).
//   - Every wait has an end, and everything is bounded: header, redirects, time, simultaneous
//     fetches in all, per site, per domain below an ICANN suffix and per network of the
//     address, and those that wait. When places run out, the site with the most waiting fetches
//     is refused first. A body must arrive at a minimum rate all the time.
//   - A host that asks for a pause gets it, see [Pauses].
//   - Errors tell whose fault it is, see [ErrorKind]. Their text is for the operator's
//     log: it names the origin's host, no path, and nothing of a viewer.
//
// It does not promise that the same URL gives the same bytes twice, does not cache,
// remembers no failure, and does not decode. It asks a second time only by https if nobody
// answers at port 80, and by HTTP/1.1 if an origin rejects its HTTP/2. After a failure the
// written bytes are worthless: the caller must discard them.
//
// Package guard decides which addresses are permitted, package place shares out places,
// package outbound uses the operator's proxy, and package s3origin signs requests for objects.
//
// # Connections
//
// A connection that served a complete answer may be used again for the same
// scheme, host and port. It still leads to the address that was checked when it
// was made. HTTP/2 is used where TLS offers it. The proxy variables of the
// environment are not read.
//
// If an origin sends more than it announced on a kept connection, net/http writes a line to
// the standard logger. A program with its own log should redirect that.
//
// # From https to http
//
// A redirect from https to http is followed. Plain http URLs are accepted anyway, and the
// server behind the certificate sends the redirect, so refusing it would lose images and
// protect nobody.
//
// # Outbound proxy
//
// With Options.Proxy the proxy is asked instead of the origin, so the origin does not see
// this server's address. This package still resolves and checks the origin's name. A SOCKS5
// proxy, and an HTTP proxy for https URLs (CONNECT), get the checked address, not the name.
// But an HTTP proxy for a plain http URL gets the name, as its protocol demands, and
// resolves it again. A name server that lies the second time can then make the proxy
// connect to anything that the proxy can reach. If that matters, use SOCKS5, or a proxy
// that refuses private addresses itself. The name server sees a question from here in any
// case. The proxy's own address is the operator's choice and is not checked.
//
// # What the guard cannot know
//
// A global address that is in fact private (a router that answers on its public address
// only from inside), and a NAT64 prefix from a network's own range, look like any other. If
// such addresses exist, a firewall must block them.
package fetch
