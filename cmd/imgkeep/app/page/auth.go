package page

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"imgkeep/cmd/imgkeep/app/control"
	"imgkeep/cmd/imgkeep/app/page/account"
)

// Names of cookies. With TLS they begin with __Host-, so that no other host of the domain
// can set them.
const (
	sessionCookie = "imgkeep-session"
	deviceCookie  = "imgkeep-device" // see account.Book.NewDevice
	formCookie    = "imgkeep-form"   // the token of forms before somebody has signed in
	clearCookie   = "imgkeep-clear"  // pictures are shown without blur
)

func (s *Server) cookieName(name string) string {
	if s.secure {
		return "__Host-" + name
	}
	return name
}

func (s *Server) setCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: s.secure, SameSite: http.SameSiteStrictMode,
	})
}

func (s *Server) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(s.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// user is who has signed in.
type user struct {
	account.Moderator
	csrf    string
	address string // of the browser, as far as it is known
}

type userKey struct{}

func userOf(r *http.Request) user {
	u, _ := r.Context().Value(userKey{}).(user)
	return u
}

// caller is who a user is in the audit log.
func (u user) caller() control.Caller {
	return control.Caller{Who: "moderator " + u.Name, Claims: control.Claims{Address: u.address}}
}

func (s *Server) service(r *http.Request) control.Service { return s.opts.As(userOf(r).caller()) }

// signedIn lets those through who have signed in. What changes something needs the token
// of a form of theirs too.
func (s *Server) signedIn(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, m, ok := s.sessions.Find(s.cookie(r, sessionCookie))
		if name := s.proxyUser(r); name != "" && (!ok || m.Name != name) {
			found, err := s.opts.Accounts.Find(name)
			if err != nil {
				s.opts.Log.Warn("page: the proxy names a moderator who does not exist", "name", control.Printable(name))
				s.fail(w, r, errProxyUser)
				return
			}
			session, m, ok = s.begin(w, found), found, true
			if r.Method == http.MethodPost { // of a form of somebody else's session
				s.fail(w, r, errForged)
				return
			}
		}
		if !ok {
			if r.Method == http.MethodGet && !strings.HasPrefix(r.URL.Path, "/picture/") {
				http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
				return
			}
			s.fail(w, r, errSignedOut)
			return
		}
		u := user{Moderator: m, csrf: session.CSRF}
		if a := s.address(r); a.IsValid() {
			u.address = control.NewClaim(a.String())
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			err := r.ParseForm() // which may be too large
			if err == nil && isUpload(r) {
				if err = r.ParseMultipartForm(maxBody); err == nil { // the rest waits on disk
					defer r.MultipartForm.RemoveAll() // net/http does not know this request, but the one it was made of
				}
			}
			if err == nil && !sameForm(r, session.CSRF) {
				err = errForged
			}
			if err != nil {
				s.fail(w, r.WithContext(context.WithValue(r.Context(), userKey{}, u)), err)
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
	})
}

// proxyUser is whom a proxy has signed in.
func (s *Server) proxyUser(r *http.Request) string {
	if s.opts.UserHeader == "" || !s.isProxy(r) {
		return ""
	}
	return lastValue(r, s.opts.UserHeader)
}

// sameForm tells whether a request comes from a form of ours: it has the token, and the
// browser, where it says so, comes from the same origin.
func sameForm(r *http.Request, token string) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" {
		return false
	}
	got := r.PostFormValue("csrf")
	return token != "" && subtle.ConstantTimeCompare([]byte(got), []byte(token)) == 1
}

// may lets those through whose role has these rights.
func (s *Server) may(role account.Role) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if u := userOf(r); !u.Role.May(role) {
				s.fail(w, r, errRole)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// begin signs somebody in.
func (s *Server) begin(w http.ResponseWriter, m account.Moderator) account.Session {
	secret, session := s.sessions.Begin(m)
	s.setCookie(w, sessionCookie, secret, int(account.SessionLife.Seconds()))
	return session
}

// form is the token of a form of somebody who has not signed in: a cookie that the form
// repeats.
func (s *Server) form(w http.ResponseWriter, r *http.Request) string {
	if token := s.cookie(r, formCookie); len(token) == len(rand.Text()) {
		return token
	}
	token := rand.Text()
	s.setCookie(w, formCookie, token, 0)
	return token
}

// signInView is what the page of signing in shows.
type signInView struct{ Name, Problem string }

func (s *Server) signInForm(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := s.sessions.Find(s.cookie(r, sessionCookie)); ok || s.proxyUser(r) != "" {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s.showOut(w, r, http.StatusOK, "sign-in", "Sign in", signInView{})
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if !sameForm(r, s.cookie(r, formCookie)) {
		s.fail(w, r, errForged)
		return
	}
	name := strings.ToLower(strings.TrimSpace(r.PostFormValue("name")))
	address := s.address(r)
	m, err := s.opts.Accounts.SignIn(r.Context(), name, r.PostFormValue("password"), address, s.cookie(r, deviceCookie))
	if auditErr := s.noteSignIn(r, name, err); auditErr != nil {
		s.fail(w, r, auditErr)
		return
	}
	var many account.TooManyError
	switch {
	case errors.Is(err, account.ErrPassword):
		s.showOut(w, r, http.StatusForbidden, "sign-in", "Sign in", signInView{name, "The name or the password is wrong."})
	case errors.As(err, &many):
		s.showOut(w, r, http.StatusTooManyRequests, "sign-in", "Sign in", signInView{name, "Too many attempts. Wait a minute and try again, or ask an administrator for a new link."})
	case errors.Is(err, account.ErrBusy):
		s.showOut(w, r, http.StatusServiceUnavailable, "sign-in", "Sign in", signInView{name, "Too many people sign in at this moment. Try again in a few seconds."})
	case err != nil:
		s.fail(w, r, err)
	default:
		s.welcome(w, r, m)
	}
}

// noteSignIn notes who signs in, and who tries to as somebody who exists. What is refused
// unseen is not noted, or guessing would fill the log.
func (s *Server) noteSignIn(r *http.Request, name string, err error) error {
	if err != nil && !errors.Is(err, account.ErrPassword) {
		return nil
	}
	if _, unknown := s.opts.Accounts.Find(name); unknown != nil {
		s.opts.Log.Info("page: somebody tries to sign in under a name that does not exist")
		return nil
	}
	return s.note(r, name, "sign-in", err)
}

func (s *Server) note(r *http.Request, name, op string, err error) error {
	c := control.Change{By: "moderator " + name, Op: op}
	if a := s.address(r); a.IsValid() {
		c.Claims = &control.Claims{Address: control.NewClaim(a.String())}
	}
	return s.opts.Audit(c, err)
}

// welcome signs somebody in and shows the gallery.
func (s *Server) welcome(w http.ResponseWriter, r *http.Request, m account.Moderator) {
	if old := s.cookie(r, sessionCookie); old != "" {
		s.sessions.End(old)
	}
	if device, err := s.opts.Accounts.NewDevice(m.Name); err == nil {
		s.setCookie(w, deviceCookie, device, 365*24*60*60)
	}
	s.begin(w, m)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// joinView is what the page of a one-time link shows.
type joinView struct {
	Name, Role, Problem string
	Least               int
	Secret              string
}

func (s *Server) joinForm(w http.ResponseWriter, r *http.Request) {
	s.showJoin(w, r, "", http.StatusOK)
}

func (s *Server) showJoin(w http.ResponseWriter, r *http.Request, problem string, status int) {
	secret := chi.URLParam(r, "secret")
	m, err := s.opts.Accounts.Opens(secret)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.showOut(w, r, status, "join", "Welcome", joinView{m.Name, string(m.Role), problem, account.MinPassword, secret})
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	if !sameForm(r, s.cookie(r, formCookie)) {
		s.fail(w, r, errForged)
		return
	}
	password := r.PostFormValue("password")
	if password != r.PostFormValue("again") {
		s.showJoin(w, r, "The two passwords differ.", http.StatusUnprocessableEntity)
		return
	}
	m, err := s.opts.Accounts.Join(r.Context(), chi.URLParam(r, "secret"), password)
	switch {
	case errors.Is(err, account.ErrLink), errors.Is(err, account.ErrBusy):
		s.fail(w, r, err)
	case err != nil:
		s.showJoin(w, r, sentence(err.Error()), http.StatusUnprocessableEntity)
	default:
		if err := s.note(r, m.Name, "password", nil); err != nil {
			s.fail(w, r, err)
			return
		}
		s.welcome(w, r, m)
	}
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	s.sessions.End(s.cookie(r, sessionCookie))
	s.setCookie(w, sessionCookie, "", -1)
	if err := s.note(r, userOf(r).Name, "sign-out", nil); err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

// preferences notes how somebody wants to see pictures.
func (s *Server) preferences(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("blur") == "off" {
		s.setCookie(w, clearCookie, "1", 365*24*60*60)
	} else {
		s.setCookie(w, clearCookie, "", -1)
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
