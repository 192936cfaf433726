//go:build browser

package browser

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/xmppbench/xmppbench/results"
)

var picturesOf = flag.String("pictures", "", "folder with the runs and the report of which to make docs/pictures, as results/reference is")

// reportOf is a fresh report of one of the runs.
func reportOf(t *testing.T, name string) string {
	t.Helper()
	run, err := results.Open(filepath.Join(*picturesOf, name))
	if err != nil {
		t.Fatal(err)
	}
	if bad, why := run.Invalid(); bad {
		t.Fatalf("no picture of an invalid run: %v", why)
	}
	url, _ := reportPage(t, run)
	return url
}

// TestPictures makes the pictures of the README: panels of reports, light and dark.
func TestPictures(t *testing.T) {
	if *picturesOf == "" {
		t.Skip("make pictures asks for them")
	}
	dir := filepath.Join("..", "..", "docs", "pictures")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		report, panel, choose, name string // choose is how the name of what the panel shows begins
		width                       int64
	}{
		{reportOf(t, "roster-login"), "timeline", "", "probe-timeline", 1200},
		{reportOf(t, "federation"), "mesh", "", "connections", 1200},
		// Of several runs beside a model, as it was made with them.
		{fileURL(t, filepath.Join(*picturesOf, "calibration", "report.html")), "cost", "rss, 16", "cost", 1200},
	} {
		p := open(t, want.report, want.width, 900)
		p.do(emulation.SetDeviceMetricsOverride(want.width, 900, 1.5, false))
		for _, scheme := range []string{"light", "dark"} {
			p.media("screen", scheme)
			p.wait(`charts.theme().dark === ` + map[string]string{"light": "false", "dark": "true"}[scheme])
			p.wait(`xmppbench.live.length > 0`)
			if want.choose != "" {
				p.eval(nil, `(() => {
					const c = document.getElementById("choose-%s");
					c.value = [...c.options].find((o) => o.text.startsWith("%s")).value;
					c.dispatchEvent(new Event("change"));
				})()`, want.panel, want.choose)
			}
			var box struct{ X, Y, Width, Height float64 }
			p.eval(&box, `(() => {
				for (const e of document.querySelectorAll("#panel-%s details")) e.remove();
				const r = document.getElementById("panel-%s").getBoundingClientRect();
				return {x: r.x + scrollX - 8, y: r.y + scrollY - 8, width: r.width + 16, height: r.height + 16};
			})()`, want.panel, want.panel)
			var png []byte
			p.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
				png, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).
					WithClip(&page.Viewport{X: box.X, Y: box.Y, Width: box.Width, Height: box.Height, Scale: 1}).Do(ctx)
				return err
			}))
			if err := os.WriteFile(filepath.Join(dir, want.name+"-"+scheme+".png"), png, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
