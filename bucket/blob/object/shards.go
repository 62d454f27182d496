package object

import (
	"context"
	"iter"
	"slices"
	"strings"
	"sync"

	"imgkeep/bucket/record"
)

// Shards goes through the 64 times 64 folders below one, those that there are, in the order of
// what their names stand for, which is not that of their bytes.
func Shards(ctx context.Context, objects Store, folder string) iter.Seq2[string, error] {
	order := func(x, y string) int { // of folders in the same one
		return strings.Index(record.ShardNames, x[len(x)-2:len(x)-1]) - strings.Index(record.ShardNames, y[len(y)-2:len(y)-1])
	}
	inside := func(folder string) (folders []string, err error) {
		for name, err := range objects.List(ctx, folder) {
			if err != nil {
				return nil, err
			}
			if last := strings.TrimPrefix(name, folder); len(last) == 2 && last[1] == '/' && strings.Contains(record.ShardNames, last[:1]) {
				folders = append(folders, name)
			}
		}
		slices.SortFunc(folders, order)
		return folders, nil
	}
	return func(yield func(string, error) bool) {
		outer, err := inside(folder)
		if err != nil {
			yield("", err)
			return
		}
		for _, a := range outer {
			inner, err := inside(a)
			if err != nil {
				yield("", err)
				return
			}
			for _, folder := range inner {
				if !yield(folder, nil) {
					return
				}
			}
		}
	}
}

// InShards calls look for each of the folders that Shards goes through, in so many goroutines,
// and yields what they return, in no order.
func InShards[T any](ctx context.Context, objects Store, folder string, workers int, look func(ctx context.Context, folder string) ([]T, error)) iter.Seq2[T, error] {
	type found struct {
		all []T
		err error
	}
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		folders, results := make(chan string), make(chan found)
		var work sync.WaitGroup
		defer func() { cancel(); work.Wait() }()
		report := func(f found) {
			select {
			case results <- f:
			case <-ctx.Done():
			}
		}
		work.Go(func() {
			defer close(folders)
			for shard, err := range Shards(ctx, objects, folder) {
				if err != nil {
					report(found{err: err})
					return
				}
				select {
				case folders <- shard:
				case <-ctx.Done():
					return
				}
			}
		})
		for range workers {
			work.Go(func() {
				for shard := range folders {
					all, err := look(ctx, shard)
					report(found{all, err})
				}
			})
		}
		go func() { work.Wait(); close(results) }()
		var none T
		for f := range results {
			if f.err != nil {
				yield(none, f.err)
				return
			}
			for _, one := range f.all {
				if !yield(one, nil) {
					return
				}
			}
		}
		if err := ctx.Err(); err != nil {
			yield(none, err)
		}
	}
}
