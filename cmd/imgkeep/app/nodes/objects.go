// Package nodes makes a server one of several nodes, as a configuration says.
//
// It promises that all that can be wrong with shared is found before a store is opened, and
// that no key shows in an error. It asks nothing of an object store until it is told to.
package nodes

import (
	"crypto/x509"
	"os"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
	"imgkeep/cmd/imgkeep/app/config"
)

// Objects is a client of the object store that the nodes of a configuration share. It
// asks nothing of it yet. observe, if it is not nil, is told of each request, see
// s3.Options.
func Objects(c config.Config, observe func(kind, outcome string, took time.Duration)) (object.Store, error) {
	s := c.Shared
	if !s.IsSet() {
		return nil, config.Errorf("shared.endpoint: it is empty, so that no object store is shared")
	}
	o := s3.Options{
		Endpoint: s.Endpoint, Bucket: s.Bucket, Prefix: s.Prefix, Region: s.Region, PathStyle: s.PathStyle,
		StorageClass: s.StorageClass, Encryption: s.Encryption, KMSKey: s.KMSKey, Observe: observe,
		Credentials: s3.Credentials{
			AccessKey: s3.Secret(s.AccessKey), SecretKey: s3.Secret(s.SecretKey),
			AccessKeyFile: s.AccessKeyFile, SecretKeyFile: s.SecretKeyFile,
		},
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, config.Errorf("shared.ca_file: %w", err)
		}
		o.CAs = x509.NewCertPool()
		if !o.CAs.AppendCertsFromPEM(pem) {
			return nil, config.Errorf("shared.ca_file: %s holds no certificate in PEM", s.CAFile)
		}
	}
	client, err := s3.New(o)
	if err != nil {
		return nil, config.Errorf("shared: %w", err)
	}
	return client, nil
}
