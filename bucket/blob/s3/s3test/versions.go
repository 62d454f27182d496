package s3test

import (
	"io"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// StartVersioned is Start with a bucket that can keep versions, see KeepVersions.
func StartVersioned(t testing.TB) *Gateway {
	t.Helper()
	if os.Getenv("WEED") != "" {
		t.Skip("only versitygw has versions in tests: all tests of a cluster share its bucket")
	}
	g := &Gateway{folder: t.TempDir(), versions: t.TempDir()}
	g.run(t, Program(t))
	if err := g.api(t).MakeBucket(t.Context(), Bucket, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
	return g
}

// KeepVersions has the bucket keep versions from now on, which can be locked. versitygw 1.8.0 then
// creates nothing, with a condition, under a name that was deleted: a node that starts refuses it.
func (g *Gateway) KeepVersions(t testing.TB) {
	t.Helper()
	api := g.api(t)
	err := api.EnableVersioning(t.Context(), Bucket)
	if err == nil {
		err = api.SetObjectLockConfig(t.Context(), Bucket, nil, nil, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// api is a client of its own, for what imgkeep never asks.
func (g *Gateway) api(t testing.TB) *minio.Client {
	t.Helper()
	at, err := url.Parse(g.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(at.Host, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, ""), BucketLookup: minio.BucketLookupPath, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ReadVersion reads a version of an object of Client.
func (g *Gateway) ReadVersion(t testing.TB, key, id string) ([]byte, error) {
	t.Helper()
	body, err := g.api(t).GetObject(t.Context(), Bucket, g.Options(t).Prefix+key, minio.GetObjectOptions{VersionID: id})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(body)
}

// Lock locks a version of an object of Client until a time, so that nobody can delete it.
func (g *Gateway) Lock(t testing.TB, key, id string, until time.Time) {
	t.Helper()
	mode := minio.Compliance
	if err := g.api(t).PutObjectRetention(t.Context(), Bucket, g.Options(t).Prefix+key, minio.PutObjectRetentionOptions{VersionID: id, Mode: &mode, RetainUntilDate: &until}); err != nil {
		t.Fatal(err)
	}
}

// Hold puts a version of an object of Client under a legal hold, or lifts that.
func (g *Gateway) Hold(t testing.TB, key, id string, on bool) {
	t.Helper()
	status := minio.LegalHoldDisabled
	if on {
		status = minio.LegalHoldEnabled
	}
	if err := g.api(t).PutObjectLegalHold(t.Context(), Bucket, g.Options(t).Prefix+key, minio.PutObjectLegalHoldOptions{VersionID: id, Status: &status}); err != nil {
		t.Fatal(err)
	}
}
