package sign_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"imgkeep/sign"
)

const image = "https://example_url/img.jpg"

const (
	secret = "a long enough secret"
	other  = "another long enough secret"
)

func newSigner(t testing.TB, o sign.Options) *sign.Signer {
	t.Helper()
	if o.Secrets == nil {
		o.Secrets = []string{secret}
	}
	s, err := sign.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

// The vectors are a promise: other programs sign these links.
func TestVectors(t *testing.T) {
	now := time.Unix(1640730000, 0)
	for _, tt := range []struct {
		secret string
		proxy  bool
		want   string
	}{
		{"1234", false, "/i/full/gnjO6SJxYbeT9VBz/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn"},
		{"123456", false, "/i/full/4f3OT_te_O37pMOZ/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn"},
		{"1234", true, "/i/full/u21SyNepGvwmqYgs/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn/proxy"},
	} {
		s := newSigner(t, sign.Options{Secrets: []string{tt.secret}, AllowWeak: true})
		l := s.Sign("i", sign.SizeFull, image, tt.proxy, now)
		if l.String() != tt.want {
			t.Errorf("secret %s: got %s, want %s", tt.secret, l, tt.want)
		}
		if _, err := s.Verify(l, now); err != nil {
			t.Errorf("secret %s: own link refused: %v", tt.secret, err)
		}
	}
}

func TestBucketless(t *testing.T) {
	now := time.Unix(1640730000, 0)
	l, err := sign.Parse("/i/full/ae0_4RXxKhh6_AwX/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn")
	if err != nil {
		t.Fatal(err)
	}
	inF := l
	inF.Bucket = "f"
	for _, tt := range []struct {
		name       string
		bucketless string
		link       sign.Link
		want       error
	}{
		{"in the bucket named", "i", l, nil},
		{"in another bucket", "i", inF, sign.ErrForged},
		{"off by default", "", l, sign.ErrForged},
	} {
		s := newSigner(t, sign.Options{Secrets: []string{"1234"}, AllowWeak: true, Bucketless: tt.bucketless})
		if _, err := s.Verify(tt.link, now); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	s := newSigner(t, sign.Options{Secrets: []string{"1234"}, AllowWeak: true, Bucketless: "i"})
	if made := s.SignBucketless("i", "full", image, false, now); made != l {
		t.Errorf("signs %s, want %s", made, l)
	}
	// The bucketless signature does not serve the new scheme's other links.
	if _, err := s.Verify(s.Sign("i", "full", image, false, now), now); err != nil {
		t.Errorf("links of the newer scheme are refused beside the older: %v", err)
	}
}

// Both schemes agree on the week, also where a year or a zone's day ends.
func TestBucketlessWeeks(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Kiritimati"} {
		location, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		s := newSigner(t, sign.Options{Location: location, Bucketless: "i"})
		for _, now := range []string{
			"2020-12-31T12:00:00Z", "2021-01-03T23:59:59Z", "2021-01-04T00:00:00Z", "2024-12-30T00:00:00Z",
			"2026-12-28T00:00:00Z", "2027-01-03T23:59:59Z", "2027-01-04T07:59:59Z", "2026-03-29T01:00:00Z",
		} {
			for _, proxy := range []bool{false, true} {
				l := s.SignBucketless("i", "full", image, proxy, at(now))
				if _, err := s.Verify(l, at(now)); err != nil {
					t.Errorf("%s, %s, proxy %v: %v", zone, now, proxy, err)
				}
				l.Bucket = "f"
				if _, err := s.Verify(l, at(now)); !errors.Is(err, sign.ErrForged) {
					t.Errorf("%s, %s, proxy %v, in another bucket: %v", zone, now, proxy, err)
				}
			}
		}
	}
}

// One link, followed through its life, to the second.
func TestLife(t *testing.T) {
	made := at("2026-11-18T12:00:00Z") // a Wednesday of 2026-W47
	for _, tt := range []struct {
		weeks int
		now   string
		want  error
	}{
		{2, "2026-11-15T23:49:59Z", sign.ErrForged}, // more than ten minutes early
		{2, "2026-11-15T23:50:00Z", nil},            // ten minutes early
		{2, "2026-11-15T23:59:59Z", nil},
		{2, "2026-11-16T00:00:00Z", nil}, // its week begins
		{2, "2026-11-18T12:00:00Z", nil},
		{2, "2026-11-22T23:59:59Z", nil},
		{2, "2026-11-23T00:00:00Z", nil}, // the next week
		{2, "2026-11-29T23:59:59Z", nil},
		{2, "2026-11-30T00:00:00Z", sign.ErrExpired}, // its last week is over
		{2, "2027-01-24T23:59:59Z", sign.ErrExpired}, // the eighth week after
		{2, "2027-01-25T00:00:00Z", sign.ErrForged},  // too long ago to tell
		{1, "2026-11-22T23:59:59Z", nil},
		{1, "2026-11-23T00:00:00Z", sign.ErrExpired},
		{4, "2026-12-13T23:59:59Z", nil},
		{4, "2026-12-14T00:00:00Z", sign.ErrExpired},
	} {
		s := newSigner(t, sign.Options{Weeks: tt.weeks})
		l := s.Sign("i", "full", image, false, made)
		expires, err := s.Verify(l, at(tt.now))
		if !errors.Is(err, tt.want) {
			t.Errorf("%d weeks, at %s: got %v, want %v", tt.weeks, tt.now, err, tt.want)
		}
		if want := at("2026-11-16T00:00:00Z").AddDate(0, 0, 7*tt.weeks); err == nil && !expires.Equal(want) {
			t.Errorf("%d weeks, at %s: expires %s, want %s", tt.weeks, tt.now, expires, want)
		}
	}
}

// A Signer outlives its weeks: the same one is asked before and after.
func TestOneSignerThroughWeeks(t *testing.T) {
	s := newSigner(t, sign.Options{})
	now := at("2020-11-01T00:00:00Z")
	for range 1000 {
		l := s.Sign("i", "full", image, false, now)
		expires, err := s.Verify(l, now)
		if err != nil {
			t.Fatalf("at %s: %v", now, err)
		}
		if _, err := s.Verify(l, expires.Add(-time.Nanosecond)); err != nil {
			t.Fatalf("at %s, just before the end: %v", now, err)
		}
		if _, err := s.Verify(l, expires); !errors.Is(err, sign.ErrExpired) {
			t.Fatalf("at %s, at the end: %v", now, err)
		}
		now = now.Add(57 * time.Hour)
	}
}

// The week of a link is that of ISO 8601: two times share a week exactly when
// they give the same signature.
func TestISOWeeks(t *testing.T) {
	s := newSigner(t, sign.Options{})
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{"2020-12-31T12:00:00Z", "2021-01-03T23:59:59Z", true}, // both 2020-W53
		{"2021-01-03T23:59:59Z", "2021-01-04T00:00:00Z", false},
		{"2024-12-29T23:59:59Z", "2024-12-30T00:00:00Z", false}, // 2024-W52, 2025-W01
		{"2024-12-30T00:00:00Z", "2025-01-05T23:59:59Z", true},
		{"2026-12-28T00:00:00Z", "2027-01-01T00:00:00Z", true}, // both 2026-W53
		{"2027-01-03T23:59:59Z", "2027-01-04T00:00:00Z", false},
		{"2022-01-03T00:00:00Z", "2021-01-04T00:00:00Z", false}, // W01 of two years
	} {
		a := s.Sign("i", "full", image, false, at(tt.a))
		b := s.Sign("i", "full", image, false, at(tt.b))
		if (a == b) != tt.same {
			t.Errorf("%s and %s: same week %v, want %v", tt.a, tt.b, a == b, tt.same)
		}
	}
}

func TestTimezone(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	local := newSigner(t, sign.Options{Location: berlin})
	utc := newSigner(t, sign.Options{})
	for _, tt := range []struct {
		now  string
		same bool
	}{
		{"2026-11-22T22:59:59Z", true},
		{"2026-11-22T23:00:00Z", false}, // Monday in Berlin, Sunday in UTC
		{"2026-11-22T23:59:59Z", false},
		{"2026-11-23T00:00:00Z", true},
	} {
		a := local.Sign("i", "full", image, false, at(tt.now))
		b := utc.Sign("i", "full", image, false, at(tt.now))
		if (a == b) != tt.same {
			t.Errorf("%s: same link %v, want %v", tt.now, a == b, tt.same)
		}
	}
	// Clocks went back on 2026-10-25: the week of 169 hours ends at midnight.
	l := local.Sign("i", "full", image, false, at("2026-10-20T12:00:00Z"))
	expires, err := local.Verify(l, at("2026-10-20T12:00:00Z"))
	if err != nil || !expires.Equal(at("2026-11-01T23:00:00Z")) {
		t.Errorf("expires %v, %v", expires, err)
	}
}

func TestSecrets(t *testing.T) {
	now := at("2026-11-18T12:00:00Z")
	old := newSigner(t, sign.Options{Secrets: []string{secret}})
	both := newSigner(t, sign.Options{Secrets: []string{other, secret}})
	next := newSigner(t, sign.Options{Secrets: []string{other}})

	l := old.Sign("i", "full", image, false, now)
	if _, err := both.Verify(l, now); err != nil {
		t.Errorf("the second secret does not verify: %v", err)
	}
	if _, err := next.Verify(l, now); !errors.Is(err, sign.ErrForged) {
		t.Errorf("a secret that was taken out still verifies: %v", err)
	}
	if _, err := next.Verify(both.Sign("i", "full", image, false, now), now); err != nil {
		t.Errorf("the first secret does not sign: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    sign.Options
		want error
	}{
		{"none", sign.Options{}, sign.ErrNoSecret},
		{"empty", sign.Options{Secrets: []string{""}, AllowWeak: true}, sign.ErrNoSecret},
		{"15 bytes", sign.Options{Secrets: []string{"abcdefghijklmno"}}, sign.ErrWeakSecret},
		{"16 bytes", sign.Options{Secrets: []string{"abcdefghijklmnop"}}, nil},
		{"the second is short", sign.Options{Secrets: []string{secret, "1234"}}, sign.ErrWeakSecret},
		{"well known", sign.Options{Secrets: []string{"0123456789ABCDEF"}}, sign.ErrWeakSecret},
		{"one character", sign.Options{Secrets: []string{strings.Repeat("x", 40)}}, sign.ErrWeakSecret},
		{"changeme", sign.Options{Secrets: []string{"changeme"}}, sign.ErrWeakSecret},
		{"changeme, in a test", sign.Options{Secrets: []string{"changeme"}, AllowWeak: true}, nil},
	} {
		if _, err := sign.New(tt.o); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	for _, o := range []sign.Options{{Weeks: -1}, {Weeks: sign.MaxWeeks + 1}, {Bucketless: "I"}} {
		o.Secrets = []string{secret}
		if _, err := sign.New(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// Whatever the signature covers cannot be exchanged, and what it does not cover
// can.
func TestForgery(t *testing.T) {
	now := at("2026-11-18T12:00:00Z")
	s := newSigner(t, sign.Options{})
	good := s.Sign("i", "full", image, false, now)
	for _, tt := range []struct {
		name string
		turn func(*sign.Link)
		want error
	}{
		{"as signed", func(*sign.Link) {}, nil},
		{"another size", func(l *sign.Link) { l.Size = "250x250" }, nil},
		{"another bucket", func(l *sign.Link) { l.Bucket = "f" }, sign.ErrForged},
		{"another URL", func(l *sign.Link) { l.ExtURL = sign.EncodeURL("https://example.com/2.jpg") }, sign.ErrForged},
		{"padding added", func(l *sign.Link) { l.ExtURL += "=" }, sign.ErrForged},
		{"made a proxy", func(l *sign.Link) { l.Proxy = true }, sign.ErrForged},
		{"first character", func(l *sign.Link) { l.Signature = flip(l.Signature, 0) }, sign.ErrForged},
		{"last character", func(l *sign.Link) { l.Signature = flip(l.Signature, 15) }, sign.ErrForged},
		{"a shorter signature", func(l *sign.Link) { l.Signature = l.Signature[:15] }, sign.ErrForged},
		{"a longer signature", func(l *sign.Link) { l.Signature += "A" }, sign.ErrForged},
		{"no signature", func(l *sign.Link) { l.Signature = "" }, sign.ErrForged},
		// The bucket and ext_url are signed with what separates them.
		{"bucket moved into the URL", func(l *sign.Link) { l.Bucket, l.ExtURL = "", "i/"+l.ExtURL }, sign.ErrForged},
	} {
		l := good
		tt.turn(&l)
		if _, err := s.Verify(l, now); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
}

func flip(s string, i int) string {
	c := byte('A')
	if s[i] == c {
		c = 'B'
	}
	return s[:i] + string(c) + s[i+1:]
}

func TestMaxAge(t *testing.T) {
	for weeks, want := range map[int]time.Duration{1: 0, 2: 168 * time.Hour, 3: 336 * time.Hour} {
		if got := newSigner(t, sign.Options{Weeks: weeks}).MaxAge(); got != want {
			t.Errorf("%d weeks: %v, want %v", weeks, got, want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s := newSigner(t, sign.Options{})
	done := make(chan error)
	for i := range 8 {
		go func() {
			now := at("2026-11-18T12:00:00Z")
			var bad error
			for j := range 200 {
				now = now.Add(time.Duration(i+1) * 20 * time.Hour)
				l := s.Sign("i", "full", image, j%2 == 0, now)
				if _, err := s.Verify(l, now); err != nil {
					bad = err
				}
			}
			done <- bad
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	now := at("2026-11-18T12:00:00Z")
	s := newSigner(b, sign.Options{Secrets: []string{secret, other}})
	good := s.Sign("i", "250x250", "https://images.example.com/2026/11/18/a-picture-of-something.jpg", false, now)
	forged := good
	forged.Signature = flip(forged.Signature, 3)
	for _, bb := range []struct {
		name string
		link sign.Link
		now  time.Time
	}{
		{"this week", good, now},
		{"last week", good, now.AddDate(0, 0, 7)},
		{"expired", good, now.AddDate(0, 0, 14)},
		{"forged", forged, now},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Verify(bb.link, bb.now)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	path := "/i/250x250/gnjO6SJxYbeT9VBz/aHR0cHM6Ly9leGFtcGxlX3VybC9pbWcuanBn"
	for b.Loop() {
		if _, err := sign.Parse(path); err != nil {
			b.Fatal(err)
		}
	}
}

// Signed finds links of long ago, and none that nobody has signed.
func TestSigned(t *testing.T) {
	s, err := sign.New(sign.Options{Secrets: []string{"the secret of these tests", "the secret before that one"}, Bucketless: "i"})
	if err != nil {
		t.Fatal(err)
	}
	older, err := sign.New(sign.Options{Secrets: []string{"the secret before that one"}})
	if err != nil {
		t.Fatal(err)
	}
	other, err := sign.New(sign.Options{Secrets: []string{"a secret of somebody else's"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC) // a Wednesday
	const url = "https://example.com/a.png"
	week := 7 * 24 * time.Hour
	for name, tt := range map[string]struct {
		link sign.Link
		want bool
	}{
		"now":                {s.Sign("i", "full", url, false, now), true},
		"ten weeks ago":      {s.Sign("i", "full", url, false, now.Add(-10*week)), true},
		"eleven weeks ago":   {s.Sign("i", "full", url, false, now.Add(-11*week)), false},
		"the coming week":    {s.Sign("i", "full", url, false, now.Add(week)), false},
		"an earlier secret":  {older.Sign("i", "full", url, false, now.Add(-9*week)), true},
		"the older scheme":   {s.SignBucketless("i", "full", url, false, now.Add(-9*week)), true},
		"in another bucket":  {s.SignBucketless("f", "full", url, false, now), false},
		"nobody's":           {other.Sign("i", "full", url, false, now), false},
		"of another picture": {sign.Link{Bucket: "i", Size: "full", Signature: s.Sign("i", "full", url, false, now).Signature, ExtURL: sign.EncodeURL("https://example.com/b.png")}, false},
	} {
		if got := s.Signed(tt.link, now, 10); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// Minutes before Monday a link of the coming week is good: for clocks that differ.
	monday := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	if l := s.Sign("i", "full", url, false, monday); !s.Signed(l, monday.Add(-9*time.Minute), 10) || s.Signed(l, monday.Add(-11*time.Minute), 10) {
		t.Error("around Monday")
	}
}

// A posted URL of this server's own must not cost those who verify their keys: that
// was 2.5 ms for each view. What is counted are objects. Keys take many, and some are made in
// any case: the collector may take what was kept for the next view.
func TestSignedLeavesKeysAlone(t *testing.T) {
	s, err := sign.New(sign.Options{Secrets: []string{"the secret of these tests"}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC)
	verify := func(now time.Time) func() {
		good := s.Sign("i", "full", "https://example.com/a.png", false, now)
		return func() {
			if _, err := s.Verify(good, now); err != nil {
				t.Fatal(err)
			}
		}
	}
	this, next := verify(now), verify(now.AddDate(0, 0, 7))
	keys := testing.AllocsPerRun(20, func() { this(); next() }) / 2 // each week has its own
	if keys < 40 {
		t.Errorf("keys make %.1f objects: nothing would show", keys)
	}
	this()
	forged := sign.Link{Bucket: "i", Size: "full", Signature: "AAAAAAAAAAAAAAAA", ExtURL: sign.EncodeURL("https://example.com/a.png")}
	after := 0.0
	for range 20 {
		if s.Signed(forged, now, 520) {
			t.Fatal("forged, and signed")
		}
		before := mallocs()
		this()
		after += float64(mallocs()-before) / 20
	}
	if after > keys/2 {
		t.Errorf("verifying makes %.1f objects after a look at a forged link, and keys are %.1f", after, keys)
	}
	t.Logf("%.1f objects after a look at a forged link; keys are %.1f", after, keys)
}

// mallocs are the objects that were made so far.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
