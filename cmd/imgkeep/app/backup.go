package app

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/backup"
	"imgkeep/bucket/migrate"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newBackupCommand(a *app) *cobra.Command {
	x := &backupCommand{app: a}
	cmd := &cobra.Command{
		Use:     "backup DIR",
		GroupID: groupStore,
		Short:   "Copy what is kept to a folder",
		Long: `Backup copies journals and originals to a folder, from which 'imgkeep restore' makes
a store. It works with or without a running server. It reads the store's files
itself, so run it as root or as the user that the server runs as.

The first backup copies everything; later ones copy what is new, and delete originals
that were removed from the store since. Files are flushed, read back and compared with
their digests before the journals name them, so the folder is a good backup at any
time, even after an interruption: run the command again to continue. It refuses a
folder that holds anything else, the backup of another store, or a journal that the
store has lost.

An original that is missing or damaged is reported and not copied; the copy from an
earlier backup stays. Existing copies are not read each time: --verify reads the whole
backup and copies again what is damaged in it. The index and the sizes are not copied,
because they can be made again; neither are the quarantine, the audit log, and the
accounts of moderators.

Where shared is set, it copies what the object store has, from any machine: records are
read before originals, and only originals that the folder lacks are fetched. What the
nodes have removed is deleted from the folder; what the object store has lost is reported
and stays in it. 'imgkeep restore' makes a store of one machine from the backup, and
'imgkeep push' moves that to an object store. Nodes may run meanwhile.

Other tools can also back up the store of one machine. The order matters, because a
journal is written after the files that it names: first copy the journals
({root}/*/journal), then the images. With rsync:

  rsync -a '--include=/*/' '--include=/*/journal/***' '--exclude=*' ROOT/ DIR.new/
  rsync -a --exclude=/index.db --exclude=/tmp --exclude=/quarantine --exclude='/*/journal' ROOT/ DIR/
  rsync -a DIR.new/ DIR/

Afterwards run 'touch ROOT/backup.last', as this command does: the metrics report its
time as that of the last backup.

With restic: the journals in one snapshot first, then all but index.db and tmp in a
second one; to restore, take the images from the second and the journals from the
first. A snapshot of a file system or volume, taken at one instant, is good as it
is; leave index.db out or let 'imgkeep reindex' make it again.

Exit status: 0 if everything was copied; 3 if some originals were missing or
damaged, copies in the backup included, or lines of the journal broken; 1 if the
backup could not be made.`,
		Example:           `  imgkeep backup --config /etc/imgkeep/imgkeep.yaml /mnt/backup/imgkeep`,
		Args:              cobra.ExactArgs(1),
		RunE:              a.configured(x.run),
		ValidArgsFunction: folderArg,
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.link, "link", false, "make hard links where the folder is on the store's file system: quick and small, and no help against a failing disk")
	cmd.Flags().BoolVar(&x.verify, "verify", false, "read the whole backup, and copy again what is damaged in it")
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
	return cmd
}

type backupCommand struct {
	app                 *app
	link, verify, quiet bool
}

func (x *backupCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	if c.Shared.IsSet() {
		return x.shared(cmd, args[0], c)
	}
	if err := engine.RefuseNode(c); err != nil {
		return err
	}
	if err := engine.IsStore(c.Root); err != nil {
		return err
	}
	out := x.app.newReport(cmd, false, x.quiet)
	r, err := backup.Run(cmd.Context(), backup.Options{
		Root: c.Root, Dir: args[0], Link: x.link, Verify: x.verify, Found: out.found, Progress: out.show, Now: x.app.Now,
	})
	out.progress.clear()
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := engine.NoteBackup(c.Root); err != nil { // the backup is valid in any case
		x.app.complain("warning: the time of the backup is not noted, so that the server's metrics will not know of it: " + err.Error())
	}
	return out.endBackup(r)
}

// shared backs up what several nodes share, wherever it runs.
func (x *backupCommand) shared(cmd *cobra.Command, dir string, c config.Config) error {
	if x.link {
		return usageError(errors.New("--link: there is nothing to link to where shared is set"))
	}
	m := &migrateCommand{app: x.app, verify: x.verify}
	out := x.app.newReport(cmd, false, x.quiet)
	o, err := m.options(c, out)
	if err != nil {
		return err
	}
	o.Root, o.Name = dir, "the object store's "+c.Shared.Bucket+"/"+c.Shared.Prefix
	r, err := migrate.Backup(cmd.Context(), o)
	out.progress.clear()
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

func (r *report) endBackup(b backup.Report) error {
	text := fmt.Sprintf("%s images, of which %s copied now (%s) in %s: %s",
		humanize.Comma(int64(b.Images)), humanize.Comma(int64(b.Copied)), humanize.IBytes(uint64(b.Bytes)), seconds(b.Seconds), tally(b.Found, "all good"))
	return r.end(text, nil, sum(b.Found))
}
