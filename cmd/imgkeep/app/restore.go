package app

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/backup"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/nodes"
)

func newRestoreCommand(a *app) *cobra.Command {
	x := &restoreCommand{app: a}
	cmd := &cobra.Command{
		Use:     "restore DIR",
		GroupID: groupStore,
		Short:   "Restore a store from a backup",
		Long: `Restore copies a backup that 'imgkeep backup' has made into the store's root, which
must be empty, compares every file with its digest, and builds the index. If it is
interrupted, run it again to continue; until it has finished, the server refuses to
start on that root.

What it makes is the store of one machine: it is refused in the root of a node.

Sizes are made again on request.

Run it as the user that the server runs as. If root runs it, the files get the owner
of the root folder.

Exit status: 0 if everything was restored; 3 if some images of the backup were
missing or damaged: the others were restored; 1 if it could not be done.`,
		Example:           `  imgkeep restore --root /var/lib/imgkeep /mnt/backup/imgkeep`,
		Args:              cobra.ExactArgs(1),
		RunE:              a.configured(x.run),
		ValidArgsFunction: folderArg,
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

type restoreCommand struct {
	app   *app
	quiet bool
}

func (x *restoreCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	if err := nodes.RefuseCache(c.Root); err != nil {
		return err
	}
	out := x.app.newReport(cmd, false, x.quiet)
	r, indexed, err := backup.Restore(cmd.Context(), backup.Options{
		Root: c.Root, Dir: args[0], Found: out.found, Progress: out.show, Now: x.app.Now,
	})
	err = errors.Join(err, engine.GiveToOwner(c.Root))
	out.progress.clear()
	if err != nil {
		return fmt.Errorf("restore: %w", stopFirst(err))
	}
	if out.err == nil {
		_, out.err = fmt.Fprintf(out.w, "%s URLs of %s images can be served\n",
			humanize.Comma(int64(indexed.URLs)), humanize.Comma(int64(indexed.Images)))
	}
	return out.endBackup(r)
}
