package app

import (
	"bufio"
	"errors"
	"io"
	"iter"
	"strings"
)

// lines are the lines of a list, without spaces around them; empty ones are
// passed over. Of a line there are at most most bytes, and long says that it had
// more. The memory that they take does not depend on the list.
func lines(r io.Reader, most int) iter.Seq2[line, error] {
	return func(yield func(line, error) bool) {
		b := bufio.NewReaderSize(r, most)
		for n := 1; ; n++ {
			text, err := b.ReadSlice('\n')
			l := line{n: n, text: strings.TrimSpace(string(text))}
			for errors.Is(err, bufio.ErrBufferFull) {
				l.long = true
				_, err = b.ReadSlice('\n')
			}
			if l.text != "" && !yield(l, nil) {
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
	long bool
}
