// Package local keeps blobs on a local disk: durable writes, the 64 times 64 folders of a
// bucket, the room that only removals may use, and the seam where tests inject faults
// ([Disk]).
//
// It promises that a file under its final name is whole and flushed, and that its name
// is flushed before Place returns. A flush that failed is not asked again. It does not
// know what refers to a file, and removes none that it was not told to remove. All of a
// store must lie on one file system with hard links.
package local
