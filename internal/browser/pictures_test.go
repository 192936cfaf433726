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

var picturesOf = flag.String("pictures", "", "folder with the runs roster-login and federation, of which to make docs/pictures")

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
		run, panel, name string
		width            int64
	}{
		{"roster-login", "timeline", "probe-timeline", 1200},
		{"federation", "mesh", "connections", 1200},
	} {
		run, err := results.Open(filepath.Join(*picturesOf, want.run))
		if err != nil {
			t.Fatal(err)
		}
		if bad, why := run.Invalid(); bad {
			t.Fatalf("no picture of an invalid run: %v", why)
		}
		url, _ := reportPage(t, run)
		p := open(t, url, want.width, 900)
		p.do(emulation.SetDeviceMetricsOverride(want.width, 900, 1.5, false))
		for _, scheme := range []string{"light", "dark"} {
			p.media("screen", scheme)
			p.wait(`charts.theme().dark === ` + map[string]string{"light": "false", "dark": "true"}[scheme])
			p.wait(`xmppbench.live.length > 0`)
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
