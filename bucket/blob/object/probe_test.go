package object_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/object/objecttest"
	"imgkeep/bucket/record"
)

// broken is a store of which some methods do other things.
type broken struct {
	object.Store
	create  func(ctx context.Context, key string, c object.Content) error
	replace func(ctx context.Context, key string, c object.Content, tag string) error
	read    func(ctx context.Context, key string, max int64) ([]byte, string, error)
	stat    func(ctx context.Context, key string) (object.Info, error)
	remove  func(ctx context.Context, key string) error
}

func (b *broken) Create(ctx context.Context, key string, c object.Content) error {
	if b.create != nil {
		return b.create(ctx, key, c)
	}
	return b.Store.Create(ctx, key, c)
}

func (b *broken) Replace(ctx context.Context, key string, c object.Content, tag string) error {
	if b.replace != nil {
		return b.replace(ctx, key, c, tag)
	}
	return b.Store.Replace(ctx, key, c, tag)
}

func (b *broken) Read(ctx context.Context, key string, max int64) ([]byte, string, error) {
	if b.read != nil {
		return b.read(ctx, key, max)
	}
	return b.Store.Read(ctx, key, max)
}

func (b *broken) Stat(ctx context.Context, key string) (object.Info, error) {
	if b.stat != nil {
		return b.stat(ctx, key)
	}
	return b.Store.Stat(ctx, key)
}

func (b *broken) Remove(ctx context.Context, key string) error {
	if b.remove != nil {
		return b.remove(ctx, key)
	}
	return b.Store.Remove(ctx, key)
}

// failed are the names of what a report says does not hold.
func failed(r object.Report) (names []string) {
	for _, c := range r {
		if c.Problem != "" {
			names = append(names, c.Name)
		}
	}
	return names
}

// A store that keeps all promises passes, also where some answers get lost, and nothing of the
// probe stays in it.
func TestProbe(t *testing.T) {
	m := &objecttest.Memory{}
	r := object.Probe(t.Context(), 2, m, m)
	if err := r.Err(); err != nil {
		t.Error(err)
	}
	for _, c := range r {
		if c.Tried != 10 {
			t.Errorf("%s: tried %d times", c.Name, c.Tried)
		}
	}
	if keys := m.Keys(); len(keys) > 0 {
		t.Errorf("left are %v", keys)
	}
}

// In a race the one winner may be one who was never told.
func TestProbeLostAnswers(t *testing.T) {
	m := &objecttest.Memory{}
	s := &broken{Store: m}
	lose := func(err error) error {
		if err == nil {
			return object.ErrUnclear
		}
		return err
	}
	s.create = func(ctx context.Context, key string, c object.Content) error {
		data := make([]byte, c.Bytes)
		c.From.ReadAt(data, 0)
		if err := m.Create(ctx, key, c); strings.HasPrefix(string(data), "writer") {
			return lose(err)
		} else {
			return err
		}
	}
	if err := object.Probe(t.Context(), 1, s).Err(); err != nil {
		t.Error(err)
	}
}

// Each promise that a store breaks is named.
func TestProbeNames(t *testing.T) {
	const (
		again, stale, create, replace = "what exists is not created again", "what has changed is not replaced", "of those who create at once one wins", "of those who replace at once one wins"
		write, gone, refuse, sum      = "what was written is read at once", "what was removed is gone at once", "bytes that do not fit their checksum are refused", "checksums are kept"
	)
	for name, tt := range map[string]struct {
		breakIt func(b *broken, m *objecttest.Memory)
		want    []string
		says    string
	}{
		"it ignores If-None-Match": {func(b *broken, m *objecttest.Memory) { b.create = m.Put }, []string{again, create}, "If-None-Match"},
		"it ignores If-Match": {func(b *broken, m *objecttest.Memory) {
			b.replace = func(ctx context.Context, key string, c object.Content, _ string) error { return m.Put(ctx, key, c) }
		}, []string{stale, replace}, "If-Match"},
		"it lets two win": {func(b *broken, m *objecttest.Memory) {
			var mu sync.Mutex
			wins := map[string]int{}
			b.create = func(ctx context.Context, key string, c object.Content) error {
				mu.Lock()
				defer mu.Unlock()
				data := make([]byte, c.Bytes)
				if c.From.ReadAt(data, 0); !strings.HasPrefix(string(data), "writer") {
					return m.Create(ctx, key, c)
				}
				if wins[key]++; wins[key] > 2 {
					return object.ErrExists
				}
				return m.Put(ctx, key, c)
			}
		}, []string{create}, "2 of 8"},
		"nobody wins": {func(b *broken, m *objecttest.Memory) {
			b.replace = func(ctx context.Context, key string, c object.Content, tag string) error { return object.ErrChanged }
		}, []string{stale, replace, write}, "none of 8"},
		"it answers with what was": {func(b *broken, m *objecttest.Memory) {
			var mu sync.Mutex
			first := map[string][]byte{}
			b.read = func(ctx context.Context, key string, max int64) ([]byte, string, error) {
				mu.Lock()
				defer mu.Unlock()
				data, tag, err := m.Read(ctx, key, max)
				if err != nil {
					return data, tag, err
				}
				if first[key] == nil {
					first[key] = data
				}
				return first[key], tag, nil
			}
		}, []string{stale, replace, write}, "other bytes"},
		"it shows what was removed": {func(b *broken, m *objecttest.Memory) {
			b.remove = func(context.Context, string) error { return nil }
		}, []string{gone}, "it is there"},
		"it compares no checksums": {func(b *broken, m *objecttest.Memory) {
			b.create = func(ctx context.Context, key string, c object.Content) error {
				data, _ := io.ReadAll(io.NewSectionReader(c.From, 0, c.Bytes))
				return m.Create(ctx, key, object.Text(data, ""))
			}
		}, []string{refuse}, "x-amz-checksum-sha256"},
		"it keeps no checksums": {func(b *broken, m *objecttest.Memory) {
			b.stat = func(ctx context.Context, key string) (object.Info, error) {
				info, err := m.Stat(ctx, key)
				info.Digest = record.Digest{}
				return info, err
			}
		}, []string{sum}, "does not tell"},
		"it does not answer": {func(b *broken, m *objecttest.Memory) {
			b.create = func(context.Context, string, object.Content) error { return errors.New("the line is cut") }
		}, []string{again, stale, create, replace, write, gone, sum}, "the line is cut"},
	} {
		t.Run(name, func(t *testing.T) {
			m := &objecttest.Memory{}
			b := &broken{Store: m}
			tt.breakIt(b, m)
			r := object.Probe(t.Context(), 1, b)
			if got := failed(r); !slices.Equal(got, tt.want) {
				t.Errorf("it names %q, want %q", got, tt.want)
			}
			if err := r.Err(); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), tt.want[0]) {
				t.Errorf("it says %v, want %q", err, tt.says)
			}
		})
	}
}
