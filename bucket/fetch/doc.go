// Package fetch downloads one image from one URL that nobody trusts.
//
// The URL was written by a stranger, the name server that resolves it may be
// theirs, and so may the server that answers. So a [Fetcher] promises:
//
//   - It connects only to global unicast addresses, and to the private networks
//     that the operator lists. The address is checked after resolution, in the
//     dialer, for every connection: a redirect, a second answer of the name
//     server (DNS rebinding) or an odd spelling of an address gets no further
//     than a plain one. Addresses that hide an IPv4 address (mapped, compatible,
//     6to4, NAT64, Teredo, ISATAP) are judged by that one too.
//   - Scheme, userinfo, host and port are judged again at every redirect, by the
//     same lists as the first URL.
//   - It sends the same few header fields for every viewer, and nothing of theirs:
//     no address, no cookie but what the origins of this one fetch have set, and no
//     Referer or other field but the operator's own for a host, which no other host
//     sees (see [Profile]). What an origin says in its header is used to read its
//     body, and never returned.
//   - It stops at the first byte that is one too many, and as soon as the image's
//     own header tells of too many pixels, so that a bomb is not downloaded.
//   - It recognises an image by its bytes alone, and accepts it only when it is
//     complete: all the bytes announced, and the format's end marker; and when it
//     is not a picture that says that the image was removed (see [Removed]).
//   - It does not fetch from the server that it is part of (see Options.Own), and
//     marks its requests for that server, where they reach it by an unknown name (see
//     Options.Loop).
//   - Every wait has an end, and everything is bounded: header, redirects, time,
//     simultaneous fetches in all, per site, per domain below an ICANN suffix and per
//     network of the address, and those that wait for one. When places run out, who
//     asked for most is turned away first. A body has to come at a least rate all the
//     time.
//   - A host that asks for a pause gets it, see [Pauses].
//   - Errors tell whose fault it is, see [Class]. Their text is for the operator's
//     log: it names the origin's host, no path, and nothing of a viewer.
//
// It does not promise that the same URL gives the same bytes twice, does not
// cache, remembers no failure, and does not decode. It asks a second time only by
// https where nobody can be reached at port 80, and by HTTP/1.1 where an origin takes
// HTTP/2 back. What it wrote before it failed is worthless: the caller must throw
// that away.
//
// Which addresses are permitted is decided by package guard; places are shared out by
// package place; and the operator's proxy is asked by package outbound.
//
// # Connections
//
// A connection that served a complete answer may be used again for the same
// scheme, host and port. It still leads to the address that was checked when it
// was made. HTTP/2 is used where TLS offers it. The proxy variables of the
// environment are not read.
//
// An origin that sends more than it announced, on a connection that is kept, makes
// net/http write a line to the standard logger. A program that has a log of its
// own leads that one into it.
//
// # From https to http
//
// A redirect from https to http is followed. Plain http URLs are accepted in the
// first place, and it is the server behind the certificate that sends us there,
// so refusing would lose images and protect nobody.
//
// # Outbound proxy
//
// With Options.Proxy the proxy is asked instead of the origin, so the origin
// does not see this server's address. The origin's name is still resolved and
// judged here. A SOCKS5 proxy, and an HTTP proxy for https URLs (CONNECT), are
// then given the address that was checked, not the name. What remains: an HTTP
// proxy that is asked for a plain http URL gets the name, as its protocol wants
// it, and resolves it a second time. A name server that lies the second time
// can then make the proxy connect to what the proxy can reach. Use SOCKS5, or
// a proxy that refuses private addresses itself, where that matters. The name
// server sees a question from here either way. The proxy's own address is the
// operator's choice and is not judged.
//
// # What the guard cannot know
//
// A global address that is private in fact (a router that answers on its
// public address from inside only), and a NAT64 prefix out of a network's own
// range, look like any other. Where such exist, a firewall has to say so.
package fetch
