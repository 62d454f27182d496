package app

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"strings"
)

// lines are the lines of a list, without surrounding spaces, and truncated to a number of
// bytes. It ignores empty lines, lines that begin with "#", and a byte-order mark. Memory
// does not depend on the list.
func lines(r io.Reader, most int) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		b := bufio.NewReaderSize(r, most)
		for n := 1; ; n++ {
			text, err := b.ReadSlice('\n')
			l := line{n: n, text: string(text)}
			if n == 1 {
				l.text = strings.TrimPrefix(l.text, "\ufeff")
			}
			l.text = strings.TrimSpace(l.text)
			for errors.Is(err, bufio.ErrBufferFull) {
				l.long = true
				_, err = b.ReadSlice('\n')
			}
			if l.text != "" && l.text[0] != '#' && !yield(l, nil) {
				return
			}
			if err == io.EOF {
				return
			}
			if err != nil {
				yield(line{n: n}, err)
				return
			}
		}
	}
}

type line struct {
	n    int // from 1
	text string
	long bool // it was truncated
}
