package main_test

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"imgkeep/nginx"
	"imgkeep/nginx/nginxtest"
	"imgkeep/scripts/benchtest"
	"imgkeep/scripts/patience"
)

// BenchmarkServing compares ways of sending the same 4,096 images of 18 KB over
// loopback, by wrk, with one nginx worker in every row. The rows alternate, and
// medians of the rounds are printed as a table of Markdown. It is what
// `scripts/bench serve` runs.
//
// IMGKEEP_BENCH_SECONDS is the length of a measurement, IMGKEEP_BENCH_ROUNDS
// their number; 1 and 15 if not set. IMGKEEP_BENCH_ROWS is an expression for the names of
// the rows besides the first; all if not set.
func BenchmarkServing(b *testing.B) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		b.Fatal("wrk is not installed: on Debian, apt-get install wrk")
	}
	const images = 4096
	seconds, rounds := benchtest.Number(b, "IMGKEEP_BENCH_SECONDS", 1), benchtest.Number(b, "IMGKEEP_BENCH_ROUNDS", 15)
	w, site := newFronted(b, settings{"log.level": "info"})
	w.set("nginx.valid", "5s")
	site.Valid = 5 * time.Second
	site.OpenFiles = 10_000 // as the plain nginx below has; the default fits a worker's 1,024 files
	urls, kinds := w.benchImages(b, images)
	s := w.start()

	// What nginx would ask for: it makes the file known, and its hot link.
	header := http.Header{nginx.HeaderHandoff: {nginx.HandoffNginx}}
	hot, files := make([]string, images), make([]string, images)
	each(b, images, func(i int) error {
		hot[i] = link("i", "full", urls[i])
		a, err := s.request(b.Context(), http.MethodGet, hot[i], header)
		files[i] = "/" + strings.TrimPrefix(a.header.Get(nginx.HeaderRedirect), nginx.InternalPrefix)
		if err == nil && a.status != http.StatusOK {
			err = fmt.Errorf("%s: status %d: %s", a.about, a.status, a.body)
		}
		return err
	})
	if different := len(slices.Compact(slices.Sorted(slices.Values(files)))); different != images {
		b.Fatalf("%d images have become %d files", images, different)
	}
	var jpegs, mix []string
	for i, kind := range kinds {
		if kind == "jpeg" {
			jpegs = append(jpegs, hot[i])
		}
		mix = append(mix, hot[i])
	}

	// X-Accel-Redirect for ever: an nginx that looks for links where there are none.
	cold := site
	cold.Hot = filepath.Join(w.dir, "nothing")
	front, coldFront := nginxtest.Start(b, site, quiet), nginxtest.Start(b, cold, quiet)
	reference, checking := cold, cold
	reference.Upstream = "unix:" + redirecter(b, w.dir, hot, files)
	checking.Upstream = "unix:" + checkingRedirecter(b, w.dir, urls, files)
	referenceFront, checkingFront := nginxtest.Start(b, reference, quiet), nginxtest.Start(b, checking, quiet)
	static := startStatic(b, w.root())
	fileServer := httptest.NewServer(http.FileServer(http.Dir(w.root())))
	b.Cleanup(fileServer.Close)
	// A TCP door to the server itself, as a viewer's browser would use it.
	direct := newDirect(b, w)

	secured := make([]string, images)
	for i, file := range files {
		sum := md5.Sum([]byte("/secure" + file + " secret"))
		secured[i] = "/secure" + file + "?md5=" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	rows := []*row{
		{name: "nginx static", base: static.url, paths: files, nginx: static.pid},
		{name: "nginx secure_link", base: static.url, paths: secured, nginx: static.pid},
		{name: "imgkeep hot, JPEG", base: front.URL, paths: jpegs, nginx: front.PID(), imgkeep: s.cmd.Process.Pid},
		{name: "imgkeep hot, mix 70/20/5/5", base: front.URL, paths: mix, nginx: front.PID(), imgkeep: s.cmd.Process.Pid},
		{name: "imgkeep X-Accel-Redirect", base: coldFront.URL, paths: hot, nginx: coldFront.PID(), imgkeep: s.cmd.Process.Pid},
		{name: "Go, the same work, X-Accel-Redirect", base: checkingFront.URL, paths: hot, nginx: checkingFront.PID(), self: true},
		{name: "Go, without checks, X-Accel-Redirect", base: referenceFront.URL, paths: hot, nginx: referenceFront.PID(), self: true},
		{name: "imgkeep direct", base: direct.base, paths: hot, imgkeep: direct.cmd.Process.Pid},
		{name: "Go http.FileServer", base: fileServer.URL, paths: files, self: true},
	}
	if only := os.Getenv("IMGKEEP_BENCH_ROWS"); only != "" {
		expression := regexp.MustCompile(only)
		rows = slices.DeleteFunc(rows, func(r *row) bool { return r != rows[0] && !expression.MatchString(r.name) })
	}
	for _, r := range rows {
		r.script(b, w.dir)
		r.run(b, wrk, 1) // warms caches up
		r.results = nil
	}
	for range b.N {
		for range rounds {
			for _, r := range rows {
				r.run(b, wrk, seconds)
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n| %d images of 18 KB, medians of %d rounds of %d s | requests/s | of static | p50 | p99 | CPU s of nginx, per 100,000 | of imgkeep or the Go program |\n| --- | --- | --- | --- | --- | --- | --- |\n",
		images, rounds, seconds)
	for _, r := range rows {
		rate := r.median(func(m measurement) float64 { return m.rate })
		per := func(cpu func(measurement) float64) string {
			return fmt.Sprintf("%.2f", r.median(func(m measurement) float64 { return cpu(m) / m.requests * 100_000 }))
		}
		ms := func(d func(measurement) time.Duration) string {
			return time.Duration(r.median(func(m measurement) float64 { return float64(d(m)) })).Round(10 * time.Microsecond).String()
		}
		fmt.Fprintf(&out, "| %s | %.0f | %s | %s | %s | %s | %s |\n", r.name, rate, benchtest.Spread(r.ratios(rows[0])),
			ms(func(m measurement) time.Duration { return m.p50 }), ms(func(m measurement) time.Duration { return m.p99 }),
			per(func(m measurement) float64 { return m.nginx }), per(func(m measurement) float64 { return m.imgkeep }))
		b.ReportMetric(r.ratio(rows[0]), strings.ReplaceAll(r.name, " ", "-")+"-of-static")
	}
	direct.stop()
	if path := os.Getenv("IMGKEEP_BENCH_PLOT"); path != "" {
		var bars []bar
		for _, r := range rows {
			bars = append(bars, bar{r.name, r.ratio(rows[0])})
		}
		plot(b, path, "Requests a second, nginx serving static files being 1", bars)
	}
	named := func(name string) *row {
		if i := slices.IndexFunc(rows, func(r *row) bool { return r.name == name }); i >= 0 {
			return rows[i]
		}
		return nil
	}
	for _, c := range []struct{ ratio, row, to string }{
		{"hot JPEG, requests of nginx static", "imgkeep hot, JPEG", rows[0].name},
		{"hot mix, requests of nginx static", "imgkeep hot, mix 70/20/5/5", rows[0].name},
		{"X-Accel-Redirect, requests of Go's shortest handler that does the same", "imgkeep X-Accel-Redirect", "Go, the same work, X-Accel-Redirect"},
		{"X-Accel-Redirect, requests of Go's shortest handler, which checks nothing", "imgkeep X-Accel-Redirect", "Go, without checks, X-Accel-Redirect"},
		{"direct, requests of http.FileServer", "imgkeep direct", "Go http.FileServer"},
	} {
		if one, other := named(c.row), named(c.to); one != nil && other != nil {
			benchtest.Ratio{Name: c.ratio, Figures: one.ratios(other)}.Print(&out)
		}
	}
	fmt.Println(out.String())
	s.stop()
}

// BenchmarkHotLinks makes a store of 500,000 images of 4 KB, or as many as IMGKEEP_BENCH_LINKS says,
// and a hot link to each, has nginx serve links and files in an order of chance, and has the links
// expire. It is part of `scripts/bench serve`, and wants TMPDIR to be on tmpfs, with 3.5 GB.
func BenchmarkHotLinks(b *testing.B) {
	wrk, err := exec.LookPath("wrk")
	if err != nil {
		b.Fatal("wrk is not installed: on Debian, apt-get install wrk")
	}
	const some = 4096
	links := benchtest.Number(b, "IMGKEEP_BENCH_LINKS", 500_000)
	seconds, rounds := benchtest.Number(b, "IMGKEEP_BENCH_SECONDS", 1), benchtest.Number(b, "IMGKEEP_BENCH_ROUNDS", 15)
	dir, err := os.MkdirTemp("", "hotlinks")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	site := nginx.Default()
	site.Root, site.Hot, site.Upstream = filepath.Join(dir, "root"), filepath.Join(dir, "hot"), "unix:"+filepath.Join(dir, "none.sock")
	site.Valid, site.OpenFiles = 5*time.Second, 10_000
	files := storeFiles(b, site.Root, links)
	now := time.Now()
	expires := now.Add(time.Hour)
	hot, err := nginx.OpenHot(nginx.HotOptions{Dir: site.Hot, Now: func() time.Time { return now }})
	if err != nil {
		b.Fatal(err)
	}
	front, static := nginxtest.Start(b, site, quiet), startStatic(b, site.Root)
	random := rand.NewChaCha8([32]byte{1})
	for range b.N {
		all := make([]string, links)
		before, began, used := kernelMemory(b), time.Now(), ownTime(b)
		for i := range all {
			signature := make([]byte, 12)
			random.Read(signature)
			text := base64.RawURLEncoding.EncodeToString(signature)
			if err := hot.Add("i", "full", text, ".jpg", site.Root+files[i], expires); err != nil {
				b.Fatal(err)
			}
			all[i] = "/i/full/" + text + "/aHR0cHM6Ly9leGFtcGxlLm9yZy9hLmpwZw"
		}
		making, makingCPU, memory := time.Since(began), ownTime(b)-used, kernelMemory(b)-before
		began = time.Now()
		if gone, err := hot.Sweep(); gone != 0 || err != nil {
			b.Fatal(gone, err)
		}
		sweep := time.Since(began)

		few := &row{name: fmt.Sprintf("nginx static, %d of the files", some), base: static.url, paths: files[:some], nginx: static.pid}
		fewHot := &row{name: fmt.Sprintf("hot links to %d of the files", some), base: front.URL, paths: all[:some], nginx: front.PID()}
		many := &row{name: "nginx static, all files, by chance", base: static.url, paths: files, nginx: static.pid}
		manyHot := &row{name: "hot links to all files, by chance", base: front.URL, paths: all, nginx: front.PID()}
		rows := []*row{few, fewHot, many, manyHot}
		for _, r := range rows {
			r.script(b, dir)
			r.run(b, wrk, 1)
			r.results = nil
		}
		for range rounds {
			for _, r := range rows {
				r.run(b, wrk, seconds)
			}
		}
		now = expires
		began = time.Now()
		gone, err := hot.Sweep()
		expiring := time.Since(began)
		if gone != links || err != nil {
			b.Fatal(gone, err)
		}
		var out strings.Builder
		fmt.Fprintf(&out, "\n| %d hot links to as many images of 4 KB | |\n| --- | --- |\n", links)
		fmt.Fprintf(&out, "| making, one after the other | %.1f s, %.1f s of CPU, %.1f us each |\n", making.Seconds(), makingCPU, making.Seconds()/float64(links)*1e6)
		fmt.Fprintf(&out, "| memory of the kernel | %.0f MB, %.0f bytes each |\n", memory/1e6, memory/float64(links))
		fmt.Fprintf(&out, "| looking at all, none expired | %.1f s |\n| removing all, expired | %.1f s |\n", sweep.Seconds(), expiring.Seconds())
		for _, r := range rows {
			fmt.Fprintf(&out, "| %s | %.0f requests/s, %.2f of static, %.2f CPU s of nginx per 100,000 |\n", r.name, r.median(func(m measurement) float64 { return m.rate }),
				r.ratio(few), r.median(func(m measurement) float64 { return m.nginx / m.requests * 100_000 }))
		}
		benchtest.Ratio{Name: "500,000 hot links by chance, requests of as many static files", Figures: manyHot.ratios(many)}.Print(&out)
		fmt.Println(out.String())
		b.ReportMetric(memory/float64(links), "B/link")
		b.ReportMetric(making.Seconds()/float64(links)*1e6, "us/made")
		b.ReportMetric(expiring.Seconds(), "s-expiring")
	}
}

// storeFiles makes files of 4 KB where a store has its images, and returns their paths below root.
func storeFiles(b *testing.B, root string, n int) []string {
	b.Helper()
	random := rand.NewChaCha8([32]byte{})
	image := make([]byte, 4<<10)
	random.Read(image)
	paths := make([]string, n)
	made := map[string]bool{}
	for i := range paths {
		digest := make([]byte, sha256.Size)
		random.Read(digest)
		name := base64.RawURLEncoding.EncodeToString(digest)
		folder := "/i/" + name[:1] + "/" + name[1:2]
		if !made[folder] {
			made[folder] = true
			if err := os.MkdirAll(root+folder, 0o755); err != nil {
				b.Fatal(err)
			}
		}
		paths[i] = folder + "/" + name + ".jpg"
		if err := os.WriteFile(root+paths[i], image, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return paths
}

// kernelMemory is what the kernel uses itself and for tmpfs, in bytes (proc(5),
// /proc/meminfo).
func kernelMemory(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		b.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if name := fields[0]; name == "Slab:" || name == "Shmem:" {
			n, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				b.Fatal(err)
			}
			sum += n * 1024
		}
	}
	return sum
}

// benchImages has the origin serve images of 18 KB each, 70% JPEG, 20% PNG, 5%
// WebP and 5% GIF: small pictures with random bytes in a block that browsers pass over, and
// which makes each one different.
func (w *world) benchImages(b *testing.B, n int) (urls, kinds []string) {
	pictures := map[string][]byte{
		"jpeg": toJPEG(b, corners(200, 150)), "png": toPNG(b, corners(200, 150)),
		"webp": testdata(b, "still.webp"), "gif": toGIF(b, corners(200, 150)),
	}
	random := rand.NewChaCha8([32]byte{})
	for i := range n {
		kind := "jpeg"
		switch i % 20 {
		case 0, 5, 10, 15:
			kind = "png"
		case 1:
			kind = "webp"
		case 2:
			kind = "gif"
		}
		filling := make([]byte, 18_000-len(pictures[kind]))
		random.Read(filling)
		kinds = append(kinds, kind)
		urls = append(urls, w.origin.serve(fmt.Sprintf("/pictures/%d", i), filled(kind, pictures[kind], filling)))
	}
	return urls, kinds
}

// filled is an image with bytes in a block that is a comment, or that nobody knows. What
// follows the end of an image would not be kept.
func filled(kind string, image, filling []byte) []byte {
	var block []byte
	at := len(image)
	switch kind {
	case "jpeg":
		at = 2
		block = binary.BigEndian.AppendUint16([]byte{0xff, 0xfe}, uint16(2+len(filling)))
		block = append(block, filling...)
	case "png":
		at = 8 + 25 // behind the header
		block = binary.BigEndian.AppendUint32(nil, uint32(len(filling)))
		block = append(append(block, "prVt"...), filling...)
		block = binary.BigEndian.AppendUint32(block, crc32.ChecksumIEEE(block[4:]))
	case "gif":
		at--
		block = []byte{0x21, 0xfe}
		for part := range slices.Chunk(filling, 255) {
			block = append(append(block, byte(len(part))), part...)
		}
		block = append(block, 0)
	case "webp":
		filling = filling[:len(filling)/2*2]
		block = binary.LittleEndian.AppendUint32([]byte("none"), uint32(len(filling)))
		block = append(block, filling...)
		image = slices.Clone(image)
		binary.LittleEndian.PutUint32(image[4:], uint32(len(image)-8+len(block)))
	}
	return slices.Concat(image[:at], block, image[at:])
}

// each does something for every number below n, some at a time.
func each(b *testing.B, n int, do func(int) error) {
	b.Helper()
	var wg sync.WaitGroup
	errs := make([]error, n)
	places := make(chan struct{}, 4) // fetch.per_host
	for i := range n {
		places <- struct{}{}
		wg.Go(func() {
			errs[i] = do(i)
			<-places
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		b.Fatal(err)
	}
}

// newDirect is a second server, in direct mode, over TCP, on a copy of the store.
func newDirect(b *testing.B, w *world) *server {
	b.Helper()
	direct := newWorld(b, settings{"log.level": "info"})
	direct.origin.off()
	direct.set("listen", "127.0.0.1:0")
	if out, err := exec.Command("cp", "-a", w.root(), direct.root()).CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	return direct.start()
}

// quiet is a site without an access log, as the plain nginx has none.
func quiet(conf string) string {
	return accessLog.ReplaceAllString(conf, "access_log off;")
}

var accessLog = regexp.MustCompile(`(?m)access_log [^;]*;`)

// redirecter is the least that a Go program can do to have nginx send a file: what
// handing over costs by itself. It returns its socket.
func redirecter(b *testing.B, dir string, paths, files []string) string {
	b.Helper()
	known := map[string]string{}
	for i, path := range paths {
		known[path] = nginx.InternalPrefix + strings.TrimPrefix(files[i], "/")
	}
	return serveSocket(b, filepath.Join(dir, "redirecter.sock"), func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set(nginx.HeaderRedirect, known[r.URL.EscapedPath()])
	})
}

// checkingRedirecter does what the server must do for each request, by the shortest means: it
// verifies the signature of a link of this week or the one before, and looks its URL up in a
// database, and then what that refers to. It asks the file system for nothing.
func checkingRedirecter(b *testing.B, dir string, urls, files []string) string {
	b.Helper()
	db, err := bbolt.Open(filepath.Join(dir, "redirecter.db"), 0o600, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	tables := [2][]byte{[]byte("urls"), []byte("files")}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range tables {
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		for i, url := range urls {
			key, digest := sha256.Sum256([]byte(url)), sha256.Sum256([]byte(files[i]))
			if err := tx.Bucket(tables[0]).Put(key[:16], digest[:16]); err != nil {
				return err
			}
			if err := tx.Bucket(tables[1]).Put(digest[:16], []byte(strings.TrimPrefix(files[i], "/"))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	verified := func(message, signature string) bool {
		for _, at := range []time.Time{time.Now(), time.Now().AddDate(0, 0, -7)} {
			year, week := at.UTC().ISOWeek()
			mac := hmac.New(sha256.New, fmt.Appendf(nil, "%s%04d%02d", secret, year, week))
			mac.Write([]byte(message))
			if hmac.Equal([]byte(base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:12])), []byte(signature)) {
				return true
			}
		}
		return false
	}
	return serveSocket(b, filepath.Join(dir, "checking.sock"), func(w http.ResponseWriter, r *http.Request) {
		part := strings.Split(r.URL.EscapedPath(), "/") // "", bucket, size, signature, ext_url
		if len(part) != 5 || part[1] != "i" || part[2] != "full" || !verified(part[1]+"/"+part[4], part[3]) {
			http.Error(w, "no such link", http.StatusNotFound)
			return
		}
		url, err := base64.RawURLEncoding.DecodeString(part[4])
		var file string
		if err == nil {
			err = db.View(func(tx *bbolt.Tx) error {
				key := sha256.Sum256(url)
				file = string(tx.Bucket(tables[1]).Get(tx.Bucket(tables[0]).Get(key[:16])))
				return nil
			})
		}
		if err != nil || file == "" {
			http.Error(w, "no such image", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "image/jpeg")
		w.Header().Set(nginx.HeaderRedirect, nginx.InternalPrefix+file)
	})
}

// serveSocket serves a handler at a socket that nginx can reach, whose path it returns.
func serveSocket(b *testing.B, path string, handler http.HandlerFunc) string {
	b.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(l)
	b.Cleanup(func() { server.Close() })
	return path
}

// startStatic is an nginx that serves the same files by itself, with the settings
// that the site has, also behind secure_link.
type staticServer struct {
	url string
	pid int
}

func startStatic(b *testing.B, root string) staticServer {
	b.Helper()
	dir := b.TempDir()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	user := ""
	if os.Getuid() == 0 {
		user = "user root;"
	}
	conf := fmt.Sprintf(`
daemon off; pid %[1]s/pid; error_log %[1]s/error.log; worker_processes 1; worker_rlimit_nofile 65536; pcre_jit on; %[4]s
events { worker_connections 4096; }
http {
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 10000; etag on; server_tokens off;
    client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
    open_file_cache max=10000 inactive=60s; open_file_cache_valid 5s; open_file_cache_errors on;
    types { image/jpeg jpg; image/png png; image/webp webp; image/gif gif; }
    server {
        listen %[2]s;
        root %[3]s;
        add_header Cache-Control "private, max-age=604800, immutable";
        add_header X-Content-Type-Options "nosniff";
        add_header Content-Security-Policy "default-src 'none'; sandbox";
        location /secure/ {
            secure_link $arg_md5;
            secure_link_md5 "$uri secret";
            if ($secure_link != "1") { return 403; }
            alias %[3]s/;
        }
    }
}`, dir, address, root, user)
	path := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(nginxtest.Binary(b), "-p", dir, "-c", path, "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	for end := time.Now().Add(patience.Of(b)); ; {
		if c, err := net.Dial("tcp4", address); err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			b.Fatal("nginx does not start")
		}
	}
	return staticServer{"http://" + address, cmd.Process.Pid}
}

// row is a row of the table.
type row struct {
	name, base     string
	paths          []string
	nginx, imgkeep int  // processes whose children's CPU counts too; 0: none
	self           bool // this process is what serves
	lua            string
	results        []measurement
}

type measurement struct {
	rate, requests float64
	nginx, imgkeep float64 // seconds of CPU
	p50, p99       time.Duration
}

// script writes what wrk asks for: the paths in an order of chance.
func (r *row) script(b *testing.B, dir string) {
	b.Helper()
	list := filepath.Join(dir, fmt.Sprintf("paths-%d.txt", rand.Uint32()))
	if err := os.WriteFile(list, []byte(strings.Join(r.paths, "\n")), 0o600); err != nil {
		b.Fatal(err)
	}
	r.lua = list + ".lua"
	text := fmt.Sprintf(`
local requests, n, i = {}, 0, 0
init = function(args)
  for line in io.lines(%q) do requests[#requests + 1] = wrk.format("GET", line) end
  n, i = #requests, math.random(1, 1000000)
end
request = function()
  i = (i * 1103 + 12345) %% 1000003
  return requests[i %% n + 1]
end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %%d %%d %%d %%f %%f\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end`, list)
	if err := os.WriteFile(r.lua, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
}

var result = regexp.MustCompile(`RESULT (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)`)

func (r *row) run(b *testing.B, wrk string, seconds int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience.Of(b)+time.Duration(seconds)*time.Second)
	defer cancel()
	app := func() float64 {
		if r.self {
			return ownTime(b)
		}
		return cpu(b, r.imgkeep)
	}
	before := [2]float64{cpu(b, r.nginx), app()}
	out, err := exec.CommandContext(ctx, wrk, "-t", "1", "-c", "32", "-d", fmt.Sprint(seconds, "s"), "-s", r.lua, r.base).CombinedOutput()
	after := [2]float64{cpu(b, r.nginx), app()}
	m := result.FindSubmatch(out)
	if err != nil || m == nil {
		b.Fatalf("%s: wrk: %v\n%s", r.name, err, out)
	}
	field := func(i int) float64 {
		f, err := strconv.ParseFloat(string(m[i]), 64)
		if err != nil {
			b.Fatal(err)
		}
		return f
	}
	if field(3) != 0 {
		b.Fatalf("%s: %v requests failed\n%s", r.name, field(3), out)
	}
	r.results = append(r.results, measurement{
		rate: field(1) / (field(2) / 1e6), requests: field(1),
		nginx: after[0] - before[0], imgkeep: after[1] - before[1],
		p50: time.Duration(field(4)) * time.Microsecond, p99: time.Duration(field(5)) * time.Microsecond,
	})
}

func (r *row) median(of func(measurement) float64) float64 {
	var all []float64
	for _, m := range r.results {
		all = append(all, of(m))
	}
	return median(all)
}

// ratio is the median of the rounds' ratios of requests a second, since what
// else the machine does changes from round to round.
func (r *row) ratio(to *row) float64 { return median(r.ratios(to)) }

func (r *row) ratios(to *row) (all []float64) {
	for i, m := range r.results {
		all = append(all, m.rate/to.results[i].rate)
	}
	return all
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
