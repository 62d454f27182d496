package app

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestLines(t *testing.T) {
	broken := errors.New("the pipe broke")
	for _, c := range []struct {
		in   io.Reader
		want string
	}{
		{strings.NewReader(""), ""},
		{strings.NewReader("a"), "1 a;"},
		{strings.NewReader("\ufeffa\nb"), "1 a;2 b;"},
		{strings.NewReader("\ufeff\r\na"), "2 a;"},
		{strings.NewReader("\ufeff# made by hand\na"), "2 a;"},
		{strings.NewReader("# a list\n  #b\na#c\n#" + strings.Repeat("x", 100) + "\nd"), "3 a#c;5 d;"},
		{strings.NewReader("a\n\ufeffb"), "1 a;2 \ufeffb;"},
		{strings.NewReader("\n\n a b \r\n\t\nc\n\n"), "3 a b;5 c;"},
		{strings.NewReader(strings.Repeat("x", 15) + "\ny"), "1 xxxxxxxxxxxxxxx;2 y;"},
		{strings.NewReader(strings.Repeat("x", 16) + "\ny"), "1 xxxxxxxxxxxxxxxx long;2 y;"},
		{strings.NewReader(strings.Repeat("x", 1000) + "\ny"), "1 xxxxxxxxxxxxxxxx long;2 y;"},
		{strings.NewReader("y\n" + strings.Repeat("x", 1000)), "1 y;2 xxxxxxxxxxxxxxxx long;"},
		{io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)), "1 a;2 b;3 the pipe broke;"},
	} {
		got := ""
		for l, err := range lines(c.in, 16) {
			if err != nil {
				l.text = err.Error()
			}
			if l.long {
				l.text += " long"
			}
			got += fmt.Sprintf("%d %s;", l.n, l.text)
		}
		if got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
	for l := range lines(strings.NewReader("a\nb\n"), 16) {
		if l.text != "a" {
			t.Error("it goes on after a break")
		}
		break
	}
}

// What is told of progress: on a terminal the bar tells the rest.
func TestPopulateFigures(t *testing.T) {
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	p := &populateCommand{
		app: &app{Env: Env{Now: func() time.Time { return now }}}, began: now.Add(-100 * time.Second),
		progress: &progress{}, total: 1000, done: 250, kept: 200, bad: 10, made: 400, bytes: 3 << 20, sizes: []string{"x200"},
	}
	if got, want := p.figures(), ", 3.0 MiB, 10 failed, 2.5 a second, 5m0s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.total = 0
	if got, want := p.figures(), ", 3.0 MiB, 10 failed, 2.5 a second"; got != want {
		t.Errorf("of an unknown number: got %q, want %q", got, want)
	}
	p.progress.terminal = true
	if got, want := p.figures(), " 3.0 MiB, 10 failed"; got != want {
		t.Errorf("on a terminal: got %q, want %q", got, want)
	}
	if got, want := p.summary(), "250 URLs in 1 min 40 s: 200 kept now (3.0 MiB), 40 kept before, 10 failed; 400 sizes made"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
