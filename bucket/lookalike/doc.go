// Package lookalike is what a store knows of how its images look, and what it does with
// it: it finds images that look alike, and keeps out what looks like a blocked one.
//
//   - A [Book] has the hash of each image that is kept, in a file of its own, and searches
//     it.
//   - A [Blocklist] has the hashes that are blocked, in memory. The journal of blocks and
//     the index have them durably; the store fills the list when it opens.
//   - [Refusals] are the images that were kept out, for people to look at: what each
//     resembles, and how closely. Similarity is a guess, so it is never trusted silently.
//   - [Index] has decoders look at what a store has kept before it knew hashes.
//
// What it promises: an image that is removed takes its hash along; a list that is loaded
// never shows a torn or damaged record. What it does not promise: that the book is whole.
// It is made of what decoders happen to see, can be lost, and be made again by Index.
//
// How pictures are compared is [imgkeep/bucket/likeness].
package lookalike
