package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"imgkeep/bucket"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/strip"
)

// strips tells whether images of a bucket are served without metadata.
func (s *Server) strips(bucket string) bool { return slices.Contains(s.Stripped, bucket) }

// stripper makes an image without its metadata.
func stripper(image bucket.Image) bucket.Maker {
	return func(_ context.Context, original io.Reader, n int64) ([]byte, error) {
		file := bytes.NewBuffer(make([]byte, 0, n+bytes.MinRead))
		if _, err := file.ReadFrom(original); err != nil {
			return nil, err
		}
		bare, err := stripped(file.Bytes(), image.Info)
		if err != nil || bytes.Equal(bare, file.Bytes()) {
			return nil, err
		}
		return bare, nil
	}
}

// stripped is strip.Metadata, and sees that it is still the same image.
func stripped(file []byte, info probe.Info) ([]byte, error) {
	bare, err := strip.Metadata(file, info)
	if err != nil {
		return nil, err
	}
	if got, err := probe.Read(bytes.NewReader(bare), probe.Limits{}); err != nil || got != info {
		return nil, fmt.Errorf("%w: without metadata it is %+v, and was %+v (%v)", strip.ErrBroken, got, info, err)
	}
	return bare, nil
}

// sendStripped is sendPassing for an image that is to have no metadata.
func (s *Server) sendStripped(w http.ResponseWriter, r *http.Request, v *visit, f *os.File, info probe.Info) error {
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	file, err := io.ReadAll(io.NewSectionReader(f, 0, stat.Size()))
	if err != nil {
		return err
	}
	bare, err := stripped(file, info)
	if err != nil {
		return err
	}
	s.answered(v, CodeOK)
	h := w.Header()
	h.Set("Content-Type", info.Format.ContentType())
	h.Set("Cache-Control", "private, max-age="+seconds(min(passingAge, s.Signer.MaxAge())))
	hurry(w, int64(len(bare)))
	out := w
	if conditional(r) {
		out = &refusals{ResponseWriter: w, size: int64(len(bare)), refuse: func(v verdict) { s.answer(w, v) }}
	}
	http.ServeContent(out, r, "", time.Time{}, bytes.NewReader(bare))
	return nil
}
