package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/resize"
)

// NewPool starts the decoders that a configuration describes.
func NewPool(c config.Config, log *slog.Logger) (*resize.Pool, error) {
	command, err := decoder(c.Resize.Command)
	if err != nil {
		return nil, err
	}
	pool, err := resize.NewPool(resize.Options{
		Command: []string{command}, Workers: c.Resize.Workers, Spares: 1, Queue: c.Resize.Queue,
		Timeout: c.Resize.Timeout, MaxImages: c.Resize.MaxImages,
		MaxPixels: c.Fetch.MaxPixels, AnimationPixels: c.Resize.AnimationPixels, Outputs: c.Outputs(),
		Sandbox: resize.Sandbox(c.Resize.Sandbox), MaxMemory: int64(c.Resize.MaxMemory),
		Sources: c.ExtraFormats(), Logger: log,
	})
	if err != nil {
		return nil, startError(err)
	}
	switch l := pool.Layers(); {
	case len(l.Missing) > 0:
		log.Warn("decoders are not completely confined", "held", l.Held, "missing", l.Missing)
	case len(l.Held) > 0:
		log.Info("decoders are confined", "held", l.Held)
	default:
		log.Warn("decoders are not confined: resize.command is a program that does not say so")
	}
	return pool, nil
}

// startError says what to do about decoders that do not start.
func startError(err error) error {
	if !errors.Is(err, resize.ErrSandbox) {
		return err
	}
	return config.Errorf("%w. To go on with decoders that are confined as far as this machine lets them, set resize.sandbox: auto; "+
		"the systemd unit sets IMGKEEP_RESIZE_SANDBOX=require, which 'systemctl edit imgkeep' overrides by two lines: [Service] and Environment=IMGKEEP_RESIZE_SANDBOX=auto", err)
}

// newLook is how a store has the decoders of a pool look at images; nil where likeness is
// off.
func newLook(c config.Config, pool func() (*resize.Pool, error)) lookalike.Reader {
	if c.Likeness != "on" {
		return nil
	}
	return func(ctx context.Context, image record.Image, src io.ReaderAt, background bool) (p likeness.Print, err error) {
		if image.Bytes > resize.MaxSource {
			return p, fmt.Errorf("%w: it has %d bytes", lookalike.ErrNoPrint, image.Bytes)
		}
		decoders, err := pool()
		if err != nil {
			return p, err
		}
		made, err := decoders.Resize(ctx, io.NewSectionReader(src, 0, image.Bytes), image.Bytes, resize.Job{
			Format: image.Format.String(), Targets: []resize.Target{resize.PrintTarget()},
			Site: image.Site(), Image: image.Digest.String(), Background: background,
		})
		if refused, ok := errors.AsType[*resize.ImageError](err); ok {
			return p, fmt.Errorf("%w: %w", lookalike.ErrNoPrint, refused)
		}
		if errors.Is(err, resize.ErrPoison) {
			return p, fmt.Errorf("%w: %w", lookalike.ErrPoison, err)
		}
		if err != nil {
			return p, err
		}
		return likeness.ParsePrint(made[0].Data)
	}
}

// lazyPool starts the decoders of a command when they are first needed.
type lazyPool struct {
	config config.Config
	log    *slog.Logger
	mu     sync.Mutex
	pool   *resize.Pool
}

func (l *lazyPool) get() (_ *resize.Pool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pool == nil {
		l.pool, err = NewPool(l.config, l.log)
	}
	return l.pool, err
}

func (l *lazyPool) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pool == nil {
		return nil
	}
	return l.pool.Close()
}

const decoderName = "imgkeep-resize"

// decoder finds the decoder's program: the one configured, or the one that lies
// beside ours, or the one in PATH.
func decoder(configured string) (string, error) {
	if configured != "" {
		return configured, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), decoderName)
		if _, err := os.Stat(beside); err == nil {
			return beside, nil
		}
	}
	path, err := exec.LookPath(decoderName)
	if err != nil {
		return "", config.Errorf("%s is neither beside imgkeep nor in PATH: build it, or set resize.command", decoderName)
	}
	return path, nil
}

// checkFormats tells whether the decoders write what is to be made. They are told at
// their start what that is.
func checkFormats(c config.Config, pool *resize.Pool) error {
	for _, f := range c.Outputs() {
		if !slices.Contains(pool.Outputs(), f) {
			return config.Errorf("presets: decoders that write %s are started with the server: restart it", f)
		}
	}
	for size, formats := range negotiated(c) {
		for _, f := range formats {
			if !slices.Contains(pool.Outputs(), f) && !slices.Contains(pool.Formats(), f) {
				return config.Errorf("negotiate, of %s: libvips %s here has no %s", size, pool.Version(), f)
			}
		}
	}
	return nil
}
