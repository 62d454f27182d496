package fetch

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/iotest"

	"imgkeep/bucket/probe"
	"imgkeep/bucket/probe/probetest"
)

// endless is a body that never ends, and counts what is read of it.
type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.n += int64(len(p))
	return len(p), nil
}

// What follows an image's end stays where it is short. Where it is long (somebody
// has a film served as an image), the image is kept without it, and it is not read.
func TestTail(t *testing.T) {
	for _, c := range probetest.Good() {
		end := len(c.Data)
		for _, extra := range []int{0, 1, maxTail, maxTail + 1, 1 << 20} {
			body := append(bytes.Clone(c.Data), bytes.Repeat([]byte{0xff}, extra)...)
			want := len(body)
			scanner := probe.NewScanner(probe.Limits{})
			scanner.Write(c.Data)
			if _, known := scanner.End(); known && extra > maxTail {
				want = end
			}
			for name, r := range map[string]io.Reader{"at once": bytes.NewReader(body), "in halves": iotest.HalfReader(bytes.NewReader(body))} {
				var dst bytes.Buffer
				a := &answer{host: "h.example", status: 200, length: -1, body: r}
				_, n, err := a.receive(t.Context(), Request{MaxBytes: 4 << 20}, &dst)
				if err != nil || n != int64(want) || !bytes.Equal(dst.Bytes(), body[:want]) {
					t.Errorf("%s and %d bytes more, %s: kept %d of %d, want %d: %v", c.Name, extra, name, n, len(body), want, err)
				}
			}
		}
	}
	picture := jpegOf(t, 20, 20)
	film := &endless{}
	a := &answer{host: "h.example", status: 200, length: -1, body: io.MultiReader(bytes.NewReader(picture), film)}
	if _, n, err := a.receive(t.Context(), Request{MaxBytes: 1 << 30}, io.Discard); err != nil || n != int64(len(picture)) || film.n > 64<<10 {
		t.Errorf("kept %d bytes, read %d of what never ends: %v", n, film.n, err)
	}
}

// An image that was kept with a longer tail, as a file of the operator's is, comes
// again as it was; and one that is longer now comes whole, as another.
func TestTailKept(t *testing.T) {
	picture := jpegOf(t, 20, 20)
	whole := append(bytes.Clone(picture), make([]byte, 3*maxTail)...)
	for kept, want := range map[int]int{
		len(whole): len(whole), len(whole) - 1: len(whole) - 1, len(picture): len(picture), len(picture) + 5: len(picture) + 5,
		len(picture) - 5: len(picture), len(whole) + 9: len(whole),
	} {
		var dst bytes.Buffer
		a := &answer{host: "h.example", status: 200, length: -1, body: bytes.NewReader(whole)}
		_, n, err := a.receive(t.Context(), Request{MaxBytes: 1 << 20, Kept: int64(kept)}, &dst)
		if err != nil || n != int64(want) || !bytes.Equal(dst.Bytes(), whole[:want]) {
			t.Errorf("of %d bytes, %d were kept: got %d, want %d: %v", len(whole), kept, n, want, err)
		}
	}
}

// From a real origin: what it announces beyond the limit is refused as before.
func TestTailOverHTTP(t *testing.T) {
	picture := jpegOf(t, 20, 20)
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(append(bytes.Clone(picture), make([]byte, 1<<20)...))
	})
	got, res, err := pull(t, newFetcher(t, Options{}, origin.URL), origin.URL+"/a.jpg")
	if err != nil || res.Bytes != int64(len(picture)) || !bytes.Equal(got, picture) {
		t.Errorf("got %d bytes, %+v: %v", len(got), res, err)
	}
}
