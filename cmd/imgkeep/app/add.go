package app

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
)

func newAddCommand(a *app) *cobra.Command {
	x := &addCommand{app: a}
	cmd := &cobra.Command{
		Use:     "add --url URL FILE",
		GroupID: groupStore,
		Short:   "Store a local file as the image of a URL",
		Long: `Add stores the image in FILE under a URL, as if it had been fetched from there: all
checks of images apply, and links of the URL show it. The origin is not asked, and a
recorded failure to fetch the URL is cleared. The command works with or without a
running server. It is for images that their origin has lost, and replaces nothing: if
another image is kept under the URL, it fails.

Exit status: 0 if the image is kept, now or already before; 1 if not; 2 if the
command line is wrong.`,
		Example: `  imgkeep add --config /etc/imgkeep/imgkeep.yaml --url https://example.com/cat.jpg cat.jpg`,
		Args:    cobra.ExactArgs(1),
		RunE:    a.configured(x.run),
	}
	addStoreFlags(cmd)
	cmd.Flags().StringVar(&x.url, "url", "", "`URL` under which the image is kept")
	cmd.Flags().StringVar(&x.bucket, "bucket", "", "`NAME` of the bucket (default the first of the configuration)")
	must(cmd.RegisterFlagCompletionFunc("url", cobra.NoFileCompletions))
	must(cmd.RegisterFlagCompletionFunc("bucket", a.complete(bucketNames)))
	return cmd
}

type addCommand struct {
	app         *app
	url, bucket string
}

func (x *addCommand) run(cmd *cobra.Command, args []string, c config.Config) (err error) {
	if x.url == "" {
		return usagef("--url is missing: under which URL is it to be kept?")
	}
	if x.bucket, err = bucketFlag(c, x.bucket); err != nil {
		return usageError(err)
	}
	f, err := os.Open(args[0])
	if err != nil {
		return usageError(err)
	}
	defer f.Close()
	return x.app.withService(cmd.Context(), c, engine.Need{Create: true}, func(s control.Service) error {
		o, err := s.Add(cmd.Context(), control.AddRequest{Bucket: x.bucket, URL: x.url}, f)
		switch {
		case err != nil:
			return err
		case o.Code == control.CodeTaken:
			return errors.New("another image is kept under this URL already")
		case o.Code != "":
			return fmt.Errorf("%s: %s", args[0], o.Detail)
		case o.Kept:
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "kept: %d bytes\n", o.Bytes)
		default:
			_, err = fmt.Fprintln(cmd.OutOrStdout(), "kept before")
		}
		return err
	})
}
