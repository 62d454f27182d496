package resize

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// stub is a decoder in the test's own process.
type stub struct {
	answer func(src []byte, r *Request) ([]Result, error)
}

func (stub) Version() string                                   { return "8.x" }
func (stub) Formats() []string                                 { return []string{"jpeg", "gif"} }
func (stub) Sources() []string                                 { return nil }
func (stub) Outputs() []string                                 { return []string{"avif"} }
func (stub) Prove() error                                      { return nil }
func (s stub) Resize(src []byte, r *Request) ([]Result, error) { return s.answer(src, r) }

// unproved is a decoder that does not do what it promises.
type unproved struct{ stub }

func (unproved) Prove() error { return errors.New("libvips 8.x cannot write png") }

func echo(src []byte, r *Request) ([]Result, error) { return []Result{{r.Format, 3, 2, 1, src}}, nil }
func request(t testing.TB, w io.Writer, r *Request, src string) {
	t.Helper()
	must(t, writeRequest(w, r, strings.NewReader(src), int64(len(src))))
}
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var someRequest = &Request{"jpeg", []Target{{Size: Size{Height: 5}}}, 100, 200}

func TestServe(t *testing.T) {
	var in, out bytes.Buffer
	request(t, &in, someRequest, "\xff\xd8\xffone")
	request(t, &in, someRequest, "bad")
	request(t, &in, someRequest, "\xff\xd8\xff"+strings.Repeat("x", 100_000))
	err := Serve(&in, &out, stub{func(src []byte, r *Request) ([]Result, error) {
		if string(src) == "bad" {
			return nil, &ImageError{Detail: "cut off"}
		}
		return echo(src, r)
	}}, Layers{Held: []string{"seccomp"}})
	must(t, err)
	g, err := readGreeting(&out)
	if err != nil || g.Libvips != "8.x" || g.Protocol != protocol || len(g.Formats) != 2 || len(g.Outputs) != 1 || len(g.Held) != 1 || g.Missing != nil {
		t.Fatalf("greeting %+v, %v", g, err)
	}
	r, err := readAnswer(&out, someRequest, 1<<20)
	if err != nil || !reflect.DeepEqual(r, []Result{{"jpeg", 3, 2, 1, []byte("\xff\xd8\xffone")}}) {
		t.Errorf("first: %+v, %v", r, err)
	}
	if _, err = readAnswer(&out, someRequest, 1<<20); !reflect.DeepEqual(err, error(&ImageError{Detail: "cut off"})) {
		t.Errorf("second: %v", err)
	}
	if r, err = readAnswer(&out, someRequest, 1<<20); err != nil || len(r[0].Data) != 100_003 {
		t.Errorf("third: %v", err)
	}
	if out.Len() > 0 {
		t.Errorf("%d bytes behind the answers", out.Len())
	}
}

func TestServeEnds(t *testing.T) {
	var whole bytes.Buffer
	request(t, &whole, someRequest, "\xff\xd8\xff")
	for n := range whole.Len() {
		err := Serve(bytes.NewReader(whole.Bytes()[:n]), io.Discard, stub{echo}, Layers{})
		if n == 0 && err != nil || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("input of %d bytes: %v", n, err)
		}
	}
	var out bytes.Buffer
	must(t, Serve(bytes.NewReader(whole.Bytes()), &out, stub{func([]byte, *Request) ([]Result, error) { return nil, ErrMemory }}, Layers{}))
	_, err := readGreeting(&out)
	must(t, err)
	if _, err := readAnswer(&out, someRequest, 1<<20); !reflect.DeepEqual(err, error(&errUnable{"out of memory"})) {
		t.Errorf("a failure of its own: %v", err)
	}
	out.Reset()
	if err := Serve(bytes.NewReader(whole.Bytes()), &out, unproved{}, Layers{}); err == nil || !strings.Contains(err.Error(), "cannot write png") || out.Len() > 0 {
		t.Errorf("one that does not work: %v, after it said %q", err, &out)
	}
	r, w := io.Pipe()
	_ = r.Close()
	if err := Serve(bytes.NewReader(whole.Bytes()), w, stub{echo}, Layers{}); err == nil {
		t.Error("nobody listens, and no error")
	}
}

func TestRequestIsChecked(t *testing.T) {
	const ok = `"format":"jpeg","targets":[{"size":"5x"}],"max_pixels":1,"animation_pixels":1`
	for head, want := range map[string]string{
		`{` + ok + `,"bytes":1}`:                      "",
		`{` + ok + `,"bytes":0}`:                      "source of 0 bytes",
		`{` + ok + `,"bytes":-1}`:                     "source of -1 bytes",
		`{` + ok + `,"bytes":268435457}`:              "source of 268435457 bytes",
		`{` + ok + `,"bytes":1,"path":"/etc/passwd"}`: "unknown field",
		`{"format":"svg","targets":[{"size":"5x"}],"max_pixels":1,"animation_pixels":1,"bytes":1}`:                 "source format",
		`{"format":"jpeg","targets":[],"max_pixels":1,"animation_pixels":1,"bytes":1}`:                             "0 targets",
		`{"format":"jpeg","targets":[{"size":"05x"}],"max_pixels":1,"animation_pixels":1,"bytes":1}`:               "leading zero",
		`{"format":"jpeg","targets":[{"size":"5x","format":"pdf"}],"max_pixels":1,"animation_pixels":1,"bytes":1}`: "format",
		`{"format":"jpeg","targets":[{"size":"5x","quality":101}],"max_pixels":1,"animation_pixels":1,"bytes":1}`:  "quality 101",
		`{"format":"jpeg","targets":[{"size":"5x"}],"max_pixels":0,"animation_pixels":1,"bytes":1}`:                "limits of 0",
		`{"format":"jpeg","targets":[{"size":"5x"}],"max_pixels":1,"animation_pixels":-1,"bytes":1}`:               "and -1",
		`{` + ok + `,"bytes":1} `:   "",
		`{` + ok + `,"bytes":1}{}`:  "more than one value",
		`[` + ok + `]`:              "head: ",
		strings.Repeat("[", 60_000): "head: ",
	} {
		var b bytes.Buffer
		must(t, rawHead(&b, head))
		b.WriteString("x")
		_, _, err := readRequest(&b, new(memory))
		if want == "" && err != nil || want != "" && (!errors.Is(err, errProtocol) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.100s: got %v, want %q", head, err, want)
		}
	}
}

// Heads are bounded before memory is taken for them, at the limit exactly.
func TestHeadLimit(t *testing.T) {
	for _, n := range []int{1, maxHead - 1, maxHead, maxHead + 1, 1 << 31} {
		in := append(binary.BigEndian.AppendUint32(nil, uint32(n)), '{', '}')
		err := readHead(io.MultiReader(bytes.NewReader(in), forever{}), new(greeting))
		if fits := n <= maxHead; n > 1 && fits != (err == nil) || !fits && !errors.Is(err, errProtocol) {
			t.Errorf("a head of %d bytes: %v", n, err)
		}
	}
	if err := writeHead(io.Discard, strings.Repeat("x", maxHead)); err == nil {
		t.Error("wrote a head that is too long")
	}
}

type forever struct{}

func (forever) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Frames are for animations; and no more than their pixels allow.
func TestFramesOfResults(t *testing.T) {
	for _, c := range []struct {
		from, to string
		frames   int
		ok       bool
	}{
		{"gif", "gif", 1, true}, {"gif", "gif", 200, true}, {"gif", "gif", 201, false}, {"gif", "gif", 0, false},
		{"gif", "webp", 200, true}, {"webp", "gif", 200, true}, {"webp", "webp", 201, false},
		{"gif", "png", 1, true}, {"gif", "png", 2, false}, {"png", "gif", 2, true}, {"png", "webp", 201, false}, {"bmp", "gif", 2, false}, {"webp", "jpeg", 2, false},
	} {
		req := &Request{c.from, []Target{{Size: Size{Height: 9}, Format: c.to}}, 100, 200}
		h := resultHead{c.to, 5, 5, c.frames, 1}
		if err := h.check(req, 0); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestBegins(t *testing.T) {
	first := map[string]string{
		"jpeg": "\xff\xd8\xff\xe0", "png": "\x89PNG\r\n\x1a\n\x00", "gif": "GIF89a\x01", "webp": "RIFF\x10\x00\x00\x00WEBPVP8 ",
	}
	for format, data := range first {
		for other := range first {
			if got := begins(other, []byte(data)); got != (format == other) {
				t.Errorf("%s as %s: %v", format, other, got)
			}
		}
		if begins(format, nil) || begins(format, []byte(data[:2])) || begins(format, []byte("<html>      ")) {
			t.Errorf("%s begins with anything", format)
		}
	}
	if begins("svg", []byte("<svg")) {
		t.Error("svg")
	}
}

// A decoder reads whatever comes without harm, and what it takes is sent back
// the same.
func FuzzRequest(f *testing.F) {
	add := func(r *Request, src string) {
		var b bytes.Buffer
		must(f, writeRequest(&b, r, strings.NewReader(src), int64(len(src))))
		f.Add(b.Bytes())
	}
	add(someRequest, "abc")
	add(&Request{"gif", []Target{{Size: Size{1, 2}, Format: "webp", Quality: 100}, {Size: Size{0, 9}}}, 1, 1}, "x")
	add(&Request{"png", []Target{{Preset: &Preset{Width: 9, Blur: 1, Watermark: &Watermark{Format: "png", Picture: []byte("mark")}}}}, 1, 1}, "x")
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 2, '{', '}'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, in []byte) {
		rest := bytes.NewReader(in)
		var m, m2 memory
		defer m.release()
		defer m2.release()
		req, src, err := readRequest(rest, &m)
		if err != nil {
			return
		}
		if err := req.check(); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		must(t, writeRequest(&b, req, bytes.NewReader(src), int64(len(src))))
		req2, src2, err := readRequest(&b, &m2)
		if err != nil || !reflect.DeepEqual(req, req2) || !bytes.Equal(src, src2) || b.Len() > 0 {
			t.Fatalf("%+v became %+v: %v", req, req2, err)
		}
	})
}

// A pool reads whatever comes without harm, and takes only what it asked for.
func FuzzAnswer(f *testing.F) {
	req := &Request{"gif", []Target{{Size: Size{100, 0}}, {Size: Size{0, 50}, Format: "jpeg"}}, 1000, 500}
	add := func(r ...Result) {
		var b bytes.Buffer
		must(f, writeResults(&b, r))
		f.Add(b.Bytes())
	}
	add(Result{"gif", 7, 100, 3, []byte("GIF89a")}, Result{"jpeg", 50, 7, 1, []byte("\xff\xd8\xff")})
	add()
	var b bytes.Buffer
	must(f, writeError(&b, &ImageError{true, "too \x00 large"}))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		const most = 4096
		results, err := readAnswer(bytes.NewReader(in), req, most)
		if blame, ok := errors.AsType[*ImageError](err); ok {
			if len(blame.Detail) > maxDetail || strings.ContainsFunc(blame.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("detail %q", blame.Detail)
			}
		}
		if err != nil {
			if results != nil {
				t.Errorf("an error and %+v", results)
			}
			return
		}
		total := 0
		for i, r := range results {
			total += len(r.Data)
			if r.Format != req.FormatOf(i) || !begins(r.Format, r.Data) || r.Width < 1 || r.Height < 1 || r.Frames < 1 || r.Frames > 500 {
				t.Errorf("took %+v", r)
			}
		}
		if len(results) != 2 || total > most || results[0].Height > 100 || results[1].Width > 50 || results[1].Frames != 1 {
			t.Errorf("took %+v", results)
		}
	})
}

func FuzzGreeting(f *testing.F) {
	var b bytes.Buffer
	must(f, writeHead(&b, greeting{Protocol: protocol, Libvips: "8.14.1", Formats: []string{"jpeg", "png"}, Held: []string{"seccomp"}, Missing: []string{"landlock: none"}}))
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		g, err := readGreeting(bytes.NewReader(in))
		if err == nil && (g.Protocol != protocol || len(g.Formats) < 1 || len(g.Formats) > 16 || len(g.Libvips) > maxDetail) {
			t.Errorf("took %+v", g)
		}
	})
}

// A print is asked for in one way only, and comes as so many bytes.
func TestPrintTarget(t *testing.T) {
	odd := PrintTarget()
	odd.Size.Width++
	good := &Request{Format: "jpeg", Targets: []Target{PrintTarget()}, MaxPixels: 1, AnimationPixels: 1}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	if err := (&Request{Format: "jpeg", Targets: []Target{odd}, MaxPixels: 1, AnimationPixels: 1}).check(); err == nil {
		t.Errorf("a print within %s passes", odd.Size)
	}
	if PrintTarget().Animates("gif") {
		t.Error("a print of an animation is of all its frames")
	}
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"a print":          {make([]byte, PrintSize), true},
		"one byte more":    {make([]byte, PrintSize+1), false},
		"one byte fewer":   {make([]byte, PrintSize-1), false},
		"nothing":          {nil, false},
		"quality of 100":   {append([]byte{100}, make([]byte, PrintSize-1)...), true},
		"quality over 100": {append([]byte{101}, make([]byte, PrintSize-1)...), false},
	} {
		if got := begins(FormatPrint, c.data); got != c.want {
			t.Errorf("%s: taken for a print: %v", name, got)
		}
	}
}
