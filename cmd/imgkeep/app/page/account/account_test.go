package account

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"imgkeep/bucket/record"
)

const good = "correct horse battery"

// world is a book with a clock that a test moves.
type world struct {
	*Book
	root string
	at   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{root: t.TempDir(), at: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)}
	if err := os.Mkdir(filepath.Join(w.root, record.TmpDir), 0o700); err != nil {
		t.Fatal(err)
	}
	w.Book = Open(w.root, func() time.Time { return w.at })
	w.hasher.memory = 64 // a hash of every test would else take a tenth of a second
	return w
}

// join makes an account with a password.
func (w *world) join(t *testing.T, name string, role Role) Moderator {
	t.Helper()
	secret, err := w.Add(name, role, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	m, err := w.Join(t.Context(), secret, good)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var here = netip.MustParseAddr("198.51.100.7")

func TestRoles(t *testing.T) {
	for _, c := range []struct {
		role, other Role
		want        bool
	}{
		{View, View, true}, {View, Remove, false}, {View, Admin, false},
		{Remove, View, true}, {Remove, Remove, true}, {Remove, Admin, false},
		{Admin, View, true}, {Admin, Remove, true}, {Admin, Admin, true},
		{"", View, false}, {"", "", false}, {"root", View, false}, {Admin, "", false},
	} {
		if got := c.role.May(c.other); got != c.want {
			t.Errorf("%q may %q: %v", c.role, c.other, got)
		}
	}
	if _, err := ParseRole("root"); err == nil {
		t.Error("root is a role")
	}
}

// The limits of names and passwords, on each side.
func TestLimits(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "anna.b-c_d9": true, strings.Repeat("a", 32): true, "9a": true,
		"": false, strings.Repeat("a", 33): false, "Anna": false, "-a": false, ".a": false, "a b": false, "a/b": false, "ä": false, "a\n": false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for password, ok := range map[string]bool{
		"123456789x": true, strings.Repeat("ab", MaxPassword/2): true,
		"": false, "123456789": false, strings.Repeat("ab", MaxPassword/2) + "c": false, strings.Repeat("a", 20): false, "annaannaanna": false, "ANNAannaanna": false,
	} {
		if err := checkPassword("anna", password); (err == nil) != ok {
			t.Errorf("password %q: %v", password, err)
		}
	}
}

// A link chooses a password once, in its time; a new one ends the one before.
func TestJoin(t *testing.T) {
	w := newWorld(t)
	first, err := w.Add("anna", Remove, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Add("anna", View, time.Hour); !errors.Is(err, ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if _, err := w.SignIn(t.Context(), "anna", "", here, ""); !errors.Is(err, ErrPassword) {
		t.Errorf("before a password was chosen: %v", err)
	}
	second, err := w.Renew("anna", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string]string{"replaced": first, "none": "", "another": newSecret()} {
		if _, err := w.Join(t.Context(), secret, good); !errors.Is(err, ErrLink) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Join(t.Context(), second, "short"); err == nil || errors.Is(err, ErrLink) {
		t.Errorf("a short password: %v", err)
	}
	w.at = w.at.Add(time.Hour - time.Second)
	if m, err := w.Join(t.Context(), second, good); err != nil || m.Name != "anna" || m.Role != Remove {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := w.Join(t.Context(), second, good); !errors.Is(err, ErrLink) {
		t.Errorf("used twice: %v", err)
	}
	third, err := w.Renew("anna", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := w.SignIn(t.Context(), "anna", good, here, ""); err != nil || m.Name != "anna" {
		t.Errorf("while a link is open: %v", err)
	}
	w.at = w.at.Add(time.Hour)
	if _, err := w.Join(t.Context(), third, good); !errors.Is(err, ErrLink) {
		t.Errorf("expired: %v", err)
	}
	for _, do := range []func() error{
		func() error { _, err := w.Renew("nobody", 1); return err }, func() error { return w.SetRole("nobody", View) },
		func() error { return w.Drop("nobody") }, func() error { _, err := w.Find("nobody"); return err },
	} {
		if err := do(); !errors.Is(err, ErrUnknown) {
			t.Errorf("nobody: %v", err)
		}
	}
}

// The file holds nothing that opens anything, and nobody else may read it.
func TestFile(t *testing.T) {
	w := newWorld(t)
	w.hasher = newHasher()
	w.join(t, "anna", Admin)
	link, err := w.Renew("anna", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	token, err := w.NewToken("anna", "forum", View, 0)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.root, File)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{good, link, token, strings.TrimPrefix(token, TokenPrefix)} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q stands in the file", secret)
		}
	}
	if !strings.Contains(string(text), "$argon2id$v=19$m=32768,t=2,p=1$") {
		t.Errorf("no argon2id: %s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// Another process sees what this one did, and this one what the other does.
	other := Open(w.root, time.Now)
	if err := other.SetRole("anna", View); err != nil {
		t.Fatal(err)
	}
	if m, err := w.Find("anna"); err != nil || m.Role != View {
		t.Errorf("%+v, %v", m, err)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Find("anna"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := w.Add("bert", View, 1); err == nil {
		t.Error("a damaged file is replaced")
	}
}

// Many at once lose nothing.
func TestChangeTogether(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			if _, err := Open(w.root, time.Now).Add(fmt.Sprint("m", n), View, time.Hour); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if m, err := w.All(); err != nil || len(m) != 8 || m[0].Name != "m0" {
		t.Errorf("%d accounts, %v", len(m), err)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	if _, err := w.Add("anna", Remove, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewToken("anna", "forum", Admin, 0); err == nil {
		t.Error("a token may more than its owner")
	}
	forum, err := w.NewToken("anna", "forum", Remove, 0)
	if err != nil {
		t.Fatal(err)
	}
	short, err := w.NewToken("anna", "short", View, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewToken("anna", "forum", View, 0); err == nil {
		t.Error("two tokens have one label")
	}
	is := func(secret string, role Role, label string) {
		t.Helper()
		m, l, err := w.ByToken(secret)
		if role == "" && !errors.Is(err, ErrToken) || role != "" && (err != nil || m.Role != role || l != label || m.Name != "anna") {
			t.Errorf("%+v, %q, %v; want %q, %q", m, l, err, role, label)
		}
	}
	is(forum, Remove, "forum")
	is(short, View, "short")
	is("", "", "")
	is(forum[:len(forum)-1], "", "")
	w.at = w.at.Add(time.Hour)
	is(short, "", "")
	if err := w.SetRole("anna", View); err != nil {
		t.Fatal(err)
	}
	if err := w.SetRole("anna", Admin); err != nil {
		t.Fatal(err)
	}
	is(forum, View, "forum") // what was taken from it does not come back by itself
	if err := w.DropToken("anna", "forum"); err != nil {
		t.Fatal(err)
	}
	is(forum, "", "")
	if err := w.DropToken("anna", "forum"); !errors.Is(err, ErrToken) {
		t.Error(err)
	}
}

// An attacker who guesses an account from everywhere is stopped, and does not keep out a browser
// that its owner has signed in with before; and a minute later one more may try.
func TestGuessing(t *testing.T) {
	w := newWorld(t)
	w.join(t, "anna", View)
	w.join(t, "bert", View)
	device, err := w.NewDevice("anna")
	if err != nil {
		t.Fatal(err)
	}
	from := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, byte(n), 9}) }
	try := func(name, password string, at netip.Addr, device string) error {
		_, err := w.SignIn(t.Context(), name, password, at, device)
		return err
	}
	for n := range accountBurst {
		if err := try("anna", "wrong", from(n), ""); !errors.Is(err, ErrPassword) {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	var many TooManyError
	if err := try("anna", good, from(50), ""); !errors.As(err, &many) || many.After <= 0 || many.After > accountEvery {
		t.Errorf("one more: %v", err)
	}
	if err := try("anna", good, from(50), device); err != nil {
		t.Errorf("with a browser that is known: %v", err)
	}
	if err := try("bert", good, from(50), device); err != nil { // whose device it is not
		t.Errorf("another account: %v", err)
	}
	for _, forged := range []string{"", "x", "x.y", device + "x", "x." + device} {
		if err := try("anna", good, from(51), forged); !errors.As(err, &many) {
			t.Errorf("device %q: %v", forged, err)
		}
	}
	w.at = w.at.Add(accountEvery)
	if err := try("anna", good, from(50), ""); err != nil {
		t.Errorf("a minute later: %v", err)
	}
	// One network, many names.
	for n := range networkBurst {
		if err := try(fmt.Sprint("nobody", n), "wrong", netip.MustParseAddr("2001:db8:0:ff00::1"), ""); !errors.Is(err, ErrPassword) {
			t.Fatalf("attempt %d: %v", n, err)
		}
	}
	if err := try("bert", good, netip.MustParseAddr("2001:db8:0:ff77::9"), ""); !errors.As(err, &many) || many.After > networkEvery {
		t.Errorf("of that network: %v", err)
	}
	if err := try("bert", good, netip.MustParseAddr("2001:db8:0:fe00::1"), ""); err != nil {
		t.Errorf("of another: %v", err)
	}
	for _, c := range [][2]string{{strings.Repeat("a", 65), good}, {"anna", strings.Repeat("a", MaxPassword+1)}} {
		if err := try(c[0], c[1], from(60), ""); !errors.Is(err, ErrPassword) {
			t.Error(err)
		}
	}
}

// What is remembered of those who guess is bounded, and those who guess most stay.
func TestGuessesAreBounded(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	g := newGuesses(func() time.Time { return now })
	for range accountBurst {
		g.allow("network a", "stranger anna")
	}
	for n := range maxGuesses/2 + 100 {
		g.allow(fmt.Sprint("network ", n), fmt.Sprint("stranger ", n))
	}
	if len(g.full) > maxGuesses+1 {
		t.Errorf("%d are remembered", len(g.full))
	}
	if err := g.allow("network b", "stranger anna"); err == nil {
		t.Error("the network that guessed most is forgotten")
	}
}

// Two passwords are hashed at once; more wait, and are told so in time.
func TestHashesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHasher()
		var free []func()
		for range cap(h.slots) {
			release, err := h.take(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			free = append(free, release)
		}
		began := time.Now()
		if _, err := h.take(t.Context()); !errors.Is(err, ErrBusy) || time.Since(began) != h.patience {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		go func() { time.Sleep(h.patience / 2); free[0]() }()
		if _, err := h.take(t.Context()); err != nil {
			t.Errorf("one ends: %v", err)
		}
	})
}

// A password of no account takes a hash as well.
func TestAbsentPassword(t *testing.T) {
	h := newHasher()
	if ok, err := h.matches(t.Context(), "", ""); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	if ok, err := h.matches(t.Context(), "x", h.absent()); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
	for _, kept := range []string{"x", "$argon2i$v=19$m=8,t=1,p=1$AA$AA", "$argon2id$v=19$m=9999999,t=1,p=1$AA$AA", "$argon2id$v=19$m=8,t=0,p=1$AA$AA", "$argon2id$v=19$m=8,t=1,p=1$!$AA", "$argon2id$v=19$m=8,t=1,p=1$AA$!"} {
		if ok, err := h.matches(t.Context(), "x", kept); ok || err == nil {
			t.Errorf("%q: %v, %v", kept, ok, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.slots <- struct{}{}
	h.slots <- struct{}{}
	if _, err := h.hash(ctx, "x"); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
}

// A session ends after a while without use, after a week, with the account, with a new
// password, and when it is ended.
func TestSessions(t *testing.T) {
	w := newWorld(t)
	anna := w.join(t, "anna", View)
	s := NewSessions(w.Book)
	in := func(secret string, want bool) {
		t.Helper()
		x, m, ok := s.Find(secret)
		if ok != want || ok && (x.Name != "anna" || m.Name != "anna" || x.CSRF == "") {
			t.Errorf("%+v, %+v, %v; want %v", x, m, ok, want)
		}
	}
	secret, x := s.Begin(anna)
	in(secret, true)
	in("", false)
	in(x.CSRF, false)
	w.at = w.at.Add(SessionIdle)
	in(secret, true)
	if s.Seen("anna") != w.at || !s.Seen("bert").IsZero() {
		t.Error("nobody knows when she was seen")
	}
	w.at = w.at.Add(SessionIdle + time.Second)
	in(secret, false)

	secret, _ = s.Begin(anna)
	for range 14 {
		w.at = w.at.Add(SessionIdle)
		in(secret, true)
	}
	w.at = w.at.Add(time.Second)
	in(secret, false)

	secret, _ = s.Begin(anna)
	s.End(secret)
	in(secret, false)

	// The role is that of the account now.
	secret, _ = s.Begin(anna)
	if err := w.SetRole("anna", Admin); err != nil {
		t.Fatal(err)
	}
	if _, m, _ := s.Find(secret); m.Role != Admin {
		t.Errorf("%+v", m)
	}
	link, err := w.Renew("anna", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	in(secret, true)
	anna, err = w.Join(t.Context(), link, good+"!")
	if err != nil {
		t.Fatal(err)
	}
	in(secret, false)
	secret, _ = s.Begin(anna)
	before := anna.Changed
	if err := w.Drop("anna"); err != nil {
		t.Fatal(err)
	}
	// The next account of that name is somebody else's.
	w.at = w.at.Add(time.Second)
	anna = w.join(t, "anna", View)
	for anna.Changed < before {
		link, err := w.Renew("anna", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if anna, err = w.Join(t.Context(), link, good); err != nil {
			t.Fatal(err)
		}
	}
	in(secret, false)
}

func TestSessionsAreBounded(t *testing.T) {
	w := newWorld(t)
	anna := w.join(t, "anna", View)
	s := NewSessions(w.Book)
	first, _ := s.Begin(anna)
	second, _ := s.Begin(anna)
	for range perAccount - 2 {
		w.at = w.at.Add(time.Second)
		s.Begin(anna)
	}
	if _, _, ok := s.Find(first); !ok {
		t.Error("ended too early")
	}
	s.Begin(anna)
	if _, _, ok := s.Find(second); ok {
		t.Error("one too many")
	}
	if _, _, ok := s.Find(first); !ok {
		t.Error("the one in use was ended")
	}
}
