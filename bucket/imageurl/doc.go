// Package imageurl gives each image URL, host and host pattern exactly one spelling.
//
// All of them use this one rule: what a site signed, where a redirect leads, what a
// profile, a block or a list of hosts names. With two rules, an attacker would look for a
// spelling that one of them reads as the trusted host and the other as the attacker's.
//
// What it promises: the rule is that of browsers (WHATWG URL Standard, sections 3.5 and
// 4.4), so that an image which a page shows has a URL here too. Parse returns its own
// results unchanged. Results are printable ASCII, so that they can stand in a request line,
// a journal and a log.
//
// It differs from browsers where they are generous to attackers, or where stored keys
// depend on it:
//
//   - user names and passwords are refused, since a link would publish them;
//   - control characters other than tabs and line breaks are refused;
//   - of the spellings of an IPv4 address only four decimal parts are accepted;
//   - a host's final dot and the fragment are dropped;
//   - some bytes more are percent-encoded: ^ ` { | } in a query, \ in a query, | in a
//     path, and a percent sign that begins no escape. Origins decode them alike.
//
// An object in an S3-compatible store, s3://bucket/key, has the host BUCKET.s3, so that
// all lists of hosts can name it.
//
// What it does not do: it asks no name server, and does not decide whether an address may
// be connected to: [imgkeep/bucket/fetch/guard] does. All functions may be called
// concurrently.
package imageurl
