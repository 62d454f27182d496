package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"

	"imgkeep/bucket/blob/object"
)

var _ object.Versioned = (*Client)(nil)

// CheckVersions does what object.Versioned says. A bucket whose versions are suspended may have
// some.
func (c *Client) CheckVersions(ctx context.Context) error {
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	var versioning minio.BucketVersioningConfiguration
	var answer minio.ErrorResponse
	err := c.observed("get", false, func() (err error) {
		versioning, err = c.core.GetBucketVersioning(ctx, c.o.Bucket)
		errors.As(err, &answer)
		return err
	})
	if answer.StatusCode == http.StatusNotImplemented || err == nil && !versioning.Enabled() && !versioning.Suspended() {
		return object.ErrNoVersions
	}
	return err
}

// Versions does what object.Versioned says, with a request for each thousand.
func (c *Client) Versions(ctx context.Context, prefix string) (all []object.Version, err error) {
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	err = c.observed("list", false, func() error {
		for v := range c.core.ListObjectsIter(ctx, c.o.Bucket, minio.ListObjectsOptions{Prefix: c.o.Prefix + prefix, WithVersions: true, Recursive: true}) {
			if v.Err != nil {
				return v.Err
			}
			all = append(all, object.Version{Key: strings.TrimPrefix(v.Key, c.o.Prefix), ID: v.VersionID})
		}
		return ctx.Err() // with which the library ends silently
	})
	return all, err
}

// RemoveVersion does what object.Versioned says. If the store refuses, it asks why.
func (c *Client) RemoveVersion(ctx context.Context, v object.Version) error {
	if v.ID == "" { // which would delete no version, but add a delete marker
		return fmt.Errorf("%s: the object store names no version", v.Key)
	}
	ctx, cancel := c.within(ctx, 0)
	defer cancel()
	var answer minio.ErrorResponse
	err := c.observed("delete", true, func() error {
		err := c.core.RemoveObject(ctx, c.o.Bucket, c.o.Prefix+v.Key, minio.RemoveObjectOptions{VersionID: v.ID})
		errors.As(err, &answer)
		return err
	})
	switch {
	case errors.Is(err, object.ErrAbsent):
		return nil
	case answer.StatusCode == http.StatusForbidden || answer.StatusCode == http.StatusBadRequest:
		return fmt.Errorf("%w: %s%w", object.ErrHeld, c.lockOf(ctx, v), err)
	}
	return err
}

// lockOf says what holds a version, before a colon; empty: nothing that the store tells of.
func (c *Client) lockOf(ctx context.Context, v object.Version) string {
	var about minio.ObjectInfo
	err := c.observed("head", false, func() (err error) {
		about, err = c.core.StatObject(ctx, c.o.Bucket, c.o.Prefix+v.Key, minio.StatObjectOptions{VersionID: v.ID})
		return err
	})
	if err != nil {
		return ""
	}
	if about.Metadata.Get("X-Amz-Object-Lock-Legal-Hold") == "ON" {
		return "it is under a legal hold: "
	}
	if until := about.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"); until != "" {
		return fmt.Sprintf("it is locked until %s (%s): ", until, about.Metadata.Get("X-Amz-Object-Lock-Mode"))
	}
	return ""
}
