package bucket

import (
	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/index"
)

// stepDisk is a localtest.Disk in which a commit of the index is a step as well.
type stepDisk struct{ localtest.Disk }

func newStepDisk(hook func(localtest.Step, func() error) error) stepDisk {
	return stepDisk{localtest.New(hook)}
}

// newFullStepDisk is a stepDisk with all folders of a bucket.
func newFullStepDisk(hook func(localtest.Step, func() error) error) stepDisk {
	return stepDisk{localtest.Disk{Disk: local.OS{}, Hook: hook}}
}

func (d stepDisk) Commit(db *index.DB, changes []index.Change) error {
	return d.Hook(localtest.Step{Op: "Commit"}, func() error { return db.Apply(changes) })
}
