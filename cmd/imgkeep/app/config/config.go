package config

import (
	"net/netip"
	"path/filepath"
	"time"

	"imgkeep/bucket/fetch"
	"imgkeep/resize"
)

// Config is the whole configuration: plain data, after checks. Paths in it are
// absolute. It may be read concurrently. The yaml tags are the names of the keys.
type Config struct {
	// Listen is host:port or unix:/path.
	Listen string `yaml:"listen"`
	// Root is the folder that holds everything kept.
	Root string `yaml:"root"`
	// Admin is the path of the socket by which commands reach the server.
	// Empty: AdminSocket names it.
	Admin string `yaml:"admin"`
	// BaseURL is put before the links that `imgkeep sign` prints. It has no
	// slash at its end. Empty: links are printed as paths.
	BaseURL string `yaml:"base_url"`
	// Handoff says who sends files: "direct", the server itself, or "nginx".
	Handoff string `yaml:"handoff"`
	// MaxConnections is how many viewers may be connected at once where Handoff is
	// "direct".
	MaxConnections int `yaml:"max_connections"`
	// Placeholder is the path of an image that is sent as the body of an
	// error. Empty: errors are a line of text.
	Placeholder string `yaml:"placeholder"`
	// ShutdownTimeout is how long running requests may take to end once the
	// server has been told to stop.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
	Sign            Sign          `yaml:"sign"`
	// Buckets are the buckets that exist, at least one. The first is the one
	// that `imgkeep sign` takes where none is named.
	Buckets []Bucket `yaml:"buckets"`
	// Sizes are the lengths, in pixels, that a side of a size may have.
	Sizes []int `yaml:"sizes"`
	// Presets are sizes with names. They are known to be valid, but for the
	// pictures of watermarks.
	Presets []Preset `yaml:"presets"`
	// Formats are the formats that are accepted, by their names in bucket/probe.
	Formats []string `yaml:"formats"`
	Fetch   Fetch    `yaml:"fetch"`
	Approve Approve  `yaml:"approve"`
	Resize  Resize   `yaml:"resize"`
	Store   Store    `yaml:"store"`
	LinkRot LinkRot  `yaml:"linkrot"`
	Nginx   Nginx    `yaml:"nginx"`
	Metrics Metrics  `yaml:"metrics"`
	Log     Log      `yaml:"log"`
}

// Sign is about links and their signatures.
type Sign struct {
	// Secrets are all secrets: those of sign.secrets, then those that Load
	// read from SecretFiles. The first signs, all verify. It may be empty:
	// not every command needs one.
	Secrets []Secret `yaml:"secrets"`
	// SecretFiles are files that hold one secret each. Load has read them.
	SecretFiles []string `yaml:"secret_files"`
	// Weeks is how many weeks a link lives, its own counted.
	Weeks int `yaml:"weeks"`
	// Timezone is the zone in which weeks begin, by its name in the IANA
	// database. It is known to load.
	Timezone string `yaml:"timezone"`
	// Bucketless names the bucket that also accepts signatures of the older
	// scheme, which do not cover the bucket. Empty: none.
	Bucketless string `yaml:"bucketless"`
	// AllowWeakSecret accepts secrets that are short or well known.
	AllowWeakSecret bool `yaml:"allow_weak_secret"`
}

// Bucket is one bucket.
type Bucket struct {
	// Name stands in links and on disk.
	Name string `yaml:"name"`
	// Hosts are the hosts that images of the bucket may come from, as
	// "example.com" or "*.example.com" (see fetch.MatchHost). Empty: any.
	Hosts []string `yaml:"hosts"`
	// MaxBytes is the largest image. 0: Fetch.MaxBytes.
	MaxBytes ByteSize `yaml:"max_bytes"`
	// StripMetadata serves images without metadata in full too. What is kept
	// is what the origin sent.
	StripMetadata bool `yaml:"strip_metadata"`
}

// Fetch is about downloads from origins.
type Fetch struct {
	// Timeout bounds a whole download, redirects and waiting included.
	Timeout time.Duration `yaml:"timeout"`
	// HeaderTimeout bounds the wait for the first byte of an answer.
	HeaderTimeout time.Duration `yaml:"header_timeout"`
	// MaxBytes is the largest image. A bucket may set its own.
	MaxBytes ByteSize `yaml:"max_bytes"`
	// MaxPixels bounds width times height.
	MaxPixels int64 `yaml:"max_pixels"`
	// MaxSide bounds width and height, in pixels.
	MaxSide int `yaml:"max_side"`
	// MaxFrames is the most frames of an animation.
	MaxFrames int `yaml:"max_frames"`
	// MaxAnimationPixels bounds width times height times frames of an animation.
	// A larger one is refused; see also Resize.AnimationPixels.
	MaxAnimationPixels int64 `yaml:"max_animation_pixels"`
	// MaxRedirects is how many redirects are followed. 0: none.
	MaxRedirects int `yaml:"max_redirects"`
	// Ports are the ports that may be connected to.
	Ports []int `yaml:"ports"`
	// Networks are the private networks that may be connected to. Empty: none.
	Networks []netip.Prefix `yaml:"networks"`
	// DenyHosts are hosts never fetched from, written as Bucket.Hosts.
	DenyHosts []string `yaml:"deny_hosts"`
	// UserAgent is what imgkeep calls itself to origins.
	UserAgent string `yaml:"user_agent"`
	// Proxy is the URL of an outbound proxy: http, https or socks5. It may
	// hold a password. Empty: none.
	Proxy string `yaml:"proxy"`
	// Profiles say how some hosts are asked otherwise. The first that names a
	// host holds for it.
	Profiles []Profile `yaml:"profiles"`
	// Removed are marks of pictures that say that an image was removed.
	Removed []Removed `yaml:"removed"`
	// Fallbacks are URLs with {url} in them at which is looked for what is gone
	// from its origin. Empty: nowhere.
	Fallbacks []string `yaml:"fallbacks"`
	// OwnHosts are names of this server besides that of BaseURL, written as
	// Bucket.Hosts.
	OwnHosts []string `yaml:"own_hosts"`
	// LocalRoot is the folder that local:///path is read from. Empty: local
	// URLs are refused.
	LocalRoot string `yaml:"local_root"`
	// Concurrency is how many downloads run at once.
	Concurrency int `yaml:"concurrency"`
	// PerHost is how many of them run at once from one site: a domain with all
	// the hosts below it. At most Concurrency.
	PerHost int `yaml:"per_host"`
	// Queue is how many more may wait.
	Queue int `yaml:"queue"`
}

// Profile is how some hosts are asked.
type Profile struct {
	// Hosts are written as Bucket.Hosts. At least one.
	Hosts []string `yaml:"hosts"`
	// UserAgent is sent to them. Empty: Fetch.UserAgent.
	UserAgent string `yaml:"user_agent"`
	// Referer is sent to them, a URL. Empty: none.
	Referer string `yaml:"referer"`
	// Proxy is as Fetch.Proxy; fetch.NoProxy: none. Empty: Fetch.Proxy.
	Proxy string `yaml:"proxy"`
	// PerHost is as Fetch.PerHost. 0: that.
	PerHost int `yaml:"per_host"`
}

// Removed is the mark of a picture that says that an image was removed, as
// fetch.Removed describes it: one of its fields is set.
type Removed struct {
	URL    string `yaml:"url"`
	ETag   string `yaml:"etag"`
	Digest string `yaml:"digest"`
}

// Approve is about the operator's check of images before they are kept.
type Approve struct {
	// URL is asked about each image. Empty: nobody is.
	URL string `yaml:"url"`
	// Timeout bounds one question, the wait for its turn included.
	Timeout time.Duration `yaml:"timeout"`
	// Concurrency is how many questions are under way at once.
	Concurrency int `yaml:"concurrency"`
	// Fail is "closed", so that nothing is kept without an answer, or "open".
	Fail string `yaml:"fail"`
}

// Resize is about the decoder processes.
type Resize struct {
	// Command is the decoder's program. Empty: imgkeep-resize from the folder
	// that holds imgkeep, or else from PATH.
	Command string `yaml:"command"`
	// Workers is how many decoders run. 0: one a core.
	Workers int `yaml:"workers"`
	// Queue is how many images may wait for one.
	Queue int `yaml:"queue"`
	// Timeout bounds the work on one image, and the wait for a decoder. A decoder that
	// takes longer is ended.
	Timeout time.Duration `yaml:"timeout"`
	// Quality is that of JPEG and WebP, 1 to 100.
	Quality int `yaml:"quality"`
	// AVIFQuality is that of AVIF, 1 to 100.
	AVIFQuality int `yaml:"avif_quality"`
	// Negotiate are the formats in which sizes are made besides their own, for viewers
	// who accept them: "avif", "webp", the one that is wanted most first. Empty: none.
	Negotiate []string `yaml:"negotiate"`
	// MaxImages is how many images a decoder serves before it is replaced.
	MaxImages int `yaml:"max_images"`
	// AnimationPixels bounds width times height times frames of an animation.
	AnimationPixels int64 `yaml:"animation_pixels"`
	// Sandbox is how far decoders must confine themselves: "auto", as far as the
	// kernel lets them; "require", wholly, or the server does not start; "off".
	Sandbox string `yaml:"sandbox"`
	// MaxMemory bounds the address space that a decoder takes for its images.
	MaxMemory ByteSize `yaml:"max_memory"`
	// AnimationExcess says what is served as a size of a larger one: "first",
	// a size of its first frame, or "original", the animation as it is.
	AnimationExcess string `yaml:"animation_excess"`
	// Eager are sizes and presets that are made of an image in the background
	// once its first viewer was served.
	Eager []string `yaml:"eager"`
}

// Store is about the disk.
type Store struct {
	// MinFree is the free space below which nothing new is stored. 0: no floor.
	MinFree ByteSize `yaml:"min_free"`
	// MinFreeInodes is the same for inodes.
	MinFreeInodes int64 `yaml:"min_free_inodes"`
	// ScrubInterval is how long the server waits from the end of one scrub to
	// the beginning of the next. 0: it does not scrub of itself.
	ScrubInterval time.Duration `yaml:"scrub_interval"`
	// ScrubRate is how many bytes of originals such a scrub reads in a second.
	// 0: as fast as it goes.
	ScrubRate ByteSize `yaml:"scrub_rate"`
}

// LinkRot is about asking origins whether they still have what is kept.
type LinkRot struct {
	// Interval is how long the server waits from the end of one pass to the
	// beginning of the next. 0: it does not ask.
	Interval time.Duration `yaml:"interval"`
	// Rate is how many URLs are asked in a second, at most.
	Rate int `yaml:"rate"`
}

// Nginx is about serving through nginx.
type Nginx struct {
	// Hot is the folder, on tmpfs, of the symbolic links that nginx serves by.
	Hot string `yaml:"hot"`
	// MaxLinks bounds their number.
	MaxLinks int `yaml:"max_links"`
	// Listen are the ports or addresses that nginx listens on.
	Listen []string `yaml:"listen"`
	// ServerName are the host names that nginx serves. "_": any.
	ServerName []string `yaml:"server_name"`
	// Valid is how long nginx may trust what it knows of a file: how late it
	// notices that a link has expired. Whole seconds.
	Valid time.Duration `yaml:"valid"`
	// OpenFiles is how many files nginx remembers and holds open.
	OpenFiles int `yaml:"open_files"`
	// AccessLog is the path of nginx's log of requests. Empty: none.
	AccessLog string `yaml:"access_log"`
}

// Metrics is about what Prometheus reads.
type Metrics struct {
	// Listen is host:port or unix:/path, where /metrics is answered. Empty:
	// only the admin socket answers it.
	Listen string `yaml:"listen"`
}

// Log is about the log.
type Log struct {
	// Level is the least level written: "debug", "info", "warn" or "error".
	Level string `yaml:"level"`
	// Format is "text" or "json".
	Format string `yaml:"format"`
}

// Default returns the configuration that holds where nothing is set. A server
// works with it as it is, apart from the secret, which everyone must choose.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:8091",
		Root:            "/var/lib/imgkeep",
		Handoff:         "direct",
		MaxConnections:  4096,
		ShutdownTimeout: 30 * time.Second,
		Sign:            Sign{Weeks: 2, Timezone: "UTC"},
		Buckets:         []Bucket{{Name: "i"}},
		Sizes:           []int{150, 200, 250, 500},
		Formats:         []string{"jpeg", "png", "gif", "webp"},
		Fetch: Fetch{
			Timeout:       30 * time.Second,
			HeaderTimeout: 10 * time.Second,
			MaxBytes:      16 * mebibyte,
			MaxPixels:     50_000_000,
			MaxSide:       16384,
			MaxFrames:     10_000,
			// Ten times the largest still picture: a thousand frames of 800 x 600.
			MaxAnimationPixels: 500_000_000,
			MaxRedirects:       3,
			Ports:              []int{80, 443},
			UserAgent:          fetch.DefaultUserAgent,
			Concurrency:        64,
			PerHost:            4,
			Queue:              1024,
			Removed: []Removed{
				{URL: "https://i.imgur.com/removed.png"},
				{ETag: "d835884373f4d6c8f24742ceabe74946"},
				{Digest: "9b5936f4006146e4e1e9025b474c02863c0b5614132ad40db4b925a10e8bfbb9"},
				{URL: "https://s.yimg.com/pw/images/en-us/photo_unavailable.png"},
				{URL: "https://s.yimg.com/pw/images/en-us/photo_unavailable_l.png"},
			},
		},
		Approve: Approve{Timeout: 10 * time.Second, Concurrency: 8, Fail: "closed"},
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
		Store:   Store{MinFree: gibibyte, MinFreeInodes: 10_000, ScrubInterval: 30 * 24 * time.Hour, ScrubRate: 8 * mebibyte},
		LinkRot: LinkRot{Rate: 1},
		Nginx: Nginx{
			Hot:        "/run/imgkeep/hot",
			MaxLinks:   250_000,
			Listen:     []string{"80", "[::]:80"},
			ServerName: []string{"_"},
			Valid:      5 * time.Second,
			OpenFiles:  512,
			AccessLog:  "/var/log/nginx/imgkeep.log",
		},
		Log: Log{Level: "info", Format: "text"},
	}
}

// AdminSocket is the path of the admin socket: Admin, or admin.sock in the root.
func (c Config) AdminSocket() string {
	if c.Admin != "" {
		return c.Admin
	}
	return filepath.Join(c.Root, "admin.sock")
}

// Secret is a key of signatures. It prints as "(hidden)", in text and in JSON, so
// that no log or error shows it by mistake; string(s) is the secret itself.
type Secret string

// String returns "(hidden)".
func (Secret) String() string { return hidden }

// GoString returns "(hidden)".
func (Secret) GoString() string { return hidden }

// MarshalText returns "(hidden)".
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

const hidden = "(hidden)"
