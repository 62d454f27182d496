package config

import (
	"fmt"
	"strings"
	"time"

	"imgkeep/bucket/fetch/s3origin"
	"imgkeep/bucket/imageurl"
)

// Shared is about the object store that several nodes share.
type Shared struct {
	// Scheme and host of the object store, as in https://s3.example.com. It may have a
	// private address. `imgkeep store check` tells whether a store is suitable. Empty: this is
	// the only node.
	Endpoint string `yaml:"endpoint"`
	// The bucket of the object store, which must exist. No other program may write to it
	// below prefix.
	Bucket string `yaml:"bucket"`
	// The prefix of the names of all objects, with a slash at its end, as in imgkeep/. Empty:
	// none.
	Prefix string `yaml:"prefix"`
	// The region for which requests are signed. Empty: us-east-1.
	Region string `yaml:"region"`
	// Name the bucket in the path instead of the host, as most self-hosted stores want it.
	PathStyle bool `yaml:"path_style"`
	// A file with the access key, in one line; a name without a slash is that of a systemd
	// credential of the service. It is read again each minute. Empty: access_key, or else
	// AWS_ACCESS_KEY_ID in the environment.
	AccessKeyFile string `yaml:"access_key_file"`
	// The same of the secret key. Empty: secret_key, or else AWS_SECRET_ACCESS_KEY.
	SecretKeyFile string `yaml:"secret_key_file"`
	// The access key itself, instead of its file.
	AccessKey Secret `yaml:"access_key"`
	// The secret key itself; make this file unreadable for others then.
	SecretKey Secret `yaml:"secret_key"`
	// A file with the certificates (PEM) that vouch for the store, instead of the system's.
	// Empty: the system's.
	CAFile string `yaml:"ca_file"`
	// The storage class of originals, as in STANDARD_IA. Empty: the bucket's own.
	StorageClass string `yaml:"storage_class"`
	// What the store encrypts with: AES256 or aws:kms. Empty: as the bucket says.
	Encryption string `yaml:"encryption"`
	// The key of aws:kms. Empty: the bucket's own.
	KMSKey string `yaml:"kms_key"`
	// The size limit of this node's cache: local originals and their variants, in bytes. The
	// least recently sent are evicted first, and fetched again on request. At least four times
	// the largest image that may be kept, up to 1024TiB.
	CacheBytes ByteSize `yaml:"cache_bytes"`
	// How long a node that cannot reach the store still serves what it has. After that it
	// drops its hot links and answers 503, since it cannot know what was removed. 10s to 24h.
	MaxLag time.Duration `yaml:"max_lag"`
}

// IsSet tells whether this is one of several nodes.
func (s Shared) IsSet() bool { return s.Endpoint != "" }

const sharedKey = "shared"

// validateShared names what is wrong with Shared, without a key.
func (c *Config) validateShared(p *problems) {
	s := c.Shared
	if !s.IsSet() {
		for _, set := range []struct{ key, value string }{{"bucket", s.Bucket}, {"prefix", s.Prefix}, {"access_key_file", s.AccessKeyFile}} {
			if set.value != "" {
				p.addf(sharedKey+"."+set.key, "it is set, and shared.endpoint is empty: name the object store, as in https://s3.example.com")
				return
			}
		}
		return
	}
	if err := s3origin.CheckEndpoint(s.Endpoint); err != nil {
		p.add(sharedKey+".endpoint", err)
	}
	if err := s3origin.CheckRegion(s.Region); err != nil {
		p.addf(sharedKey+".region", "%q: %w", s.Region, err)
	}
	if s.Bucket == "" {
		p.addf(sharedKey+".endpoint", "it is set, and shared.bucket is empty: name the bucket of the object store")
	} else if err := imageurl.CheckObjectBucket(s.Bucket); err != nil {
		p.addf(sharedKey+".bucket", "%q is not a bucket of an object store: %w", s.Bucket, err)
	} else if err := s3origin.CheckStyle(s.Endpoint, s.Bucket); err != nil && !s.PathStyle {
		p.addf(sharedKey+".bucket", "%q: %w", s.Bucket, err)
	}
	if s.Prefix != "" && (!strings.HasSuffix(s.Prefix, "/") || strings.HasPrefix(s.Prefix, "/") || strings.Contains(s.Prefix, "//") || !controlFree(s.Prefix)) {
		p.addf(sharedKey+".prefix", "%q must end in a slash, and neither begin with one nor have two in a row", s.Prefix)
	}
	S3Origin{AccessKey: s.AccessKey, SecretKey: s.SecretKey, AccessKeyFile: s.AccessKeyFile, SecretKeyFile: s.SecretKeyFile}.validateKeys(p, sharedKey)
	if s.Encryption != "" {
		oneOf(p, sharedKey+".encryption", s.Encryption, "AES256", "aws:kms")
	}
	if s.KMSKey != "" && s.Encryption != "aws:kms" {
		p.addf(sharedKey+".kms_key", "it is only for encryption: aws:kms")
	}
	between(p, sharedKey+".cache_bytes", s.CacheBytes, 4*c.largestImage(), 1024*tebibyte)
	between(p, sharedKey+".max_lag", s.MaxLag, 10*time.Second, 24*time.Hour)
}

// largestImage is how many bytes an image of any bucket may have.
func (c *Config) largestImage() ByteSize {
	largest := c.Fetch.MaxBytes
	for _, b := range c.Buckets {
		largest = max(largest, b.MaxBytes)
	}
	return largest
}

// withoutSharedKeys leaves the keys out, and tells whether there were any.
func withoutSharedKeys(s Shared) (Shared, bool) {
	had := s.AccessKey != "" || s.SecretKey != ""
	s.AccessKey, s.SecretKey = "", ""
	return s, had
}

// cleanShared makes paths of Shared absolute, unless they name a credential of systemd.
func (c *Config) cleanShared(abs func(key string, path *string)) {
	for key, path := range map[string]*string{"access_key_file": &c.Shared.AccessKeyFile, "secret_key_file": &c.Shared.SecretKeyFile} {
		if strings.Contains(*path, "/") {
			abs(fmt.Sprintf("%s.%s", sharedKey, key), path)
		}
	}
	abs(sharedKey+".ca_file", &c.Shared.CAFile)
}
