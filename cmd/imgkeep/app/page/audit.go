package page

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"imgkeep/cmd/imgkeep/app/control"
)

// auditView is a page of the audit log.
type auditView struct {
	By, Op, Text, Since, Until string
	Ops                        []string
	Lines                      control.History
	Next                       string
	Query                      string
}

// fact is a part of what a line of the audit log is about.
type fact struct{ Key, Value string }

// factsOf are the parts of what a line is about that people want to see.
func factsOf(what json.RawMessage) (all []fact) {
	if len(what) == 0 {
		return nil
	}
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(what, &fields) != nil {
		return []fact{{"", string(what)}}
	}
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		if key == "verb" || key == "why" { // which stand beside it
			continue
		}
		var text string
		if json.Unmarshal(fields[key], &text) != nil {
			text = string(fields[key])
		}
		all = append(all, fact{strings.ReplaceAll(key, "_", " "), text})
	}
	return all
}

// auditOps are those that can be chosen.
var auditOps = []string{
	"block", "unblock", "purge", "forget", "retry", "sign-in", "sign-out", "password", "moderator", "reload", "scrub --repair", "compact", "add", "import", "populate",
}

func (s *Server) auditRequest(q url.Values) (control.HistoryRequest, error) {
	h := control.HistoryRequest{By: q.Get("by"), Text: q.Get("text")}
	if op := q.Get("op"); op != "" {
		h.Ops = []string{op}
	}
	var err error
	for key, at := range map[string]*time.Time{"since": &h.Since, "until": &h.Until} {
		if text := q.Get(key); text != "" {
			if *at, err = time.Parse(time.DateOnly, text); err != nil {
				return h, asked{fmt.Errorf("%q is no day such as 2026-11-28", text)}
			}
		}
	}
	if !h.Until.IsZero() {
		h.Until = h.Until.Add(24 * time.Hour)
	}
	if before := q.Get("before"); before != "" {
		if h.Before, err = strconv.ParseInt(before, 10, 64); err != nil || h.Before < 0 {
			return h, asked{errors.New("there is no such page")}
		}
	}
	return h, nil
}

func (s *Server) audit(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	h, err := s.auditRequest(q)
	v := auditView{By: q.Get("by"), Op: q.Get("op"), Text: q.Get("text"), Since: q.Get("since"), Until: q.Get("until"), Ops: auditOps}
	if err == nil {
		v.Lines, err = s.service(r).History(r.Context(), h)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	q.Del("before")
	v.Query = q.Encode()
	if v.Lines.Next > 0 {
		q.Set("before", strconv.FormatInt(v.Lines.Next, 10))
		v.Next = "/audit?" + q.Encode()
	}
	s.show(w, r, "audit", "Audit", v)
}

// exportAudit sends all lines that are chosen, as CSV or as JSON lines, page by page.
func (s *Server) exportAudit(w http.ResponseWriter, r *http.Request) {
	h, err := s.auditRequest(r.URL.Query())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if err := s.note(r, userOf(r).Name, "export audit", nil); err != nil {
		s.fail(w, r, err)
		return
	}
	name := "imgkeep-audit-" + s.opts.Now().UTC().Format("2006-01-02")
	write := jsonLines(w)
	if strings.HasSuffix(r.URL.Path, ".csv") {
		w.Header().Set("Content-Type", "text/csv; charset=utf-8")
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.csv"`)
		write = csvLines(w)
	} else {
		w.Header().Set("Content-Type", "application/x-ndjson")
		w.Header().Set("Content-Disposition", `attachment; filename="`+name+`.ndjson"`)
	}
	h.Limit = control.MaxHistory
	for {
		page, err := s.service(r).History(r.Context(), h)
		for _, e := range page.Items {
			if err == nil {
				err = write(e)
			}
		}
		if err != nil {
			s.opts.Log.Error("page: an export was broken off", "error", err)
			panic(http.ErrAbortHandler) // so that nobody takes it for the whole
		}
		if h.Before = page.Next; h.Before == 0 {
			return
		}
	}
}

func jsonLines(w http.ResponseWriter) func(control.HistoryEntry) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return func(e control.HistoryEntry) error { return enc.Encode(e) }
}

func csvLines(w http.ResponseWriter) func(control.HistoryEntry) error {
	out := csv.NewWriter(w)
	out.Write([]string{"time", "by", "claims", "op", "what", "why", "error"})
	return func(e control.HistoryEntry) error {
		claims := ""
		if e.Claims != nil {
			text, err := json.Marshal(e.Claims)
			if err != nil {
				return err
			}
			claims = string(text)
		}
		record := []string{e.Time.Format(time.RFC3339), e.By, claims, e.Op, string(e.What), e.Why, e.Error}
		for i, field := range record {
			record[i] = cell(field)
		}
		err := out.Write(record)
		out.Flush()
		return errors.Join(err, out.Error())
	}
}

// cell is a text that no spreadsheet takes for a formula.
func cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
