package main_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"imgkeep/scripts/patience"
)

// What stands in a mail or a page is taken as the link in it, what is of this server
// and no link never becomes a tombstone, and a digest may begin with "-".
func TestRemoveAsPasted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{"base_url": "https://img.example"})
	var dashed []byte
	name := ""
	for seed := uint64(0); !strings.HasPrefix(name, "-"); seed++ {
		dashed = toPNG(t, noise(8, 8, seed))
		sum := sha256.Sum256(dashed)
		name = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	url, other := w.origin.serve("/pictures/cat", photo(t, 30, 30)), w.origin.serve("/pictures/dashed", dashed)
	s := w.start()
	whole := "https://img.example" + link("i", "full", url)
	s.get(link("i", "full", url)).isImage("image/jpeg")
	s.get(link("i", "full", other)).isBytes("image/png", dashed)
	for _, pasted := range []string{whole + ".", whole + ")", " " + whole, whole + `"`, whole + "[/img]", "<" + whole + ">"} {
		if out, errs, status := w.imgkeep("block", pasted); status != 0 || !strings.Contains(out, "blocked: url "+url+"\n") {
			t.Errorf("%q: status %d, %s%s", pasted, status, out, errs)
		}
		s.get(link("i", "full", url)).isError(http.StatusUnavailableForLegalReasons, "removed")
		if out, errs, status := w.imgkeep("unblock", pasted); status != 0 {
			t.Errorf("%q: status %d, %s%s", pasted, status, out, errs)
		}
		s.get(link("i", "full", url)).isImage("image/jpeg")
	}
	for _, rubbish := range []string{whole[:40], "https://img.example/cat.jpg", whole + "!x", name[1:]} {
		if out, errs, status := w.imgkeep("block", rubbish); status != 2 || out != "" {
			t.Errorf("%q: status %d, %s%s", rubbish, status, out, errs)
		}
	}
	if out, _, _ := w.imgkeep("list", "--blocked"); out != "" {
		t.Errorf("tombstones: %s", out)
	}
	for _, command := range []string{"show", "retry", "purge", "block", "unblock"} {
		if out, errs, status := w.imgkeep(command, name); status != 0 && !(command == "unblock") {
			t.Errorf("%s %s: status %d, %s%s", command, name, status, out, errs)
		}
	}
	s.stop()
}

// A link whose signature is of one image and whose URL is of another is refused, by
// each command, and both are named: nginx goes by the signature.
func TestLinkOfTwoImages(t *testing.T) {
	t.Parallel()
	w, site := newFronted(t, nil)
	bad, good := w.origin.serve("/pictures/bad", photo(t, 30, 30)), w.origin.serve("/pictures/good", photo(t, 40, 40))
	s := w.start()
	ng := w.front(site)
	ng.see("GET", link("i", "full", bad), nil)
	s.get(link("i", "full", good)).isImage("image/jpeg")
	of := func(url string) string {
		t.Helper()
		out, _, _ := w.imgkeep("list")
		for line := range strings.Lines(out) {
			var l struct{ URL, Digest string }
			if err := json.Unmarshal([]byte(line), &l); err == nil && l.URL == url {
				return "i/" + l.Digest
			}
		}
		t.Fatalf("%s is not listed: %s", url, out)
		return ""
	}
	badImage, goodImage := of(bad), of(good)
	forged := strings.Replace(link("i", "full", bad), extURL(link("i", "full", bad)), extURL(link("i", "full", good)), 1)
	w.within(site, "nginx shows it", func() bool { return ng.see("GET", forged, nil).status == 200 })
	for _, command := range []string{"show", "retry", "forget", "purge", "block", "unblock"} {
		out, errs, status := w.imgkeep(command, forged)
		if status != 1 || !strings.Contains(errs, good) || !strings.Contains(errs, bad) || !strings.Contains(errs, badImage) || !strings.Contains(errs, goodImage) || strings.Contains(out, "blocked") {
			t.Errorf("%s: status %d, %s%s", command, status, out, errs)
		}
	}
	s.get(link("i", "full", good)).isImage("image/jpeg")
	// Without a hot link nobody knows what it stands for; of one that has expired
	// years ago it is known.
	never := "/i/full/AAAAAAAAAAAAAAAA/" + extURL(link("i", "full", good))
	if out, errs, status := w.imgkeep("block", never); status != 1 || !strings.Contains(errs, "no secret has made it") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	old := signed(secret, "i", "full", extURL(link("i", "full", good)), "", time.Now().Add(-9*365*24*time.Hour))
	if out, errs, status := w.imgkeep("block", "--dry-run", old); status != 0 {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	// The server signs what is printed, for every caller.
	delete(w.conf, "sign.secrets")
	out, errs, status := w.imgkeep("block", "--json", "--unverified", forged)
	var done struct{ Links []string }
	if err := json.Unmarshal([]byte(out), &done); err != nil || status != 0 || len(done.Links) == 0 || !strings.Contains(out, link("i", "full", good)) {
		t.Errorf("status %d, %v, %s%s", status, err, out, errs)
	}
	s.get(link("i", "full", good)).isError(http.StatusUnavailableForLegalReasons, "removed")
	s.stop()
	// Without server and secret the hot links still tell; without them, that nothing does.
	if out, errs, status := w.imgkeep("block", forged); status != 1 || !strings.Contains(errs, badImage) {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	if out, errs, status := w.imgkeep("unblock", never); status != 0 || !strings.Contains(errs, "was not checked") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
}

// A reload needs no secret of the user who asks for it, as in the unit on Debian 12; a
// configuration that is wrong for the server is told to them, and to systemd.
func TestReloadWithoutCredentials(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	file := filepath.Join(w.dir, "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	delete(w.conf, "sign.secrets")
	status, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(w.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer status.Close()
	w.env = []string{"IMGKEEP_SIGN_SECRET_FILES=" + file, "NOTIFY_SOCKET=" + status.LocalAddr().String()}
	said := func(want string) string {
		t.Helper()
		buf := make([]byte, 4096)
		for {
			if err := status.SetReadDeadline(time.Now().Add(patience.Of(t))); err != nil {
				t.Fatal(err)
			}
			n, err := status.Read(buf)
			if err != nil {
				t.Fatalf("systemd was not told %q: %v", want, err)
			}
			if strings.HasPrefix(string(buf[:n]), want) {
				return string(buf[:n])
			}
		}
	}
	s := w.start()
	w.env = []string{"IMGKEEP_SIGN_SECRET_FILES=/run/credentials/imgkeep.service/secret"}
	w.set("sizes", []int{40})
	if out, errs, code := w.imgkeep("reload"); code != 0 || out != "changed: sizes\n" {
		t.Errorf("status %d, %s%s", code, out, errs)
	}
	said("STATUS=reloaded at ")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if out, errs, code := w.imgkeep("reload"); code != 1 || !strings.Contains(errs, "sign.secret_files[0]") {
		t.Errorf("status %d, %s%s", code, out, errs)
	}
	said("STATUS=reload refused at ")
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if text := said("STATUS=reload refused at "); !strings.Contains(text, "sign.secret_files[0]") || strings.Contains(text, "\n") {
		t.Errorf("systemd was told %q", text)
	}
	url := w.origin.serve("/pictures/cat", photo(t, 80, 60))
	s.get(link("i", "40x40", url)).isImage("image/jpeg")
	// The links that a CDN has to drop are signed by the server: who removes has no secret.
	w.env = nil
	for _, args := range [][]string{{"purge", "--dry-run", url}, {"purge", "--json", "--dry-run", url}, {"block", url}} {
		if out, errs, code := w.imgkeep(args...); code != 0 || !strings.Contains(out, link("i", "40x40", url)) {
			t.Errorf("%v: status %d, no link in %s%s", args, code, out, errs)
		}
	}
	s.stop()
}

// give makes the store another user's, but for one path.
func (w *world) give(uid, gid int, but string) {
	w.t.Helper()
	if err := filepath.WalkDir(w.root(), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == but {
			return err
		}
		return os.Lchown(path, uid, gid)
	}); err != nil {
		w.t.Fatal(err)
	}
}

// What root does in a store of somebody else, without its server, is done as that
// user: no file is left that the server could not write to.
func TestRootGivesWay(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	const uid, gid = 12345, 12346
	w := newWorld(t, nil)
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	url := w.origin.serve("/pictures/cat", photo(t, 30, 30))
	w.start().stop()
	w.give(uid, gid, "")
	owned := func(after string) {
		t.Helper()
		if err := filepath.WalkDir(w.root(), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != uid || st.Gid != gid {
				t.Errorf("after %s: %s belongs to %d:%d", after, path, st.Uid, st.Gid)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	}
	list := filepath.Join(w.dir, "urls")
	if err := os.WriteFile(list, []byte(url+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(w.dir, "image")
	if err := os.WriteFile(image, photo(t, 20, 20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"populate " + list, "add --url https://example.com/a.jpg " + image, "show " + url, "purge " + url, "block " + url, "unblock " + url,
		"block https://example.com/a.jpg", "retry " + url, "scrub --quiet --repair", "compact", "reindex --quiet", "list --blocked", "stats",
	} {
		if out, errs, status := w.imgkeep(strings.Fields(command)...); status != 0 {
			t.Errorf("%s: status %d, %s%s", command, status, out, errs)
		}
		owned(command)
	}
	if _, errs, status := w.imgkeep("serve"); status != 2 || !strings.Contains(errs, "belongs to user 12345") {
		t.Errorf("serve: status %d, %s", status, errs)
	}
	owned("serve")
	// Who has done it is root all the same.
	log, err := os.ReadFile(filepath.Join(w.root(), "audit.ndjson"))
	if err != nil || strings.Count(string(log), `"by":"uid 0 (root)"`) < 6 || strings.Contains(string(log), `"by":"uid 12345`) {
		t.Errorf("the audit log: %s, %v", log, err)
	}
}

// A block whose line cannot be written, as its journal is another user's, is no block: the command
// says which file that is, and does not say that it has removed anything.
func TestBlockInAnothersJournal(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files to others")
	}
	const uid, gid = 12345, 12346
	w := newWorld(t, nil)
	if err := os.Chmod(w.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	image := photo(t, 30, 30)
	url := w.origin.serve("/pictures/cat", image)
	s := w.start()
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	s.stop()
	journal := filepath.Join(w.root(), "journal") // of blocks
	w.give(uid, gid, journal)                     // which others may only read
	if err := os.Chmod(journal, 0o755); err != nil {
		t.Fatal(err)
	}
	out, errs, status := w.imgkeep("block", url)
	if status != 1 || out != "" || !strings.Contains(errs, "write the journal of blocks") || !strings.Contains(errs, "permission denied") {
		t.Errorf("status %d, %s%s", status, out, errs)
	}
	w.give(0, 0, "")
	s = w.start()
	s.get(link("i", "full", url)).isBytes("image/jpeg", image)
	if out, errs, status := w.imgkeep("block", url); status != 0 {
		t.Errorf("by one who may: status %d, %s%s", status, out, errs)
	}
	s.get(link("i", "full", url)).isError(http.StatusUnavailableForLegalReasons, "removed")
}
