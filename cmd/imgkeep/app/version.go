package app

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "version",
		GroupID:           groupOther,
		Short:             "Print the version",
		Args:              cobra.NoArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              a.printVersion,
	}
}

func (a *app) printVersion(cmd *cobra.Command, _ []string) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), a.version())
	return err
}

// version describes the program in one line: "imgkeep v1.2.3 (commit
// 0123456789ab of 2026-11-22, go1.26.8, linux/amd64)".
func (a *app) version() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		build = &debug.BuildInfo{}
	}
	return describe(a.Version, build)
}

func describe(version string, build *debug.BuildInfo) string {
	if version == "" {
		version = build.Main.Version
	}
	if version == "" || version == "(devel)" {
		version = "devel"
	}
	vcs := map[string]string{}
	for _, s := range build.Settings {
		vcs[s.Key] = s.Value
	}
	var details []string
	if revision := vcs["vcs.revision"]; revision != "" {
		commit := "commit " + revision[:min(12, len(revision))]
		if day, _, ok := strings.Cut(vcs["vcs.time"], "T"); ok {
			commit += " of " + day
		}
		if vcs["vcs.modified"] == "true" {
			commit += ", modified"
		}
		details = append(details, commit)
	}
	details = append(details, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH)
	return fmt.Sprintf("imgkeep %s (%s)", version, strings.Join(details, ", "))
}
