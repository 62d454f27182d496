package cache

import (
	"container/heap"
	"time"
)

// queue has the files of a cache in the order in which they may go.
type queue struct {
	entries map[string]*entry
	heap    order
}

// entry is a file of the cache.
type entry struct {
	path  string // below the root
	bytes int64  // rounded up
	used  time.Time
	held  time.Time // until when it stays
	at    int       // in the heap; -1: it is not there
}

func newQueue() queue { return queue{entries: map[string]*entry{}} }

func (q *queue) add(path string, bytes int64, used time.Time) {
	e := &entry{path: path, bytes: bytes, used: used}
	q.entries[path] = e
	heap.Push(&q.heap, e)
}

// use notes that a file was used.
func (q *queue) use(e *entry, at time.Time) {
	if e.used = at; e.at >= 0 {
		heap.Fix(&q.heap, e.at)
	}
}

func (q *queue) remove(e *entry) {
	if e.at >= 0 {
		heap.Remove(&q.heap, e.at)
	}
	delete(q.entries, e.path)
}

// pop takes out the file that was least lately used; nil: there is none. It goes back by push,
// or is removed.
func (q *queue) pop() *entry {
	if len(q.heap) == 0 {
		return nil
	}
	return heap.Pop(&q.heap).(*entry)
}

func (q *queue) push(e *entry) { heap.Push(&q.heap, e) }

// order is a heap by the time of use.
type order []*entry

func (o order) Len() int           { return len(o) }
func (o order) Less(i, j int) bool { return o[i].used.Before(o[j].used) }

func (o order) Swap(i, j int) {
	o[i], o[j] = o[j], o[i]
	o[i].at, o[j].at = i, j
}

func (o *order) Push(x any) {
	e := x.(*entry)
	e.at = len(*o)
	*o = append(*o, e)
}

func (o *order) Pop() any {
	last := len(*o) - 1
	e := (*o)[last]
	(*o)[last], *o = nil, (*o)[:last]
	e.at = -1
	return e
}
