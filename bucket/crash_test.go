package bucket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"imgkeep/bucket/blob/local"
	"imgkeep/bucket/blob/local/localtest"
	"imgkeep/bucket/fetch"
	"imgkeep/bucket/ledger"
	"imgkeep/bucket/probe"
	"imgkeep/bucket/record"
)

// The crash tests run this test binary again as a process of its own, which
// keeps, makes and repairs, is killed with SIGKILL, and says through a pipe what
// it has acknowledged.
const crashChild = "IMGKEEP_CRASH_CHILD"

// crashRounds is how many rounds of load are killed; scripts/crash wants more.
const crashRounds = "IMGKEEP_CRASH_ROUNDS"

func TestMain(m *testing.M) {
	if plan := os.Getenv(crashChild); plan != "" {
		if err := runCrashChild(plan); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// crashPlan is what a child is to do.
type crashPlan struct {
	Root    string
	Buckets []string
	Round   string // in all its URLs
	Load    int    // clients that keep until they are killed; 0: one that does each thing once
	Opening bool   // steps are counted from the start, not from when the store is open
	Care    string // what looks after the store, in the place of keeping; "": nothing
	Backup  string // folder of it
	KillAt  int    // the step that is not survived; 0: none
}

// crashOrigin has an image under every URL, but for those that are gone. Child
// and parent agree on its bytes without talking.
type crashOrigin struct{}

func (crashOrigin) Fetch(_ context.Context, r fetch.Request, dst io.Writer) (fetch.Result, error) {
	if strings.Contains(r.URL, "/gone") {
		return fetch.Result{}, &fetch.Error{Kind: fetch.Gone, Status: 404, Err: errors.New("the origin says 404")}
	}
	body := crashBody(r.URL)
	info := probe.Info{Format: probe.PNG, Width: 3, Height: 2, Orientation: 1, Frames: 1}
	for _, half := range [][]byte{body[:len(body)/2], body[len(body)/2:]} {
		if _, err := dst.Write(half); err != nil {
			return fetch.Result{}, err
		}
	}
	return fetch.Result{Info: info, Bytes: int64(len(body))}, nil
}

// crashBody is up to 40 KB; a URL ending in "?again" has the bytes of the one
// without.
func crashBody(url string) []byte {
	sum := sha256.Sum256([]byte(strings.TrimSuffix(url, "?again")))
	return bytes.Repeat(sum[:], 1+int(sum[0])*int(sum[1])/50)
}

func crashURL(round string, kind string, k int) string {
	return fmt.Sprintf("https://example.com/%s/%s/%d.png", round, kind, k)
}

// made is what a child makes of an image under a name.
func crashMade(url, name string) []byte {
	return bytes.Repeat([]byte(name+" of "+strings.TrimSuffix(url, "?again")+"\n"), 100)
}

func runCrashChild(text string) error {
	var plan crashPlan
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return err
	}
	c := &crasher{plan: plan, pipe: os.NewFile(3, "acknowledgements"), counting: plan.Opening}
	o := Options{Root: plan.Root, Origin: crashOrigin{}, disk: newStepDisk(c.hook), sparse: true}
	if plan.Opening {
		o.disk = newFullStepDisk(c.hook)
	}
	for _, name := range plan.Buckets {
		o.Buckets = append(o.Buckets, Bucket{Name: name})
	}
	if plan.Care != "" {
		return c.care(o)
	}
	var err error
	if c.store, err = Open(o); err != nil {
		return err
	}
	c.mu.Lock()
	c.counting = !plan.Opening
	c.mu.Unlock()
	if plan.Load == 0 {
		c.each()
	} else {
		for client := range plan.Load {
			go func() {
				for k := client; ; k += plan.Load {
					c.one(k)
				}
			}()
		}
		select {} // until the parent kills
	}
	return c.store.Close(context.Background())
}

// crasher is the child's side.
type crasher struct {
	plan  crashPlan
	store *Store

	mu       sync.Mutex
	pipe     *os.File
	counting bool
	steps    int
}

// hook dies at a step: before it, or in the middle of a write.
func (c *crasher) hook(s localtest.Step, do func() error) error {
	c.mu.Lock()
	if c.counting {
		c.steps++
	}
	n, count := c.steps, c.counting
	c.mu.Unlock()
	if count && c.plan.KillAt == 0 && c.plan.Load == 0 {
		c.say("step", stepKind(c.plan.Root, s))
	}
	if c.plan.KillAt == 0 || n < c.plan.KillAt {
		return do()
	}
	if n == c.plan.KillAt && s.Op == "Write" {
		return syscall.EIO // half of it is written; the next step is the last
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// say acknowledges: one line in one write, which outlives the process.
func (c *crasher) say(words ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.pipe, strings.Join(words, " "))
}

// each does everything once.
func (c *crasher) each() {
	c.one(0)
	c.one(1)
	c.one(2)
	c.keep(crashURL(c.plan.Round, "a", 0) + "?again")
	c.keep(crashURL(c.plan.Round, "gone", 0))
	c.removes()
}

// one keeps an image and makes of it, and every third time damages and repairs it.
func (c *crasher) one(k int) {
	url := crashURL(c.plan.Round, "a", k)
	image, ok := c.keep(url)
	if !ok {
		return
	}
	if c.plan.Load > 0 && k%7 == 6 {
		c.remove(url, func() error {
			_, err := c.store.Purge(context.Background(), Target{URL: url}, RemoveOptions{})
			return err
		})
		return
	}
	switch c.make(image, "250x250", crashMade(url, "250x250")); k % 3 {
	case 0:
		c.make(image, "500x", nil)
	case 1: // vanished
		c.say("damaging", url)
		os.Remove(c.store.Path(image.File()))
		f, err := c.store.Open(context.Background(), image)
		if err == nil {
			c.say("repaired", url)
			f.Close()
		}
	case 2: // other bytes
		c.say("damaging", url)
		path := c.store.Path(image.File())
		os.Remove(path)
		os.WriteFile(path, make([]byte, image.Bytes), local.ImageMode)
		if c.make(image, "100x100", crashMade(url, "100x100")) {
			c.say("repaired", url)
		}
	}
}

func (c *crasher) keep(url string) (record.Image, bool) {
	image, err := c.store.Keep(context.Background(), c.plan.Buckets[0], url)
	if err != nil {
		return image, false
	}
	c.say("kept", url)
	return image, true
}

func (c *crasher) make(i record.Image, name string, data []byte) bool {
	f, err := c.store.OpenVariant(context.Background(), i, name, probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
		_, err := io.Copy(io.Discard, r)
		return data, err
	})
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// crashSite is the parent's side: a store, and what was acknowledged of it in all
// rounds.
type crashSite struct {
	root    string
	kept    map[string]bool // by URL
	damaged map[string]bool // by URL, by the test, and not known to be repaired
	removed map[string]bool // by URL, and not kept since
	again   map[string]bool // by URL: removed, and perhaps kept again
	tried   map[string]bool // URLs that a child may have kept
	rounds  int
}

func newCrashSite(t *testing.T) *crashSite {
	c := &crashSite{root: t.TempDir(), kept: map[string]bool{}, removed: map[string]bool{}, again: map[string]bool{}, damaged: map[string]bool{}, tried: map[string]bool{}}
	c.open(t, "i").Close(t.Context())
	return c
}

func (c *crashSite) open(t *testing.T, buckets ...string) *Store {
	t.Helper()
	o := sparse(Options{Root: c.root, Origin: crashOrigin{}})
	for _, name := range buckets {
		o.Buckets = append(o.Buckets, Bucket{Name: name})
	}
	s, err := Open(o)
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	return s
}

// run runs a child to its end, or until it has said so many things, and notes
// what it acknowledged. It returns the kinds of the steps, of a child that was to
// do each thing once and to live.
func (c *crashSite) run(t *testing.T, plan crashPlan, killAfter int) (steps []string) {
	t.Helper()
	c.rounds++
	plan.Root, plan.Round = c.root, strconv.Itoa(c.rounds)
	if plan.Buckets == nil {
		plan.Buckets = []string{"i"}
	}
	text, err := json.Marshal(plan)
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var stderr bytes.Buffer
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), crashChild+"="+string(text))
	child.ExtraFiles = []*os.File{w}
	child.Stderr = &stderr
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	most := 3
	for lines := bufio.NewScanner(r); lines.Scan(); {
		word, arg, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "kept":
			c.kept[arg] = true
			delete(c.removed, arg)
			most++
		case "keeping": // from here on a file may be there that nothing refers to
			delete(c.removed, strings.TrimPrefix(arg, "again "))
			c.again[strings.TrimPrefix(arg, "again ")] = true
		case "removing":
			delete(c.kept, arg)
		case "removed":
			c.removed[arg] = true
		case "damaging":
			c.damaged[arg] = true
		case "repaired":
			delete(c.damaged, arg)
		case "step":
			steps = append(steps, arg)
		}
		if killAfter--; killAfter == 0 {
			child.Process.Kill()
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
	default:
		t.Fatalf("the child: %v\n%s", err, &stderr)
	}
	for k := range most + plan.Load {
		c.tried[crashURL(plan.Round, "a", k)] = true
	}
	c.tried[crashURL(plan.Round, "a", 0)+"?again"] = true
	for k := range 3 {
		c.tried[crashURL(plan.Round, "r", k)] = true
		c.tried[crashURL(plan.Round, "r", k)+"?again"] = true
	}
	return steps
}

// check checks the store as the dead child left it, then starts it and checks
// again.
func (c *crashSite) check(t *testing.T, buckets ...string) {
	t.Helper()
	for _, line := range brokenLines(t, c.root, "i") {
		if strings.HasSuffix(line, "\n") {
			t.Errorf("a broken line in the journal: %.100q", line)
		}
	}
	for url := range c.tried {
		c.checkFile(t, url)
	}
	s := c.open(t, append([]string{"i"}, buckets...)...)
	defer s.Close(t.Context())
	if err := s.index.Check(); err != nil { // the bytes of sites among it
		t.Error(err)
	}
	if left, err := os.ReadDir(filepath.Join(c.root, record.TmpDir)); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	journaled := map[string]bool{}
	for _, e := range readJournal(t, c.root, "i") { // fails at a broken line
		journaled[e.URL+" "+e.Digest] = true
	}
	for url := range c.tried {
		image, err := s.Find("i", url)
		if c.removed[url] && err == nil {
			t.Errorf("it was removed, and is there: %s", url)
		}
		if (errors.Is(err, ErrNotKept) || errors.Is(err, ErrRemoved)) && !c.kept[url] {
			c.checkRemoved(t, s, url)
			continue
		}
		if err != nil {
			t.Errorf("acknowledged, but not in the index: %s: %v", url, err)
			continue
		}
		if image.Digest != sha256.Sum256(crashBody(url)) {
			t.Errorf("another image: %s", url)
		}
		if _, err := os.Stat(s.Path(image.File())); err != nil && !c.isDamaged(url) {
			t.Errorf("an entry without a file: %s: %v", url, err)
		}
		if !journaled[url+" "+image.Digest.String()] {
			t.Errorf("an entry without a line in the journal: %s", url)
		}
	}
	// What the last child had damaged and not repaired is repaired now.
	for url := range c.damaged {
		image, err := s.Find("i", url)
		if err != nil {
			t.Error(err)
			continue
		}
		f, err := s.OpenVariant(t.Context(), image, "check", probe.PNG, func(_ context.Context, r io.Reader, _ int64) ([]byte, error) {
			_, err := io.Copy(io.Discard, r)
			return nil, err
		})
		if err != nil {
			t.Errorf("repair %s: %v", url, err)
			continue
		}
		f.Close()
		delete(c.damaged, url)
		c.checkFile(t, url)
	}
	clear(c.tried) // files are immutable; the last check looks at all
}

// isDamaged: the URL, or the one with the same bytes, was damaged by the test.
func (c *crashSite) isDamaged(url string) bool {
	return c.damaged[strings.TrimSuffix(url, "?again")]
}

// checkFile checks the files of one image: whole, or not there.
func (c *crashSite) checkFile(t *testing.T, url string) {
	t.Helper()
	body := crashBody(url)
	image := record.Image{Bucket: "i", Digest: sha256.Sum256(body), Info: probe.Info{Format: probe.PNG}}
	got, err := os.ReadFile(filepath.Join(c.root, image.File()))
	switch {
	case c.isDamaged(url):
	case errors.Is(err, fs.ErrNotExist) && !c.kept[url]:
	case err != nil:
		t.Errorf("the file of %s: %v", url, err)
	case !bytes.Equal(got, body):
		t.Errorf("under the final name of %s are %d bytes of %d, or others", url, len(got), len(body))
	}
	for _, name := range []string{"250x250", "100x100"} {
		got, err := os.ReadFile(filepath.Join(c.root, image.VariantFile(name, probe.PNG)))
		if err == nil && !bytes.Equal(got, crashMade(url, name)) || err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of %s has %d bytes, %v", name, url, len(got), err)
		}
	}
}

// checkAll checks all that was ever acknowledged, and that no other file is there.
func (c *crashSite) checkAll(t *testing.T) {
	t.Helper()
	for url := range c.kept {
		c.tried[url] = true
	}
	c.check(t)
	c.checkScrubbed(t)
	orphans := checkFiles(t, c.root)
	t.Logf("%d rounds, %d images acknowledged, %d whole files that nothing refers to", c.rounds, len(c.kept), len(orphans))
}

// brokenLines returns the lines of a bucket's journal that are no events.
func brokenLines(t *testing.T, root, bucket string) (broken []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, bucket, record.JournalDir, "*"+record.JournalExt))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var e ledger.Event
			if json.Unmarshal([]byte(line), &e) != nil || !strings.HasSuffix(line, "\n") {
				broken = append(broken, line)
			}
		}
	}
	return broken
}

// The process dies at each step of keeping, making and repairing in turn.
func TestCrashAtEachStep(t *testing.T) {
	t.Parallel()
	c := newCrashSite(t)
	steps := c.run(t, crashPlan{}, 0)
	c.check(t)
	if len(steps) < 50 {
		t.Fatalf("there are %d steps", len(steps))
	}
	for _, n := range toTry(steps) {
		c.run(t, crashPlan{KillAt: n}, 0)
		if c.check(t); t.Failed() {
			t.Fatalf("killed at step %d, %s", n, steps[n-1])
		}
	}
	c.checkAll(t)
}

// The process dies while many clients keep it busy: at a random step, or at the
// instant when the parent has read a random number of acknowledgements.
func TestCrashUnderLoad(t *testing.T) {
	t.Parallel()
	rounds, err := strconv.Atoi(os.Getenv(crashRounds))
	if err != nil {
		rounds = 12
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	c := newCrashSite(t)
	for round := range rounds {
		plan, killAfter := crashPlan{Load: 1 + random.IntN(16)}, 0
		if round%2 == 0 {
			plan.KillAt = 1 + random.IntN(400)
		} else {
			killAfter = 1 + random.IntN(100)
		}
		c.run(t, plan, killAfter)
		if c.check(t); t.Failed() {
			t.Fatalf("round %d of seed %d, %+v, killed after %d acknowledgements", round, seed, plan, killAfter)
		}
	}
	c.checkAll(t)
}

// The process dies while it creates a bucket: the bucket has all its folders, or does not
// exist.
func TestCrashWhileOpening(t *testing.T) {
	t.Parallel()
	rounds, err := strconv.Atoi(os.Getenv(crashRounds))
	if err != nil {
		rounds = 100
	}
	c := newCrashSite(t)
	c.run(t, crashPlan{}, 0)
	steps := 0
	for round := range rounds / 10 {
		name := fmt.Sprint("b", round)
		plan := crashPlan{Buckets: []string{"i", name}, Opening: true}
		switch {
		case round == 0: // count
		case round <= 4: // the last ones
			plan.KillAt = steps + 1 - round
		default:
			plan.KillAt = 1 + rand.IntN(steps)
		}
		n := c.run(t, plan, 0)
		steps = max(steps, len(n))
		found, err := filepath.Glob(filepath.Join(c.root, name, "?", "?"))
		if _, there := os.Stat(filepath.Join(c.root, name)); err != nil || there == nil && len(found) != 64*64 {
			t.Errorf("killed at step %d of %d: a bucket of %d folders, %v", plan.KillAt, steps, len(found), err)
		}
		c.check(t, name)
		os.RemoveAll(filepath.Join(c.root, name))
	}
	c.checkAll(t)
}
