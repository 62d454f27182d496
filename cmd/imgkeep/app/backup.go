package app

import (
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newBackupCommand(a *app) *cobra.Command {
	x := &backupCommand{app: a}
	cmd := &cobra.Command{
		Use:     "backup DIR",
		GroupID: groupStore,
		Short:   "Copy what is kept to a folder",
		Long: `Backup copies journals and originals to a folder, in which 'imgkeep restore' finds
a store. It works while the server runs and without it, reads the store's files
itself, and needs to be allowed to: be root, or the user that the server runs as.

The first backup copies everything, later ones what is new. Files are flushed, read
back and compared with their digests before the journals name them, so that the
folder is a good backup at any time, also of a backup that was broken off; run it
again and it goes on. Nothing is removed from it. A folder that holds anything else,
or the backup of another store, is refused; so is one that has a journal which the
store has lost.

An original that is missing or damaged is named and not copied; the copy that an
earlier backup made stays. Those copies are not read each time: --verify reads all
of the backup again and copies anew what is damaged in it. Not copied are the index
and the sizes, which are made again, and the quarantine.

Other tools can do it as well, in this order, because a journal is written after
the files that it names: first a copy of the journals ({root}/*/journal), then the
images. With rsync:

  rsync -a '--include=/*/' '--include=/*/journal/***' '--exclude=*' ROOT/ DIR.new/
  rsync -a --exclude=/index.db --exclude=/tmp --exclude=/quarantine --exclude='/*/journal' ROOT/ DIR/
  rsync -a DIR.new/ DIR/

With restic: the journals in one snapshot first, then all but index.db and tmp in a
second one; to restore, take the images from the second and the journals from the
first. A snapshot of a file system or volume, taken at one instant, is good as it
is; leave index.db out or let 'imgkeep reindex' make it again.

Exit status: 0 if everything was copied; 3 if some originals were missing or
damaged, copies in the backup included, or lines of the journal broken; 1 if the
backup could not be made.`,
		Example:           `  imgkeep backup --config /etc/imgkeep/imgkeep.yaml /mnt/backup/imgkeep`,
		Args:              cobra.ExactArgs(1),
		RunE:              x.run,
		ValidArgsFunction: folderArg,
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.link, "link", false, "make hard links where the folder is on the store's file system: quick and small, and no help against a failing disk")
	cmd.Flags().BoolVar(&x.verify, "verify", false, "read all of the backup again, and copy anew what is damaged in it")
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

type backupCommand struct {
	app                 *app
	link, verify, quiet bool
}

func (x *backupCommand) run(cmd *cobra.Command, args []string) error {
	c, _, err := x.app.load(cmd)
	if err != nil {
		return err
	}
	if err := engine.IsStore(c.Root); err != nil {
		return err
	}
	p := newProgress(cmd.ErrOrStderr(), x.app.Now)
	out := &scrubOutput{w: cmd.OutOrStdout(), before: p.clear}
	o := bucket.BackupOptions{Root: c.Root, Dir: args[0], Link: x.link, Verify: x.verify, Found: out.found, Now: x.app.Now}
	if !x.quiet {
		o.Progress = p.show
	}
	r, err := bucket.Backup(cmd.Context(), o)
	p.clear()
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	return out.endBackup(r)
}

// folderArg completes the one argument of a command with folders.
func folderArg(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func (o *scrubOutput) endBackup(r bucket.BackupReport) error {
	text := fmt.Sprintf("%s images, of which %s copied now (%s) in %s: %s",
		humanize.Comma(int64(r.Images)), humanize.Comma(int64(r.Copied)), humanize.IBytes(uint64(r.Bytes)), seconds(r.Seconds), tally(r.Found, "all good"))
	return o.end(text, nil, sum(r.Found))
}
