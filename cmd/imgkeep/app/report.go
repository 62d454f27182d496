package app

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"imgkeep/bucket/record"
	"imgkeep/cmd/imgkeep/app/control"
)

// report shows the progress of work on a store, and writes its findings: as text at once,
// as JSON at the end.
type report struct {
	w           io.Writer
	json, quiet bool
	progress    *progress
	findings    []record.Finding // for JSON, as an empty list and not null
	err         error
}

func (a *app) newReport(cmd *cobra.Command, json, quiet bool) *report {
	return &report{w: cmd.OutOrStdout(), json: json, quiet: quiet, progress: newProgress(cmd.ErrOrStderr(), a.Now), findings: []record.Finding{}}
}

func (r *report) show(p record.Progress) {
	if !r.quiet {
		r.progress.show(p)
	}
}

func (r *report) found(f record.Finding) {
	if r.json {
		r.findings = append(r.findings, f)
		return
	}
	r.progress.clear()
	if _, err := fmt.Fprintln(r.w, findingLine(f)); err != nil && r.err == nil {
		r.err = err
	}
}

// findingLine is a finding in one line. It may quote strangers.
func findingLine(f record.Finding) string {
	line := fmt.Sprintf("%-12s %s", f.Kind, f.Path)
	for _, s := range []string{f.Detail, f.URL} {
		if s != "" {
			line += "  " + s
		}
	}
	if f.Repair != "" {
		line += "  [" + f.Repair + "]"
	}
	return control.Printable(line)
}

// end writes the report, as a line of text or as a document, and says what remains.
func (r *report) end(text string, document any, remain int) error {
	if r.json {
		r.err = printJSON(r.w, document)
	} else if r.err == nil {
		_, r.err = fmt.Fprintln(r.w, text)
	}
	if r.err != nil {
		return r.err
	}
	switch remain {
	case 0:
		return nil
	case 1:
		return remainError("1 finding remains")
	}
	return remainError(fmt.Sprintf("%d findings remain", remain))
}

// sum is how many findings there are, of all kinds.
func sum(found map[record.Kind]int) (n int) {
	for _, k := range found {
		n += k
	}
	return n
}

// tally counts findings by their kinds: "2 corrupt, 1 missing".
func tally(found map[record.Kind]int, none string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(found)) {
		parts = append(parts, fmt.Sprintf("%d %s", found[k], k))
	}
	if parts == nil {
		return none
	}
	return strings.Join(parts, ", ")
}

func seconds(s float64) string {
	if s < 60 {
		return fmt.Sprintf("%.1f s", s)
	}
	return fmt.Sprintf("%.0f min %.0f s", float64(int(s)/60), float64(int(s)%60))
}

// remainError says which problems remain.
type remainError string

func (e remainError) Error() string { return string(e) }

// printJSON writes a document for programs, over several lines.
func printJSON(w io.Writer, v any) error {
	enc := newEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// encoder writes JSON for programs: an empty list is an empty list, not null, so that they
// can iterate over it.
type encoder struct{ *json.Encoder }

func newEncoder(w io.Writer) encoder {
	enc := encoder{json.NewEncoder(w)}
	enc.SetEscapeHTML(false)
	return enc
}

// Encode writes a value without changing it.
func (e encoder) Encode(v any) error {
	return e.Encoder.Encode(withLists(reflect.ValueOf(v)).Interface())
}

// withLists is a value with empty lists and maps instead of nil ones.
func withLists(v reflect.Value) reflect.Value {
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 { // bytes are text in JSON
			return v
		}
		list := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		for i := range v.Len() {
			list.Index(i).Set(withLists(v.Index(i)))
		}
		return list
	case reflect.Map:
		m := reflect.MakeMap(v.Type())
		for key, value := range v.Seq2() {
			m.SetMapIndex(key, withLists(value))
		}
		return m
	case reflect.Pointer:
		if v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return v
		}
		p := reflect.New(v.Type().Elem())
		p.Elem().Set(withLists(v.Elem()))
		return p
	case reflect.Struct:
		s := reflect.New(v.Type()).Elem()
		s.Set(v)
		for i := range v.NumField() {
			if f := s.Field(i); f.CanSet() {
				f.Set(withLists(f))
			}
		}
		return s
	case reflect.Interface:
		if !v.IsNil() {
			return withLists(v.Elem())
		}
	}
	return v
}
