package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

// withStore has work done on the store: by the server, where one runs, and by
// this process otherwise.
func (a *app) withStore(ctx context.Context, c config.Config, ask func(*control.Client) error, do func(*bucket.Store) error) (err error) {
	client, err := control.Dial(ctx, c.AdminSocket())
	if err == nil {
		return ask(client)
	}
	if !errors.Is(err, control.ErrNoServer) {
		return err
	}
	if err := isStore(c.Root); err != nil {
		return err
	}
	if err := a.becomeOwner(c.Root); err != nil {
		return err
	}
	store, err := a.openStore(c)
	if err != nil {
		return inUse(c, err)
	}
	defer func() { err = errors.Join(err, store.Close(context.Background())) }()
	return do(store)
}

// openStore opens the store for a command: it logs what goes wrong, and can
// fetch.
func (a *app) openStore(c config.Config) (*bucket.Store, error) {
	if c.Log.Level == "info" {
		c.Log.Level = "warn" // the command itself says what it does
	}
	log := newLogger(a.Stderr, c.Log)
	limits, err := newLimits(c)
	if err != nil {
		return nil, err
	}
	fetcher, err := newFetcher(c, newOwn(c, nil, a.Now), nil, log, a.Now)
	if err != nil {
		return nil, err
	}
	return newStore(c, fetcher, fetcher.Reserve, limits, log, a.Now)
}

// isStore tells a store from a misspelt path, in which opening would make one.
func isStore(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return usagef("there is no store: %w", err)
	}
	for _, e := range entries {
		if e.Name() == "index.db" {
			return nil
		}
		if _, err := os.Stat(filepath.Join(root, e.Name(), "journal")); err == nil {
			return nil
		}
	}
	return usagef("there is no store in %s: set root", root)
}

// inUse says what to do where another process has the store open.
func inUse(c config.Config, err error) error {
	if errors.Is(err, bucket.ErrInUse) {
		return fmt.Errorf("%w; it does not answer at %s: if it is a server, its setting of admin is another, and if it is a command, wait for its end", err, c.AdminSocket())
	}
	return err
}

// stopFirst says what to do where a command that replaces the index finds the
// store open.
func stopFirst(err error) error {
	if errors.Is(err, bucket.ErrInUse) {
		return fmt.Errorf("%w: stop the server, or wait for the other command's end", err)
	}
	return err
}

// ready makes sure that the store in a root can be opened: what a restore has
// left unfinished is refused.
func ready(root string) error {
	if bucket.RestoreUnfinished(root) {
		return fmt.Errorf("a restore to %s has begun and not ended: run 'imgkeep restore' again", root)
	}
	return nil
}
