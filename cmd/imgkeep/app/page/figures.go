package page

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"imgkeep/bucket/linkrot"
	"imgkeep/bucket/query"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/plot"
	"imgkeep/cmd/imgkeep/app/page/trend"
)

// figuresView are plots, and the numbers above them.
type figuresView struct {
	At      time.Time // when it was counted; zero: that is under way
	Problem string
	Stats   control.Stats
	Plots   []plot.Plot
}

func (s *Server) figures(w http.ResponseWriter, r *http.Request) {
	stats, at, err := s.stats.get(r.Context())
	v := figuresView{At: at, Stats: stats}
	if err != nil {
		v.Problem = sentence(err.Error())
	}
	if at.IsZero() && err == nil {
		w.Header().Set("Refresh", "2")
	}
	if !at.IsZero() {
		v.Plots = append(v.Plots, growth(stats)...)
		v.Plots = append(v.Plots, failures(stats))
	}
	if hosts, at, err := s.hosts.get(r.Context()); err == nil && !at.IsZero() {
		v.Plots = append(v.Plots, failingHosts(hosts.Hosts))
	}
	if s.opts.Trend != nil {
		v.Plots = append(v.Plots, trends(s.opts.Trend())...)
	}
	if stats.LinkRot != nil && stats.LinkRot.Last != nil {
		v.Plots = append(v.Plots, rot(*stats.LinkRot.Last))
	}
	v.Plots = slices.DeleteFunc(v.Plots, plot.Plot.Empty)
	s.show(w, r, "figures", "Figures", v)
}

func asBytes(v float64) string { return humanize.IBytes(uint64(max(v, 0))) }
func asCount(v float64) string { return humanize.Comma(int64(math.Round(v))) }

// maxWeeks is how many weeks of growth are shown.
const maxWeeks = 52

// growth is what came in by week.
func growth(s control.Stats) []plot.Plot {
	weeks := slices.Sorted(maps.Keys(s.All.Weeks))
	weeks = weeks[max(0, len(weeks)-maxWeeks):]
	images, bytes := plot.Series{Name: "images"}, plot.Series{Name: "bytes"}
	for _, w := range weeks {
		images.Values = append(images.Values, float64(s.All.Weeks[w].Images))
		bytes.Values = append(bytes.Values, float64(s.All.Weeks[w].Bytes))
	}
	return []plot.Plot{
		{Title: "Images that came in, by week", Labels: weeks, Series: []plot.Series{images}, Format: asCount},
		{Title: "Bytes that came in, by week", Labels: weeks, Series: []plot.Series{bytes}, Format: asBytes},
	}
}

// byName is a plot of counts, the largest first.
func byName[K ~string](title, name string, counts map[K]int) plot.Plot {
	p := plot.Plot{Kind: plot.Bars, Title: title, Format: asCount}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b K) int {
		return cmp.Or(-cmp.Compare(counts[a], counts[b]), cmp.Compare(a, b))
	})
	one := plot.Series{Name: name}
	for _, k := range keys[:min(len(keys), maxNames)] {
		p.Labels, one.Values = append(p.Labels, string(k)), append(one.Values, float64(counts[k]))
	}
	p.Series = []plot.Series{one}
	return p
}

// maxNames is how many names a plot by name has.
const maxNames = 15

func failures(s control.Stats) plot.Plot {
	return byName("URLs that could not be kept, by class", "URLs", s.All.Failures)
}

func failingHosts(h query.Hosts) plot.Plot {
	counts := map[string]int{}
	for _, host := range h.Hosts {
		if host.Failed > 0 {
			counts[control.Printable(cmp.Or(host.Host, "(none)"))] = host.Failed
		}
	}
	return byName("URLs that could not be kept, by host", "URLs", counts)
}

func rot(p linkrot.Pass) plot.Plot {
	return byName("Origins of what is kept, asked until "+p.Ended.UTC().Format(time.DateOnly), "URLs", p.All)
}

// perPoint is how many samples a point of a plot has: half an hour.
const perPoint = 6

// trends are how the server did.
func trends(all []trend.Sample) []plot.Plot {
	var labels []string
	warm, cold, failed := plot.Series{Name: "warm"}, plot.Series{Name: "cold"}, plot.Series{Name: "failed"}
	hot, fetch, resize := plot.Series{Name: "hot links"}, plot.Series{Name: "for a download"}, plot.Series{Name: "for a decoder"}
	for some := range slices.Chunk(all, perPoint) {
		var sum trend.Sample
		for _, x := range some {
			sum.Warm, sum.Cold, sum.Failed = sum.Warm+x.Warm, sum.Cold+x.Cold, sum.Failed+x.Failed
			sum.FetchWait, sum.ResizeWait, sum.Hot = sum.FetchWait+x.FetchWait, sum.ResizeWait+x.ResizeWait, x.Hot
		}
		labels = append(labels, some[len(some)-1].At.UTC().Format("Jan 2 15:04"))
		warm.Values, cold.Values, failed.Values = append(warm.Values, float64(sum.Warm)), append(cold.Values, float64(sum.Cold)), append(failed.Values, float64(sum.Failed))
		fetch.Values, resize.Values = append(fetch.Values, sum.FetchWait), append(resize.Values, sum.ResizeWait)
		if sum.Hot >= 0 {
			hot.Values = append(hot.Values, float64(sum.Hot))
		} else {
			hot.Values = append(hot.Values, math.NaN())
		}
	}
	seconds := func(v float64) string { return fmt.Sprintf("%.1f s", v) }
	plots := []plot.Plot{
		{Kind: plot.Columns, Title: "Requests, every half an hour: warm, cold, failed", Labels: labels, Series: []plot.Series{warm, cold, failed}, Format: asCount},
		{Kind: plot.Lines, Title: "Waits of all requests together, every half an hour", Labels: labels, Series: []plot.Series{fetch, resize}, Format: seconds},
	}
	if slices.ContainsFunc(hot.Values, func(v float64) bool { return !math.IsNaN(v) }) {
		plots = append(plots, plot.Plot{Kind: plot.Lines, Title: "Hot links, by which nginx answers alone", Labels: labels, Series: []plot.Series{hot}, Format: asCount})
	}
	return plots
}

// hostsOf are figures by host.
type hostsOf struct{ query.Hosts }

// hostsView is a page of them.
type hostsView struct {
	At         time.Time
	Problem    string
	All, Shown int
	Hosts      []query.HostReport
	Sort, Text string
	Next       string
}

// hostsPerPage is how many hosts a page has.
const hostsPerPage = 100

func (s *Server) hostsPage(w http.ResponseWriter, r *http.Request) {
	hosts, at, err := s.hosts.get(r.Context())
	q := r.URL.Query()
	v := hostsView{At: at, All: hosts.All, Sort: cmp.Or(q.Get("sort"), "bytes"), Text: strings.TrimSpace(q.Get("text"))}
	if err != nil {
		v.Problem = sentence(err.Error())
	}
	if at.IsZero() && err == nil {
		w.Header().Set("Refresh", "2")
	}
	by, ok := map[string]func(query.HostReport) int64{
		"bytes":  func(h query.HostReport) int64 { return h.Bytes },
		"urls":   func(h query.HostReport) int64 { return int64(h.URLs) },
		"failed": func(h query.HostReport) int64 { return int64(h.Failed) },
		"growth": func(h query.HostReport) int64 { return h.Month.Bytes },
		"newest": func(h query.HostReport) int64 { return h.Newest.Unix() },
	}[v.Sort]
	if !ok {
		s.fail(w, r, errNotFound)
		return
	}
	all := []query.HostReport{}
	for _, h := range hosts.Hosts.Hosts {
		if strings.Contains(h.Host, strings.ToLower(v.Text)) {
			all = append(all, h)
		}
	}
	slices.SortStableFunc(all, func(a, b query.HostReport) int { return -cmp.Compare(by(a), by(b)) })
	v.Shown = len(all)
	from, _ := strconv.Atoi(q.Get("before"))
	from = min(max(from, 0), len(all))
	to := min(from+hostsPerPage, len(all))
	if v.Hosts = all[from:to]; to < len(all) {
		q.Set("before", strconv.Itoa(to))
		v.Next = "/hosts?" + q.Encode()
	}
	s.show(w, r, "hosts", "Hosts", v)
}
