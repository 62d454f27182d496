package app

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
)

// same is an origin that has the same image under every URL.
type same struct{}

func (same) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	n, err := io.WriteString(dst, "the bytes")
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	return fetch.Result{Info: info, Bytes: int64(n), FinalURL: r.URL}, err
}

// openStore opens the store of a configuration, with an origin of a test's own.
func openStore(t *testing.T, c config.Config, origin bucket.Origin) *bucket.Store {
	t.Helper()
	o := bucket.Options{Root: c.Root, Origin: origin}
	for _, b := range c.Buckets {
		o.Buckets = append(o.Buckets, bucket.Bucket{Name: b.Name})
	}
	store, err := bucket.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// answer answers on the admin socket as a server does, until stop is called.
func answer(t *testing.T, ctx context.Context, c config.Config, store *bucket.Store) (stop func()) {
	t.Helper()
	l, err := control.Listen(c.AdminSocket())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error)
	go func() {
		ended <- control.NewServer(control.New(control.Options{Store: control.OpenStore{Store: store}}), nil).Serve(ctx, l)
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// The commands that need the store reach it through the process that has it open.
func TestCommandsWhileServing(t *testing.T) {
	c := config.Default()
	c.Root = filepath.Join(t.TempDir(), "store")
	c.Store.MinFree, c.Store.MinFreeInodes = 0, 0
	store := openStore(t, c, same{})
	defer func() {
		if err := store.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	image, err := store.Keep(t.Context(), "i", "https://example.com/a.png")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	command := func(args ...string) (int, string, string) {
		return run(t, t.Context(), Env{Args: append(args, "--root", c.Root)})
	}
	// Before somebody answers, and after.
	refused := func() {
		t.Helper()
		for _, name := range []string{"scrub", "compact"} {
			if status, _, errs := command(name); status != ExitFailure || !strings.Contains(errs, "in use by another process; no server answers at "+c.AdminSocket()) {
				t.Errorf("%s: status %d, %s", name, status, errs)
			}
		}
	}
	refused()
	stop := answer(t, ctx, c, store)
	if info, err := os.Stat(c.AdminSocket()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
	if status, out, errs := command("scrub"); status != ExitOK || !strings.Contains(out, "1 images, 9 B read") || !strings.Contains(out, ": clean\n") {
		t.Errorf("scrub: status %d, %s%s", status, out, errs)
	}
	if status, out, errs := command("compact"); status != ExitOK || !strings.Contains(out, "after: ") {
		t.Errorf("compact: status %d, %s%s", status, out, errs)
	}
	if status, out, errs := command("compact", "--dry-run"); status != ExitOK || strings.Contains(out, "after: ") {
		t.Errorf("compact --dry-run: status %d, %s%s", status, out, errs)
	}
	if status, _, errs := command("reindex"); status != ExitFailure || !strings.Contains(errs, "in use by another process: stop the server") {
		t.Errorf("reindex: status %d, %s", status, errs)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	if status, out, errs := command("backup", backup); status != ExitOK || !strings.Contains(out, "1 images, of which 1 copied now") {
		t.Errorf("backup: status %d, %s%s", status, out, errs)
	}
	if err := os.Remove(store.Path(image.File())); err != nil {
		t.Fatal(err)
	}
	if status, out, _ := command("scrub"); status != ExitPartial || !strings.HasPrefix(out, "missing      "+image.File()) {
		t.Errorf("scrub: status %d, %s", status, out)
	}
	if status, out, errs := command("scrub", "--repair"); status != ExitOK || !strings.Contains(out, "[fetched again]") {
		t.Errorf("scrub --repair: status %d, %s%s", status, out, errs)
	}
	stop()
	if _, err := os.Stat(c.AdminSocket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	refused()
}

// Without a terminal progress is a line now and then; a bar is drawn on one.
func TestProgress(t *testing.T) {
	now := time.Now()
	var b strings.Builder
	p := newProgress(&b, func() time.Time { return now })
	p.show(record.Progress{Stage: "originals", Done: 1 << 20, Total: 4 << 20, Bytes: true})
	if b.String() != "" {
		t.Errorf("at once: %q", b.String())
	}
	now = now.Add(plainEvery)
	p.show(record.Progress{Stage: "originals", Done: 1 << 20, Total: 4 << 20, Bytes: true})
	p.show(record.Progress{Stage: "originals", Done: 2 << 20, Total: 4 << 20, Bytes: true})
	now = now.Add(plainEvery)
	p.show(record.Progress{Stage: "journals", Done: 123456})
	p.clear()
	if want := "imgkeep: originals: 1.0 MiB of 4.0 MiB, 25%\nimgkeep: journals: 123,456\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	p = newProgress(&b, func() time.Time { return now })
	p.terminal = true
	p.show(record.Progress{Stage: "images", Done: 1, Total: 4})
	p.show(record.Progress{Stage: "images", Done: 4, Total: 4})
	p.clear()
	if got := b.String(); !strings.Contains(got, "images") || !strings.Contains(got, "%") || !strings.Contains(got, "\r") {
		t.Errorf("a bar: %q", got)
	}
}
