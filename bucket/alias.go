package bucket

import (
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/record"
)

// Names of before, for callers that are yet to use package record.
type (
	Digest   = record.Digest
	Image    = record.Image
	Block    = record.Block
	Kind     = record.Kind
	Finding  = record.Finding
	Progress = record.Progress
	Removed  = record.Removed
	Removal  = record.Removal
)

const (
	BlockURL    = record.BlockURL
	BlockDigest = record.BlockDigest
	BlockHost   = record.BlockHost
	Missing     = record.Missing
	Corrupt     = record.Corrupt
	Orphan      = record.Orphan
	HalfRemoved = record.HalfRemoved

	DefaultReserve = local.DefaultReserve
)

// ParseDigest is record.ParseDigest.
func ParseDigest(s string) (Digest, error) { return record.ParseDigest(s) }

// Kinds is record.Kinds.
func Kinds() []Kind { return record.Kinds() }
