package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"imgkeep/bucket"
	"imgkeep/bucket/backup"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/migrate"
	"imgkeep/bucket/tags"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/hook"
	"imgkeep/cmd/imgkeep/app/nodes"
	"imgkeep/resize"
)

// Need is what a command needs of a store.
type Need struct {
	Create   bool // images are kept; a store is made where there is none
	Decoders bool // sizes are made
	Root     bool // root stays root: see BecomeOwner
}

// Open returns what does the work of a command: the server, where one runs, and this
// process otherwise, which then has the store open until close is called.
func Open(ctx context.Context, c config.Config, p Process, need Need) (_ control.Service, closeAll func() error, err error) {
	client, err := control.Dial(ctx, c.AdminSocket())
	if err == nil {
		return client, func() error { return nil }, nil
	}
	if !errors.Is(err, control.ErrNoServer) {
		return nil, nil, err
	}
	if err := refuseNode(c, fmt.Sprintf("shared is set, and no server answers at %s: this command works through a node's server, or on the store of one machine", c.AdminSocket())); err != nil {
		return nil, nil, err
	}
	if !need.Create {
		if err := IsStore(c.Root); err != nil {
			return nil, nil, err
		}
	}
	if !need.Root {
		if err := BecomeOwner(c.Root); err != nil {
			return nil, nil, err
		}
	}
	return openLocal(c, p, need)
}

// RefuseNode is for what works on the files of a store of one machine, and never through a
// server.
func RefuseNode(c config.Config) error {
	return refuseNode(c, "shared is set, and this command works only on the store of one machine: what the files of a node tell is only a part")
}

func refuseNode(c config.Config, why string) error {
	if err := nodes.CheckRoot(c); err != nil || !c.Shared.IsSet() {
		return err
	}
	return config.Errorf("%s", why)
}

func openLocal(c config.Config, p Process, need Need) (_ control.Service, _ func() error, err error) {
	log := NewLogger(p.Stderr, c.Log)
	var closers []func() error // the last is called first
	closeAll := func() error {
		var errs []error
		for _, close := range slices.Backward(closers) {
			errs = append(errs, close())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	var pool *resize.Pool
	if need.Decoders {
		if pool, err = NewPool(c, log); err != nil {
			return nil, nil, err
		}
		closers = append(closers, pool.Close)
	}
	lazy := &lazyPool{config: c, log: log, pool: pool}
	if pool == nil {
		closers = append(closers, lazy.close)
	}
	store, err := openForCommand(c, p, newLook(c, lazy.get))
	if err != nil {
		return nil, nil, inUse(c, err)
	}
	closers = append(closers, func() error { return store.Close(context.Background()) })
	book := tags.Open(c.Root, p.Now, log)
	o := control.Options{
		Store: control.OpenStore{Store: store}, Exclusive: true, Hot: hotOf(c, log, p.Now), Audit: p.audit(c),
		Links: linkBook{func() config.Config { return c }, store, book, p.Now, p.Warn},
		Tags:  book,
	}
	if hook.Exists(c.Root) { // the server tells of it when it runs again
		outbox, err := hook.OpenOutbox(c.Root, log, p.Now)
		if err != nil {
			return nil, nil, err
		}
		o.Outbox = outboxOf(outbox)
	}
	if need.Create {
		presets, err := Presets(c)
		if err != nil {
			return nil, nil, err
		}
		keeper, err := newKeeper(c, presets, store, pool, p.Now)
		if err != nil {
			return nil, nil, err
		}
		o.Keeper = func() control.Keeper { return keeper }
	}
	return control.New(o).As(p.Caller), closeAll, nil
}

// openForCommand opens the store for a command: it logs what goes wrong, and can
// fetch.
func openForCommand(c config.Config, p Process, look lookalike.Reader) (*bucket.Store, error) {
	if c.Log.Level == "info" {
		c.Log.Level = "warn" // the command itself says what it does
	}
	log := NewLogger(p.Stderr, c.Log)
	fetcher, err := NewFetcher(c, NewSelfLinks(c, nil, p.Now), nil, log, p.Now)
	if err != nil {
		return nil, err
	}
	o, err := storeOptions(c, fetcher, fetcher.Reserve, log, p.Now)
	if err != nil {
		return nil, err
	}
	o.Look = look
	return openStore(o)
}

// openStore opens a store, unless a restore of it is unfinished.
func openStore(o bucket.Options) (s *bucket.Store, err error) {
	switch {
	case backup.RestoreUnfinished(o.Root):
		err = fmt.Errorf("a restore to %s has begun and not ended: run 'imgkeep restore' again", o.Root)
	case migrate.PullUnfinished(o.Root):
		err = fmt.Errorf("a pull to %s has begun and not ended: run 'imgkeep pull' again", o.Root)
	default:
		s, err = bucket.Open(o)
	}
	if err != nil {
		return nil, fmt.Errorf("open the store in %s: %w", o.Root, err)
	}
	return s, nil
}

// IsStore tells a store from a misspelt path, in which opening would make one.
func IsStore(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return config.Errorf("there is no store: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "index.db" {
			return nil
		}
		if _, err := os.Stat(filepath.Join(root, e.Name(), "journal")); err == nil {
			return nil
		}
	}
	return config.Errorf("there is no store in %s: set root", root)
}

// inUse says what to do where another process has the store open.
func inUse(c config.Config, err error) error {
	if errors.Is(err, bucket.ErrInUse) {
		return fmt.Errorf("%w; no server answers at %s: check admin, or wait for the other command", err, c.AdminSocket())
	}
	return err
}
