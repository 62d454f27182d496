package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/ledger/journal"
	"imgkeep/bucket/node"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
)

// probeRounds is how often each condition of the object store is tried at the start.
const probeRounds = 1

// Options are those of a node, whose object store was tried: an error names what it does not
// keep. They are nil where the configuration is of the only node.
func Options(ctx context.Context, c config.Config, observe func(kind, outcome string, took time.Duration)) (*node.Options, error) {
	if err := CheckRoot(c); err != nil || !c.Shared.IsSet() {
		return nil, err
	}
	if c.Likeness == "on" {
		return nil, config.Errorf("likeness: it cannot be on if several nodes share an object store: each node would know, and block, different images")
	}
	objects, err := Objects(c, observe)
	if err != nil {
		return nil, err
	}
	if err := object.Probe(ctx, probeRounds, objects).Err(); err != nil {
		return nil, fmt.Errorf("shared.endpoint: several nodes cannot share this object store, see imgkeep store check: %w", err)
	}
	if err := Mark(c); err != nil {
		return nil, err
	}
	return &node.Options{Objects: objects, CacheBytes: int64(c.Shared.CacheBytes), MaxLag: c.Shared.MaxLag}, nil
}

// place is what the marker of a root says: whose cache it is.
func place(s config.Shared) string { return s.Bucket + "/" + s.Prefix + "\n" }

// CheckRoot returns an error if the root is not what the configuration says: the store of one
// machine must not become a cache, which loses files, and a cache is no store.
func CheckRoot(c config.Config) error {
	text, err := os.ReadFile(filepath.Join(c.Root, node.Marker))
	switch {
	case errors.Is(err, os.ErrNotExist) && !c.Shared.IsSet():
		return nil
	case errors.Is(err, os.ErrNotExist):
		old, err := journal.HasLines(c.Root)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil || !old {
			return err
		}
		return config.Errorf("root: %s holds the store of one machine, which is not in the shared object store: give this node an empty folder", c.Root)
	case err != nil:
		return err
	case !c.Shared.IsSet():
		return config.Errorf("root: %s is the cache of one of several nodes, and holds only a part of what is kept: set shared, or name another folder", c.Root)
	case string(text) != place(c.Shared):
		return config.Errorf("root: %s is the cache of a node of %q, and shared names %q: give this node an empty folder", c.Root, strings.TrimSpace(string(text)), strings.TrimSpace(place(c.Shared)))
	}
	return nil
}

// RefuseCache is for what makes or moves a store of one machine: a node's root is not one, and what is in
// it is in the object store.
func RefuseCache(root string) error {
	if isNode, err := node.IsNode(root); err != nil || !isNode {
		return err
	}
	return config.Errorf("root: %s is the cache of one of several nodes, whose images are in the object store already: name the folder of a store of one machine by --root", root)
}

// Mark notes that the root is a node's cache from now on: what is in it may be removed.
func Mark(c config.Config) error {
	path := filepath.Join(c.Root, node.Marker)
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := local.Prepare(local.OS{}, c.Root); err != nil {
		return err
	}
	return local.WriteFile(local.OS{}, filepath.Join(c.Root, record.TmpDir), path, []byte(place(c.Shared)))
}
