package server_test

import (
	"context"
	"fmt"
	"io"
	"testing"

	"imgkeep/bucket"
	"imgkeep/bucket/likeness"
	"imgkeep/bucket/lookalike"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// alike is the print of all that a test's decoder looks at.
var alike = likeness.Print{Quality: 100, Hashes: [8]likeness.Hash{{1}, {2}, {3}, {4}, {5}, {6}, {7}, {8}}}

// What a viewer is told of an image that looks like a blocked one, or that no decoder could
// look at: in every size, and where it is only passed on.
func TestSimilarStatus(t *testing.T) {
	for name, test := range map[string]struct {
		look error
		want response
	}{
		"alike":         {nil, response{451, "similar", ""}},
		"busy decoders": {resize.ErrBusy, response{503, "busy", "5"}},
		"a slow one":    {resize.ErrTimeout, response{503, "resize-timeout", "60"}},
		"it ends them":  {fmt.Errorf("%w: %s", lookalike.ErrPoison, private), response{503, "unchecked", "30"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(o *bucket.Options, _ *server.Options) {
				o.Look = func(context.Context, record.Image, io.ReaderAt, bool) (likeness.Print, error) {
					return alike, test.look
				}
			})
			turned := alike.Hashes[3]
			if _, err := s.store.Block(t.Context(), bucket.Target{Hash: &turned}, bucket.RemoveOptions{Within: 3}); err != nil {
				t.Fatal(err)
			}
			everywhere(t, s, test.want)
		})
	}
}

// The hash of an image comes of the decode that makes its first size, if there is room for
// it; a decoder that sends something else in its place is as good as one that has crashed.
func TestPrintOfSizes(t *testing.T) {
	for name, test := range map[string]struct {
		on    bool
		print []byte
		want  bool
	}{
		"on":       {true, alike.Bytes(), true},
		"off":      {false, nil, false},
		"nonsense": {true, []byte("no print"), false},
	} {
		t.Run(name, func(t *testing.T) {
			looked := 0
			s := newSite(t, func(o *bucket.Options, _ *server.Options) {
				if test.on {
					o.Look = func(context.Context, record.Image, io.ReaderAt, bool) (likeness.Print, error) {
						looked++
						return alike, nil
					}
				}
			})
			s.decoder.answer = func(_ []byte, j resize.Job) (all []resize.Result, err error) {
				for _, target := range j.Targets {
					r := resize.Result{Format: "jpeg", Width: 10, Height: 10, Frames: 1, Data: toJPEG(t, 10, 10)}
					if target.IsPrint() {
						r = resize.Result{Format: resize.FormatPrint, Width: 30, Height: 30, Frames: 1, Data: test.print}
					}
					all = append(all, r)
				}
				return all, nil
			}
			url := s.origin.put("cat", toJPEG(t, 30, 30))
			status := s.get(s.link("10x10", url)).Code
			asked := 0
			for _, j := range s.decoder.jobs {
				for _, target := range j.Targets {
					if target.IsPrint() {
						asked++
					}
				}
			}
			image, err := s.store.Find("i", url)
			if err != nil {
				t.Fatal(err)
			}
			if known := test.on && s.store.Looks().Book.Has(image.Digest) && looked == 0; known != test.want {
				t.Errorf("its hash is known: %v", known)
			}
			if (asked > 0) != test.on || (status == 200) == (name == "nonsense") {
				t.Errorf("status %d, and %d prints were asked for", status, asked)
			}
			if name != "on" {
				return
			}
			s.get(s.link("10x", url))
			if last := s.decoder.jobs[len(s.decoder.jobs)-1]; len(last.Targets) != 1 {
				t.Errorf("what is known is asked for again: %+v", last.Targets)
			}
		})
	}
}
