//go:build browser

package browser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"
)

// patience is how long anything in a page may take; a busy machine needs some of it.
const patience = 2 * time.Minute

// executable finds the browser.
func executable(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("no Chromium: internal/browser/install.sh installs it")
	return ""
}

// shared is the one browser of all tests, which takes a while to start.
var shared browser

type browser struct {
	mu   sync.Mutex
	ctx  context.Context
	stop func()
}

// start returns a context in which tabs can be opened.
func (b *browser) start(t testing.TB) context.Context {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx != nil {
		return b.ctx
	}
	profile, err := os.MkdirTemp("", "xmppbench-browser") //nolint:usetesting // It outlives the test.
	if err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(executable(t)), chromedp.UserDataDir(profile), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WSURLReadTimeout(patience),
	)
	// The browser outlives the test that started it; TestMain ends it.
	alloc, cancelAlloc := chromedp.NewExecAllocator(context.Background(), options...)
	// What a newer browser sends that the library does not know is no news.
	ctx, cancel := chromedp.NewContext(alloc, chromedp.WithErrorf(func(string, ...any) {}))
	b.stop = func() {
		cancel()
		cancelAlloc()
		os.RemoveAll(profile)
	}
	if err := chromedp.Run(ctx); err != nil {
		b.stop()
		t.Fatal(err)
	}
	b.ctx = ctx
	return ctx
}

// end ends the browser, if it was started.
func (b *browser) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ctx != nil {
		b.stop()
	}
}

// TestMain looks for what was left behind, the browser among it.
func TestMain(m *testing.M) {
	code := m.Run()
	shared.end()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// tab is a page, with what it asked for and complained about.
type tab struct {
	t   testing.TB
	ctx context.Context

	mu         sync.Mutex
	requests   []string
	complaints []string
}

// open loads a page in a window of its own, whose script says when it is done
// by data-ready on the root element.
func open(t testing.TB, url string, width, height int64) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(shared.start(t))
	t.Cleanup(cancel)
	ctx, cancelTimeout := context.WithTimeout(ctx, 5*patience)
	t.Cleanup(cancelTimeout)
	p := &tab{t: t, ctx: ctx}
	chromedp.ListenTarget(ctx, p.event)
	p.do(
		network.Enable(), cdplog.Enable(), runtime.Enable(),
		emulation.SetDeviceMetricsOverride(width, height, 1, width < 600),
		chromedp.ActionFunc(func(ctx context.Context) error {
			_, err := page.AddScriptToEvaluateOnNewDocument(watchCanvases).Do(ctx)
			return err
		}),
		chromedp.Navigate(url),
	)
	p.wait(`document.documentElement.dataset.ready === "1"`)
	return p
}

func (p *tab) event(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, ev.Request.URL)
	case *runtime.EventConsoleAPICalled:
		if ev.Type == runtime.APITypeError || ev.Type == runtime.APITypeWarning || ev.Type == runtime.APITypeAssert {
			for _, a := range ev.Args {
				p.complaints = append(p.complaints, fmt.Sprintf("console: %s %s", a.Value, a.Description))
			}
		}
	case *runtime.EventExceptionThrown:
		p.complaints = append(p.complaints, "exception: "+ev.ExceptionDetails.Error())
	case *cdplog.EventEntryAdded:
		if ev.Entry.Level == cdplog.LevelError || ev.Entry.Level == cdplog.LevelWarning {
			p.complaints = append(p.complaints, fmt.Sprintf("log: %s %s", ev.Entry.Text, ev.Entry.URL))
		}
	}
}

// do carries out actions, or ends the test.
func (p *tab) do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, actions...); err != nil {
		p.t.Fatalf("%v; the page complained: %v", err, p.complained())
	}
}

// eval evaluates JavaScript and decodes its JSON into v.
func (p *tab) eval(v any, script string, args ...any) {
	p.t.Helper()
	p.do(chromedp.Evaluate(fmt.Sprintf(script, args...), v, func(e *runtime.EvaluateParams) *runtime.EvaluateParams {
		return e.WithAwaitPromise(true)
	}))
}

// wait waits until a condition of the page holds.
func (p *tab) wait(condition string) {
	p.t.Helper()
	if err := chromedp.Run(p.ctx, chromedp.Poll(condition, nil, chromedp.WithPollingTimeout(patience), chromedp.WithPollingInterval(50*time.Millisecond))); err != nil {
		p.t.Fatalf("waiting for %s: %v; the page complained: %v", condition, err, p.complained())
	}
}

func (p *tab) complained() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.complaints)
}

// quiet fails the test if the page complained, or asked for anything but what allowed
// says.
func (p *tab) quiet(allowed func(url string) bool) {
	p.t.Helper()
	for _, c := range p.complained() {
		p.t.Error(c)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, url := range p.requests {
		if !allowed(url) {
			p.t.Errorf("the page fetched %s", url)
		}
	}
}

// fits fails the test if the page is wider than its window.
func (p *tab) fits() {
	p.t.Helper()
	var wide struct {
		Scroll, Inner float64
		Who           []string
	}
	p.eval(&wide, `(() => {
		const inner = document.documentElement.clientWidth;
		const who = [];
		for (const e of document.body.querySelectorAll("*")) {
			if (e.closest(".scroll") || e.closest("svg")) continue;
			const r = e.getBoundingClientRect();
			if (r.width > 0 && r.right > inner + 1) who.push(e.tagName + "." + e.className + " " + Math.round(r.right));
		}
		return {scroll: document.documentElement.scrollWidth, inner, who: who.slice(0, 5)};
	})()`)
	if wide.Scroll > wide.Inner || len(wide.Who) > 0 {
		p.t.Errorf("the page is %v wide in a window of %v: %v", wide.Scroll, wide.Inner, wide.Who)
	}
}

// shot takes a picture of the whole page into bin/screenshots, for people to look at.
func (p *tab) shot(name string) {
	p.t.Helper()
	var height int64
	p.eval(&height, `document.documentElement.scrollHeight`)
	var width int64
	p.eval(&width, `document.documentElement.clientWidth`)
	var png []byte
	p.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
		png, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).WithClip(&page.Viewport{Width: float64(width), Height: float64(height), Scale: 1}).Do(ctx)
		return err
	}))
	p.keep(name+".png", png)
}

// keep writes a file into bin/screenshots, for people to look at.
func (p *tab) keep(name string, b []byte) {
	p.t.Helper()
	dir := filepath.Join("..", "..", "bin", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// media sets how the page is shown: "screen" or "print", in a colour scheme.
func (p *tab) media(medium, scheme string) {
	p.t.Helper()
	p.do(emulation.SetEmulatedMedia().WithMedia(medium).WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

// fileURL is the address of a file.
func fileURL(t testing.TB, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return "file://" + strings.ReplaceAll(abs, " ", "%20")
}
