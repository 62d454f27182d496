package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
)

// Hosts are figures about the hosts that images come from.
type Hosts struct {
	At    time.Time    `json:"at"`    // when they were counted
	Hosts []HostReport `json:"hosts"` // at most maxHosts, those with the most bytes and failures
	All   int          `json:"all"`   // how many there are
}

// maxHosts is how many hosts Hosts has.
const maxHosts = 1000

// HostReport is what is known about a host.
type HostReport struct {
	HostTotals
	Month    HostTotals              `json:"month"` // the part of the last 30 days
	Newest   time.Time               `json:"newest,omitzero"`
	Failures map[fetch.ErrorKind]int `json:"failures,omitempty"` // URLs that could not be kept, by kind
	Failed   int                     `json:"failed"`             // all of them
	Block    *record.Block           `json:"block,omitempty"`    // its quarantine
}

// CountHosts counts by host. It goes through journals and index, as CountAll.
func CountHosts(ctx context.Context, s Store, now time.Time) (Hosts, error) {
	ctx, done, err := s.Begin(ctx)
	if err != nil {
		return Hosts{}, err
	}
	defer done()
	hosts := map[string]*HostReport{}
	of := func(host string) *HostReport {
		h := hosts[host]
		if h == nil {
			h = &HostReport{HostTotals: HostTotals{Host: host}}
			hosts[host] = h
		}
		return h
	}
	month := now.Add(-30 * 24 * time.Hour)
	for _, name := range s.Buckets() {
		for image, err := range keptImages(ctx, s, name) {
			if err != nil {
				return Hosts{}, err
			}
			h := of(imageurl.HostOf(image.URL))
			h.URLs++
			h.Bytes += image.Bytes
			if image.Stored.After(month) {
				h.Month.URLs++
				h.Month.Bytes += image.Bytes
			}
			if image.Stored.After(h.Newest) {
				h.Newest = image.Stored
			}
		}
		for f, err := range s.Index().Failures(name) {
			if err != nil {
				return Hosts{}, err
			}
			h := of(f.Host)
			if h.Failures == nil {
				h.Failures = map[fetch.ErrorKind]int{}
			}
			h.Failures[fetch.ErrorKind(f.Kind)]++
			h.Failed++
		}
	}
	all := Hosts{At: now.UTC().Truncate(time.Second), Hosts: []HostReport{}, All: len(hosts)}
	for _, h := range hosts {
		all.Hosts = append(all.Hosts, *h)
	}
	slices.SortFunc(all.Hosts, func(a, b HostReport) int {
		return cmp.Or(-cmp.Compare(a.Bytes, b.Bytes), -cmp.Compare(a.Failed, b.Failed), cmp.Compare(a.Host, b.Host))
	})
	all.Hosts = all.Hosts[:min(len(all.Hosts), maxHosts)]
	for i, h := range all.Hosts {
		b, err := blockOfHost(s, h.Host)
		if err != nil {
			return Hosts{}, err
		}
		all.Hosts[i].Block = b
	}
	return all, nil
}
