package main_test

import (
	"net/http"
	"os/exec"
	"testing"
	"time"

	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/nginx/nginxtest"
	"imgkeep/scripts/benchtest"
)

// BenchmarkNodeHot has nginx serve the same hot links by a single machine and by a node, whose
// cache has the images, in turns, and reports the rate of the node as a part of the other's:
// scripts/bench shared.
func BenchmarkNodeHot(b *testing.B) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		b.Fatal("wrk is not installed: on Debian, apt-get install wrk")
	}
	const images = 1024
	seconds, rounds := benchtest.Number(b, "IMGKEEP_BENCH_SECONDS", 1), benchtest.Number(b, "IMGKEEP_BENCH_ROUNDS", 15)
	g := s3test.Start(b)
	var urls []string
	var origins *origin
	var rows []*row
	for _, name := range []string{"a single machine", "a node"} {
		w, site := newFronted(b, settings{"log.level": "info", "nginx.valid": "5s"})
		site.Valid, site.OpenFiles = 5*time.Second, 10_000
		if name == "a node" {
			w.origin = origins
			w.set("fetch.ports", []int{origins.port})
			for key, value := range map[string]any{"endpoint": g.URL, "bucket": s3test.Bucket, "path_style": true, "access_key": s3test.AccessKey, "secret_key": s3test.SecretKey} {
				w.set("shared."+key, value)
			}
		} else {
			urls, _ = w.benchImages(b, images)
			origins = w.origin
		}
		s := w.start()
		front := nginxtest.Start(b, site, quiet)
		viewer := &server{w: w, base: front.URL, client: front.Client()}
		paths := make([]string, images)
		for i := range paths {
			paths[i] = link("i", "full", urls[i])
		}
		for range 2 { // a link is hot from its second view
			each(b, images, func(i int) error {
				_, err := viewer.request(b.Context(), http.MethodGet, paths[i], nil)
				return err
			})
		}
		r := &row{name: name, base: front.URL, paths: paths, nginx: front.PID(), imgkeep: s.cmd.Process.Pid}
		r.script(b, w.dir)
		r.run(b, wrk, 1) // warms caches up
		r.results = nil
		rows = append(rows, r)
	}
	for range b.N {
		for range rounds {
			for _, r := range rows {
				r.run(b, wrk, seconds)
			}
		}
	}
	rate := func(m measurement) float64 { return m.rate }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rows[0].median(rate), "single/s")
	b.ReportMetric(rows[1].median(rate), "node/s")
	b.ReportMetric(rows[1].ratio(rows[0]), "ratio")
}
