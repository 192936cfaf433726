//go:build browser

package browser

import (
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/results/view"
)

// serveRuns serves the committed runs and one that cannot be read, and returns the
// address and the directory.
func serveRuns(t *testing.T) (url, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../cli/testdata/runs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "<b>cut"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "<b>cut", "manifest.json"), []byte(`{"schema":`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := view.New(view.Config{Dir: dir, Poll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL, dir
}

// own reports whether a page belongs to the server.
func own(server string) func(string) bool {
	return func(url string) bool { return strings.HasPrefix(url, server+"/") || strings.HasPrefix(url, "data:") }
}

// listed are the runs that the list shows.
func (p *tab) listed() []string {
	p.t.Helper()
	var ids []string
	p.eval(&ids, `[...document.querySelectorAll("tr[data-run]")].map((r) => r.dataset.run)`)
	slices.Sort(ids)
	return ids
}

// fill gives a filter a value.
func (p *tab) fill(id, value string) {
	p.t.Helper()
	var done bool
	p.eval(&done, `(() => { const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); e.dispatchEvent(new Event("change", {bubbles: true})); return e.value === %q; })()`, id, value, value)
	if !done {
		p.t.Errorf("%s cannot be %q", id, value)
	}
}

func TestViewList(t *testing.T) {
	url, _ := serveRuns(t)
	for _, width := range []int64{360, 1280} {
		p := open(t, url+"/", width, 1000)
		all := []string{"<b>cut", "after", "before", "elsewhere"}
		if got := p.listed(); !slices.Equal(got, all) {
			t.Errorf("listed are %q", got)
		}
		p.fits()
		p.shot(fmt.Sprintf("view-list-%d", width))
		p.fill("filter-state", "broken")
		if got := p.listed(); !slices.Equal(got, all[:1]) {
			t.Errorf("broken are %q", got)
		}
		p.fill("filter-state", "ok")
		p.fill("filter-text", "ELSE")
		if got := p.listed(); !slices.Equal(got, []string{"elsewhere"}) {
			t.Errorf("found by text are %q", got)
		}
		// A filtered list has an address of its own.
		var hash string
		p.eval(&hash, `location.hash`)
		q := open(t, url+"/"+hash, width, 1000)
		if got := q.listed(); !slices.Equal(got, []string{"elsewhere"}) {
			t.Errorf("%s lists %q", hash, got)
		}
		p.fill("filter-text", "nothing of the kind")
		if got := p.listed(); len(got) != 0 {
			t.Errorf("found are %q", got)
		}
		p.quiet(own(url))
		q.quiet(own(url))
	}
}

// Two runs that are chosen are compared on a page of their own, which is a report.
func TestViewCompare(t *testing.T) {
	url, dir := serveRuns(t)
	p := open(t, url+"/", 1280, 1000)
	for _, id := range []string{"after", "before"} {
		p.do(chromedp.Click(`tr[data-run="`+id+`"] input`, chromedp.ByQuery))
	}
	var to string
	p.eval(&to, `document.getElementById("compare").href`)
	p.quiet(own(url))
	p = open(t, to, 1280, 1000)
	var verdicts []string
	p.eval(&verdicts, `xmppbench.document.comparison.verdicts.filter((v) => v.primary).map((v) => v.variant + " " + v.ratio.toFixed(6) + " " + v.lo.toFixed(6))`)
	var runs []*results.Run
	for _, id := range []string{"before", "after"} {
		r, err := results.Open(filepath.Join(dir, id))
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	c, err := results.Compare(runs, results.CompareOptions{})
	if err != nil {
		t.Fatal(err)
	}
	primary := 0
	for _, v := range c.Verdicts {
		if v.Primary {
			primary++
		}
	}
	if len(verdicts) != primary || primary == 0 {
		t.Errorf("the page compares %q, there are %d verdicts", verdicts, primary)
	}
	// Both runs are drawn over each other.
	var arms []string
	p.eval(&arms, `[...new Set(xmppbench.plots.arms.map((a) => a.run))]`)
	if len(arms) != 2 {
		t.Errorf("drawn are %q", arms)
	}
	p.painted()
	p.shot("view-compare")
	p.quiet(own(url))
}

func TestViewTrend(t *testing.T) {
	url, dir := serveRuns(t)
	p := open(t, url+"/#/trend", 1280, 1000)
	run, err := results.Open(filepath.Join(dir, "before"))
	if err != nil {
		t.Fatal(err)
	}
	var metric string
	p.eval(&metric, `xmppbench.trend.metric`)
	if metric != run.Manifest.Primary {
		t.Errorf("the trend is one of %q", metric)
	}
	// What is drawn is what the server said.
	var same bool
	p.eval(&same, `(() => {
		const drawn = xmppbench.chart.data, points = xmppbench.trend.series.flatMap((s) => s.points);
		const values = drawn.slice(1).filter((_, i) => i %% 3 === 0).flat().filter((v) => v != null).sort();
		const medians = new Set(points.map((p) => p.median));
		return values.length > 0 && values.every((v) => medians.has(v));
	})()`)
	if !same {
		t.Error("the picture differs from the figures")
	}
	var colours int
	p.eval(&colours, `(() => { const c = document.querySelector(".plot canvas"); const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data; const s = new Set(); for (let i = 0; i < d.length; i += 4) if (d[i+3] > 200) s.add(d[i] << 16 | d[i+1] << 8 | d[i+2]); return s.size; })()`)
	if colours < 3 {
		t.Errorf("the picture has %d colours", colours)
	}
	p.fits()
	p.shot("view-trend")
	p.quiet(own(url))
}

// A run that is watched shows what it writes, and that it has ended.
func TestViewLive(t *testing.T) {
	url, dir := serveRuns(t)
	recorder := results.NewRecorder()
	w, err := results.Create(filepath.Join(dir, "now"), results.Manifest{Scenario: "login-storm", Blocks: 2, Primary: "ready.mean", Variants: []string{"monolithic"}}, results.Options{
		Recorder: recorder, Interval: 20 * time.Millisecond, Figures: func() map[string]float64 {
			return map[string]float64{"cpu.generator": float64(time.Now().UnixMilli()) / 2e3}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	sink := recorder.Sink(results.Key{Plan: "all", Variant: "monolithic"})
	observe := func(n int) {
		for range n {
			now := time.Now()
			sink.Observe(results.Sample{Metric: "ready", Intended: now, Start: now, End: now.Add(30 * time.Millisecond)})
		}
	}
	observe(100)
	p := open(t, url+"/#/live?run=now", 1280, 1000)
	seen := `[...(xmppbench.live.latencies.get("ready") || [])].reduce((n, l) => n + l.n, 0)`
	p.wait(seen + ` === 100`)
	observe(50)
	w.Block(results.Block{Key: results.Key{Plan: "all", Variant: "monolithic"}, Valid: true})
	w.Event("error", "<img src=x onerror=alert(1)>", nil)
	p.wait(seen + ` === 150 && xmppbench.live.blocks.size === 1`)
	p.wait(`document.querySelector(".progress").textContent.includes("1 of 2 cells") && document.querySelectorAll(".plot canvas").length === 2`)
	var event string
	p.eval(&event, `document.querySelector(".events li").textContent`)
	if !strings.Contains(event, "<img src=x onerror=alert(1)>") {
		t.Errorf("the event reads %q", event)
	}
	p.fits()
	p.shot("view-live")
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
	p.wait(`document.querySelector(".progress").textContent.includes("ended: ok")`)
	p.quiet(own(url))
}
