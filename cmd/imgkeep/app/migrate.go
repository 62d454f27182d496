package app

import (
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/migrate"
	"imgkeep/bucket/record"
	"imgkeep/bucket/reindex"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/nodes"
)

func newPushCommand(a *app) *cobra.Command {
	x := &migrateCommand{app: a}
	cmd := &cobra.Command{
		Use:     "push",
		GroupID: groupStore,
		Short:   "Move a store to the object store that several nodes share",
		Long: `Push copies what is kept on this machine's disk to the object store that shared
names, from which nodes serve it. The server may run meanwhile, by a configuration
without shared. It reads the store's files itself, so run it as root or as the user
that the server runs as, with a configuration that has the same root and buckets.

It copies blocks, then originals, each before the record of its URL, then what was
removed meanwhile, and the journals. An original that is damaged or missing here is
reported and not moved. What the object store already has under a URL stays there,
and is reported if it has other bytes. Nothing is deleted on the disk.

If it is interrupted, run it again to continue; {root}/push.json records how far it
was. It ends when it has caught up with the server, except for a few lines:

  1. imgkeep push --config nodes.yaml        (hours; again if you like)
  2. stop the server
  3. imgkeep push --config nodes.yaml        (seconds)
  4. start nodes with shared, each on an empty root

--verify compares everything with the object store, and moves what is missing there.
Keep the old root until you trust the new store. 'imgkeep pull' copies everything back.

Sizes are made again on request. Recorded failures, the audit log, hashes of likeness
and the tags of members are not moved.

Exit status: 0 if everything was moved; 3 if some originals were missing or damaged,
or the object store has other bytes; 1 if it could not be done.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(x.push),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&x.verify, "verify", false, "compare also what was moved before")
	x.flags(cmd)
	return cmd
}

func newPullCommand(a *app) *cobra.Command {
	x := &migrateCommand{app: a}
	cmd := &cobra.Command{
		Use:     "pull",
		GroupID: groupStore,
		Short:   "Copy what several nodes share to a store on this disk",
		Long: `Pull copies everything from the object store that shared names to the root, which must
be empty: originals, each compared with its digest, then journals; then it builds the
index. Afterwards a server without shared can serve it. Nothing is deleted in the object
store.

The journals are those that 'imgkeep push' moved, if it did, and what has changed since.
Nodes may run meanwhile; pull misses what they keep after it has listed a bucket, so
stop them before the last run.

If it is interrupted, run it again to continue; until it has finished, the server
refuses to start on that root. If root runs it, the files get the owner of the root
folder.

Exit status: 0 if everything was copied; 3 if some originals were missing or
damaged: the others were copied; 1 if it could not be done.`,
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.configured(x.pull),
	}
	addStoreFlags(cmd)
	x.flags(cmd)
	return cmd
}

type migrateCommand struct {
	app                 *app
	verify, json, quiet bool
}

func (x *migrateCommand) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&x.json, "json", false, "report as JSON")
	cmd.Flags().BoolVarP(&x.quiet, "quiet", "q", false, "show no progress")
}

func (x *migrateCommand) options(c config.Config, out *report) (migrate.Options, error) {
	objects, err := nodes.Objects(c, nil)
	var buckets []string
	for _, b := range c.Buckets {
		buckets = append(buckets, b.Name)
	}
	return migrate.Options{
		Root: c.Root, Buckets: buckets, Objects: objects, Name: c.Shared.Endpoint + "/" + c.Shared.Bucket + "/" + c.Shared.Prefix,
		Verify: x.verify, Found: out.found, Progress: out.show, Now: x.app.Now, Log: engine.NewLogger(x.app.Stderr, c.Log),
	}, err
}

func (x *migrateCommand) push(cmd *cobra.Command, _ []string, c config.Config) error {
	if err := nodes.RefuseCache(c.Root); err != nil {
		return err
	}
	if err := engine.IsStore(c.Root); err != nil {
		return err
	}
	if err := engine.BecomeOwner(c.Root); err != nil { // before keys are read, which are read again later
		return err
	}
	out := x.app.newReport(cmd, x.json, x.quiet)
	o, err := x.options(c, out)
	if err != nil {
		return err
	}
	r, err := migrate.Push(cmd.Context(), o)
	out.progress.clear()
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	text := fmt.Sprintf("%s URLs (%s), %s blocks and %s removals moved in %s: %s",
		humanize.Comma(int64(r.URLs)), humanize.IBytes(uint64(r.Bytes)), humanize.Comma(int64(r.Blocks)), humanize.Comma(int64(r.Removed)), seconds(r.Seconds), tally(r.Found, "all good"))
	if r.Behind > 0 {
		text += fmt.Sprintf("\n%s lines have come meanwhile: stop the server and push again", humanize.Comma(int64(r.Behind)))
	}
	return out.end(text, migrated{out.findings, r, nil}, sum(r.Found))
}

func (x *migrateCommand) pull(cmd *cobra.Command, _ []string, c config.Config) error {
	out := x.app.newReport(cmd, x.json, x.quiet)
	o, err := x.options(c, out)
	if err != nil {
		return err
	}
	r, indexed, err := migrate.Pull(cmd.Context(), o)
	err = errors.Join(err, engine.GiveToOwner(c.Root))
	out.progress.clear()
	if err != nil {
		return fmt.Errorf("pull: %w", stopFirst(err))
	}
	text := fmt.Sprintf("%s URLs of %s images (%s) can be served, copied in %s: %s",
		humanize.Comma(int64(indexed.URLs)), humanize.Comma(int64(indexed.Images)), humanize.IBytes(uint64(r.Bytes)), seconds(r.Seconds), tally(r.Found, "all good"))
	return out.end(text, migrated{out.findings, r, &indexed}, sum(r.Found))
}

// migrated is a report for programs.
type migrated struct {
	Findings []record.Finding `json:"findings"`
	migrate.Report
	Index *reindex.Report `json:"index,omitempty"` // of a pull
}
