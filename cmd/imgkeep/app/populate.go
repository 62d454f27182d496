package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/gctuner"
)

func newPopulateCommand(a *app) *cobra.Command {
	p := &populateCommand{app: a}
	cmd := &cobra.Command{
		Use:     "populate [FILE]",
		GroupID: groupStore,
		Short:   "Fetch and store images before somebody looks at them",
		Long: `Populate stores the image of each URL in FILE, or from standard input (without FILE,
or if it is "-"): one URL a line. Text after a tab, lines that begin with "#", and a
byte-order mark are ignored. With --sizes it also makes sizes, all of an image from
one decode. A running server does the work; without one the command does it itself.

All limits apply as for viewers, and viewers come first: a fetch waits until no viewer
wants its place, and a quarter of all places, and of each site's, stays free for them.
At most half of the decoders are used.

You can stop it and start it again: kept images are not fetched again, existing sizes
are not made again, and a URL that has failed is not asked for until its next attempt
is due (a minute after the first failure, then later and later). Memory does not
depend on the length of the list.

FILE.success gets the URLs that are kept, and FILE.failed those that are not, each
with a tab, a code as in X-Imgkeep-Error, a tab, and the reason. Each run replaces
both. FILE.failed can be the FILE of another run. URLs from standard input that fail
are reported on standard error.

Exit status: 0 if all images are kept; 3 if some are not; 1 if none is, or if the run
had to stop: because the disk is full, the server went away, or a signal came; 2 if
the command line is wrong.`,
		Example: `  imgkeep populate --config /etc/imgkeep/imgkeep.yaml --sizes 150x150,x200 urls.txt
  zcat urls.gz | imgkeep populate --bucket f`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.configured(p.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().StringVar(&p.bucket, "bucket", "", "`NAME` of the bucket (default the first of the configuration)")
	cmd.Flags().StringSliceVar(&p.sizes, "sizes", nil, "also make these `SIZES`, as in 250x250,150x,x200")
	cmd.Flags().BoolVarP(&p.quiet, "quiet", "q", false, "show no progress")
	must(cmd.RegisterFlagCompletionFunc("sizes", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("bucket", a.complete(bucketNames)))
	return cmd
}

type populateCommand struct {
	app *app

	// Flags.
	bucket string
	sizes  []string
	quiet  bool

	began    time.Time
	total    int64 // lines; 0: unknown
	progress *progress
	failed   func(url string, o control.Outcome) error
	success  func(url string) error

	// Only the collecting goroutine uses these.
	done, kept, bad, made int
	bytes                 int64 // fetched
}

// maxURLLine is how much of a line is read: more than any URL that can be kept.
const maxURLLine = 16 << 10

func (p *populateCommand) run(cmd *cobra.Command, args []string, c config.Config) (err error) {
	if err := p.prepare(c); err != nil {
		return usageError(err)
	}
	p.progress = newProgress(cmd.ErrOrStderr(), p.app.Now)
	p.progress.its = true
	list := cmd.InOrStdin()
	p.success = func(string) error { return nil }
	p.failed = func(url string, o control.Outcome) error {
		p.progress.clear()
		p.app.complain(shorten(url) + ": " + o.Code + ": " + o.Detail)
		return nil
	}
	if len(args) == 1 && args[0] != "-" {
		f, err := os.Open(args[0])
		if err != nil {
			return usageError(err)
		}
		defer f.Close()
		list = f
		if p.total, err = countLines(f); err != nil {
			return err
		}
		closeReports, err := p.openReports(args[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, closeReports()) }()
	}
	gctuner.Start() // a run makes garbage by the minute, and keeps little
	p.began = p.app.Now()
	need := engine.Need{Create: true, Decoders: len(p.sizes) > 0}
	err = stoppable(cmd.Context(), func(ctx context.Context) error {
		err := p.app.withService(ctx, c, need, func(s control.Service) error {
			err := p.all(ctx, s, list, workers(c))
			return errors.Join(err, noteRun(ctx, s, control.Run{
				Op: "populate", Bucket: p.bucket, Sizes: p.sizes, URLs: p.done, Kept: p.kept, Failed: p.bad, Made: p.made, Bytes: p.bytes,
			}, err))
		})
		p.progress.clear()
		if p.done > 0 || err == nil {
			_, printErr := fmt.Fprintln(cmd.OutOrStdout(), p.summary())
			err = errors.Join(err, printErr)
		}
		return err
	})
	if err == nil && p.bad > 0 {
		return partialError{p.bad, p.done, "URLs are not kept"}
	}
	return err
}

// stoppable runs work of many parts until a signal, and then says how to continue. A second
// signal ends the process.
func stoppable(ctx context.Context, work func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	err := work(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return errors.New("it was told to stop: run it again to go on")
	}
	return err
}

// noteTime bounds the wait for a server that may have gone away.
const noteTime = 10 * time.Second

// noteRun notes a finished run in the audit log, also an interrupted one. If the server has
// gone away, err says so, and nothing else is reported.
func noteRun(ctx context.Context, s control.Service, run control.Run, err error) error {
	if run.URLs == 0 {
		return nil
	}
	if err != nil {
		run.Stopped = err.Error()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	if noteErr := s.Ran(ctx, run); err == nil {
		return noteErr
	}
	return nil
}

func (p *populateCommand) prepare(c config.Config) error {
	var err error
	if p.bucket, err = bucketFlag(c, p.bucket); err != nil {
		return err
	}
	slices.Sort(p.sizes)
	p.sizes = slices.Compact(p.sizes)
	for _, size := range p.sizes {
		if err := engine.Listed(c).Check(size); err != nil {
			return fmt.Errorf("--sizes: %w", err)
		}
	}
	return nil
}

// bucketFlag is the bucket that a flag names, or the first.
func bucketFlag(c config.Config, name string) (string, error) {
	names := bucketNames(c)
	if name == "" {
		return names[0], nil
	}
	if !slices.Contains(names, name) {
		return "", fmt.Errorf("--bucket: %q is not one of %s", name, strings.Join(names, ", "))
	}
	return name, nil
}

// workers is how many URLs are in work concurrently. Most wait for a place: those of one
// slow site must not occupy all workers.
func workers(c config.Config) int { return min(4*c.Fetch.Concurrency, 512) }

// countLines counts the lines of a list, and rewinds it if it can; 0: it cannot.
func countLines(f *os.File) (n int64, err error) {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return 0, err
	}
	for _, err := range lines(f, maxURLLine) {
		if err != nil {
			return 0, err
		}
		n++
	}
	_, err = f.Seek(0, io.SeekStart)
	return n, err
}

// openReports opens FILE.success and FILE.failed.
func (p *populateCommand) openReports(name string) (closeAll func() error, err error) {
	good, err := os.Create(name + ".success")
	if err != nil {
		return nil, err
	}
	bad, err := os.Create(name + ".failed")
	if err != nil {
		good.Close()
		return nil, err
	}
	g, b := bufio.NewWriter(good), bufio.NewWriter(bad)
	p.success = func(url string) error {
		_, err := fmt.Fprintln(g, url)
		return err
	}
	p.failed = func(url string, o control.Outcome) error {
		_, err := fmt.Fprintf(b, "%s\t%s\t%s\n", url, o.Code, control.Printable(o.Detail))
		return err
	}
	return func() error { return errors.Join(g.Flush(), b.Flush(), good.Close(), bad.Close()) }, nil
}

type populated struct {
	url     string
	outcome control.Outcome
	err     error // ends the run
}

// all keeps the URLs of a list, n at a time.
func (p *populateCommand) all(ctx context.Context, s control.Service, list io.Reader, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	urls, results := make(chan line), make(chan populated)
	var readErr error
	go func() {
		defer close(urls)
		for l, err := range lines(list, maxURLLine) {
			if err != nil {
				readErr = fmt.Errorf("line %d: %w", l.n, err)
				return
			}
			select {
			case urls <- l:
			case <-ctx.Done():
				return
			}
		}
	}()
	var working sync.WaitGroup
	for range n {
		working.Go(func() {
			for l := range urls {
				r := p.one(ctx, s, l)
				if r.err != nil {
					cancel(r.err)
					return
				}
				results <- r
			}
		})
	}
	go func() {
		working.Wait()
		close(results)
	}()
	var failed error
	for r := range results {
		if err := p.note(r); err != nil && failed == nil {
			failed = err
			cancel(err)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return readErr
}

// pause is the pause before a busy URL is tried again.
const pause = time.Second

func (p *populateCommand) one(ctx context.Context, s control.Service, l line) populated {
	url, _, _ := strings.Cut(l.text, "\t")
	if l.long {
		return populated{url: url, outcome: control.Outcome{Code: "url", Detail: fmt.Sprintf("line %d is longer than %d bytes", l.n, maxURLLine)}}
	}
	for {
		o, err := s.Populate(ctx, control.PopulateRequest{Bucket: p.bucket, URL: []byte(url), Sizes: p.sizes})
		switch {
		case err != nil:
			return populated{err: err}
		case o.Stop:
			return populated{err: errors.New(o.Detail)}
		case o.Code != "busy":
			return populated{url: url, outcome: o}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return populated{err: ctx.Err()}
		}
	}
}

// note records the result of a URL.
func (p *populateCommand) note(r populated) error {
	p.done++
	p.made += r.outcome.Made
	if r.outcome.Kept {
		p.bytes += r.outcome.Bytes
	}
	var err error
	switch {
	case r.outcome.Code != "": // also if it is kept, and a size cannot be made
		p.bad++
		err = p.failed(r.url, r.outcome)
	case r.outcome.Kept:
		p.kept++
		fallthrough
	default:
		err = p.success(r.url)
	}
	if !p.quiet {
		p.progress.note = p.figures()
		p.progress.show(record.Progress{Stage: "populate", Done: int64(p.done), Total: p.total})
	}
	return err
}

// figures are what progress shows besides the count: on a terminal the bar itself shows
// rate and time left.
func (p *populateCommand) figures() string {
	text := fmt.Sprintf(" %s, %s failed", humanize.IBytes(uint64(p.bytes)), humanize.Comma(int64(p.bad)))
	if p.progress.terminal {
		return text
	}
	passed := p.app.Now().Sub(p.began)
	text = "," + text
	if passed > 0 {
		text += fmt.Sprintf(", %.1f a second", float64(p.done)/passed.Seconds())
	}
	if p.total > 0 && p.done > 0 {
		left := passed.Seconds() * float64(max(p.total-int64(p.done), 0)) / float64(p.done)
		text += fmt.Sprintf(", %s left", time.Duration(left)*time.Second)
	}
	return text
}

func (p *populateCommand) summary() string {
	comma := func(n int) string { return humanize.Comma(int64(n)) }
	there := p.done - p.kept - p.bad
	text := fmt.Sprintf("%s URLs in %s: %s kept now (%s), %s kept before, %s failed",
		comma(p.done), seconds(p.app.Now().Sub(p.began).Seconds()), comma(p.kept), humanize.IBytes(uint64(p.bytes)), comma(there), comma(p.bad))
	if len(p.sizes) > 0 {
		text += fmt.Sprintf("; %s sizes made", comma(p.made))
	}
	return text
}
