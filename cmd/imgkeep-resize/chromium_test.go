package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// What Chromium shows is what an image looks like: people compare a size with it.

// chromiumPage draws each image on a canvas, in sRGB, and sends its pixels back.
const chromiumPage = `<!DOCTYPE html><meta charset="utf-8"><script>
(async () => {
	for (let i = 0; i < %d; i++) {
		const image = new Image();
		image.src = "/image/" + i;
		let size = "?width=0&height=0", pixels = "";
		try {
			await image.decode();
			const canvas = document.createElement("canvas");
			canvas.width = image.naturalWidth;
			canvas.height = image.naturalHeight;
			const context = canvas.getContext("2d", {willReadFrequently: true, colorSpace: "srgb"});
			context.drawImage(image, 0, 0);
			pixels = context.getImageData(0, 0, canvas.width, canvas.height).data;
			size = "?width=" + canvas.width + "&height=" + canvas.height;
		} catch (e) {}
		await fetch("/shown/" + i + size, {method: "POST", body: pixels});
	}
	await fetch("/done", {method: "POST"});
})();
</script>`

// inChromium returns images as Chromium shows them, of an animation the first frame:
// nil where it shows none. A name begins with the format. It skips the test where
// there is no Chromium.
func inChromium(t *testing.T, images map[string][]byte) map[string]*image.NRGBA {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	var names []string
	for name := range images {
		names = append(names, name)
	}
	slices.Sort(names)
	seen, done := make([]*image.NRGBA, len(names)), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, chromiumPage, len(names))
	})
	mux.HandleFunc("GET /image/{i}", func(w http.ResponseWriter, r *http.Request) {
		i, _ := strconv.Atoi(r.PathValue("i"))
		format, _, _ := strings.Cut(names[i], " ")
		w.Header().Set("Content-Type", "image/"+format)
		_, _ = w.Write(images[names[i]])
	})
	mux.HandleFunc("POST /shown/{i}", func(_ http.ResponseWriter, r *http.Request) {
		i, _ := strconv.Atoi(r.PathValue("i"))
		width, _ := strconv.Atoi(r.FormValue("width"))
		height, _ := strconv.Atoi(r.FormValue("height"))
		pixels, err := io.ReadAll(r.Body)
		if err == nil && width > 0 && len(pixels) == 4*width*height {
			seen[i] = &image.NRGBA{Pix: pixels, Stride: 4 * width, Rect: image.Rect(0, 0, width, height)}
		}
	})
	mux.HandleFunc("POST /done", func(http.ResponseWriter, *http.Request) { close(done) })
	server := httptest.NewServer(mux)
	defer server.Close()

	// Not t.TempDir: what of it has not ended with the rest may still write there.
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience.Of(t))
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
		"--user-data-dir="+dir, "--remote-debugging-port=0", server.URL)
	// It is several processes, which end together.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-done:
		cancel()
		<-ended
	case err := <-ended:
		t.Fatalf("chromium: %v\n%s", errors.Join(err, ctx.Err()), errs.Bytes())
	}
	all := map[string]*image.NRGBA{}
	for i, name := range names {
		all[name] = seen[i]
	}
	return all
}
