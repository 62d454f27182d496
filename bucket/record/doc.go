// Package record has the types that packages of the store share: digests, images, blocks,
// failures, findings, and where each of them lies on disk.
//
// It promises that the names are stable: ParseFile reads what Image.File and VariantFile
// write, and a digest has one spelling. It does no I/O, keeps no state, and decides
// nothing.
package record
