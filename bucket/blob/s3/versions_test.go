package s3_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3"
	"imgkeep/bucket/blob/s3/s3test"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// original is one of a generation, whose bytes are there.
func original(t *testing.T, c *s3.Client, text string, generation uint64) record.Image {
	t.Helper()
	content := object.Text([]byte(text), "")
	image := record.Image{Bucket: "i", Digest: content.Digest, Info: probe.Info{Format: probe.JPEG}, Bytes: content.Bytes, Generation: generation}
	if err := object.NewBlobs(c, t.TempDir()).Put(t.Context(), image, content.From); err != nil {
		t.Fatal(err)
	}
	return image
}

func versionsOf(t *testing.T, c *s3.Client, image record.Image) []object.Version {
	t.Helper()
	all, err := c.Versions(t.Context(), object.Key(image))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What a removal leaves in a bucket with versions is gone after RemoveVersions, of all
// generations up to one and of nothing else.
func TestRemoveVersions(t *testing.T) {
	g := s3test.StartVersioned(t)
	c := g.Client(t)
	if err := c.CheckVersions(t.Context()); !errors.Is(err, object.ErrNoVersions) {
		t.Errorf("before they are kept: %v", err)
	}
	g.KeepVersions(t)
	if err := c.CheckVersions(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, live, other := original(t, c, "the bytes", 0), original(t, c, "the bytes", 7), original(t, c, "others", 0)
	if err := c.Remove(t.Context(), object.Key(old)); err != nil {
		t.Fatal(err)
	}
	left := versionsOf(t, c, old)
	if len(left) != 2 {
		t.Fatalf("a deletion leaves %v, want a version and a delete marker", left)
	}
	readable := ""
	for _, v := range left {
		if data, err := g.ReadVersion(t, v.Key, v.ID); err == nil && string(data) == "the bytes" {
			readable = v.ID
		}
	}
	if readable == "" {
		t.Fatal("the deleted bytes cannot be read by their version: the test tests nothing")
	}
	if n, err := object.RemoveVersions(t.Context(), c, "i", old.Digest, 7); n != 2 || err != nil {
		t.Errorf("%d versions are deleted, %v; want 2", n, err)
	}
	if data, err := g.ReadVersion(t, object.Key(old), readable); err == nil {
		t.Errorf("%q can still be read", data)
	}
	if left := versionsOf(t, c, old); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
	for _, image := range []record.Image{live, other} {
		if err := object.NewBlobs(c, t.TempDir()).Stat(t.Context(), image); err != nil {
			t.Errorf("%s: %v", object.Key(image), err)
		}
	}
	if n, err := object.RemoveVersions(t.Context(), c, "i", old.Digest, 7); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
}

// A locked version is named, with the time or the hold that keeps it; others go.
func TestRemoveLockedVersions(t *testing.T) {
	until := time.Now().Add(24 * time.Hour).UTC().Truncate(time.Second)
	for name, tt := range map[string]struct {
		hold func(t *testing.T, g *s3test.Gateway, v object.Version)
		want string
	}{
		"retention":  {func(t *testing.T, g *s3test.Gateway, v object.Version) { g.Lock(t, v.Key, v.ID, until) }, "locked until " + until.Format(time.RFC3339) + " (COMPLIANCE)"},
		"legal hold": {func(t *testing.T, g *s3test.Gateway, v object.Version) { g.Hold(t, v.Key, v.ID, true) }, "it is under a legal hold"},
	} {
		t.Run(name, func(t *testing.T) {
			g := s3test.StartVersioned(t)
			g.KeepVersions(t)
			c := g.Client(t)
			image := original(t, c, "the bytes", 0)
			held := versionsOf(t, c, image)[0]
			tt.hold(t, g, held)
			if err := c.Remove(t.Context(), object.Key(image)); err != nil {
				t.Fatal(err)
			}
			n, err := object.RemoveVersions(t.Context(), c, "i", image.Digest, 1)
			if n != 1 || !errors.Is(err, object.ErrHeld) {
				t.Fatalf("%d versions are deleted, %v; want the delete marker alone", n, err)
			}
			for _, want := range []string{held.ID, held.Key, tt.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not name %q", err, want)
				}
			}
			if data, err := g.ReadVersion(t, held.Key, held.ID); err != nil || string(data) != "the bytes" {
				t.Errorf("what is held: %q, %v", data, err)
			}
		})
	}
}

// A store without versions says so, whether it knows of them or not.
func TestNoVersions(t *testing.T) {
	answers := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(status)
			w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	for name, tt := range map[string]struct {
		status int
		body   string
		none   bool
		ok     bool
	}{
		"never enabled":   {200, `<VersioningConfiguration/>`, true, false},
		"not implemented": {501, `<Error><Code>NotImplemented</Code></Error>`, true, false},
		"forbidden":       {403, `<Error><Code>AccessDenied</Code></Error>`, false, false},
		"suspended":       {200, `<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>`, false, true},
		"enabled":         {200, `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := s3.New(s3.Options{Endpoint: answers(tt.status, tt.body), Bucket: "images", PathStyle: true, Credentials: s3.Credentials{AccessKey: "a", SecretKey: "s"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.CheckVersions(t.Context()); errors.Is(err, object.ErrNoVersions) != tt.none || (err == nil) != tt.ok {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("versitygw without versions", func(t *testing.T) {
		if err := s3test.Start(t).Client(t).CheckVersions(t.Context()); !errors.Is(err, object.ErrNoVersions) {
			t.Errorf("%v", err)
		}
	})
}
