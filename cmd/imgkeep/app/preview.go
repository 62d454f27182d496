package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"imgkeep/bucket/probe"
	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/resize"
)

func newPreviewCommand(a *app) *cobra.Command {
	p := &previewCommand{app: a}
	cmd := &cobra.Command{
		Use:     "preview PRESET FILE",
		GroupID: groupStore,
		Short:   "Try a preset on a file",
		Long: `Preview writes what a viewer would get of an image to a file, made by a decoder
process and within the limits of the configuration. PRESET is the name of a preset,
or a listed size such as 250x250. It needs neither a server nor a store, and touches
neither.

Without --output the result is written to the current folder, under the name of FILE
with that of the preset: cat.jpg becomes cat.avatar.webp.`,
		Example: `  imgkeep preview avatar cat.jpg --config /etc/imgkeep/imgkeep.yaml
  imgkeep preview 250x250 cat.jpg -o - | display`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: p.complete,
		RunE:              a.configured(p.run),
	}
	cmd.Flags().StringVarP(&p.output, "output", "o", "", "write to `FILE`; - is standard output")
	must(cmd.MarkFlagFilename("output"))
	return cmd
}

type previewCommand struct {
	app    *app
	output string
}

func (p *previewCommand) run(cmd *cobra.Command, args []string, c config.Config) error {
	name, file := args[0], args[1]
	target, err := newTarget(c, name)
	if err != nil {
		return usageError(err)
	}
	source, info, err := readImage(c, file)
	if err != nil {
		return err
	}
	c.Resize.Workers = 1
	pool, err := engine.NewPool(c, slog.New(slog.NewTextHandler(p.app.Stderr, &slog.HandlerOptions{Level: slog.LevelError})))
	if err != nil {
		return err
	}
	defer pool.Close()
	results, err := pool.Resize(cmd.Context(), bytes.NewReader(source), int64(len(source)),
		resize.Job{Format: info.Format.String(), Targets: []resize.Target{target}})
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return p.write(cmd.OutOrStdout(), name, file, results[0])
}

// newTarget is the target that a link with this size asks for.
func newTarget(c config.Config, name string) (resize.Target, error) {
	if err := engine.Listed(c).Check(name); err != nil {
		return resize.Target{}, fmt.Errorf("%w; %s", err, previewable(c))
	}
	presets, err := engine.Presets(c)
	if err != nil {
		return resize.Target{}, err
	}
	if preset := presets[name]; preset != nil {
		return resize.Target{Preset: preset}, nil
	}
	size, err := resize.ParseSize(name)
	return resize.Target{Size: size, Quality: c.Resize.Quality}, err
}

// previewable lists what can be previewed.
func previewable(c config.Config) string {
	presets := "presets: none"
	if names := presetNames(c); len(names) > 0 {
		presets = "presets: " + strings.Join(names, ", ")
	}
	sizes := "sizes: none"
	if len(c.Sizes) > 0 {
		text := strings.Trim(strings.ReplaceAll(fmt.Sprint(c.Sizes), " ", ", "), "[]")
		sizes = fmt.Sprintf("sizes: all combinations of %s, as %dx%[2]d, %[2]dx or x%[2]d", text, c.Sizes[0])
	}
	return presets + "; " + sizes
}

// readImage reads an image as a download is read: within the same limits.
func readImage(c config.Config, file string) ([]byte, probe.Info, error) {
	limits, err := engine.Limits(c)
	if err != nil {
		return nil, probe.Info{}, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, probe.Info{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(c.Fetch.MaxBytes)+1))
	if err != nil {
		return nil, probe.Info{}, err
	}
	if int64(len(data)) > int64(c.Fetch.MaxBytes) {
		return nil, probe.Info{}, fmt.Errorf("%s: it is larger than fetch.max_bytes, %v", file, c.Fetch.MaxBytes)
	}
	info, err := probe.Read(bytes.NewReader(data), limits)
	if err != nil {
		return nil, probe.Info{}, fmt.Errorf("%s: %w", file, err)
	}
	return data, info, nil
}

func (p *previewCommand) write(stdout io.Writer, name, file string, r resize.Result) error {
	if p.output == "-" {
		_, err := stdout.Write(r.Data)
		return err
	}
	output := p.output
	if output == "" {
		format, err := probe.ParseFormat(r.Format)
		if err != nil {
			return err
		}
		base := filepath.Base(file)
		output = strings.TrimSuffix(base, filepath.Ext(base)) + "." + name + format.Ext()
	}
	if in, err := os.Stat(file); err == nil {
		if out, err := os.Stat(output); err == nil && os.SameFile(in, out) {
			return usageError(errors.New("--output would overwrite the image itself"))
		}
	}
	if err := os.WriteFile(output, r.Data, 0o644); err != nil {
		return err
	}
	frames := ""
	if r.Frames > 1 {
		frames = fmt.Sprintf(", %d frames", r.Frames)
	}
	_, err := fmt.Fprintf(stdout, "%s: %d x %d%s, %s\n", output, r.Width, r.Height, frames, humanize.IBytes(uint64(len(r.Data))))
	return err
}

func (p *previewCommand) complete(cmd *cobra.Command, args []string, start string) ([]cobra.Completion, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		return p.app.complete(presetNames)(cmd, args, start)
	case 1:
		return nil, cobra.ShellCompDirectiveDefault
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}
