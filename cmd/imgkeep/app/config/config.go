package config

import (
	"maps"
	"path/filepath"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/cmd/imgkeep/app/hook"
	"imgkeep/nginx"
	"imgkeep/resize"
)

// Config is the whole configuration: plain data, after checks. Paths in it are
// absolute. It may be read concurrently. The yaml tags are the names of the keys.
//
// The comment on a field, here and in the types below, is the documentation of its
// key, for operators: contrib/imgkeep.yaml and contrib/docs/options.md are made from it
// by go test ./cmd/imgkeep/app/config -run Options -update.
type Config struct {
	// Where the server listens: host:port, or unix:/path for a socket. Without a host
	// (":8091") it listens on all addresses. Port 0: any that is free.
	Listen string `yaml:"listen"`
	// The folder that holds everything kept. Give it a file system of its own: the server
	// removes nothing that is kept unless somebody asks for it.
	Root string `yaml:"root"`
	// The socket by which commands such as `imgkeep scrub` reach the running server. Only
	// root and the server's user may use it. Empty: admin.sock in root.
	Admin string `yaml:"admin"`
	// Scheme and host of this server as viewers see it, such as https://img.example.com,
	// without a path: what `imgkeep sign` puts before links, and the host name of the nginx
	// site. Empty: links are printed as paths.
	BaseURL string `yaml:"base_url"`
	// Who sends files to viewers: direct, the server itself; or nginx, which must be the
	// server's proxy (see nginx below).
	Handoff string `yaml:"handoff"`
	// The most connections of viewers at once when the server sends files itself; one IPv4
	// address or IPv6 network of strangers gets at most a quarter of them. Beyond that, the
	// server closes the connection that has been idle longest, or refuses the new one. 16
	// to 1000000.
	MaxConnections int `yaml:"max_connections"`
	// The path of an image that is sent as the body of errors, so that pages show it
	// instead of the missing image. The status stays the error's. Empty: errors are one
	// line of text.
	Placeholder string `yaml:"placeholder"`
	// Images that replace it for some errors. Each has errors and image, as in
	//   - {errors: [gone, lost], image: /etc/imgkeep/gone.png}
	// Empty: none.
	Placeholders []Placeholder `yaml:"placeholders"`
	// What answers tell browsers and search engines. After a change, print the nginx site
	// again.
	Headers Headers `yaml:"headers"`
	// Which scripts may read images, as fetch() and <img crossorigin> ask for. After a
	// change, print the nginx site again.
	CORS CORS `yaml:"cors"`
	// Which requests are answered at all, for a server behind a CDN. After a change, print
	// the nginx site and `imgkeep nginx --tokens` again.
	Access Access `yaml:"access"`
	// How long a server that stops waits for requests under way. 1ms to 1h.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	Sign            Sign          `yaml:"sign"`
	// The buckets that exist, at least one. `imgkeep sign` uses the first by default.
	Buckets []Bucket `yaml:"buckets"`
	// The heights and widths, in pixels, that links may ask for: with 150 and 250 in the list,
	// 150x250, 150x, x250 and so on exist. 1 to 65535 each. Empty: only the full image is
	// served.
	Sizes []int `yaml:"sizes"`
	// Sizes with names, each described in full: /i/avatar/... is what the preset "avatar"
	// makes. After a change of the description, pictures are made again. Keys that are left
	// out change nothing. Empty: none. `imgkeep preview` shows what a preset makes of a file;
	// contrib/docs/formats.md describes them. All keys:
	Presets []Preset `yaml:"presets"`
	// The formats that are accepted, recognised by their bytes: jpeg, png, gif and webp,
	// which every browser shows, and the extra formats avif, bmp, heic, tiff and jxl. From an
	// extra format, sizes and presets that name no format are made as webp, and the full image
	// is served as it is: a browser that does not know the format shows nothing. Decoders load
	// the library of each only if it is listed here; the server refuses to start with a
	// libvips that lacks it. A change of the extra formats takes effect at a restart, and
	// needs a new nginx site. With them, no bucket can have strip_metadata. After a format is
	// removed from the list, kept images of it are still served, in full and in the sizes that
	// exist, but no more sizes are made.
	Formats []string `yaml:"formats"`
	// Downloads from origins.
	Fetch Fetch `yaml:"fetch"`
	// A program of the operator that approves each new image before it is stored, and
	// before it is served by a link with /proxy.
	Approve Approve `yaml:"approve"`
	// Programs of the operator that the server notifies, such as a CDN's purge. Each URL gets
	// a POST with a signed JSON document, repeated until it answers with 200 to 299; no
	// request waits for that. See contrib/docs/removing.md.
	Hooks Hooks `yaml:"hooks"`
	// The processes that decode images and make sizes.
	Resize Resize `yaml:"resize"`
	// Whether images are compared by how they look: off or on. Decoders then make a hash
	// (PDQ) of each image that they decode anyway, and of others in the background;
	// `imgkeep similar` finds look-alikes of an image, and `imgkeep block --similar` blocks
	// them. As soon as any such block exists, each new image is decoded before it is kept. It
	// takes about 40 bytes of memory for each image.
	Likeness string `yaml:"likeness"`
	// The disk.
	Store Store `yaml:"store"`
	// Several nodes that share one S3-compatible object store, which then holds everything
	// kept; the root of each node is a cache before it. Without an endpoint this is the only
	// node, and its disk holds everything. All nodes need the same buckets; see
	// contrib/docs/several-nodes.md.
	Shared Shared `yaml:"shared"`
	// Asks the origins of kept images whether they still have them, to count what has outlived
	// its origin: see `imgkeep stats`. It never removes anything. It asks by HEAD, follows all
	// rules of fetch, and gives way to viewers.
	LinkRot LinkRot `yaml:"linkrot"`
	// Serving through nginx, for handoff: nginx.
	Nginx Nginx `yaml:"nginx"`
	// The moderators' page, where people without a shell look at new images and remove
	// them, and its HTTP API: see contrib/docs/moderators.md.
	Page Page `yaml:"page"`
	// What Prometheus reads.
	Metrics Metrics `yaml:"metrics"`
	// The log, on standard error.
	Log Log `yaml:"log"`
}

// Placeholder is an image that is sent as the body of some errors.
type Placeholder struct {
	// The codes of the errors, as in X-Imgkeep-Error. At least one.
	Errors []string `yaml:"errors"`
	// The path of the image.
	Image string `yaml:"image"`
}

// Headers is about what answers tell browsers.
type Headers struct {
	// Whose pages may show images (Cross-Origin-Resource-Policy): cross-origin, pages of
	// all sites, including those that isolate themselves (COEP); same-site or same-origin,
	// no others.
	ResourcePolicy string `yaml:"resource_policy"`
	// The X-Robots-Tag, such as noindex. Empty: none.
	Robots string `yaml:"robots"`
}

// CORS is about scripts that read images.
type CORS struct {
	// Their origins, such as https://forum.example.com; * is all. Empty: none.
	Origins []string `yaml:"origins"`
}

// Access is about which requests are answered.
type Access struct {
	// Tokens; each request must have one of them: Authorization: Bearer TOKEN. 16 to 512 of
	// A-Z, a-z, 0-9, . _ ~ + / and -. If this file holds one, make it unreadable for others.
	// Empty: none.
	Tokens []Secret `yaml:"tokens"`
	// Files that hold one token each, in one line, readable for the server's user. They
	// follow those above. Empty: none; without any token, all requests are answered.
	TokenFiles []string `yaml:"token_files"`
}

// Sign is about links and their signatures.
type Sign struct {
	// The secrets that sign links: the first signs, all verify. To replace one, put the new
	// one in front, and remove the old one when its links have expired. At least 16 bytes
	// each; `openssl rand -base64 32` makes a good one. If this file holds one, make it
	// unreadable for others. Empty: none. IMGKEEP_SECRET is one secret, taken whole, and
	// replaces this list.
	Secrets []Secret `yaml:"secrets"`
	// Files that hold one secret each, in one line. The line break at the end is not part of
	// the secret, spaces are. They follow those above. Empty: none. The server refuses a file
	// that every user can change, and warns of one that every user can read.
	SecretFiles []string `yaml:"secret_files"`
	// How many weeks a link lives, including the week in which it was signed. 1 to 52.
	Weeks int `yaml:"weeks"`
	// The time zone in which weeks begin: that of the program that signs, by its name in
	// the IANA database, such as Europe/Berlin.
	Timezone string `yaml:"timezone"`
	// The bucket that also accepts links of the older scheme, whose signature does
	// not cover the bucket. Empty: none.
	Bucketless string `yaml:"bucketless"`
	// Accept secrets that are short or well known, for tests only.
	AllowWeakSecret bool `yaml:"allow_weak_secret"`
}

// Bucket is one bucket.
type Bucket struct {
	// 1 to 16 of a-z and 0-9. It is part of links and of paths on disk: another name is
	// another bucket.
	Name string `yaml:"name"`
	// The hosts that its images may come from: example.com is that host alone,
	// *.example.com all hosts below it. Empty: any host.
	Hosts []string `yaml:"hosts"`
	// The most bytes of an image, 1KiB to 1GiB. 0: fetch.max_bytes.
	MaxBytes ByteSize `yaml:"max_bytes"`
	// Serve the full image without metadata too (the place where a photo was taken, names,
	// comments); pixels, profile and orientation stay as they are. The stored file stays as
	// the origin sent it. Sizes never have metadata, except where the original serves as a
	// size because it is as small: with this setting it does not. Only with the formats
	// jpeg, png, gif and webp.
	StripMetadata bool `yaml:"strip_metadata"`
}

// Approve is about the operator's check of images before they are kept.
type Approve struct {
	// The endpoint: http or https. It gets a POST with the image as its body, its
	// Content-Type, and X-Imgkeep-URL, X-Imgkeep-Bucket and X-Imgkeep-Digest. 200 and 204
	// approve; 403 and 451 reject, which is remembered for 30 days, and viewers get 451;
	// anything else is no answer. It may have a private address. Empty: nothing is checked.
	URL string `yaml:"url"`
	// The time for one answer, including the wait for its turn. 1ms to 1h.
	Timeout time.Duration `yaml:"timeout"`
	// How many requests run at once. 1 to 1000.
	Concurrency int `yaml:"concurrency"`
	// What happens without an answer. closed: nothing is stored, and viewers get 503. open:
	// the image is stored.
	Fail string `yaml:"fail"`
}

// Hooks are about programs of the operator that the server notifies.
type Hooks struct {
	// Notified of each removal, with the paths of all links that were valid.
	Removed Hook `yaml:"removed"`
	// Notified of each image that is kept.
	Kept Hook `yaml:"kept"`
	// Notified of each URL that could not be kept, and why.
	Failed Hook `yaml:"failed"`
	// The secrets that sign messages. Each message has a signature of each, so that a
	// receiver can verify it while a secret is replaced. At least 16 bytes each, or whsec_
	// and as many bytes in base64, as libraries of Standard Webhooks take them. They must
	// differ from those of links. If this file holds one, make it unreadable for others.
	// Empty: none; a URL needs one.
	Secrets []Secret `yaml:"secrets"`
	// Files that hold one secret each, in one line. They come after those above. Empty: none.
	SecretFiles []string `yaml:"secret_files"`
	// The time for one request. 1ms to 1m.
	Timeout time.Duration `yaml:"timeout"`
}

// Hook is one of these programs.
type Hook struct {
	// The receiver: http or https. It may have a private address. Empty: none.
	URL string `yaml:"url"`
}

// ByType are the URLs of those that are set, by the type of message.
func (h Hooks) ByType() map[string]string {
	urls := map[string]string{hook.Removed: h.Removed.URL, hook.Kept: h.Kept.URL, hook.Failed: h.Failed.URL}
	maps.DeleteFunc(urls, func(_, url string) bool { return url == "" })
	return urls
}

// Resize is about the decoder processes.
type Resize struct {
	// The decoder program, a path or a name in PATH. Empty: imgkeep-resize from the folder
	// of imgkeep, or else from PATH.
	Command string `yaml:"command"`
	// How many decoders run. 0 to 1024; 0: one for each core.
	Workers int `yaml:"workers"`
	// How many images may wait for a decoder. Sites (a domain with all hosts below it) and
	// images take turns; those that have used less come first. Further images are refused
	// with 503, first those of the site that has most waiting. 1 to 1000000.
	Queue int `yaml:"queue"`
	// The time for one image, and the longest wait for a decoder; after that viewers get
	// 503. A decoder that takes longer is ended, and no sizes of the image are made for a
	// minute, and for longer each time it happens again. 1ms to 1h.
	Timeout time.Duration `yaml:"timeout"`
	// The quality of JPEG and WebP. 1 to 100.
	Quality int `yaml:"quality"`
	// The quality of AVIF, on its own scale: 65 looks about like JPEG at 80. 1 to 100.
	AVIFQuality int `yaml:"avif_quality"`
	// The formats in which sizes are also made, for viewers whose browser says that it
	// shows them (Accept): avif, webp, the preferred one first. Viewers who accept none of
	// them get the usual format, and so does everybody if the other format would not be
	// smaller. AVIF never holds an animation; an animated GIF or PNG becomes an animated
	// WebP. An AVIF takes a decoder about ten times as long as a JPEG, once. After a change,
	// print the nginx site again, and restart. Presets have a negotiate of their own. Empty:
	// sizes have one format.
	Negotiate []string `yaml:"negotiate"`
	// How many images a decoder serves before a new one replaces it, which frees fragmented
	// memory. At least 1.
	MaxImages int `yaml:"max_images"`
	// The largest animation that stays one when resized, in pixels: width times
	// height times frames. At least 1.
	AnimationPixels int64 `yaml:"animation_pixels"`
	// Decoders give up the rights that they do not need: files, network, programs
	// (Landlock, seccomp, limits). auto: as far as the kernel supports it; the log says at
	// start what is missing. require: the server refuses to start without all of it, as the
	// systemd unit sets. off: not at all, for debugging.
	Sandbox string `yaml:"sandbox"`
	// The memory (address space) that a decoder may take for an image. A decoder that needs
	// more ends, which counts as a crash by the image. Allow about 25 bytes for each pixel
	// of fetch.max_pixels and animation_pixels. 256MiB to 1TiB.
	MaxMemory ByteSize `yaml:"max_memory"`
	// What is served as a size of a larger animation: first, a size of its first frame; or
	// original, the unchanged animation. A preset that changes more than size and quality
	// gives the first frame in both cases.
	AnimationExcess string `yaml:"animation_excess"`
	// Sizes and presets that are prerendered in the background as soon as the first viewer
	// of a new image was served, all from one decoding, as in [150x, avatar]. One image at
	// a time; under load, some are skipped and made on request. At most 16. Empty: none.
	Eager []string `yaml:"eager"`
}

// Store is about the disk.
type Store struct {
	// The free space, in bytes, below which nothing new is stored; kept images are still
	// served. 0: no floor.
	MinFree ByteSize `yaml:"min_free"`
	// The number of free inodes below which nothing new is stored. 0: no floor.
	MinFreeInodes int64 `yaml:"min_free_inodes"`
	// The most bytes of originals from one site, which is a domain with all hosts below it, or
	// a network of addresses (/24, /56), in all buckets together. At the limit, nothing new of
	// the site is kept, and viewers get 403; the last image may exceed the limit. Bytes count
	// for the site that they came from first. Kept images are still served, and so is /proxy;
	// local files have no site. 1MiB to 1024TiB, or 0: no limit.
	MaxPerSite ByteSize `yaml:"max_per_site"`
	// How long after one scrub the server begins the next. A scrub reads every original
	// again and reports damage, without repairing it. 0 to 87600h; 0: never.
	ScrubInterval time.Duration `yaml:"scrub_interval"`
	// How many bytes a second a scrub by the server reads. 0: no limit.
	ScrubRate ByteSize `yaml:"scrub_rate"`
}

// LinkRot is about asking origins whether they still have what is kept.
type LinkRot struct {
	// How long after one pass through all URLs the next begins; 168h is a week. 24h to
	// 87600h, or 0: never. After a stop, an unfinished pass resumes at the next start.
	Interval time.Duration `yaml:"interval"`
	// How many URLs a second are checked, of all hosts together. 1 to 1000; one a second is
	// 600,000 a week.
	Rate int `yaml:"rate"`
}

// Nginx is about serving through nginx.
type Nginx struct {
	// The folder of the symbolic links that nginx serves from. It belongs on tmpfs, neither
	// inside root nor around it.
	Hot string `yaml:"hot"`
	// The most links; if more are in demand, links are evicted. One takes about 1.1 KB of
	// memory and an inode of the tmpfs: /run has a fifth of the machine's memory and 800,000
	// inodes, and systemd needs some of both. A PNG takes two links, a WebP three, a GIF four.
	// 1 to 100000000.
	MaxLinks int `yaml:"max_links"`
	// Distinguishes this site from another imgkeep that the same nginx serves: 1 to 32 of
	// a-z, 0-9 and _. Empty: this is the only one.
	Name string `yaml:"name"`
	// The ports or addresses that nginx listens on for HTTP; ["80"] is without IPv6. Empty:
	// HTTPS only.
	Listen []string `yaml:"listen"`
	// The same for HTTPS; used if there is a certificate.
	ListenTLS []string `yaml:"listen_tls"`
	// The certificate with its chain, such as
	// /etc/letsencrypt/live/img.example.com/fullchain.pem. Empty: no HTTPS.
	Certificate string `yaml:"certificate"`
	// Its key, such as /etc/letsencrypt/live/img.example.com/privkey.pem.
	CertificateKey string `yaml:"certificate_key"`
	// HTTP/2 for HTTPS. auto: in the syntax of this machine's nginx; on: in that of nginx
	// 1.25.1 and later (Debian 13); listen: in that of earlier versions (Debian 12); off: no
	// HTTP/2.
	HTTP2 string `yaml:"http2"`
	// The host names that nginx serves. Empty: the host of base_url, or _ without one. _
	// matches no host: the site then serves what no other site names, unless another site is
	// the default.
	ServerName []string `yaml:"server_name"`
	// How many requests a second one IPv4 address, or one /64 of IPv6, may send; further ones
	// get 429. 0 to 1000000; 0: no limit.
	RateLimit int `yaml:"rate_limit"`
	// How many requests beyond rate_limit it may send at once, as a page with many images
	// does. 0 to 1000000.
	RateBurst int `yaml:"rate_burst"`
	// The hosts whose pages may show images, as example.com or *.example.com; pages of
	// others get 403, and requests without a Referer pass. Empty: all.
	Referers []string `yaml:"referers"`
	// The file from which nginx reads the tokens of access, if any are set: the output of
	// `imgkeep nginx --tokens`. Let only root read it.
	Tokens string `yaml:"tokens"`
	// A file that nginx includes at the end of the site's server block, for what cannot be
	// set here, such as the location of an ACME challenge. Empty: none.
	Include string `yaml:"include"`
	// How long nginx caches what it knows of a file. It is also how late nginx may notice that
	// a link has expired or an image was removed. Whole seconds, 1s to 1m.
	Valid time.Duration `yaml:"valid"`
	// How many files nginx caches and holds open: well below a worker's limit of open files
	// (worker_rlimit_nofile, often 1024). 10000 serves many popular images faster. 1 to
	// 1000000.
	OpenFiles int `yaml:"open_files"`
	// nginx's log of requests. Empty: none.
	AccessLog string `yaml:"access_log"`
}

// Metrics is about what Prometheus reads.
type Metrics struct {
	// Where Prometheus reads /metrics: host:port, or unix:/path. Everybody who can connect
	// can read them, so choose an address that strangers cannot reach. Empty: only the admin
	// socket answers GET /metrics, to its own users.
	Listen string `yaml:"listen"`
}

// Log is about the log.
type Log struct {
	// The least level that is written: debug, info, warn or error.
	Level string `yaml:"level"`
	// text or json.
	Format string `yaml:"format"`
}

// Default returns the value of each setting that is not set: here are all defaults. A server
// works with it as it is, except for the secret, which each operator must choose.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:8091",
		Root:            "/var/lib/imgkeep",
		Handoff:         "direct",
		MaxConnections:  4096,
		ShutdownTimeout: 30 * time.Second,
		Headers:         Headers{ResourcePolicy: nginx.ResourcePolicies[0]},
		Sign:            Sign{Weeks: 2, Timezone: "UTC"},
		Buckets:         []Bucket{{Name: "i"}},
		Sizes:           []int{150, 200, 250, 500},
		Formats:         []string{"jpeg", "png", "gif", "webp"},
		Fetch: Fetch{
			Timeout:       30 * time.Second,
			HeaderTimeout: 10 * time.Second,
			MaxBytes:      16 * mebibyte,
			MaxPixels:     51_000_000, // phones make 8192 x 6144
			MaxSide:       16384,
			MaxFrames:     10_000,
			// Ten times the largest still picture: a thousand frames of 800 x 600.
			MaxAnimationPixels: 500_000_000,
			MaxRedirects:       3,
			Ports:              []int{80, 443},
			UserAgent:          fetch.DefaultUserAgent,
			Accept:             []string{"jpeg", "png", "gif"},
			// With the pauses of package bucket: an outage of some minutes is none of
			// these, and one of an hour or two is.
			FallbackAfter: FallbackAfter{Gone: 1, NoHost: 3, Unreachable: 6, TLS: 4, Timeout: 6, ServerError: 6, Page: 2},
			Concurrency:   64,
			PerHost:       4,
			Queue:         1024,
			Removed: []Removed{
				{URL: "https://i.imgur.com/removed.png"},
				{ETag: "d835884373f4d6c8f24742ceabe74946"},
				{Digest: "9b5936f4006146e4e1e9025b474c02863c0b5614132ad40db4b925a10e8bfbb9"},
				{URL: "https://s.yimg.com/pw/images/en-us/photo_unavailable.png"},
				{URL: "https://s.yimg.com/pw/images/en-us/photo_unavailable_l.png"},
			},
		},
		Approve: Approve{Timeout: 10 * time.Second, Concurrency: 8, Fail: "closed"},
		Hooks:   Hooks{Timeout: 10 * time.Second},
		Resize: Resize{
			Queue:           64,
			Timeout:         10 * time.Second,
			Quality:         80,
			AVIFQuality:     resize.DefaultAVIFQuality,
			MaxImages:       500,
			AnimationPixels: 50_000_000,
			Sandbox:         "auto",
			MaxMemory:       2 * gibibyte,
			AnimationExcess: "first",
		},
		Store:  Store{MinFree: gibibyte, MinFreeInodes: 10_000, ScrubInterval: 30 * 24 * time.Hour, ScrubRate: 8 * mebibyte},
		Shared: Shared{CacheBytes: 10 * gibibyte, MaxLag: 10 * time.Minute}, LinkRot: LinkRot{Rate: 1}, Likeness: "off",
		Nginx: Nginx{
			Hot:       "/run/imgkeep/hot",
			MaxLinks:  250_000,
			Listen:    []string{"80", "[::]:80"},
			ListenTLS: []string{"443", "[::]:443"},
			HTTP2:     "auto",
			Tokens:    "/etc/imgkeep/nginx.tokens",
			RateBurst: 400,
			Valid:     5 * time.Second,
			OpenFiles: 512,
			AccessLog: "/var/log/nginx/imgkeep.log",
		},
		Page: Page{Reasons: []string{"against the rules", "illegal", "private", "copyright", "asked for by its subject", "spam"}},
		Log:  Log{Level: "info", Format: "text"},
	}
}

// AdminSocket is the path of the admin socket: Admin, or admin.sock in the root.
func (c Config) AdminSocket() string {
	if c.Admin != "" {
		return c.Admin
	}
	return filepath.Join(c.Root, "admin.sock")
}

// Secret is a key of signatures. It prints as "(hidden)", in text and in JSON, so that no
// log or error shows it by mistake; string(s) is the secret itself.
type Secret string

// String returns "(hidden)".
func (Secret) String() string { return hidden }

// GoString returns "(hidden)".
func (Secret) GoString() string { return hidden }

// MarshalText returns "(hidden)", or nothing of one that is empty.
func (s Secret) MarshalText() ([]byte, error) {
	if s == "" {
		return nil, nil
	}
	return []byte(hidden), nil
}

const hidden = "(hidden)"
