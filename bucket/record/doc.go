// Package record holds what the other packages of the store say to each other: digests,
// images, blocks, failures, findings, and where each of them lies on disk.
//
// It promises that the names are what they have always been: what ParseFile reads is
// what Image.File and VariantFile write, and a digest has one spelling. It does no I/O, keeps
// no state, and decides nothing.
package record
