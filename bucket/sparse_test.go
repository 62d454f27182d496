package bucket

import (
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
)

// withFolders are options of a store that has all its folders.
func withFolders(o Options) Options {
	o.disk, o.sparse = local.OS{}, false
	return o
}

// sparse are options of a store without the folders that it does not need.
func sparse(o Options) Options {
	if o.sparse = o.disk != (local.OS{}); o.disk == nil {
		o.disk = localtest.Sparse{Disk: local.OS{}}
	}
	return o
}
