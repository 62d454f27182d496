// Package objecttest has a store of objects in memory, for tests, in which they may break,
// lose and hold back what they like.
package objecttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/record"
)

var _ object.Store = (*Memory)(nil)

// Memory is a store of objects. Its zero value is empty. It may be used concurrently.
type Memory struct {
	// Hook, if there is one, is called in the place of each request, and carries it out by
	// calling do, at once, later, more than once, or not at all. What it returns is the
	// answer. It is set before the store is used.
	Hook func(r Request, do func() error) error
	// Modified says when an object was written; nil: nobody knows.
	Modified func(key string) time.Time

	contents *contents
	once     sync.Once
}

type contents struct {
	mu      sync.Mutex
	objects map[string][]byte
}

// all are the contents, which several may share.
func (m *Memory) all() *contents {
	m.once.Do(func() {
		if m.contents == nil {
			m.contents = &contents{objects: map[string][]byte{}}
		}
	})
	return m.contents
}

// With is another way to the same objects, with a hook of its own.
func (m *Memory) With(hook func(r Request, do func() error) error) *Memory {
	return &Memory{Hook: hook, contents: m.all()}
}

// Request is what a store is asked.
type Request struct {
	Op  string // the name of the method
	Key string
}

func (r Request) String() string { return r.Op + " " + r.Key }

func (m *Memory) ask(ctx context.Context, op, key string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	locked := func() error {
		all := m.all()
		all.mu.Lock()
		defer all.mu.Unlock()
		return do()
	}
	if m.Hook != nil {
		return m.Hook(Request{op, key}, locked)
	}
	return locked()
}

// Tag is the tag of an object of these bytes.
func Tag(data []byte) string { return fmt.Sprintf("%x", sha256.Sum256(data)) }

func bytesOf(c object.Content) ([]byte, error) {
	data := make([]byte, c.Bytes)
	if n, err := c.From.ReadAt(data, 0); n < len(data) {
		return nil, fmt.Errorf("read what is to be kept: %w", err)
	}
	if sha256.Sum256(data) != c.Digest {
		return nil, fmt.Errorf("the checksum is that of other bytes")
	}
	return data, nil
}

func (m *Memory) write(ctx context.Context, op, key string, c object.Content, may func(old []byte, there bool) error) error {
	data, err := bytesOf(c)
	if err != nil {
		return err
	}
	return m.ask(ctx, op, key, func() error {
		old, there := m.contents.objects[key]
		if err := may(old, there); err != nil {
			return err
		}
		m.contents.objects[key] = data
		return nil
	})
}

func (m *Memory) Create(ctx context.Context, key string, c object.Content) error {
	return m.write(ctx, "Create", key, c, func(_ []byte, there bool) error {
		if there {
			return object.ErrExists
		}
		return nil
	})
}

func (m *Memory) Replace(ctx context.Context, key string, c object.Content, tag string) error {
	return m.write(ctx, "Replace", key, c, func(old []byte, there bool) error {
		if !there || Tag(old) != tag {
			return object.ErrChanged
		}
		return nil
	})
}

func (m *Memory) Put(ctx context.Context, key string, c object.Content) error {
	return m.write(ctx, "Put", key, c, func([]byte, bool) error { return nil })
}

func (m *Memory) Read(ctx context.Context, key string, max int64) (data []byte, tag string, err error) {
	err = m.ask(ctx, "Read", key, func() error {
		found, there := m.contents.objects[key]
		switch {
		case !there:
			return object.ErrAbsent
		case int64(len(found)) > max:
			return object.ErrTooLong
		}
		data, tag = bytes.Clone(found), Tag(found)
		return nil
	})
	return data, tag, err
}

func info(data []byte) object.Info {
	return object.Info{Bytes: int64(len(data)), Tag: Tag(data), Digest: record.Digest(sha256.Sum256(data))}
}

func (m *Memory) Fetch(ctx context.Context, key string) (body io.ReadCloser, about object.Info, err error) {
	err = m.ask(ctx, "Fetch", key, func() error {
		found, there := m.contents.objects[key]
		if !there {
			return object.ErrAbsent
		}
		body, about = io.NopCloser(bytes.NewReader(found)), info(found)
		return nil
	})
	return body, about, err
}

func (m *Memory) Stat(ctx context.Context, key string) (about object.Info, err error) {
	err = m.ask(ctx, "Stat", key, func() error {
		found, there := m.contents.objects[key]
		if !there {
			return object.ErrAbsent
		}
		if about = info(found); m.Modified != nil {
			about.Modified = m.Modified(key)
		}
		return nil
	})
	return about, err
}

func (m *Memory) Remove(ctx context.Context, key string) error {
	return m.ask(ctx, "Remove", key, func() error {
		delete(m.contents.objects, key)
		return nil
	})
}

func (m *Memory) List(ctx context.Context, folder string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		names := map[string]bool{}
		err := m.ask(ctx, "List", folder, func() error {
			for key := range m.contents.objects {
				if rest, ok := strings.CutPrefix(key, folder); ok {
					name, _, deeper := strings.Cut(rest, "/")
					if deeper {
						name += "/"
					}
					names[folder+name] = true
				}
			}
			return nil
		})
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			if !yield(name, nil) {
				return
			}
		}
	}
}

// Keys are the names of all objects, in order.
func (m *Memory) Keys() []string {
	all := m.all()
	all.mu.Lock()
	defer all.mu.Unlock()
	return slices.Sorted(maps.Keys(all.objects))
}
