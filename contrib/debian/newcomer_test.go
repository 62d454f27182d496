package debian_test

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/patience"
	"imgkeep/scripts/ports"
)

// TestNewcomer runs the steps of contrib/docs/install.md, with the package in a folder in the place of the system: install, nginx,
// sign from PHP, see an image, populate, remove one, rotate the secret, upgrade. In
// the place of systemd it does what the unit says.
func TestNewcomer(t *testing.T) {
	const number = 40
	origin := httptest.NewServer(http.HandlerFunc(picture))
	defer origin.Close()
	defer http.DefaultClient.CloseIdleConnections()
	url := func(n int) string { return fmt.Sprintf("%s/%d.jpg", origin.URL, n) }

	// 1. Install, and say what is one's own.
	deb := build(t)
	s := newSystem(t)
	if err := os.Chmod(filepath.Dir(s.root), 0o755); err != nil { // nginx' workers may be somebody else
		t.Fatal(err)
	}
	s.dpkg("--install", deb)
	site := ports.Address(t)
	_, port, _ := net.SplitHostPort(site)
	// Below the folder in the place of /. Nothing is fetched from what is its own, which
	// 127.0.0.1 would be.
	s.write(part, strings.NewReplacer("PORT", port, "ROOT", s.root, "SITE", site, "ORIGIN", origin.URL[strings.LastIndex(origin.URL, ":")+1:]).Replace(`
base_url: http://localhost:PORT
sizes: [150, 200]
root: ROOT/var/lib/imgkeep
listen: unix:ROOT/run/http.sock
nginx: {hot: ROOT/run/hot, listen: ["SITE"], access_log: "", valid: 1s}
fetch: {networks: [127.0.0.0/8], ports: [ORIGIN]}
store: {min_free: 0, min_free_inodes: 0}
`))
	if err := os.Mkdir(s.path("run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(s.path("var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	secret := s.path("etc/imgkeep/secret")
	server := s.serve(secret)

	// 2. nginx serves what `imgkeep nginx` prints, beside Debian's own site.
	s.nginx(stockSite(site) + s.imgkeep("", "nginx"))

	// 3. Sign from PHP, and see an image.
	first := s.sign(secret, url(1), "150x150")
	if got := see(t, first); got.status != http.StatusOK || got.height != 150 {
		t.Fatalf("%s: %+v", first, got)
	}
	if r, err := http.Get("http://" + site + "/i/full/x/x"); err != nil || r.Header.Get("X-Imgkeep-Error") != "" {
		t.Errorf("Debian's site is not the default: %v, %v", r, err)
	} else {
		r.Body.Close()
	}
	if got := see(t, s.sign(secret, url(1), "123x123")); got.status != http.StatusBadRequest {
		t.Errorf("a size that is not listed: %+v", got)
	}

	// 4. Populate.
	var list strings.Builder
	for n := range number {
		fmt.Fprintln(&list, url(n))
	}
	if out := s.imgkeep(list.String(), "populate", "--sizes", "150x150"); !strings.Contains(out, fmt.Sprintf("%d URLs in ", number)) || !strings.Contains(out, fmt.Sprintf(": %d kept now", number-1)) || !strings.Contains(out, ", 0 failed") {
		t.Errorf("populate: %s", out)
	}
	origin.Close() // from here on nobody has them but the store
	for n := range number {
		if got := see(t, s.sign(secret, url(n), "150x150")); got.status != http.StatusOK || got.height != 150 {
			t.Errorf("%s: %+v", url(n), got)
		}
	}

	// 5. Remove one, by its link.
	if out := s.imgkeep("", "block", "--why", "ticket 4711", first); !strings.Contains(out, url(1)) {
		t.Errorf("block: %s", out)
	}
	becomes(t, first, http.StatusUnavailableForLegalReasons)

	// 6. Rotate the secret: all the time the links that are out there are served.
	old := s.sign(secret, url(2), "150x150")
	s.becomesHot(old)
	viewed := viewing(t, old)
	fresh := s.path("etc/imgkeep/secret.new")
	if err := os.WriteFile(fresh, []byte("rF0a7UZ1tH2mK8cX5vB3nQ6wE9yT4uI0oP\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server.stop()
	server = s.serve(fresh + "," + secret)
	if got := see(t, s.sign(fresh, url(3), "full")); got.status != http.StatusOK {
		t.Errorf("a link of the new secret: %+v", got)
	}
	if got := see(t, s.sign(secret, url(3), "full")); got.status != http.StatusOK {
		t.Errorf("a link of the old secret that nobody has seen yet: %+v", got)
	}

	// 7. Upgrade.
	s.dpkg("--install", upgrade(t, deb))
	server.stop()
	server = s.serve(fresh + "," + secret)
	viewed()
	for n := range number {
		want := http.StatusOK
		if n == 1 {
			want = http.StatusUnavailableForLegalReasons
		}
		if got := see(t, s.sign(fresh, url(n), "150x150")); got.status != want {
			t.Errorf("after the upgrade: %s: %+v", url(n), got)
		}
	}
	// Weeks later the old secret goes, and with it its links.
	server.stop()
	server = s.serve(fresh)
	becomes(t, old, http.StatusForbidden)
	if out := s.imgkeep("", "scrub", "--quiet"); !strings.Contains(out, ": clean") {
		t.Errorf("scrub: %s", out)
	}
	server.stop()
}

// picture answers with a photo of its own for each path.
func picture(w http.ResponseWriter, r *http.Request) {
	m := image.NewGray(image.Rect(0, 0, 200, 200))
	for i := range 200 {
		m.SetGray(i, i, color.Gray{uint8(len(r.URL.Path) * i)})
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		panic(err)
	}
	w.Write(append(b.Bytes(), r.URL.Path...)) // what follows an image makes it another
}

// stockSite is Debian's sites-available/default: that of this machine, or what
// matters of it. It takes all requests that no site names.
func stockSite(addr string) string {
	text, err := os.ReadFile("/etc/nginx/sites-available/default")
	if err != nil || !strings.Contains(string(text), "listen 80 default_server;") {
		text = []byte("server {\nlisten 80 default_server;\nlisten [::]:80 default_server;\nroot /var/www/html;\nserver_name _;\nlocation / { try_files $uri $uri/ =404; }\n}\n")
	}
	return strings.NewReplacer("listen [::]:80 default_server;", "", "listen 80 default_server;", "listen "+addr+" default_server;").Replace(string(text)) + "\n"
}

// imgkeep runs a command of the installed program.
func (s system) imgkeep(stdin string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(s.path("usr/bin/imgkeep"), append(args, "--config", s.path(conf))...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("imgkeep %v: %v\n%s%s", args, err, out, &errs)
	}
	return string(out)
}

// unit is the service.
type unit struct {
	t      *testing.T
	cmd    *exec.Cmd
	log    *bytes.Buffer
	notify *net.UnixConn
}

// serve starts the service as its unit does, and waits until it says that it is
// ready.
func (s system) serve(secretFiles string) *unit {
	s.t.Helper()
	ready, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.t.TempDir(), "notify"), Net: "unixgram"})
	if err != nil {
		s.t.Fatal(err)
	}
	if text := s.read("usr/lib/systemd/system/imgkeep.service"); !strings.Contains(text, "\nExecStart=/usr/bin/imgkeep serve --config /etc/imgkeep/imgkeep.yaml\n") ||
		!strings.Contains(text, "\nEnvironment=IMGKEEP_SIGN_SECRET_FILES=%d/secret\n") {
		s.t.Error("the unit starts something else")
	}
	u := &unit{s.t, exec.Command(s.path("usr/bin/imgkeep"), "serve", "--config", s.path(conf)), &bytes.Buffer{}, ready}
	u.cmd.Env = []string{"IMGKEEP_SIGN_SECRET_FILES=" + secretFiles, "NOTIFY_SOCKET=" + ready.LocalAddr().String()}
	u.cmd.Stderr = u.log
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := u.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(u.stop)
	ready.SetReadDeadline(time.Now().Add(patience.Of(s.t)))
	message := make([]byte, 4096)
	for {
		n, err := ready.Read(message)
		if err != nil {
			u.stop()
			s.t.Fatalf("the server does not start: %v\n%s", err, u.log)
		}
		if strings.Contains(string(message[:n]), "READY=1") {
			return u
		}
	}
}

// stop ends the service as systemd does. It may be called again.
func (u *unit) stop() {
	u.t.Helper()
	if u.cmd.ProcessState != nil {
		return
	}
	u.cmd.Process.Signal(syscall.SIGTERM)
	hang := time.AfterFunc(patience.Of(u.t), func() { u.cmd.Process.Kill() })
	defer hang.Stop()
	defer u.notify.Close()
	if err := u.cmd.Wait(); err != nil || u.t.Failed() {
		u.t.Errorf("the server: %v\n%s", err, u.log)
	}
}

// nginx runs nginx with a site among its own settings, as Debian's includes it,
// until the test ends.
func (s system) nginx(site string) {
	s.t.Helper()
	dir := s.path("nginx")
	if err := os.Mkdir(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	user := ""
	if os.Getuid() == 0 {
		user = "user nobody nogroup;\n"
	}
	s.write("nginx/site", site)
	s.write("nginx/nginx.conf", user+"daemon off; worker_processes 1; pid pid; error_log error.log;\nevents {}\nhttp {\n"+
		"client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path c;\naccess_log off;\ninclude site;\n}\n")
	binary := "nginx"
	if _, err := exec.LookPath(binary); err != nil {
		binary = "/usr/sbin/nginx"
	}
	run(s.t, binary, "-t", "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	cmd := exec.Command(binary, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", filepath.Join(dir, "error.log"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("nginx: %s", s.read("nginx/error.log"))
		}
	})
}

// sign has the installed PHP library make a link, with the words of install.md.
func (s system) sign(secretFile, url, size string) string {
	s.t.Helper()
	_, base, _ := strings.Cut(s.read(part), "\nbase_url: ")
	base, _, _ = strings.Cut(base, "\n")
	words := `require "/usr/share/doc/imgkeep/clients/php/Imgkeep.php";
$imgkeep = new Imgkeep("https://img.example.net", file_get_contents("/etc/imgkeep/secret"));
echo $imgkeep->link("https://example.com/cat.jpg", "150x150"), "\n";`
	install := s.read("usr/share/doc/imgkeep/contrib/docs/install.md")
	for line := range strings.Lines(words) {
		if !strings.Contains(install, strings.TrimSpace(line)) {
			s.t.Fatalf("install.md does not say %q", line)
		}
	}
	code := strings.NewReplacer("/usr/share", s.path("usr/share"), "https://img.example.net", base,
		"/etc/imgkeep/secret", secretFile, "https://example.com/cat.jpg", url, "150x150", size).Replace(words)
	return strings.TrimSpace(run(s.t, "php", "-r", code))
}

type seen struct{ status, height int }

// see looks at a link as a browser does. nginx may not listen yet.
func see(t *testing.T, link string) (got seen) {
	t.Helper()
	for began := time.Now(); ; {
		r, err := http.Get(link)
		if err != nil {
			if time.Since(began) > patience.Of(t) {
				t.Fatal(err)
			}
			continue
		}
		defer r.Body.Close()
		got.status = r.StatusCode
		if r.StatusCode == http.StatusOK {
			m, err := jpeg.DecodeConfig(r.Body)
			if err != nil {
				t.Errorf("%s: %v", link, err)
			}
			got.height = m.Height
		}
		io.Copy(io.Discard, r.Body)
		return got
	}
}

// becomes waits until a link has a status, which nginx may be late with.
func becomes(t *testing.T, link string, status int) {
	t.Helper()
	for began := time.Now(); ; {
		got := see(t, link)
		if got.status == status {
			return
		}
		if time.Since(began) > patience.Of(t) {
			t.Fatalf("%s: %+v, want %d", link, got, status)
		}
	}
}

// becomesHot looks at a link until nginx answers it without the server: it remembers for a
// second that there was no hot link.
func (s system) becomesHot(link string) {
	s.t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.path("var/lib/imgkeep/admin.sock"))
	}}}
	defer client.CloseIdleConnections()
	answered := func() string { // by the server
		r, err := client.Get("http://server/metrics")
		if err != nil {
			s.t.Fatal(err)
		}
		defer r.Body.Close()
		text, err := io.ReadAll(r.Body)
		_, n, ok := strings.Cut(string(text), "\nimgkeep_requests_total{code=\"ok\",temperature=\"warm\"} ")
		if n, _, _ = strings.Cut(n, "\n"); !ok {
			s.t.Fatalf("%v, %s", err, text)
		}
		return n
	}
	for began := time.Now(); ; {
		before := answered()
		if see(s.t, link); answered() == before {
			return
		}
		if time.Since(began) > patience.Of(s.t) {
			s.t.Fatalf("%s: nginx does not answer by itself", link)
		}
	}
}

// viewing looks at a link all the time, until the function that it returns is
// called: each time it must be there.
func viewing(t *testing.T, link string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	if got := see(t, link); got.status != http.StatusOK {
		t.Errorf("%s: %+v", link, got)
	}
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if got := see(t, link); got.status != http.StatusOK {
				t.Errorf("%s, look %d: %+v", link, n, got)
				return
			}
			select { // a viewer takes no whole processor
			case <-ctx.Done():
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop
}
