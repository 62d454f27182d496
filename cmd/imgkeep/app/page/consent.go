package page

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"imgkeep/cmd/imgkeep/app/control"
)

const (
	maxProposals = 200
	proposalLife = 7 * 24 * time.Hour
)

var errOwn = errors.New("another moderator has to agree to what you have proposed yourself")

// proposals are removals that wait until another moderator agrees.
type proposals struct {
	now func() time.Time
	mu  sync.Mutex
	all []proposal
}

type proposal struct {
	ID    string
	By    string
	Order order
	At    time.Time
}

func newProposals(now func() time.Time) *proposals { return &proposals{now: now} }

func (p *proposals) add(by string, o order) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy()
	if len(p.all) >= maxProposals {
		return errJobs
	}
	p.all = append(p.all, proposal{rand.Text(), by, o, p.now()})
	return nil
}

func (p *proposals) tidy() {
	old := p.now().Add(-proposalLife)
	p.all = slices.DeleteFunc(p.all, func(x proposal) bool { return x.At.Before(old) })
}

// list are those that wait, the oldest first.
func (p *proposals) list() []proposal {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy()
	return slices.Clone(p.all)
}

// waiting counts those that somebody can agree to.
func (p *proposals) waiting(name string) (n int) {
	for _, x := range p.list() {
		if x.By != name {
			n++
		}
	}
	return n
}

// take takes one away: to do it, which its author cannot, or to drop it.
func (p *proposals) take(id, name string, agree bool) (proposal, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tidy()
	for i, x := range p.all {
		if x.ID != id {
			continue
		}
		if agree && x.By == name {
			return x, errOwn
		}
		p.all = slices.Delete(p.all, i, i+1)
		return x, nil
	}
	return proposal{}, errNotFound
}

func (s *Server) waiting(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, "waiting", "Waiting for consent", s.proposals.list())
}

// decide agrees to a removal, which is then done, or refuses it.
func (s *Server) decide(w http.ResponseWriter, r *http.Request) {
	u := userOf(r)
	agree := r.PostFormValue("decision") == "agree"
	x, err := s.proposals.take(lastPart(r), u.Name, agree)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if !agree {
		if err := s.note(r, u.Name, "refuse "+x.Order.Verb+" of "+x.By, nil); err != nil {
			s.fail(w, r, err)
			return
		}
		http.Redirect(w, r, "/waiting", http.StatusSeeOther)
		return
	}
	by := u.caller()
	by.Who = "moderator " + x.By + " with consent of moderator " + u.Name
	s.start(w, r, x.Order, control.Caller{Who: by.Who, Claims: by.Claims})
}
