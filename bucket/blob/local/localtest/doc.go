// Package localtest has disks for tests: that tell of each step and fail at any
// ([Disk], [Fault]), and that make a bucket's folders only when something is put into
// them ([Sparse]). Nothing of it is part of the programs.
package localtest
