// Package bucket is the permanent store of images.
//
// A store is a folder that holds buckets. An image is fetched from its origin
// once, when a URL is asked for the first time, and kept for good as an
// immutable file named by the SHA-256 of its bytes:
//
//	{root}/index.db                                what is kept under which URL
//	{root}/tmp/                                    unfinished work; emptied by Open
//	{root}/.reserve/                               room that only removals may use
//	{root}/journal/2026-11.ndjson                  a line for each block, of all buckets
//	{root}/{bucket}/journal/2026-11.ndjson         a line for each URL kept, and each removal
//	{root}/{bucket}/{a}/{b}/{digest}.jpg           an original; a and b are the digest's first two characters
//	{root}/{bucket}/{a}/{b}/{digest}.250x250.jpg   something made from it
//
// What it promises: when Keep has answered without an error, the bytes, their
// name, their line in the journal and their entry in the index have been flushed
// to disk, in this order, so that a crash at any instant loses nothing that was
// answered, and leaves at most a file that nothing refers to. A file under its
// final name is whole. A flush that failed is not asked again: what it may have
// lost is written again, or not answered. The same bytes under two URLs are one
// file of a bucket. A URL is fetched by one flight at a time, which the viewer's
// leaving does not stop; a failure is remembered, and tried again later and
// later. What its origin has lost is looked for at the fallbacks, and nothing
// is visible that the operator's check, if there is one, has not said yes to.
//
// The journals are the truth. The index says how far into each of them it goes, and
// Open takes in what they have behind that, or refuses an index that does not fit.
// Damage of either is an error or a finding, not an answer. After a commit of the
// index that has failed, what it lacks is taken in before anything else; after a
// flush that has failed nothing is answered from it (ErrIndexFailed) until it has
// been written again.
//
// What is removed goes in the order journal, index, files, so that a crash leaves
// either the image, or something that nobody sees any more and that the next Open
// finishes. What was answered as removed stays so: also when the index is made
// again, and for fetches that were under way.
//
// What it does not do: it knows no routes, no signatures and no sizes. It does
// not decide whether an image may be fetched, that is [imgkeep/bucket/fetch],
// nor what is made of one, only where it lies. It does not look at an image's
// bytes again once it has kept them, except when something is made from them,
// and when the same bytes come again under another URL.
//
// What lies below: [imgkeep/bucket/blob] has the originals, [imgkeep/bucket/ledger] what
// was kept and removed, and [imgkeep/bucket/index] answers. What is made of images is
// [imgkeep/bucket/variant]'s. Beside it, scrub, linkrot, query, reindex and backup take
// what they need of a store, see Store.Maintenance, or only its root.
//
// All of the store must lie on one file system with hard links, and one process
// at a time has it open.
package bucket
