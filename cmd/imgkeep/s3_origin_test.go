package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"imgkeep/bucket/blob/object"
	"imgkeep/bucket/blob/s3/s3test"
)

// objectWorld is a world that may connect to no network, and reads one bucket of an object
// store, for links of its own bucket a.
func objectWorld(t *testing.T, g *s3test.Gateway) *world {
	w := newWorld(t, settings{
		"buckets":        []map[string]any{{"name": "i"}, {"name": "a", "hosts": []string{s3test.Bucket + ".s3"}}},
		"fetch.networks": []string{},
	})
	w.setStore(g, s3test.SecretKey)
	return w
}

func (w *world) setStore(g *s3test.Gateway, secretKey string) {
	w.set("fetch.s3", []map[string]any{{
		"endpoint": g.URL, "path_style": true, "buckets": []string{s3test.Bucket}, "access_key": s3test.AccessKey, "secret_key": secretKey,
	}})
}

// objectURL is the URL of what a client of the gateway puts under a key.
func objectURL(t *testing.T, key string) string {
	return fmt.Sprintf("s3://%s/%x/%s", s3test.Bucket, []byte(t.Name()), key)
}

// A site's attachment is fetched from its object store once, and served when that has
// lost it; commands work with it as with other images; and what is not on the lists is
// not asked for.
func TestObjectOrigin(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	store := g.Client(t)
	w := objectWorld(t, g)
	cat, dog := photo(t, 80, 60), photo(t, 60, 80)
	for key, image := range map[string][]byte{"pictures/cat +1.jpg": cat, "dog": dog, "page": []byte("<html>")} {
		if err := store.Put(t.Context(), key, object.Text(image, "")); err != nil {
			t.Fatal(err)
		}
	}
	catURL, dogURL := objectURL(t, "pictures/cat%20%2B1.jpg"), objectURL(t, "dog")
	s := w.start()
	s.get(link("a", "full", catURL)).isBytes("image/jpeg", cat)
	s.get(link("a", "20x20", objectURL(t, "pictures/cat +1.jpg"))).isImage("image/jpeg")

	for url, want := range map[string]struct {
		status int
		code   string
	}{
		objectURL(t, "missing"):                        {http.StatusNotFound, "gone"},
		objectURL(t, "page"):                           {http.StatusUnsupportedMediaType, "type"},
		"s3://others/cat.jpg":                          {http.StatusForbidden, "refused"},
		"s3://" + s3test.Bucket + "/../others/cat.jpg": {http.StatusBadRequest, "url"},
		"s3://" + s3test.Bucket + "/x?list-type=2":     {http.StatusBadRequest, "url"},
		"http://" + s3test.Bucket + ".s3/x":            {http.StatusForbidden, "refused"},
		g.URL + strings.TrimPrefix(dogURL, "s3:/"):     {http.StatusForbidden, "refused"}, // not by the endpoint's address either
	} {
		s.get(link("a", "full", url)).isError(want.status, want.code)
	}
	// A bucket that may fetch from any host may not name objects.
	s.get(link("i", "full", dogURL)).isError(http.StatusForbidden, "refused")

	if out, errs, status := w.imgkeep("check", "--bucket", "a", "--json", dogURL); status != 0 || !strings.Contains(out, `"ok": true`) || strings.Contains(out, "addresses") {
		t.Errorf("check: status %d, %s%s", status, out, errs)
	}
	if out, _, status := w.imgkeep("check", "--bucket", "a", "--json", "s3://others/cat.jpg"); status != 1 || !strings.Contains(out, `"class": "refused"`) {
		t.Errorf("check of another bucket: status %d, %s", status, out)
	}
	if out, errs, status := w.imgkeep("populate", "--bucket", "a", w.list(dogURL)); status != 0 {
		t.Errorf("populate: status %d, %s%s", status, out, errs)
	}
	out, errs, status := w.imgkeep("show", "--json", catURL)
	var shown struct {
		Images []struct{ URLs []string }
	}
	if err := json.Unmarshal([]byte(out), &shown); status != 0 || err != nil || len(shown.Images) != 1 || !slices.Equal(shown.Images[0].URLs, []string{catURL}) {
		t.Errorf("show: status %d, %v, %s%s", status, err, out, errs)
	}
	for pattern, want := range map[string]int{s3test.Bucket + ".s3": 2, "*.s3": 2, s3test.Bucket: 0} {
		out, errs, status := w.imgkeep("list", "--host", pattern)
		if n := strings.Count(out, "s3://"); status != 0 || n != want {
			t.Errorf("list --host %s: %d, want %d; status %d, %s", pattern, n, want, status, errs)
		}
	}

	for _, key := range []string{"pictures/cat +1.jpg", "dog"} {
		if err := store.Remove(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	s.stop()
	w.set("linkrot.interval", "168h")
	s = w.start()
	s.get(link("a", "full", catURL)).isBytes("image/jpeg", cat)
	s.get(link("a", "full", dogURL)).isBytes("image/jpeg", dog)
	s.logged("asking origins ended")
	if out, _, _ := w.imgkeep("stats"); !strings.Contains(out, "asked: 0 alive, 2 gone, 0 unreachable, 0 unsure") {
		t.Errorf("stats: %s", out)
	}
	if _, errs, status := w.imgkeep("block", s3test.Bucket+".s3"); status != 0 {
		t.Errorf("block: %s", errs)
	}
	s.get(link("a", "full", catURL)).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.stop()
	g.Kill()
}

// A store that does not accept the keys is the operator's affair: the log names it,
// without a key; viewers are told no more than that the origin failed; what is kept is
// served; and a reload with the right keys ends it.
func TestObjectOriginWrongKeys(t *testing.T) {
	t.Parallel()
	g := s3test.Start(t)
	store := g.Client(t)
	w := objectWorld(t, g)
	cat, dog := photo(t, 80, 60), photo(t, 60, 80)
	for key, image := range map[string][]byte{"cat": cat, "dog": dog} {
		if err := store.Put(t.Context(), key, object.Text(image, "")); err != nil {
			t.Fatal(err)
		}
	}
	const wrong = "another-secret-key-of-tests"
	w.setStore(g, wrong)
	s := w.start()
	a := s.get(link("a", "full", objectURL(t, "cat"))).isError(http.StatusBadGateway, "origin")
	line := s.logged("an S3 origin refuses this server")
	if line["host"] != s3test.Bucket+".s3" || line["level"] != "ERROR" || !strings.Contains(fmt.Sprint(line["error"]), "SignatureDoesNotMatch") {
		t.Errorf("the log has %v", line)
	}
	out, errs, _ := w.imgkeep("show", objectURL(t, "cat"))
	if !strings.Contains(out+errs, "SignatureDoesNotMatch") {
		t.Errorf("show: %s%s", out, errs)
	}
	conf, _, status := w.imgkeep("config")
	if status != 0 || !strings.Contains(conf, "keys hidden") {
		t.Errorf("config: %s", conf)
	}
	w.setStore(g, "")
	w.conf["fetch.s3"].([]map[string]any)[0]["access_key"] = ""
	if _, errs, status := w.imgkeep("reload"); status == 0 || !strings.Contains(errs, "fetch.s3[0]: it has no keys") {
		t.Errorf("reload without keys: status %d, %s", status, errs)
	}
	if _, errs, status := w.imgkeep("list"); status != 0 {
		t.Errorf("list needs the keys: status %d, %s", status, errs)
	}
	w.setStore(g, s3test.SecretKey)
	if out, errs, status := w.imgkeep("reload"); status != 0 {
		t.Errorf("reload: status %d, %s%s", status, out, errs)
	}
	s.get(link("a", "full", objectURL(t, "dog"))).isBytes("image/jpeg", dog)
	s.stop()
	for about, text := range map[string]string{"the log": s.log.String(), "the answer": string(a.body) + fmt.Sprint(a.header), "show": out + errs, "config": conf} {
		for _, key := range []string{wrong, s3test.AccessKey, s3test.SecretKey, "Signature="} {
			if strings.Contains(text, key) {
				t.Errorf("%s has %q in it", about, key)
			}
		}
	}
	g.Kill()
}
