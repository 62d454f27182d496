package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"imgkeep/bucket/imageurl"
	"imgkeep/sign"
)

// maxSecret is the longest secret that a file may hold, in bytes.
const maxSecret = sign.MaxSecret

// readSecretFiles reads Sign.SecretFiles, Access.TokenFiles and Hooks.SecretFiles, and puts what they hold
// after what is set. It returns warnings.
func (c *Config) readSecretFiles(p *problems) (warnings []string) {
	for _, list := range []struct {
		key     string
		files   []string
		secrets *[]Secret
	}{
		{secretFilesKey, c.Sign.SecretFiles, &c.Sign.Secrets},
		{tokenFilesKey, c.Access.TokenFiles, &c.Access.Tokens},
		{hookFilesKey, c.Hooks.SecretFiles, &c.Hooks.Secrets},
	} {
		for i, path := range list.files {
			secret, info, err := readSecret(path)
			if err != nil {
				p.add(fmt.Sprintf("%s[%d]", list.key, i), err)
				continue
			}
			// A warning, not an error: containers mount secrets so that every
			// user of theirs, often the only one, can read them.
			if isPublic(info) {
				warnings = append(warnings, readable(path))
			}
			*list.secrets = append(*list.secrets, secret)
		}
	}
	return warnings
}

func readSecret(path string) (Secret, os.FileInfo, error) {
	b, info, err := readFile(path, maxSecret)
	if err != nil {
		return "", nil, err
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		return "", nil, fmt.Errorf("every user of this machine can change %s; run chmod o-w on it", path)
	}
	// Two secrets in one file would become one wrong secret. And a secret that happens to
	// end in a newline would sign differently in programs that keep it.
	secret, err := sign.ParseSecret(string(b))
	switch {
	case errors.Is(err, sign.ErrNoSecret):
		return "", nil, fmt.Errorf("%s is empty", path)
	case err != nil:
		return "", nil, fmt.Errorf("%s does not hold one line of text: %w", path, err)
	}
	return Secret(secret), info, nil
}

// isPublic tells whether every user of the machine can read a file.
func isPublic(info os.FileInfo) bool {
	return info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0
}

func readable(path string) string {
	return fmt.Sprintf("%s holds a secret and every user of this machine can read it; chmod o-r on it ends that", path)
}

// checkSecrets reports secrets that are too weak.
func (c *Config) checkSecrets(p *problems) {
	if len(c.Sign.Secrets) == 0 {
		return // the command that needs one reports it
	}
	secrets := make([]string, 0, len(c.Sign.Secrets))
	for _, s := range c.Sign.Secrets {
		secrets = append(secrets, string(s))
	}
	_, err := sign.New(sign.Options{Secrets: secrets, AllowWeak: c.Sign.AllowWeakSecret})
	if errors.Is(err, sign.ErrWeakSecret) {
		err = fmt.Errorf("%w; sign.allow_weak_secret accepts it, for tests", err)
	}
	switch {
	case err == nil:
	case len(c.Sign.SecretFiles) == len(c.Sign.Secrets):
		p.add(secretFilesKey, err)
	case len(c.Sign.SecretFiles) > 0:
		p.add(secretsKey, fmt.Errorf("counting those of %s too: %w", secretFilesKey, err))
	default:
		p.add(secretsKey, err)
	}
}

// controlFree tells whether a text has no control characters, which would break the line or
// header that contains it.
func controlFree(s string) bool {
	return !strings.ContainsFunc(s, unicode.IsControl)
}

const s3Key = "fetch.s3"

// Variables of the environment, which the programs of AWS have too.
const (
	accessVariable    = "AWS_ACCESS_KEY_ID"
	secretKeyVariable = "AWS_SECRET_ACCESS_KEY"
	tokenVariable     = "AWS_SESSION_TOKEN"
)

// readS3Keys reads the keys of Fetch.S3 from files or the environment, where they do not
// stand in the configuration. It returns warnings. Those of systemd and of the environment
// may be the server's alone: without them the keys stay empty.
func (c *Config) readS3Keys(p *problems) (warnings []string) {
	for i := range c.Fetch.S3 {
		o, at := &c.Fetch.S3[i], item(s3Key, i)
		switch {
		case o.AccessKey != "" || o.SecretKey != "" || (o.AccessKeyFile == "") != (o.SecretKeyFile == ""):
			// validate tells of what is missing
		case o.AccessKeyFile != "":
			access, ok := credential(o.AccessKeyFile)
			secret, ok2 := credential(o.SecretKeyFile)
			if ok && ok2 {
				warnings = append(warnings, o.readKey(p, at+".access_key_file", access, &o.AccessKey)...)
				warnings = append(warnings, o.readKey(p, at+".secret_key_file", secret, &o.SecretKey)...)
			}
		case os.Getenv(accessVariable) == "" || os.Getenv(secretKeyVariable) == "":
			// CheckS3Keys tells commands that need them
		case os.Getenv(tokenVariable) != "":
			p.addf(at, "the keys of the environment are temporary (%s), which would soon end: want keys that last", tokenVariable)
		default:
			o.AccessKey, o.SecretKey = Secret(os.Getenv(accessVariable)), Secret(os.Getenv(secretKeyVariable))
		}
	}
	return warnings
}

// readKey reads one key.
func (o *S3Origin) readKey(p *problems, at, path string, to *Secret) (warnings []string) {
	key, info, err := readSecret(path)
	if err != nil {
		p.add(at, err)
		*to = "missing" // so that nothing is complained of twice
		return nil
	}
	if *to = key; isPublic(info) {
		warnings = append(warnings, readable(path))
	}
	return warnings
}

// credential is the path of a file that may be named as a credential of systemd, without a
// slash. ok: it is a file, or there are credentials for this process.
func credential(name string) (path string, ok bool) {
	if strings.Contains(name, "/") {
		return name, true
	}
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	return filepath.Join(dir, name), dir != ""
}

// CheckS3Keys returns an error if an object store of Fetch.S3 has no keys: only a process
// that fetches from it needs them.
func (c Config) CheckS3Keys() error {
	for i, o := range c.Fetch.S3 {
		if o.SecretKey == "" {
			return Errorf("%s: it has no keys: set access_key_file and secret_key_file, or %s and %s in the environment", item(s3Key, i), accessVariable, secretKeyVariable)
		}
	}
	return nil
}

// uselessS3 warns of buckets of object stores that no link can name.
func (c *Config) uselessS3() (warnings []string) {
	for i, o := range c.Fetch.S3 {
		for j, b := range o.Buckets {
			host := imageurl.ObjectHost(b)
			if !slices.ContainsFunc(c.Buckets, func(own Bucket) bool { return imageurl.NewHosts(own.Hosts).Has(host) }) {
				warnings = append(warnings, fmt.Sprintf("%s: no link can name %q until %s is in the hosts of a bucket, as in buckets: [{name: a, hosts: [%s]}]", item(item(s3Key, i)+".buckets", j), b, host, host))
			}
		}
	}
	return warnings
}
