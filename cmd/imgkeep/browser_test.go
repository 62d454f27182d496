package main_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"imgkeep/scripts/patience"
)

// browser is a window of a Chromium of its own.
type browser struct {
	t   testing.TB
	ctx context.Context

	mu       sync.Mutex
	said     []string // by the console: refused by the policy, errors of scripts
	requests []string // addresses
}

// newBrowser starts a Chromium. It skips the test where none is installed.
func newBrowser(t testing.TB) *browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options, chromedp.ExecPath(program), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("force-prefers-reduced-motion", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*patience.Of(t)) // for all that it does
	t.Cleanup(cancel)
	b := &browser{t: t}
	b.ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(b.heard))
	t.Cleanup(cancel)
	b.begin()
	return b
}

// other is another window of the same program, which has signed in to nothing.
func (b *browser) other() *browser {
	b.t.Helper()
	o := &browser{t: b.t}
	var cancel context.CancelFunc
	o.ctx, cancel = chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext(), chromedp.WithListener(o.heard))
	b.t.Cleanup(cancel)
	o.begin()
	return o
}

func (b *browser) begin() {
	b.t.Helper()
	b.do(b.size(1280, 900))
	call(b, cdplog.Enable, cdp.Empty{})
	call(b, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(b, network.Enable, network.EnableParams{})
}

// call runs a command of the DevTools protocol.
func call[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	r, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatal(err)
	}
	return r
}

// action is something to do in a browser.
type action = chromedp.Action[chromedp.Void]

func (b *browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		if !strings.Contains(e.Entry.Text, "Failed to load resource") { // the status of a page is one too
			b.said = append(b.said, e.Entry.Text)
		}
	case *runtime.EventExceptionThrown:
		b.said = append(b.said, e.ExceptionDetails.Text)
	case *page.EventJavascriptDialogOpening:
		b.said = append(b.said, "a dialog: "+e.Message)
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

// do does things one after the other.
func (b *browser) do(actions ...action) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("%v, at %s", err, b.where())
	}
}

// where is what a browser shows.
func (b *browser) where() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

func (b *browser) size(width, height int64) action {
	return chromedp.EmulateViewport(width, height)
}

// look sets light or dark.
func (b *browser) look(scheme string) {
	b.t.Helper()
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
	}})
}

// evaluate evaluates an expression of JavaScript.
func evaluate[T any](b *browser, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.200s: %v, at %s", expression, err, b.where())
	}
	return v
}

// shows waits for a text on the page.
func (b *browser) shows(text string) {
	b.t.Helper()
	want := fmt.Sprintf("document.readyState === 'complete' && document.body.innerText.includes(%q)", text)
	for late := time.Now().Add(patience.Of(b.t)); ; time.Sleep(20 * time.Millisecond) {
		// An error is that of a page that is left just now.
		if there, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](want)); err == nil && there {
			return
		}
		if time.Now().After(late) {
			b.t.Fatalf("it does not show %q, but %s", text, b.where())
		}
	}
}

// press presses a button that is found by its text, or by a selector that begins with "[".
// It waits for the page that comes.
func (b *browser) press(name string) {
	b.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll('main button, main a.button')].find(x => x.innerText.trim().startsWith(%q))", name)
	if strings.HasPrefix(name, "[") || strings.HasPrefix(name, ".") {
		find = fmt.Sprintf("document.querySelector(%q)", name)
	}
	if !evaluate[bool](b, "!!("+find+")") {
		b.t.Fatalf("there is no button %s at %s", name, b.where())
	}
	_, err := chromedp.RunResponse(b.ctx, func(ctx context.Context, t *chromedp.Target) (v chromedp.Void, err error) {
		_, err = cdp.Call(ctx, t, runtime.Evaluate, runtime.EvaluateParams{Expression: "(" + find + ").click()"})
		return v, err
	})
	if err != nil {
		b.t.Fatalf("press %s: %v", name, err)
	}
}

// quiet makes sure that nothing was refused, no script of a stranger ran, and nothing was
// asked for elsewhere.
func (b *browser) quiet(base string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, text := range b.said {
		b.t.Errorf("the browser says: %s", text)
	}
	for _, url := range b.requests {
		if !strings.HasPrefix(url, base+"/") && !strings.HasPrefix(url, "data:image/svg+xml;") { // Chromium's own icons
			b.t.Errorf("the page has loaded %s", url)
		}
	}
	b.said, b.requests = nil, nil
}

// accessible checks what can be checked by a program of a page for all: names of what can
// be used, headings, language, order of the focus, contrast, and sizes of targets.
func (b *browser) accessible(where string) {
	b.t.Helper()
	nodes := call(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes
	usable := map[string]bool{"button": true, "link": true, "textbox": true, "searchbox": true, "checkbox": true, "radio": true, "combobox": true, "image": true, "img": true, "progressbar": true, "Date": true}
	text := func(v *accessibility.Value) string {
		if v == nil {
			return ""
		}
		return strings.Trim(strings.TrimSpace(string(v.Value)), `"`)
	}
	n := 0
	for _, node := range nodes {
		if node.Ignored || !usable[text(node.Role)] {
			continue
		}
		if n++; text(node.Name) == "" {
			b.t.Errorf("%s: a %s has no name", where, text(node.Role))
		}
	}
	if n == 0 {
		b.t.Errorf("%s: nothing on it can be used", where)
	}
	for _, problem := range evaluate[[]string](b, accessibilityChecks) {
		b.t.Errorf("%s: %s", where, problem)
	}
}

// accessibilityChecks returns what is wrong, as texts: by WCAG 2.2, as far as a program can
// tell (1.3.1, 1.4.3, 2.4.2, 2.4.3, 2.4.7, 2.5.8, 3.1.1, 3.3.2).
const accessibilityChecks = `(async () => {
	const wrong = [];
	const seen = e => { const r = e.getBoundingClientRect(), s = getComputedStyle(e); return r.width > 1 && r.height > 1 && s.visibility !== 'hidden' && !e.closest('.hidden, .skip, [aria-hidden=true]') && (!e.closest('details:not([open])') || e.closest('summary')); };
	const name = e => e.tagName.toLowerCase() + (e.className && e.className.baseVal === undefined ? '.' + e.className : '') + ' "' + (e.textContent || e.value || '').trim().slice(0, 40) + '"';
	if (!document.documentElement.lang) wrong.push('the page has no language');
	if (!document.title) wrong.push('the page has no title');
	if (document.querySelectorAll('h1').length !== 1) wrong.push(document.querySelectorAll('h1').length + ' headings of the first level');
	let level = 0;
	for (const h of document.querySelectorAll('h1,h2,h3,h4')) { const l = +h.tagName[1]; if (l > level + 1) wrong.push('a heading of level ' + l + ' follows one of level ' + level); level = l; }
	const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
	if (new Set(ids).size !== ids.length) wrong.push('an id stands twice');
	for (const e of document.querySelectorAll('[tabindex]')) if (e.tabIndex > 0) wrong.push(name(e) + ' comes out of order');
	for (const e of document.querySelectorAll('img')) if (!e.hasAttribute('alt')) wrong.push('an image has no alt');
	for (const th of document.querySelectorAll('th')) if (!th.scope) wrong.push(name(th) + ' has no scope');
	const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
	const rgba = c => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [d[0], d[1], d[2], d[3] / 255]; };
	const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3])).concat(1);
	const light = c => { const f = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * f[0] + 0.7152 * f[1] + 0.0722 * f[2]; };
	const behind = e => { const all = []; for (let x = e; x; x = x.parentElement) { const c = rgba(getComputedStyle(x).backgroundColor); all.push(c); if (c[3] === 1) break; } return all.reverse().reduce((b, c) => over(c, b), [255, 255, 255, 1]); };
	const ratio = (a, b) => { const x = light(a) + 0.05, y = light(b) + 0.05; return Math.max(x, y) / Math.min(x, y); };
	const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	let counted = 0;
	for (let t; t = texts.nextNode();) {
		const e = t.parentElement;
		if (!t.data.trim() || !seen(e) || e.closest('svg, script, option')) continue;
		const s = getComputedStyle(e), back = behind(e), large = parseFloat(s.fontSize) >= 24 || parseFloat(s.fontSize) >= 18.66 && s.fontWeight >= 700;
		const r = ratio(over(rgba(s.color), back), back);
		counted++;
		if (r < (large ? 3 : 4.5)) wrong.push(name(e) + ' has a contrast of ' + r.toFixed(2));
	}
	if (!counted) wrong.push('no text was looked at');
	for (const t of document.querySelectorAll('svg text')) { const r = ratio(rgba(getComputedStyle(t).fill), behind(t.closest('figure') || document.body)); if (r < 4.5) { wrong.push('a label of a plot has a contrast of ' + r.toFixed(2)); break; } }
	const focusable = [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, summary, [tabindex="0"]')].filter(seen);
	for (const e of focusable) {
		const r = e.getBoundingClientRect(), label = e.closest('label'), box = label ? label.getBoundingClientRect() : r;
		if (Math.max(r.height, box.height) < 24 && !e.closest('p, li, td, dd')) wrong.push(name(e) + ' is ' + r.height.toFixed() + ' pixels high');
		e.focus({focusVisible: true});
		if (document.activeElement !== e) { wrong.push(name(e) + ' takes no focus'); continue; }
		const s = getComputedStyle(e);
		if (s.outlineStyle === 'none' && !e.closest('.tile')) wrong.push(name(e) + ' shows no focus');
	}
	document.activeElement.blur();
	if (document.documentElement.scrollWidth > innerWidth + 1) wrong.push('the page is wider than the window: ' + document.documentElement.scrollWidth + ' of ' + innerWidth);
	return [...new Set(wrong)];
})()`
