package app

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"imgkeep/bucket/imageurl"
	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/sign"
)

func newImportCommand(a *app) *cobra.Command {
	i := &importCommand{app: a}
	cmd := &cobra.Command{
		Use:     "import DIR",
		GroupID: groupStore,
		Short:   "Import the images of imageproxy-py",
		Long: `Import copies the images that the server imageproxy-py has stored in DIR into the
store. Links of the same site, with the same secret, show them from then on. It works
with or without a running server. You can stop it and start it again: images that are
kept already are compared and skipped.

DIR holds a folder for each bucket, named as the bucket here, with images as
{a}/{b}/{name}, where name is base64url of the SHA-224 of the ext_url in the link, and
{name}.headers beside them, of which x-original-url is that ext_url. Each image is
checked as if it had been fetched, and its name is compared with its ext_url. The
declared content-type is ignored. Failures ({name}.err) and unfinished files
({name}.tmp) are skipped: such an image is fetched on request.

DIR is not changed, except with --remove: then each image is removed from it, with its
headers, as soon as it is kept. Without --remove you need disk space for a copy.

With --link no image is copied: store and DIR have the same file under two names (hard
links). That needs no disk space, but DIR on the store's file system, no running
server, and the owner of the files, or root. The files become read-only (0444), and
keep their owner. Nothing may write to them any more: imageproxy-py does not, because
it replaces files; a copy into DIR that overwrites files (rsync --inplace) would damage
the store. --link --remove moves the files.

Standard output gets a line for each image that is not kept, with its path, a code
and the reason, and a summary.

Exit status: 0 if all images are kept, now or already before; 3 if some are not; 1 if
none is or none was found, or if the run had to stop; 2 if the command line is wrong.`,
		Example: `  imgkeep import --config /etc/imgkeep/imgkeep.yaml --dry-run /srv/imageproxy
  imgkeep import --config /etc/imgkeep/imgkeep.yaml /srv/imageproxy
  imgkeep import --config /etc/imgkeep/imgkeep.yaml --link --remove /srv/imageproxy`,
		Args: cobra.ExactArgs(1),
		RunE: a.configured(i.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().StringSliceVar(&i.buckets, "bucket", nil, "only these `NAMES` of buckets (default all of the configuration)")
	cmd.Flags().BoolVar(&i.remove, "remove", false, "remove from DIR what is kept")
	cmd.Flags().BoolVar(&i.link, "link", false, "do not copy: make hard links to the files of DIR")
	cmd.Flags().BoolVar(&i.dryRun, "dry-run", false, "count what there is, and change nothing")
	cmd.Flags().BoolVarP(&i.quiet, "quiet", "q", false, "show no progress")
	must(cmd.RegisterFlagCompletionFunc("bucket", a.complete(bucketNames)))
	cmd.ValidArgsFunction = folderArg
	return cmd
}

type importCommand struct {
	app           *app
	buckets       []string
	remove, link  bool
	dryRun, quiet bool
	relative      string // the base of relative URLs

	progress *progress
	print    func(string) error

	images, kept, bad, failures, unfinished, foreign int
	bytes                                            int64 // kept by this run
}

func (i *importCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	dir := args[0]
	i.relative = c.Fetch.BaseURL
	found, err := i.find(dir, bucketNames(c))
	if err != nil {
		return err
	}
	i.progress = newProgress(cmd.ErrOrStderr(), i.app.Now)
	i.progress.its = true
	i.print = func(text string) error {
		i.progress.clear()
		_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
		return err
	}
	began := i.app.Now()
	err = stoppable(cmd.Context(), func(ctx context.Context) (err error) {
		if i.dryRun {
			err = i.all(ctx, nil, dir, found)
		} else {
			err = i.keepAll(ctx, c, dir, found)
		}
		i.progress.clear()
		return errors.Join(err, i.print(i.summary(i.app.Now().Sub(began))))
	})
	if err == nil && i.images == 0 {
		return fmt.Errorf("no image was found in %s, in the folders %s: want {a}/{b}/{name} and {name}.headers in them, as imageproxy-py stores images", dir, strings.Join(found, ", "))
	}
	if err == nil && i.bad > 0 {
		return partialError{i.bad, i.images, "images are not kept"}
	}
	return err
}

// find returns the buckets of the configuration, or those of the flag, that have a
// folder.
func (i *importCommand) find(dir string, names []string) (found []string, err error) {
	for _, name := range i.buckets {
		if !slices.Contains(names, name) {
			return nil, usagef("--bucket: %q is not one of %s", name, strings.Join(names, ", "))
		}
	}
	for _, name := range names {
		if len(i.buckets) > 0 && !slices.Contains(i.buckets, name) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.IsDir() {
			found = append(found, name)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, usagef("there is no folder of a bucket in %s: want one or more of %s", dir, strings.Join(names, ", "))
	}
	return found, i.unknown(dir, names)
}

// keepAll imports the buckets, and notes that in the audit log as one line.
func (i *importCommand) keepAll(ctx context.Context, c config.Config, dir string, buckets []string) error {
	err := i.app.withService(ctx, c, engine.Need{Create: true, Root: i.link}, func(s control.Service) error {
		err := i.all(ctx, s, dir, buckets)
		from, absErr := filepath.Abs(dir)
		if absErr != nil {
			from = dir
		}
		return errors.Join(err, noteRun(ctx, s, control.Run{
			Op: "import", From: from, Bucket: strings.Join(buckets, ","), URLs: i.images, Kept: i.kept, Failed: i.bad, Bytes: i.bytes,
		}, err))
	})
	if i.link { // which may need root
		err = errors.Join(err, engine.GiveToOwner(c.Root))
	}
	return err
}

// all imports the buckets that were found.
func (i *importCommand) all(ctx context.Context, s control.Service, dir string, buckets []string) error {
	for _, name := range buckets {
		if err := i.bucket(ctx, s, dir, name); err != nil {
			return err
		}
	}
	return nil
}

// unknown warns of folders that look like buckets but are not configured: a forgotten one
// would be missed too late.
func (i *importCommand) unknown(dir string, names []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(names, e.Name()) {
			i.app.complain(fmt.Sprintf("warning: %s is no bucket of the configuration, and skipped", filepath.Join(dir, e.Name())))
		}
	}
	return nil
}

// parallel is how many images are copied concurrently: their flushes are shared.
const parallel = 16

type imported struct {
	path    string
	outcome control.Outcome
}

// bucket imports one bucket.
func (i *importCommand) bucket(ctx context.Context, s control.Service, dir, name string) error {
	results := make(chan imported)
	var walked error
	go func() {
		defer close(results)
		walked = i.walk(ctx, s, name, filepath.Join(dir, name), results)
	}()
	var err error
	for r := range results {
		err = errors.Join(err, i.note(name, r))
	}
	return errors.Join(walked, err)
}

// walk imports the files of a bucket, several concurrently.
func (i *importCommand) walk(ctx context.Context, s control.Service, name, dir string, results chan<- imported) error {
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(parallel)
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || e.IsDir() {
			return err
		}
		work.Go(func() error {
			o, err := i.file(ctx, s, name, path, e)
			if err == nil {
				results <- imported{path, o}
			}
			return err
		})
		return nil
	})
	if workErr := work.Wait(); workErr != nil {
		return workErr // the cause
	}
	return err
}

// Codes of files that are not kept as images.
const (
	codeHeaders    = "headers" // none, or without the URL
	codeName       = "name"    // not the hash of the URL
	codeSkip       = "skip"    // belongs to an image
	codeFailure    = "failure"
	codeUnfinished = "unfinished"
	codeForeign    = "foreign"
)

// file imports one file.
func (i *importCommand) file(ctx context.Context, s control.Service, name, path string, e fs.DirEntry) (control.Outcome, error) {
	if !e.Type().IsRegular() {
		return control.Outcome{Code: codeForeign}, nil
	}
	switch ext := filepath.Ext(path); {
	case ext == ".headers":
		if _, err := os.Lstat(strings.TrimSuffix(path, ext)); errors.Is(err, fs.ErrNotExist) {
			return control.Outcome{Code: codeUnfinished}, nil // written before the image got its name
		}
		return control.Outcome{Code: codeSkip}, nil
	case ext == ".err":
		return control.Outcome{Code: codeFailure}, nil
	case ext == ".tmp":
		return control.Outcome{Code: codeUnfinished}, nil
	case ext != "" || !isOldName(filepath.Base(path)):
		return control.Outcome{Code: codeForeign}, nil
	}
	ext, err := originalURL(path + ".headers")
	if err != nil {
		return control.Outcome{Code: codeHeaders, Detail: err.Error()}, nil
	}
	// The link decides: an image under another's name would be shown to viewers of that
	// one.
	if oldName(ext) != filepath.Base(path) {
		return control.Outcome{Code: codeName, Detail: "x-original-url is that of another image"}, nil
	}
	url, err := sign.Link{ExtURL: ext}.URL()
	if err == nil {
		_, err = imageurl.CanonicalAt(i.relative, url)
	}
	if err != nil {
		return control.Outcome{Code: "url", Detail: err.Error()}, nil
	}
	if i.dryRun {
		return control.Outcome{}, nil
	}
	o, err := i.keep(ctx, s, name, url, path)
	if err != nil {
		return o, err
	}
	if o.Stop {
		return o, errors.New(o.Detail)
	}
	if o.Code == "" && i.remove {
		err = errors.Join(os.Remove(path), os.Remove(path+".headers"))
	}
	return o, err
}

func (i *importCommand) keep(ctx context.Context, s control.Service, name, url, path string) (control.Outcome, error) {
	q := control.AddRequest{Bucket: name, URL: url, Run: true}
	if i.link {
		q.Path = path
		o, err := s.Add(ctx, q, nil)
		if errors.Is(err, control.ErrLinkServer) {
			err = usageError(err)
		}
		return o, err
	}
	f, err := os.Open(path)
	if err != nil {
		return control.Outcome{}, err
	}
	defer f.Close()
	return s.Add(ctx, q, f)
}

// oldName is the name of an image's file: base64url of the SHA-224 of its ext_url as in the
// link, including padding.
func oldName(extURL string) string {
	sum := sha256.Sum224([]byte(extURL))
	return base64.URLEncoding.EncodeToString(sum[:])
}

func isOldName(s string) bool {
	b, err := base64.URLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size224
}

// maxHeaders bounds a file of headers, which has two lines.
const maxHeaders = 64 << 10

// originalURL reads x-original-url from a file of headers: lines of a name, a space, and
// the value. It is the ext_url as in the link.
func originalURL(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("there is no file of headers beside it, so that its URL is not known")
	}
	if err != nil {
		return "", err
	}
	if info.Size() > maxHeaders {
		return "", fmt.Errorf("its headers have %d bytes, more than %d", info.Size(), maxHeaders)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	for l := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimRight(l, "\r\n"), "x-original-url "); ok && value != "" {
			return value, nil
		}
	}
	return "", errors.New("its headers have no x-original-url")
}

// note counts the result of a file, and reports files that are not kept.
func (i *importCommand) note(name string, r imported) error {
	o := r.outcome
	switch o.Code {
	case codeSkip:
		return nil
	case codeFailure:
		i.failures++
		return nil
	case codeUnfinished:
		i.unfinished++
		return nil
	case codeForeign:
		i.foreign++
		return i.print(control.Printable(fmt.Sprintf("%-16s %s", o.Code, r.path)))
	}
	i.images++
	if o.Kept {
		i.kept++
		i.bytes += o.Bytes
	}
	if !i.quiet {
		i.progress.show(record.Progress{Stage: "import " + name, Done: int64(i.images)})
	}
	if o.Code != "" {
		i.bad++
		return i.print(control.Printable(fmt.Sprintf("%-16s %s  %s", o.Code, r.path, o.Detail)))
	}
	return nil
}

func (i *importCommand) summary(d time.Duration) string {
	comma := func(n int) string { return humanize.Comma(int64(n)) }
	passed := fmt.Sprintf("passed over: %s failures, %s unfinished, %s foreign", comma(i.failures), comma(i.unfinished), comma(i.foreign))
	if i.dryRun {
		return fmt.Sprintf("%s images could be kept, %s could not, before they are looked at; %s", comma(i.images-i.bad), comma(i.bad), passed)
	}
	return fmt.Sprintf("%s images in %s: %s kept now (%s), %s kept before, %s not kept; %s",
		comma(i.images), seconds(d.Seconds()), comma(i.kept), humanize.IBytes(uint64(i.bytes)), comma(i.images-i.kept-i.bad), comma(i.bad), passed)
}
