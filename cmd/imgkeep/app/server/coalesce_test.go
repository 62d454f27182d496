package server_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket"
	"imgkeep/cmd/imgkeep/app/server"
	"imgkeep/resize"
)

// crowd are requests for sizes of images, made at once.
type crowd struct {
	*site
	done    sync.WaitGroup
	mu      sync.Mutex
	answers map[string]*httptest.ResponseRecorder // by size
}

// coalesceSite is a site whose decoder makes whatever it is asked for, once let go.
func coalesceSite(t *testing.T, change func(*bucket.Options, *server.Options)) (c *crowd, ready chan error) {
	t.Helper()
	ready = make(chan error)
	c = &crowd{site: newSite(t, func(b *bucket.Options, o *server.Options) {
		for i := range 40 {
			o.Sizes = append(o.Sizes, 1+i)
		}
		if change != nil {
			change(b, o)
		}
	}), answers: map[string]*httptest.ResponseRecorder{}}
	c.decoder.ready = func() error { return <-ready }
	c.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
		var all []resize.Result
		for _, target := range j.Targets {
			l := target.Layout(60, 40)
			all = append(all, result(t, toPNG(t, l.CanvasW, l.CanvasH)))
		}
		return all, nil
	}
	return c, ready
}

// ask has requests wait for sizes of what is at a URL. When it returns, they do.
func (c *crowd) ask(ctx context.Context, url string, sizes ...string) {
	for _, size := range sizes {
		c.done.Go(func() {
			w := httptest.NewRecorder()
			c.handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", c.link(size, url), nil))
			c.mu.Lock()
			defer c.mu.Unlock()
			c.answers[size] = w
		})
	}
	synctest.Wait()
}

// jobs are the numbers of targets of the jobs so far.
func (c *crowd) jobs() (counts []int) {
	c.decoder.mu.Lock()
	defer c.decoder.mu.Unlock()
	for _, j := range c.decoder.jobs {
		counts = append(counts, len(j.Targets))
	}
	return counts
}

// made checks that each size was answered with the picture of its sides.
func (c *crowd) made(sizes ...string) {
	c.t.Helper()
	c.done.Wait()
	for _, size := range sizes {
		s, err := resize.ParseSize(size)
		if err != nil {
			c.t.Fatal(err)
		}
		w, h := s.Fit(60, 40)
		if a := c.answers[size]; a.Code != 200 || !bytes.Equal(a.Body.Bytes(), toPNG(c.t, w, h)) {
			c.t.Errorf("%s: status %d, %d bytes", size, a.Code, a.Body.Len())
		}
	}
}

// keep has an image kept.
func (c *crowd) keep(name string, source []byte) (url string) {
	c.t.Helper()
	url = c.origin.put(name, source)
	if w := c.get(c.link("full", url)); w.Code != 200 {
		c.t.Fatalf("status %d", w.Code)
	}
	return url
}

// Sizes that wait for the same fetch are made from one decoding.
func TestCoalesceDuringFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		fetch := make(chan bool)
		url := c.origin.put("cat", func() any { <-fetch; return toPNG(t, 60, 40) })
		c.ask(t.Context(), url, "10x", "x20", "20x10", "x20", "info")
		close(fetch)
		ready <- nil
		c.made("10x", "x20", "20x10")
		if got := c.jobs(); !slices.Equal(got, []int{3}) {
			t.Errorf("jobs of %v targets", got)
		}
	})
}

// A job that waits for a decoder includes the sizes that are asked for meanwhile. Once it
// has one, later requests share the next job. A lone request is never delayed.
func TestCoalesceInQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		url := c.keep("cat", toPNG(t, 60, 40))
		c.ask(t.Context(), url, "10x")
		c.ask(t.Context(), url, "x10", "10x10", "10x")
		var begun sync.WaitGroup
		begun.Add(1)
		goOn := make(chan bool)
		draw := c.decoder.answer
		c.decoder.answer = func(b []byte, j resize.Job) ([]resize.Result, error) {
			if len(j.Targets) == 3 {
				begun.Done()
				<-goOn
			}
			return draw(b, j)
		}
		ready <- nil
		begun.Wait()
		c.ask(t.Context(), url, "20x", "x10") // the second one is in the making
		c.ask(t.Context(), url, "x20")
		close(goOn)
		ready <- nil
		c.made("10x", "x10", "10x10", "20x", "x20")
		if got := c.jobs(); !slices.Equal(got, []int{3, 2}) {
			t.Errorf("jobs of %v targets", got)
		}
		c.ask(t.Context(), url, "20x20")
		ready <- nil
		c.made("20x20")
		if got := c.jobs(); !slices.Equal(got, []int{3, 2, 1}) {
			t.Errorf("jobs of %v targets", got)
		}
	})
}

// A job is for one image, and has no more targets than are allowed.
func TestCoalesceLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		cat := c.keep("cat", toPNG(t, 60, 40))
		dog := c.keep("dog", append(toPNG(t, 60, 40), "dog"...))
		var sizes []string
		for i := range 2*resize.MaxTargets + 1 {
			sizes = append(sizes, fmt.Sprintf("x%d", 1+i))
		}
		c.ask(t.Context(), cat, sizes[:resize.MaxTargets]...)
		ready <- nil
		c.made(sizes[:resize.MaxTargets]...)
		c.ask(t.Context(), dog, sizes...)
		for range 3 {
			ready <- nil
		}
		c.made(sizes...)
		if got := c.jobs(); !slices.Equal(got, []int{resize.MaxTargets, resize.MaxTargets, resize.MaxTargets, 1}) {
			t.Errorf("jobs of %v targets", got)
		}
		c.ask(t.Context(), cat, "1x")
		c.ask(t.Context(), dog, "2x")
		ready <- nil
		ready <- nil
		c.made("1x", "2x")
		if got := c.jobs()[4:]; !slices.Equal(got, []int{1, 1}) {
			t.Errorf("jobs of %v targets", got)
		}
	})
}

// The frames of an animation are within a budget that all targets of a job share,
// so each size of one has a job to itself.
func TestCoalesceNoAnimations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		c.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
			l := j.Targets[0].Layout(60, 40)
			return []resize.Result{result(t, toGIF(t, l.CanvasW, l.CanvasH, 3))}, nil
		}
		c.ask(t.Context(), c.keep("cat", toGIF(t, 60, 40, 3)), "10x", "x10")
		ready <- nil
		ready <- nil
		c.done.Wait()
		if got := c.jobs(); !slices.Equal(got, []int{1, 1}) || c.answers["10x"].Code != 200 || c.answers["x10"].Code != 200 {
			t.Errorf("jobs of %v targets", got)
		}
	})
}

// A request that leaves does not disturb the others, and a size that nobody waits for is not made.
func TestCoalesceLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		url := c.keep("cat", toPNG(t, 60, 40))
		ctx, leave := context.WithCancel(t.Context())
		c.ask(ctx, url, "10x")
		c.ask(t.Context(), url, "x10")
		leave()
		synctest.Wait()
		ready <- nil
		c.made("x10")
		if got := c.jobs(); !slices.Equal(got, []int{1}) {
			t.Errorf("jobs of %v targets", got)
		}
		fetch := make(chan bool)
		url = c.origin.put("dog", func() any { <-fetch; return append(toPNG(t, 60, 40), "dog"...) })
		ctx, leave = context.WithCancel(t.Context())
		c.ask(ctx, url, "20x")
		c.ask(t.Context(), url, "x20")
		leave()
		synctest.Wait()
		close(fetch)
		ready <- nil
		c.made("x20")
		if got := c.jobs(); !slices.Equal(got, []int{1, 1}) {
			t.Errorf("jobs of %v targets", got)
		}
	})
}

// A size that cannot be made fails alone: the others of its job are made one by one. Only the
// job with a single target counts as a failure of the image.
func TestCoalesceFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		draw := c.decoder.answer
		fails := func(err error) func([]byte, resize.Job) ([]resize.Result, error) {
			return func(b []byte, j resize.Job) ([]resize.Result, error) {
				for _, target := range j.Targets {
					if target.Size.Height == 20 {
						return nil, err
					}
				}
				return draw(b, j)
			}
		}
		c.decoder.answer = fails(&resize.ImageError{TooLarge: true})
		c.ask(t.Context(), c.keep("large", toPNG(t, 60, 40)), "10x", "x10", "20x")
		for range 4 {
			ready <- nil
		}
		c.made("10x", "x10")
		checkError(t, "too large", c.answers["20x"], 413, "too-many-pixels")

		// Their number is too much for a decoder, and each of them is not.
		url := c.keep("long", append(toPNG(t, 60, 40), "long"...))
		c.decoder.answer = func(b []byte, j resize.Job) ([]resize.Result, error) {
			if len(j.Targets) > 1 {
				return nil, fmt.Errorf("%w: %w", resize.ErrTimeout, resize.ErrPoison)
			}
			return draw(b, j)
		}
		c.ask(t.Context(), url, "10x", "x10")
		for range 3 {
			ready <- nil
		}
		c.made("10x", "x10")

		// The image crashes decoders: the first that is tried alone is the last.
		url = c.keep("poison", append(toPNG(t, 60, 40), "poison"...))
		c.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) {
			return nil, fmt.Errorf("%w: %w", resize.ErrCrashed, resize.ErrPoison)
		}
		c.ask(t.Context(), url, "10x", "x10", "20x")
		ready <- nil
		ready <- nil
		c.done.Wait()
		for _, size := range []string{"10x", "x10", "20x"} {
			checkError(t, "poison", c.answers[size], 503, "resize-crashed")
		}
		// Nobody tries it now.
		c.ask(t.Context(), url, "10x")
		c.done.Wait()
		checkError(t, "poison", c.answers["10x"], 503, "resize-crashed")

		// There is no decoder to be had, for any of them.
		url = c.keep("busy", append(toPNG(t, 60, 40), "busy"...))
		c.ask(t.Context(), url, "10x", "x10")
		ready <- resize.ErrBusy
		c.done.Wait()
		checkError(t, "busy", c.answers["10x"], 503, "busy")
		checkError(t, "busy", c.answers["x10"], 503, "busy")
		if got := c.jobs(); !slices.Equal(got, []int{3, 1, 1, 1, 2, 1, 1, 3, 1}) {
			t.Errorf("jobs of %v targets", got)
		}
		c.decoder.answer = draw
		c.ask(t.Context(), url, "10x", "x10")
		ready <- nil
		c.made("10x", "x10")
	})
}

// Nothing is made of wrong bytes, however many want it.
func TestCoalesceRepairs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		source := toPNG(t, 60, 40)
		url := c.keep("cat", source)
		path := c.store.Path(bucketImage(t, c.site, url).File())
		wrong := bytes.Clone(source)
		wrong[len(wrong)/2]++
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, wrong, 0o444); err != nil {
			t.Fatal(err)
		}
		var last []byte
		draw := c.decoder.answer
		c.decoder.answer = func(b []byte, j resize.Job) ([]resize.Result, error) {
			last = b
			return draw(b, j)
		}
		c.ask(t.Context(), url, "10x", "x10")
		ready <- nil
		ready <- nil
		c.made("10x", "x10")
		if got := c.jobs(); !slices.Equal(got, []int{2, 2}) || !bytes.Equal(last, source) {
			t.Errorf("jobs of %v targets; made of wrong bytes: %v", got, !bytes.Equal(last, source))
		}
	})
}

// A server that stops tells all who wait.
func TestCoalesceClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ready := coalesceSite(t, nil)
		url := c.keep("cat", toPNG(t, 60, 40))
		c.ask(t.Context(), url, "10x", "x10")
		go c.close()
		synctest.Wait()
		ready <- resize.ErrClosed
		c.done.Wait()
		checkError(t, "closed", c.answers["10x"], 503, "stopping")
		checkError(t, "closed", c.answers["x10"], 503, "stopping")
	})
}

// A job that everybody has left before it had a decoder leaves the queue: of sizes that
// are made together, of an animation's, which are made one by one, and of converted
// ones. Who comes later gets one of their own. (Otherwise requests that are closed at
// once fill the queue with work that nobody wants.)
func TestLeftJobsEnd(t *testing.T) {
	for name, image := range map[string][]byte{"still": toPNG(t, 60, 40), "animated": toGIF(t, 60, 40, 3)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, _ := coalesceSite(t, nil)
				var mu sync.Mutex
				waiting, ended := 0, 0
				open := make(chan bool)
				c.decoder.ready = nil
				c.decoder.enter = func(ctx context.Context) error {
					mu.Lock()
					waiting++
					mu.Unlock()
					select {
					case <-open:
						return nil
					case <-ctx.Done():
						mu.Lock()
						ended++
						mu.Unlock()
						return ctx.Err()
					}
				}
				if name == "animated" {
					c.decoder.answer = func(_ []byte, j resize.Job) ([]resize.Result, error) {
						l := j.Targets[0].Layout(60, 40)
						return []resize.Result{result(t, toGIF(t, l.CanvasW, l.CanvasH, 3))}, nil
					}
				}
				url := c.keep("cat", image)
				ctx, leave := context.WithCancel(t.Context())
				c.ask(ctx, url, "10x", "x10", "10x")
				leave()
				c.done.Wait()
				synctest.Wait()
				if waiting == 0 || ended != waiting {
					t.Errorf("%d jobs waited, %d ended", waiting, ended)
				}
				c.ask(t.Context(), url, "10x")
				close(open)
				c.done.Wait()
				if a := c.answers["10x"]; a.Code != 200 || len(c.jobs()) != 1 {
					t.Errorf("who came later: status %d, jobs of %v targets", a.Code, c.jobs())
				}
			})
		})
	}
}

// A timeout gives an image a pause, also where it is not held against it: the second
// viewer costs no decoder, and is told when to come again. The pause grows while it
// times out, and ends with what is made in time.
func TestPauses(t *testing.T) {
	s := newSite(t, nil)
	url := s.origin.put("slow", toJPEG(t, 30, 30))
	tries := 0
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) {
		tries++
		return nil, fmt.Errorf("%w: %s", resize.ErrTimeout, private)
	}
	for i, pause := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute} {
		checkError(t, "a timeout", s.get(s.link("10x10", url)), 503, "resize-timeout")
		for _, size := range []string{"10x10", "20x20"} {
			w := s.get(s.link(size, url))
			checkError(t, "in the pause", w, 503, "resize-timeout")
			if got, want := w.Header().Get("Retry-After"), fmt.Sprint(pause.Seconds()); got != want {
				t.Errorf("pause %d: Retry-After %s, want %s", i, got, want)
			}
		}
		if tries != i+1 {
			t.Errorf("%d tries in pause %d", tries, i)
		}
		s.clock.add(pause - time.Second)
		checkError(t, "at the end of the pause", s.get(s.link("10x10", url)), 503, "resize-timeout")
		s.clock.add(time.Second)
	}
	if tries != 3 {
		t.Errorf("%d tries", tries)
	}
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) {
		return []resize.Result{result(t, toJPEG(t, 10, 10))}, nil
	}
	if w := s.get(s.link("10x10", url)); w.Code != 200 {
		t.Errorf("after the pauses: status %d", w.Code)
	}
	s.decoder.answer = func([]byte, resize.Job) ([]resize.Result, error) { return nil, resize.ErrTimeout }
	s.get(s.link("20x20", url))
	if w := s.get(s.link("20x20", url)); w.Header().Get("Retry-After") != "60" {
		t.Errorf("the pause does not begin anew: Retry-After %s", w.Header().Get("Retry-After"))
	}
}
