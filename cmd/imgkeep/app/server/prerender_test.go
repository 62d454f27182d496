package server_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

func withEager(sizes ...string) func(*bucket.Options, *server.Options) {
	return func(_ *bucket.Options, o *server.Options) {
		o.Presets = map[string]*resize.Preset{"avatar": {Width: 8, Height: 8, Fit: "cover"}}
		o.Prerender = sizes
	}
}

// Once the first viewer is served, whatever they asked for, the eager sizes are prerendered
// from one decoding; existing ones are not made again, and later viewers of the image cost
// nothing.
func TestPrerender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, withEager("10x", "x20", "avatar"))
		url := c.origin.put("cat", toPNG(t, 60, 40))
		c.ask(t.Context(), url, "x20")
		ready <- nil
		c.made("x20")
		synctest.Wait()
		ready <- nil
		synctest.Wait()
		// An idle decoder begins with what is asked for first; here it came to be at
		// hand when all had been.
		if got := c.jobs(); !slices.Equal(got, []int{1, 2}) {
			t.Errorf("jobs of %v targets", got)
		}
		c.ask(t.Context(), url, "10x", "x20", "avatar", "full")
		c.made("10x", "x20")
		if c.answers["avatar"].Code != 200 || len(c.jobs()) != 2 {
			t.Errorf("avatar: status %d; %d jobs", c.answers["avatar"].Code, len(c.jobs()))
		}
		for i, size := range []string{"full", "info"} {
			url := c.origin.put(size, append(toPNG(t, 60, 40), size...))
			c.ask(t.Context(), url, size)
			ready <- nil
			synctest.Wait()
			if got := c.jobs(); len(got) != 3+i || got[2+i] != 3 {
				t.Errorf("after a view of %s: jobs of %v targets", size, got)
			}
		}
	})
}

// One image is prerendered at a time, and few wait: the sizes of others are made on request. A
// viewer who asks for an eager size meanwhile waits for the same job.
func TestPrerenderUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, withEager("10x", "x20"))
		const images, most = 260, 1 + 256
		var urls []string
		for i := range images {
			urls = append(urls, c.keep(fmt.Sprint(i), append(toPNG(t, 60, 40), fmt.Sprint(i)...)))
			synctest.Wait() // one is in the making, and the others wait
		}
		c.ask(t.Context(), urls[0], "10x", "10x10")
		for range most {
			ready <- nil
			synctest.Wait()
		}
		c.made("10x", "10x10")
		got := c.jobs()
		if len(got) != most || got[0] != 3 || slices.Max(got[1:]) != 2 || slices.Min(got) != 2 {
			t.Errorf("%d jobs, of %v targets", len(got), got)
		}
		select {
		case ready <- nil:
			t.Error("what was left out is made")
		default:
		}
		c.ask(t.Context(), urls[images-1], "10x")
		ready <- nil
		c.made("10x")
		// It works on.
		c.keep("another", append(toPNG(t, 60, 40), "another"...))
		ready <- nil
		synctest.Wait()
		if got := c.jobs()[most:]; !slices.Equal(got, []int{1, 2}) {
			t.Errorf("then jobs of %v targets", got)
		}
	})
}

// A failure disturbs neither viewers nor the next image. A store that closes waits for the job
// that has a decoder, and begins no other.
func TestPrerenderEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, withEager("10x"))
		for _, name := range []string{"a", "b", "c", "d"} {
			c.keep(name, append(toPNG(t, 60, 40), name...))
		}
		synctest.Wait()
		ready <- resize.ErrBusy
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- c.store.Close(context.Background()) }()
		synctest.Wait()
		ready <- nil
		if err := <-closed; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := c.jobs(); !slices.Equal(got, []int{1}) {
			t.Errorf("jobs of %v targets", got)
		}
		select {
		case ready <- nil:
			t.Error("a job was begun after the end")
		default:
		}
		if strings.Contains(c.log.String(), "level=ERROR") {
			t.Error(c.log)
		}
	})
}

// Without eager sizes nothing is made; ones that cannot be are refused.
func TestPrerenderOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		c.keep("cat", toPNG(t, 60, 40))
		synctest.Wait()
		select {
		case ready <- nil:
			t.Error("a job")
		default:
		}
		var many []string
		for i := range resize.MaxTargets + 1 {
			many = append(many, fmt.Sprintf("x%d", 1+i))
		}
		for _, wrong := range [][]string{{"11x"}, {"full"}, {"avatar"}, many} {
			o := server.Options{Store: c.store, Signer: c.signer, Resizer: c.decoder, Sizes: []int{10}, Prerender: wrong}
			if len(wrong) > 1 {
				o.Sizes = c.sizes
			}
			if _, err := server.New(o); err == nil {
				t.Errorf("%v is accepted", wrong)
			}
		}
		o := server.Options{Store: c.store, Signer: c.signer, Resizer: c.decoder, Sizes: c.sizes, Prerender: many[1:]}
		if _, err := server.New(o); err != nil {
			t.Error(err)
		}
	})
}

// The sizes of an animation that is populated do not share its budget either.
func TestPopulateAnimation(t *testing.T) {
	s := newSite(t, nil)
	s.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
		l := j.Targets[0].Layout(60, 40)
		return []resize.Result{result(t, toGIF(t, l.CanvasW, l.CanvasH, 3))}, nil
	}
	got, err := populator(t, s).Populate(t.Context(), "i", s.origin.put("cat", toGIF(t, 60, 40, 3)), []string{"10x", "x10"})
	if err != nil || got.Made != 2 || len(s.decoder.jobs) != 2 {
		t.Errorf("%+v, %v, %d jobs", got, err, len(s.decoder.jobs))
	}
}
