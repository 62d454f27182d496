package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"imgkeep/cmd/imgkeep/app/config"
	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/engine"
	"imgkeep/cmd/imgkeep/app/page/account"
)

func newModeratorCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "moderator", GroupID: groupRemove,
		Short: "Accounts of the moderators' page",
		Long: `Moderator creates, lists and changes the accounts of the moderators' page (page.listen),
and the tokens of its API. It works with or without a running server; changes take
effect at once. Each change is recorded in audit.ndjson in the root.

Roles: view may look and search; remove may also remove, block and undo; admin may
also see accounts and export the audit log.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usageError(errors.New("want one of add, list, remove, role, link, token"))
		},
	}
	cmd.AddCommand(newModeratorAdd(a), newModeratorList(a), newModeratorRemove(a), newModeratorRole(a), newModeratorLink(a), newModeratorToken(a))
	return cmd
}

// moderatorChange is a change of an account, as in the audit log.
type moderatorChange struct {
	Did   string       `json:"did"`
	Name  string       `json:"name"`
	Role  account.Role `json:"role,omitempty"`
	Token string       `json:"token,omitempty"` // its label
}

// changeAccounts changes accounts, and notes it.
func (a *app) changeAccounts(c config.Config, change moderatorChange, do func(*account.Book) error) error {
	book, audit, err := engine.Accounts(c, a.process())
	if err != nil {
		return err
	}
	err = do(book)
	line := control.Change{By: a.caller.Who, Op: "moderator", What: change}
	if a.caller.Claims != (control.Claims{}) {
		line.Claims = &a.caller.Claims
	}
	return errors.Join(err, audit.Write(line, err))
}

// linkText tells an operator what to do with a link.
func linkText(c config.Config, name, secret string, valid time.Duration) string {
	base := c.PageURL()
	if c.Page.Listen == "" && c.Page.URL == "" {
		base = "http://PAGE"
	}
	text := fmt.Sprintf("Give this link to %s, and to nobody else. It works once, for %s:\n\n  %s/join/%s\n", name, valid, base, secret)
	if c.Page.Listen == "" {
		text += "\nThe page is not served yet: set page.listen.\n"
	}
	return text
}

const validHelp = "how long the link works"

func newModeratorAdd(a *app) *cobra.Command {
	var role string
	var valid time.Duration
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Create an account, and print the link for choosing its password",
		Example: "  imgkeep moderator add anna --role remove",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(func(cmd *cobra.Command, args []string, c config.Config) error {
			r, err := account.ParseRole(role)
			if err == nil {
				err = checkValid(valid)
			}
			if err != nil {
				return usageError(err)
			}
			return a.printLink(cmd, c, moderatorChange{Did: "add", Name: args[0], Role: r}, valid, func(b *account.Book) (string, error) {
				return b.Add(args[0], r, valid)
			})
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().StringVar(&role, "role", string(account.View), "`ROLE`: view, remove or admin")
	cmd.Flags().DurationVar(&valid, "valid", 48*time.Hour, validHelp)
	return cmd
}

// printLink prints the link whose secret a change of the accounts has made.
func (a *app) printLink(cmd *cobra.Command, c config.Config, did moderatorChange, valid time.Duration, change func(*account.Book) (string, error)) error {
	secret := ""
	err := a.changeAccounts(c, did, func(b *account.Book) (err error) {
		secret, err = change(b)
		return err
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), linkText(c, did.Name, secret, valid))
	return err
}

// maxValid is the longest time that a link may work.
const maxValid = 30 * 24 * time.Hour

func checkValid(d time.Duration) error {
	if d < time.Minute || d > maxValid {
		return fmt.Errorf("--valid: want 1m to %s", maxValid)
	}
	return nil
}

func newModeratorLink(a *app) *cobra.Command {
	var valid time.Duration
	cmd := &cobra.Command{
		Use: "link NAME", Short: "Print a new link for choosing a password, if it was forgotten",
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(func(cmd *cobra.Command, args []string, c config.Config) error {
			if err := checkValid(valid); err != nil {
				return usageError(err)
			}
			return a.printLink(cmd, c, moderatorChange{Did: "link", Name: args[0]}, valid, func(b *account.Book) (string, error) {
				return b.Renew(args[0], valid)
			})
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().DurationVar(&valid, "valid", 48*time.Hour, validHelp)
	return cmd
}

func newModeratorRemove(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove NAME", Short: "Remove an account: it is signed out, and its tokens become invalid",
		Args: cobra.ExactArgs(1), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(func(_ *cobra.Command, args []string, c config.Config) error {
			return a.changeAccounts(c, moderatorChange{Did: "remove", Name: args[0]}, func(b *account.Book) error { return b.Drop(args[0]) })
		}),
	}
	addStoreFlags(cmd)
	return cmd
}

func newModeratorRole(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "role NAME ROLE", Short: "Give an account another role: view, remove or admin",
		Args: cobra.ExactArgs(2), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(func(_ *cobra.Command, args []string, c config.Config) error {
			role, err := account.ParseRole(args[1])
			if err != nil {
				return usageError(err)
			}
			return a.changeAccounts(c, moderatorChange{Did: "role", Name: args[0], Role: role}, func(b *account.Book) error { return b.SetRole(args[0], role) })
		}),
	}
	addStoreFlags(cmd)
	return cmd
}

func newModeratorToken(a *app) *cobra.Command {
	var role string
	var valid time.Duration
	var remove bool
	cmd := &cobra.Command{
		Use: "token NAME LABEL", Short: "Print a new token of the API, or remove one",
		Long: `Token prints a token of the API (/api/v1). It may do what both its role and that of the
account allow. It is shown once. LABEL identifies it, also in the audit log.`,
		Example: "  imgkeep moderator token anna forum --role remove\n  imgkeep moderator token anna forum --remove",
		Args:    cobra.ExactArgs(2), ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(func(cmd *cobra.Command, args []string, c config.Config) error {
			name, label := args[0], args[1]
			if remove {
				return a.changeAccounts(c, moderatorChange{Did: "remove token", Name: name, Token: label}, func(b *account.Book) error { return b.DropToken(name, label) })
			}
			r, err := account.ParseRole(role)
			if err == nil && valid < 0 {
				err = errors.New("--valid: want a duration such as 2160h")
			}
			if err != nil {
				return usageError(err)
			}
			secret := ""
			err = a.changeAccounts(c, moderatorChange{Did: "token", Name: name, Role: r, Token: label}, func(b *account.Book) (err error) {
				secret, err = b.NewToken(name, label, r, valid)
				return err
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), secret)
			return err
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().StringVar(&role, "role", string(account.View), "`ROLE`: view, remove or admin")
	cmd.Flags().DurationVar(&valid, "valid", 0, "how long it works (default until it is removed)")
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the token of this label")
	return cmd
}

// listedModerator is an account as list prints it, without any secret.
type listedModerator struct {
	Name     string        `json:"name"`
	Role     account.Role  `json:"role"`
	Added    time.Time     `json:"added"`
	Password bool          `json:"password"` // one was chosen
	Link     time.Time     `json:"link_expires,omitzero"`
	Tokens   []listedToken `json:"tokens"`
}

type listedToken struct {
	Label   string       `json:"label"`
	Role    account.Role `json:"role"`
	Added   time.Time    `json:"added"`
	Expires time.Time    `json:"expires,omitzero"`
}

func newModeratorList(a *app) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use: "list", Short: "List accounts and their tokens",
		Args: cobra.NoArgs, ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.configured(func(cmd *cobra.Command, _ []string, c config.Config) error {
			book, _, err := engine.Accounts(c, a.process())
			if err != nil {
				return err
			}
			all, err := book.All()
			if err != nil {
				return err
			}
			listed := []listedModerator{}
			for _, m := range all {
				l := listedModerator{Name: m.Name, Role: m.Role, Added: m.Added, Password: m.Password != "", Tokens: []listedToken{}}
				if m.Link != nil {
					l.Link = m.Link.Expires
				}
				for _, t := range m.Tokens {
					l.Tokens = append(l.Tokens, listedToken{t.Label, t.Role, t.Added, t.Expires})
				}
				listed = append(listed, l)
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(listed)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, m := range listed {
				fmt.Fprintf(w, "%s\t%s\tsince %s\t%s\n", m.Name, m.Role, m.Added.Format(time.DateOnly), m.state(a.Now()))
			}
			return w.Flush()
		}),
	}
	addStoreFlags(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON document")
	return cmd
}

// state says what an account waits for, and which tokens it has.
func (m listedModerator) state(now time.Time) string {
	var parts []string
	if !m.Password {
		parts = append(parts, "no password yet")
	}
	if now.Before(m.Link) {
		parts = append(parts, "a link is open until "+m.Link.Format(time.RFC3339))
	}
	for _, t := range m.Tokens {
		parts = append(parts, fmt.Sprintf("token %s (%s)", t.Label, t.Role))
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}
