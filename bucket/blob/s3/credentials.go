package s3

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// maxSecretFile is the longest file of a key that is read, in bytes.
const maxSecretFile = 4 << 10

// reread is for how long keys of files are used before the files are read again.
const reread = time.Minute

// Credentials say as whom a store is asked. Of several ways, the first that is set counts:
// keys, files, the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
type Credentials struct {
	AccessKey Secret
	SecretKey Secret
	// AccessKeyFile and SecretKeyFile hold the keys, one line each. A name without a slash is
	// that of a systemd credential, in $CREDENTIALS_DIRECTORY. They are read again each
	// minute, so that a key can be changed without a restart.
	AccessKeyFile string
	SecretKeyFile string
}

// Secret is text that is not printed.
type Secret string

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "(hidden)"
}

// GoString hides it too.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides it in JSON and YAML.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (c Credentials) provider() (*credentials.Credentials, error) {
	switch {
	case (c.AccessKey == "") != (c.SecretKey == ""):
		return nil, errors.New("of the object store's access key and secret key only one is set")
	case (c.AccessKeyFile == "") != (c.SecretKeyFile == ""):
		return nil, errors.New("of the files of the object store's access key and secret key only one is set")
	case c.AccessKey != "":
		return credentials.NewStaticV4(string(c.AccessKey), string(c.SecretKey), ""), nil
	case c.AccessKeyFile != "":
		f := &files{access: c.AccessKeyFile, secret: c.SecretKeyFile}
		if _, err := f.RetrieveWithCredContext(nil); err != nil {
			return nil, err // at the start, rather than at the first request
		}
		return credentials.New(f), nil
	}
	creds := credentials.NewEnvAWS()
	if v, err := creds.GetWithContext(nil); err != nil || v.AccessKeyID == "" || v.SecretAccessKey == "" {
		return nil, errors.New("no keys for the object store: set them, their files, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment")
	}
	return creds, nil
}

// files is a provider of keys that stand in files.
type files struct {
	access, secret string
	read           time.Time
}

// RetrieveWithCredContext reads the files.
func (f *files) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	access, err := readKey(f.access)
	if err != nil {
		return credentials.Value{}, err
	}
	secret, err := readKey(f.secret)
	if err != nil {
		return credentials.Value{}, err
	}
	f.read = time.Now()
	return credentials.Value{AccessKeyID: access, SecretAccessKey: secret, SignerType: credentials.SignatureV4}, nil
}

// Retrieve is of an older form of the interface.
func (f *files) Retrieve() (credentials.Value, error) { return f.RetrieveWithCredContext(nil) }

// IsExpired tells whether the files are to be read again.
func (f *files) IsExpired() bool { return time.Since(f.read) > reread }

// readKey reads the one line of a file. Errors name the file, and nothing that it holds.
func readKey(path string) (string, error) {
	if !strings.Contains(path, "/") {
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if dir == "" {
			return "", fmt.Errorf("%s has no slash, so that it names a systemd credential, and there is no CREDENTIALS_DIRECTORY", path)
		}
		path = filepath.Join(dir, path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	key := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case len(text) > maxSecretFile:
		return "", fmt.Errorf("%s has more than %d bytes", path, maxSecretFile)
	case key == "":
		return "", fmt.Errorf("%s is empty", path)
	case strings.ContainsAny(key, "\r\n\x00"):
		return "", fmt.Errorf("%s does not hold one line of text", path)
	}
	return key, nil
}
