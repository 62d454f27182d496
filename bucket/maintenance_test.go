package bucket

import (
	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/query"
	"imgkeep/bucket/scrub"
	"imgkeep/bucket/variant"
)

// What those beside the store ask of it, it has.
var (
	_ scrub.Store   = maintenance{}
	_ linkrot.Store = maintenance{}
	_ query.Store   = maintenance{}
	_ variant.Store = originals{}
)
