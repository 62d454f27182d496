package fetch

import "time"

// Stats are the state of a Fetcher at one moment.
type Stats struct {
	Running int           // fetches that have a place
	Waiting int           // fetches that wait for one
	Waited  time.Duration // what fetches have waited for places, in all, since New
}

// Stats may be called at any time.
func (f *Fetcher) Stats() Stats {
	f.limit.mu.Lock()
	defer f.limit.mu.Unlock()
	return Stats{Running: f.limit.running, Waiting: f.limit.waiting, Waited: time.Duration(f.waited.Load())}
}
