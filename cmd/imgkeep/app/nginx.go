package app

import (
	"slices"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/nginx"
)

func newNginxCommand(a *app) *cobra.Command {
	x := &nginxCommand{app: a}
	cmd := &cobra.Command{
		Use:     "nginx",
		GroupID: groupServe,
		Short:   "Print the nginx configuration that goes with this one",
		Long: `Nginx prints a site for nginx, made from the configuration that the server uses:
paths, socket, buckets and formats, so that the two agree. Put it where nginx
includes sites, and print it again when one of these settings changes. The server
must run with handoff: nginx.

With access.tokens the site refers to a file of tokens, readable by root alone, which
--tokens prints; the site itself contains none.

With --prefix it prints a complete nginx.conf around the site, for a separate nginx
that keeps its files in that folder, which must exist. Its first lines say how to start
it.`,
		Example: `  imgkeep nginx --config /etc/imgkeep/imgkeep.yaml > /etc/nginx/conf.d/imgkeep.conf
  (umask 077; imgkeep nginx --tokens --config /etc/imgkeep/imgkeep.yaml > /etc/imgkeep/nginx.tokens)`,
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(x.run),
	}
	addServerFlags(cmd)
	config.AddFlag(cmd.Flags(), "nginx.hot", "`FOLDER` of the hot links")
	cmd.Flags().StringVar(&x.prefix, "prefix", "", "print a whole nginx.conf that keeps its files in `FOLDER`")
	cmd.Flags().StringVar(&x.user, "user", "", "with --prefix: `USER` that nginx' workers run as")
	cmd.Flags().BoolVar(&x.tokens, "tokens", false, "print the tokens of access for the file of nginx.tokens")
	must(cmd.MarkFlagDirname("prefix"))
	return cmd
}

type nginxCommand struct {
	app          *app
	prefix, user string
	tokens       bool
}

func (x *nginxCommand) run(cmd *cobra.Command, _ []string, c config.Config) error {
	if c.Handoff != "nginx" {
		x.app.complain("warning: handoff is direct, so the server sends every image itself, through nginx: set handoff: nginx")
	}
	if x.tokens {
		if len(c.Access.Tokens) == 0 {
			return usagef("there are no tokens: set access.token_files")
		}
		return nginx.WriteTokens(cmd.OutOrStdout(), engine.Tokens(c))
	}
	site, err := engine.NewSite(c)
	if err != nil {
		return err
	}
	if slices.Equal(site.ServerName, []string{"_"}) && x.prefix == "" {
		x.app.complain("warning: the site has no name, so another site that is the default, as Debian's is, answers in its place: set base_url or nginx.server_name")
	}
	if x.prefix == "" {
		err = site.Render(cmd.OutOrStdout())
	} else {
		err = nginx.Main{Site: site, Prefix: x.prefix, User: x.user}.Render(cmd.OutOrStdout())
	}
	if err != nil {
		return usageError(err)
	}
	return nil
}
