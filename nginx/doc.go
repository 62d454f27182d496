// Package nginx is the half of imgkeep that nginx plays: the site configuration
// that makes nginx serve, and the tree of hot links that it serves by.
//
// imgkeep decides once about a link, nginx serves it from then on. The decision
// is a symbolic link on tmpfs, named by the signature and pointing at the stored
// file:
//
//	{hot}/{bucket}/{size}/{s0}/{s1}/{rest of the signature}{.jpg|.png|.webp|.gif|.avif}
//
// Of a size that is offered in other formats besides (Site.Offers), each class of
// viewers, by what their Accept headers name, has a folder of its own in the place
// of the size's: 250x250, 250x250+webp, 250x250+avif+webp. nginx finds the class,
// by the same rule as Accepts, and tells imgkeep what it has found.
//
// A Site is the configuration that finds it: what is in the tree is sent without
// imgkeep being asked (hot); everything else goes to imgkeep with the URI as the
// client wrote it, which answers with X-Accel-Redirect (warm) or with its error.
//
// What Site promises: a client gets the same status, headers and bytes hot, warm
// and from imgkeep itself; only a well-formed GET or HEAD of a link of a listed
// bucket can name a file, whatever is sent; no request header other than those
// for ranges and conditions reaches imgkeep; the access log holds no signature.
// Every value is checked before it is written, so that none can smuggle in
// directives.
//
// What Hot promises: a link is never visible without the instant at which it
// expires, which is its own modification time; it is gone at that instant, to
// the precision of the timer, and nginx notices within Site.Valid; no more than
// a set number of links exist; when the secrets change in a way that ends links,
// all are gone before OpenHot returns. Any number of processes may share one
// tree, and any of them may be killed at any time: there are no lists that could
// differ from the links.
//
// What the package does not do: it verifies no signature and knows no URL. The
// caller adds links only for answers that every holder of the signature may
// have: never for /proxy, never for an error, never for info.
package nginx
