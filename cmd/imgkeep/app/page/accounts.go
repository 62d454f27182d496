package page

import (
	"net/http"
	"time"

	"imgkeep/cmd/imgkeep/app/page/account"
)

// accountView is an account as it is shown.
type accountView struct {
	account.Moderator
	Seen time.Time // zero: they are not signed in
}

// accounts lists who may use the page. They are changed by a command, on the machine.
func (s *Server) accounts(w http.ResponseWriter, r *http.Request) {
	all, err := s.opts.Accounts.All()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	var list []accountView
	for _, m := range all {
		list = append(list, accountView{m, s.sessions.Seen(m.Name)})
	}
	s.show(w, r, "accounts", "Accounts", list)
}
