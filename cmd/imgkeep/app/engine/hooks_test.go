package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/hook"
)

// A receiver is told to drop all wherever not all links of a removal are known, and nothing
// where nothing was removed.
func TestRemovalsTold(t *testing.T) {
	images := record.Removal{Images: []record.Removed{{Bucket: "i", Digest: "d", URLs: []string{"https://a.example/"}}}}
	blocked := record.Removal{Blocked: []record.Block{{Kind: record.BlockURL, Subject: "https://a.example/"}}}
	links := []string{"/i/full/x/y"}
	for name, tt := range map[string]struct {
		q    control.RemoveRequest
		done control.Removal
		err  error
		want string // "" is no message
	}{
		"purged":                            {control.RemoveRequest{Verb: "purge", URL: "u", Why: "w"}, control.Removal{Removal: images, Links: links}, nil, "purge u by w 1 [/i/full/x/y] false"},
		"by its digest":                     {control.RemoveRequest{Verb: "purge", Digest: "d"}, control.Removal{Removal: images, Links: links}, nil, "purge d by  1 [/i/full/x/y] false"},
		"where no secret is known":          {control.RemoveRequest{Verb: "purge", URL: "u"}, control.Removal{Removal: images}, nil, "purge u by  1 [] true"},
		"a host":                            {control.RemoveRequest{Verb: "block", Host: "h"}, control.Removal{Removal: blocked}, nil, "block h by  0 [] true"},
		"blocked before it was ever kept":   {control.RemoveRequest{Verb: "block", URL: "u"}, control.Removal{Removal: blocked}, nil, "block u by  0 [] false"},
		"broken off":                        {control.RemoveRequest{Verb: "forget", URL: "u"}, control.Removal{Removal: images, Links: links}, errors.New("disk"), "forget u by  1 [/i/full/x/y] true"},
		"broken off, nothing is known":      {control.RemoveRequest{Verb: "forget", URL: "u"}, control.Removal{}, errors.New("disk"), "forget u by  0 [] true"},
		"not kept":                          {control.RemoveRequest{Verb: "forget", URL: "u"}, control.Removal{}, fmt.Errorf("x: %w", bucket.ErrNotKept), ""},
		"no such bucket":                    {control.RemoveRequest{Verb: "forget", URL: "u"}, control.Removal{}, bucket.ErrNoBucket, ""},
		"gone in one bucket, not in others": {control.RemoveRequest{Verb: "forget", URL: "u"}, control.Removal{Removal: images, Links: links}, bucket.ErrNotKept, "forget u by  1 [/i/full/x/y] true"},
	} {
		root := t.TempDir()
		o, err := hook.OpenOutbox(root, slog.New(slog.DiscardHandler), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		outboxOf(o).Begin(tt.q, "by")(tt.done, tt.err)
		files, err := filepath.Glob(filepath.Join(root, hook.Folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var m hook.Removal
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			got += fmt.Sprintf("%s %s %s %s %d %v %v", m.Op, m.URL+m.Digest+m.Host, m.By, m.Why, len(m.Images), m.Links, m.All)
		}
		if got != tt.want {
			t.Errorf("%s: told %q, want %q", name, got, tt.want)
		}
	}
	if outboxOf(nil) != nil {
		t.Error("without an outbox there is one")
	}
}

// A hook without a secret is a wrong configuration; and where nobody is told of removals any
// more, what waited for them goes.
func TestHooksConfigured(t *testing.T) {
	none := func(string, error) {}
	log := slog.New(slog.DiscardHandler)
	c := config.Hooks{Removed: config.Hook{URL: "http://127.0.0.1/"}, Timeout: time.Second}
	var usage config.Error
	if _, err := newHooks(c, log, time.Now, none, nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "hooks.removed: there is no secret") || !strings.Contains(err.Error(), "hooks.secret_files") {
		t.Errorf("%v", err)
	}
	c.Secrets = []config.Secret{"the secret of these hooks"}
	root := t.TempDir()
	h, err := newHooks(c, log, time.Now, none, nil)
	if err == nil {
		err = h.open(root, log, time.Now)
	}
	if err != nil || !hook.Exists(root) || len(h.waiting()) != 1 {
		t.Errorf("%v, %v", err, h.waiting())
	}
	var o bucket.Options
	if h.watch(&o); o.Kept != nil || o.Failed != nil {
		t.Error("it tells of what nobody wants to know")
	}
	h, err = newHooks(config.Hooks{}, log, time.Now, none, nil)
	if err == nil {
		err = h.open(root, log, time.Now)
	}
	if err != nil || hook.Exists(root) || len(h.waiting()) != 0 {
		t.Errorf("none: %v, %v", err, h.waiting())
	}
}
