// Package nginx is the half of imgkeep that runs in nginx: the site configuration by which
// nginx serves, and the tree of hot links that it serves from.
//
// imgkeep decides about a link once; from then on nginx serves it. The decision is a
// symbolic link on tmpfs, named by the signature and pointing at the stored file:
//
//	{hot}/{bucket}/{size}/{s0}/{s1}/{rest of the signature}{extension}
//
// where extension is that of the file, one of Site.Extensions.
//
// For a size that is also offered in other formats (Site.Offers), viewers are grouped by
// the formats that their Accept header names. Each group has its own folder in place of the
// size's: 250x250, 250x250+webp, 250x250+avif+webp. nginx finds the group by the same rule
// as Accepts, and passes it to imgkeep.
//
// A Site is the configuration that looks there: nginx sends what is in the tree without
// asking imgkeep (hot). It passes everything else to imgkeep, with the URI as the client
// wrote it; imgkeep answers with X-Accel-Redirect (warm) or with its error.
//
// What Site promises: a client gets the same status, headers and bytes hot, warm
// and from imgkeep itself; only a well-formed GET or HEAD of a link of a listed
// bucket can name a file, whatever is sent; no request header other than those
// for ranges and conditions reaches imgkeep; the access log holds no signature.
// Every value is checked before it is written, so that none can inject directives.
//
// What Hot promises: a link is never visible without its expiry, which is its own
// modification time. It is removed at that instant, to the precision of the timer, and
// nginx notices within Site.Valid. No more than a set number of links exist. When the
// secrets change in a way that invalidates links, all links are gone before OpenHot
// returns. Any number of processes may share one tree, and each may be killed at any time:
// no list exists that could differ from the links.
//
// What the package does not do: it verifies no signature and knows no URL. The caller adds
// links only for answers that every holder of the signature may have: never for /proxy, for
// an error or for info.
package nginx
