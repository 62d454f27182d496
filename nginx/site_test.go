package nginx_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"imgkeep/nginx"
	"imgkeep/nginx/nginxtest"
)

var update = flag.Bool("update", false, "write imgkeep.conf anew")

func render(t testing.TB, s nginx.Site) string {
	t.Helper()
	var b bytes.Buffer
	if err := s.Render(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// imgkeep.conf is what the defaults render to.
func TestCommittedConfiguration(t *testing.T) {
	want := render(t, nginx.Default())
	if *update {
		if err := os.WriteFile("imgkeep.conf", []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("imgkeep.conf")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Error("imgkeep.conf differs from the rendering of the defaults: run go test ./nginx -update")
	}
}

// nginx takes what is rendered, at the limits too.
func TestNginxAccepts(t *testing.T) {
	var many []string
	for n := 0; len(strings.Join(many, "|"))+33 <= 3500; n++ {
		many = append(many, fmt.Sprintf("%032d", n))
	}
	for what, change := range map[string]func(*nginx.Site){
		"the defaults":        func(*nginx.Site) {},
		"several names":       func(s *nginx.Site) { s.ServerName = []string{"img.example.net", "*.example.org"} },
		"a TCP upstream":      func(s *nginx.Site) { s.Upstream = "127.0.0.1:8091" },
		"an IPv6 upstream":    func(s *nginx.Site) { s.Upstream = "[::1]:8091" },
		"a socket":            func(s *nginx.Site) { s.Listen = []string{"unix:" + filepath.Join(filepath.Dir(s.AccessLog), "l.sock")} },
		"one bucket and type": func(s *nginx.Site) { s.Extensions = []string{".gif"} },
		"many buckets":        func(s *nginx.Site) { s.Buckets = many },
		"no log":              func(s *nginx.Site) { s.AccessLog = "" },
		"a name":              func(s *nginx.Site) { offering(s); s.Name = "forum_2" },
		"HTTPS":               func(s *nginx.Site) { s.HTTP2 = "" },
		"HTTP/2":              func(*nginx.Site) {},
		"HTTPS alone":         func(s *nginx.Site) { s.Listen = nil },
		"limits of the rate":  func(s *nginx.Site) { s.RateLimit, s.RateBurst = 1_000_000, 1_000_000 },
		"no burst":            func(s *nginx.Site) { s.RateLimit, s.RateBurst = 1, 0 },
		"an include":          func(s *nginx.Site) { s.Include = filepath.Join(filepath.Dir(s.AccessLog), "own.conf") },
		"no time":             func(s *nginx.Site) { s.MaxAge = 0 },
		"offers":              offering,
		"many of them":        func(s *nginx.Site) { offering(s); s.Buckets, s.Offers[0].Sizes = many, many },
		"odd paths":           func(s *nginx.Site) { s.Root, s.Hot = "/srv/img-keep_1/@x+y", "/run/img.keep/hot" },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			s := nginx.Default()
			s.Listen = []string{"127.0.0.1:18080"} // -t tries to listen, and not everybody may on 80
			s.AccessLog = filepath.Join(dir, "access.log")
			if strings.HasPrefix(what, "HTTP") {
				s.ListenTLS, s.HTTP2 = []string{"127.0.0.1:18443"}, "on"
				if !nginxtest.KnowsHTTP2(t) {
					s.HTTP2 = "listen"
				}
				s.Certificate, s.CertificateKey = certificate(t, dir)
			}
			if err := os.WriteFile(filepath.Join(dir, "own.conf"), []byte("location = /own { return 204; }"), 0o644); err != nil {
				t.Fatal(err)
			}
			change(&s)
			nginxtest.Check(t, dir, nginxtest.Text(t, nginx.Main{Site: s, Prefix: dir}))
		})
	}
}

func certificate(t *testing.T, dir string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"img.example.net"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		field  string
		set    func(*nginx.Site, string)
		accept []string
		refuse []string
	}{
		{"Listen", func(s *nginx.Site, v string) { s.Listen = []string{v} },
			[]string{"1", "80", "65535", "127.0.0.1:8080", "[::]:80", "[::1]:8080", "localhost:80", "unix:/run/x.sock"},
			[]string{"", "0", "65536", "080", "-1", "80 ssl", "80;", "80\n", "::1:80", "[::1", "[::1%eth0]:80", "[1.2.3.4]:80", "[x]:80", "unix:", "unix:x", "unix:/a b", "a:b:c", "*:80", "$x:80"}},
		{"Name", func(s *nginx.Site, v string) { s.Name = v },
			[]string{"", "a", "forum_2", strings.Repeat("n", 32)},
			[]string{"A", "a-b", "a b", "a;", "ä", strings.Repeat("n", 33)}},
		{"ListenTLS", func(s *nginx.Site, v string) {
			s.ListenTLS, s.Certificate, s.CertificateKey = []string{v}, "/c", "/k"
		},
			[]string{"443", "127.0.0.1:8443", "[::]:443"},
			[]string{"", "443 ssl", "443;", "::1:443"}},
		{"Certificate", func(s *nginx.Site, v string) {
			s.ListenTLS, s.Certificate, s.CertificateKey = []string{"443"}, v, "/k"
		},
			[]string{"/etc/letsencrypt/live/img.example.net/fullchain.pem"},
			[]string{"", "cert.pem", "/a b", "/a;", "/$host"}},
		{"CertificateKey", func(s *nginx.Site, v string) {
			s.ListenTLS, s.Certificate, s.CertificateKey = []string{"443"}, "/c", v
		},
			[]string{"/etc/key.pem"},
			[]string{"", "key.pem", "/a b", "/a;", "/$host"}},
		{"HTTP2", func(s *nginx.Site, v string) { s.HTTP2 = v }, []string{"", "on", "listen"}, []string{"off", "auto", "on;"}},
		{"Include", func(s *nginx.Site, v string) { s.Include = v },
			[]string{"", "/etc/imgkeep/nginx.conf"}, []string{"own.conf", "/", "/a b", "/a;", "/*"}},
		{"RateLimit", func(s *nginx.Site, v string) { s.RateLimit, _ = strconv.Atoi(v) },
			[]string{"0", "1", "1000000"}, []string{"-1", "1000001"}},
		{"RateBurst", func(s *nginx.Site, v string) { s.RateBurst, _ = strconv.Atoi(v) },
			[]string{"0", "1", "1000000"}, []string{"-1", "1000001"}},
		{"ServerName", func(s *nginx.Site, v string) { s.ServerName = []string{v} },
			[]string{"_", "img.example.net", "*.example.net", "localhost", "xn--bcher-kva.example", "a_b.example", "[2001:db8::1]"},
			[]string{"", "a b", "a;", "a{", "~^x$", "*", "*.", ".example.net", "a.", "bücher.example", "$host", "a\"b", "a\nb", "__", "[", "[x]", "[::1];"}},
		{"Upstream", func(s *nginx.Site, v string) { s.Upstream = v },
			[]string{"unix:/run/imgkeep/http.sock", "127.0.0.1:8091", "[::1]:8091", "app:8091"},
			[]string{"", "8091", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:x", "http://x:80", "unix:run/x", "unix:/run/../x", "unix:/run/x;", "a b:80", ":80"}},
		{"Root", func(s *nginx.Site, v string) { s.Root = v },
			[]string{"/var/lib/imgkeep", "/a", "/srv/a.b-c_d@e+f/1"},
			[]string{"", "/", "a", "/a/", "/a/../b", "/a//b", "/a b", "/a;b", "/a{b", "/a$b", "/a\"b", "/a'b", "/a\\b", "/a\nb", "/a#b", "/ä", "/a\x00b", "/run/imgkeep/hot", "/run/imgkeep/hot/root"}},
		{"Hot", func(s *nginx.Site, v string) { s.Hot = v },
			[]string{"/run/imgkeep/hot", "/var/lib/imgkeep-hot", "/var/lib/imgkeep/hot"},
			[]string{"", "/", "hot", "/hot/", "/a b", "/var/lib/imgkeep", "/var/lib", "/var"}},
		{"AccessLog", func(s *nginx.Site, v string) { s.AccessLog = v },
			[]string{"", "/var/log/nginx/imgkeep.log"},
			[]string{"off", "/", "/a b", "/a if=x", "syslog:server=x", "/a;"}},
		{"Buckets", func(s *nginx.Site, v string) { s.Buckets = strings.Split(v, ",") },
			[]string{"i", "i,f,t", "avatars", "a-b_c", "0", strings.Repeat("b", 32), "_", "-"},
			[]string{"", "i,", "i,i", "I", "a.b", "..", "a/b", "a|b", "a b", "(", "ä", strings.Repeat("b", 33), "_imgkeep"}},
		{"Extensions", func(s *nginx.Site, v string) { s.Extensions = strings.Split(v, ",") },
			[]string{".jpg", ".gif,.jpg", ".jpg,.png,.webp,.gif"},
			[]string{"", "jpg", ".jpg,.jpg", ".jpeg", ".svg", ".html", ".jpg;"}},
		{"Offers", func(s *nginx.Site, v string) {
			offering(s)
			s.Offers = nil
			for o := range strings.SplitSeq(v, " ") {
				format, sizes, _ := strings.Cut(o, "=")
				s.Offers = append(s.Offers, nginx.Offer{Format: format, Sizes: strings.Split(sizes, ",")})
			}
		},
			[]string{"avif=x", "webp=x avif=x,card", "webp=" + strings.Repeat("s", 32)},
			[]string{"avif=", "jpeg=x", "jxl=x", "avif=x avif=card", "avif=x,", "avif=a|b", "avif=(", "avif=A", "webp=" + strings.Repeat("s", 33)}},
	} {
		for _, v := range c.accept {
			s := nginx.Default()
			c.set(&s, v)
			if err := s.Validate(); err != nil {
				t.Errorf("%s %q: %v", c.field, v, err)
			}
		}
		for _, v := range c.refuse {
			s := nginx.Default()
			c.set(&s, v)
			var b bytes.Buffer
			if err := s.Render(&b); err == nil || !strings.Contains(err.Error(), c.field) && !strings.Contains(err.Error(), "Hot") || b.Len() > 0 {
				t.Errorf("%s %q: %v, and %d bytes are written", c.field, v, err, b.Len())
			}
		}
	}
}

func TestValidateLimits(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*nginx.Site)
		ok     bool
	}{
		"MaxAge of 0":                 {func(s *nginx.Site) { s.MaxAge = 0 }, true},
		"MaxAge of -1 s":              {func(s *nginx.Site) { s.MaxAge = -time.Second }, false},
		"MaxAge of 1.5 s":             {func(s *nginx.Site) { s.MaxAge = 1500 * time.Millisecond }, false},
		"MaxAge of 10 years":          {func(s *nginx.Site) { s.MaxAge = 10 * 366 * 24 * time.Hour }, true},
		"MaxAge of more":              {func(s *nginx.Site) { s.MaxAge = 10*366*24*time.Hour + time.Second }, false},
		"Valid of 1 s":                {func(s *nginx.Site) { s.Valid = time.Second }, true},
		"Valid of 0":                  {func(s *nginx.Site) { s.Valid = 0 }, false},
		"Valid of 60 s":               {func(s *nginx.Site) { s.Valid = time.Minute }, true},
		"Valid of 61 s":               {func(s *nginx.Site) { s.Valid = 61 * time.Second }, false},
		"Timeout of 1 s":              {func(s *nginx.Site) { s.Timeout = time.Second }, true},
		"Timeout of 0":                {func(s *nginx.Site) { s.Timeout = 0 }, false},
		"Timeout of an hour":          {func(s *nginx.Site) { s.Timeout = time.Hour }, true},
		"Timeout of more":             {func(s *nginx.Site) { s.Timeout = time.Hour + time.Second }, false},
		"OpenFiles of 1":              {func(s *nginx.Site) { s.OpenFiles = 1 }, true},
		"OpenFiles of 0":              {func(s *nginx.Site) { s.OpenFiles = 0 }, false},
		"OpenFiles of a million":      {func(s *nginx.Site) { s.OpenFiles = 1_000_000 }, true},
		"OpenFiles of more":           {func(s *nginx.Site) { s.OpenFiles = 1_000_001 }, false},
		"buckets of 3,500 bytes":      {func(s *nginx.Site) { s.Buckets = buckets(3500) }, true},
		"buckets of 3,501 bytes":      {func(s *nginx.Site) { s.Buckets = buckets(3501) }, false},
		"an offer without its type":   {func(s *nginx.Site) { s.Offers = []nginx.Offer{{Format: "avif", Sizes: []string{"x"}}} }, false},
		"offers of 3,586 bytes":       {func(s *nginx.Site) { s.Offers = []nginx.Offer{{Format: "webp", Sizes: buckets(3586)}} }, true},
		"offers of 3,587 bytes":       {func(s *nginx.Site) { s.Offers = []nginx.Offer{{Format: "webp", Sizes: buckets(3587)}} }, false},
		"no address":                  {func(s *nginx.Site) { s.Listen = nil }, false},
		"no name":                     {func(s *nginx.Site) { s.ServerName = nil }, false},
		"no bucket":                   {func(s *nginx.Site) { s.Buckets = nil }, false},
		"no extension":                {func(s *nginx.Site) { s.Extensions = nil }, false},
		"nothing at all, a zero Site": {func(s *nginx.Site) { *s = nginx.Site{} }, false},
	} {
		s := nginx.Default()
		c.change(&s)
		if err := s.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// buckets have n bytes together, with a byte between any two.
func buckets(n int) []string {
	var list []string
	for n > 32 {
		list = append(list, fmt.Sprintf("%031d", len(list)))
		n -= 32
	}
	return append(list, fmt.Sprintf("%0*d", n, 9))
}

func TestMainRefuses(t *testing.T) {
	good := nginx.Main{Site: nginx.Default(), Prefix: "/tmp/x"}
	for what, change := range map[string]func(*nginx.Main){
		"no prefix":           func(m *nginx.Main) { m.Prefix = "" },
		"prefix with a space": func(m *nginx.Main) { m.Prefix = "/a b" },
		"user with directive": func(m *nginx.Main) { m.User = "nobody; x" },
		"negative workers":    func(m *nginx.Main) { m.Workers = -1 },
		"few connections":     func(m *nginx.Main) { m.Connections = 15 },
		"a bad site":          func(m *nginx.Main) { m.Site.Root = "" },
	} {
		m := good
		change(&m)
		var b bytes.Buffer
		if err := m.Render(&b); err == nil || b.Len() > 0 {
			t.Errorf("%s: accepted, %d bytes", what, b.Len())
		}
	}
	var b bytes.Buffer
	if err := good.Render(&b); err != nil || !strings.Contains(b.String(), render(t, good.Site)) {
		t.Errorf("the site is not in it: %v", err)
	}
}

func TestExtensions(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{".gif", ".gif"},
		{".jpg .png .gif .webp", ".jpg .png .webp .gif"},
		{".gif .webp .png .jpg", ".jpg .png .webp .gif"},
		{".gif .gif .jpg .gif", ".jpg .gif"},
	} {
		if got := strings.Join(nginx.Extensions(strings.Fields(c.in)...), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
	}
}

// No value, whatever it is, changes the structure of the configuration.
func FuzzSite(f *testing.F) {
	f.Add("80", "img.example.net", "unix:/run/x", "/var/lib/imgkeep", "/run/imgkeep/hot", "i", ".jpg", "/var/log/x")
	f.Add("80; }", "a\nb", "x:1;", "/a;\n", "/b{", "i|.*", ".jpg; x", "/x # ")
	structure := func(conf string) [6]int {
		var n [6]int
		for i, c := range []string{";", "{", "}", "\"", "\n", "$"} {
			n[i] = strings.Count(conf, c)
		}
		return n
	}
	base := nginx.Default()
	base.Listen, base.Extensions = []string{"80"}, []string{".jpg"}
	want := structure(render(f, base))
	f.Fuzz(func(t *testing.T, listen, name, upstream, root, hot, bucket, ext, log string) {
		s := base
		s.Listen, s.ServerName, s.Upstream, s.Root, s.Hot = []string{listen}, []string{name}, upstream, root, hot
		s.Buckets, s.Extensions, s.AccessLog = []string{bucket}, []string{ext}, "/"+strings.TrimPrefix(log, "/")
		var b bytes.Buffer
		if s.Render(&b) == nil && structure(b.String()) != want {
			t.Errorf("%+v changes the structure", s)
		}
	})
}

// hotLink is the expression of the site that finds hot links. It has no features
// that Go's expressions lack.
func hotLink(t testing.TB, s nginx.Site) *regexp.Regexp {
	t.Helper()
	m := regexp.MustCompile(`(?m)_loop\$request_uri" \$\w+ \{\n.*\n *"~(\S*)"`).FindStringSubmatch(render(t, s))
	if m == nil {
		t.Fatal("the site has no expression for hot links")
	}
	return regexp.MustCompile(m[1])
}

// What the expression takes for a hot link is a link as the grammar has it, taken
// apart by hand here; and it takes every such link.
func FuzzHotLink(f *testing.F) {
	s := nginx.Default()
	s.Buckets = []string{"i", "f"}
	re := hotLink(f, s)
	for _, seed := range []string{
		"/i/full/" + sigA + "/" + extURL,
		"/f/250x250/" + sigC + "/YQ==?x",
		"/i/info/" + sigA + "/YQ%3D%3d",
		"/x/full/" + sigA + "/YQ", "/i/full/" + sigA + "/YQ/proxy", "/i//full/" + sigA + "/YQ", "/i/full/" + sigA + "/YQ\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if strings.ContainsAny(uri, "\n\r\x00") {
			return // nginx lets none of these through
		}
		m := re.FindStringSubmatch(uri)
		want := byHand(uri, s.Buckets)
		if !slices.Equal(want, m[min(1, len(m)):]) {
			t.Errorf("%q: %q, want %q", uri, m, want)
		}
	})
}

// byHand returns place, shard and rest of a hot link.
func byHand(uri string, buckets []string) []string {
	uri, _, _ = strings.Cut(uri, "?")
	part := strings.Split(uri, "/")
	if len(part) != 5 || part[0] != "" {
		return nil
	}
	ext := strings.NewReplacer("%3D", "=", "%3d", "=").Replace(part[4])
	bare := strings.TrimRight(ext, "=")
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if !slices.Contains(buckets, part[1]) ||
		len(part[2]) < 1 || len(part[2]) > 32 || strings.Trim(part[2], letters[26:]) != "" ||
		len(part[3]) != 16 || strings.Trim(part[3], letters) != "" ||
		bare == "" || len(ext)-len(bare) > 2 || strings.Trim(bare, letters) != "" {
		return nil
	}
	return []string{"/" + part[1] + "/" + part[2], part[3][:2], part[3][2:]}
}
