package app

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newRestoreCommand(a *app) *cobra.Command {
	x := &restoreCommand{app: a}
	cmd := &cobra.Command{
		Use:     "restore DIR",
		GroupID: groupStore,
		Short:   "Make a store of a backup",
		Long: `Restore copies a backup that 'imgkeep backup' has made into the store's root, which
must be empty, compares every file with its digest, and makes the index. It may be
broken off: run it again and it goes on. Until it has ended the server refuses to
start on that root.

Sizes are made again when they are asked for.

Run it as the user that the server runs as, or give it the files afterwards.

Exit status: 0 if everything was restored; 3 if some images of the backup were
missing or damaged: the others were restored; 1 if it could not be done.`,
		Example:           `  imgkeep restore --root /var/lib/imgkeep /mnt/backup/imgkeep`,
		Args:              cobra.ExactArgs(1),
		RunE:              x.run,
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

func (x *restoreCommand) run(cmd *cobra.Command, args []string) error {
	c, _, err := x.app.load(cmd)
	if err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr(), x.app.Now)
	out := &scrubOutput{w: cmd.OutOrStdout(), before: p.clear}
	o := bucket.BackupOptions{Root: c.Root, Dir: args[0], Found: out.found, Now: x.app.Now}
	if !x.quiet {
		o.Progress = p.show
	}
	r, indexed, err := bucket.Restore(cmd.Context(), o)
	err = errors.Join(err, engine.GiveToOwner(c.Root))
	p.clear()
	if err != nil {
		return fmt.Errorf("restore: %w", stopFirst(err))
	}
	if out.err == nil {
		_, out.err = fmt.Fprintf(out.w, "%s URLs of %s images can be served\n",
			humanize.Comma(int64(indexed.URLs)), humanize.Comma(int64(indexed.Images)))
	}
	return out.endBackup(r)
}
