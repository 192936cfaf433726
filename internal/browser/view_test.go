//go:build browser

package browser

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/results/view"
)

// serveRuns serves the committed runs and one that cannot be read, and returns the
// address and the directory.
func serveRuns(t *testing.T) (url, dir string) {
	t.Helper()
	url, dir, _ = serveRunsUntilCut(t)
	return url, dir
}

// serveRunsUntilCut is serveRuns with a way to cut all connections that follow a run.
func serveRunsUntilCut(t *testing.T) (url, dir string, cut func()) {
	t.Helper()
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../cli/testdata/runs")); err != nil {
		t.Fatal(err)
	}
	// One after the other, as no two runs begin at once.
	for i, id := range []string{"before", "after", "elsewhere"} {
		file := filepath.Join(dir, id, "manifest.json")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b = bytes.Replace(b, []byte("2000-01-01T00:00:00Z"), fmt.Appendf(nil, "2000-01-0%dT00:00:00Z", i+1), 1)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
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
	var mu sync.Mutex
	var cuts []context.CancelFunc
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		if r.URL.Path == "/api/live" {
			mu.Lock()
			cuts = append(cuts, cancel)
			mu.Unlock()
		}
		s.ServeHTTP(w, r.WithContext(ctx))
	}))
	t.Cleanup(server.Close)
	return server.URL, dir, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, cancel := range cuts {
			cancel()
		}
	}
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

// focused is the text or the id of what has the focus.
func (p *tab) focused() (text string) {
	p.t.Helper()
	p.eval(&text, `document.activeElement.textContent.trim() || document.activeElement.id`)
	return text
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
		// Whoever uses a control has it still.
		p.do(chromedp.Focus(`.filters button`, chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
		if got := p.listed(); !slices.Equal(got, all) || p.focused() != "Clear" {
			t.Errorf("cleared lists %q, the focus is at %q", got, p.focused())
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
	compares := func() (to string) {
		p.eval(&to, `document.getElementById("compare").href`)
		return to
	}
	to := compares()
	// Controls keep the focus when they are used.
	p.do(chromedp.Focus(`#different`, chromedp.ByQuery), chromedp.KeyEvent(" "))
	if got := compares(); p.focused() != "different" || got != to+"&different=yes" {
		t.Errorf("even if machines differ: the focus is at %q, it goes to %s", p.focused(), got)
	}
	p.do(chromedp.KeyEvent(" "), chromedp.Focus(`.bar button`, chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
	var picked int
	p.eval(&picked, `document.querySelectorAll("tr[data-run] input:checked").length`)
	if got := compares(); p.focused() != "Choose none" || got != "" || picked != 0 {
		t.Errorf("none are chosen: the focus is at %q, it goes to %q, %d are ticked", p.focused(), got, picked)
	}
	p.quiet(own(url))

	p = open(t, to, 1280, 1000)
	var verdicts, sentences []string
	p.eval(&verdicts, `xmppbench.document.comparison.verdicts.filter((v) => v.primary).map((v) => [v.variant, v.ratio, v.lo, v.hi].join(" "))`)
	p.eval(&sentences, `[...document.querySelectorAll(".verdict .sentence span:not(.mark)")].map((e) => e.textContent)`)
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
	var wantVerdicts, wantSentences []string
	for _, v := range c.Verdicts {
		if v.Primary {
			number := func(r results.Ratio) string { return strconv.FormatFloat(float64(r), 'f', -1, 64) }
			wantVerdicts = append(wantVerdicts, strings.Join([]string{v.Variant, number(v.Ratio), number(v.Lo), number(v.Hi)}, " "))
			wantSentences = append(wantSentences, v.String())
		}
	}
	if diff := cmp.Diff(wantVerdicts, verdicts); diff != "" || len(wantVerdicts) == 0 {
		t.Errorf("verdicts of the page (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(wantSentences, sentences); diff != "" {
		t.Errorf("sentences of the page (-want +got):\n%s", diff)
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
	// Each point stands where the axes say, in the colour of its series.
	wanted, points := 0, []place{}
	for _, id := range []string{"before", "after", "elsewhere"} {
		r, err := results.Open(filepath.Join(dir, id))
		if err != nil {
			t.Fatal(err)
		}
		for _, plan := range results.Summarize([]*results.Run{r}, results.CompareOptions{}).Runs[0].Plans {
			for _, v := range plan.Variants {
				for _, value := range v.Values {
					if value.Name != metric {
						continue
					}
					wanted++
					var series int
					p.eval(&series, `xmppbench.trend.series.findIndex((s) => s.variant === %q && s.plan === %q && s.points.some((p) => p.run === %q))`, v.Name, plan.Name, id)
					points = append(points, place{series, float64(r.Manifest.Started.UnixMilli()) / 1000, value.Median})
				}
			}
		}
	}
	if wanted == 0 {
		t.Fatal("no run has a figure")
	}
	p.drawnAt("xmppbench.chart", `document.querySelectorAll(".key .swatch line")[%d].getAttribute("stroke")`, linear, linear, points)
	p.fits()
	p.shot("view-trend")
	p.quiet(own(url))
}

// A run that is watched shows what it writes, and that it has ended.
func TestViewLive(t *testing.T) {
	url, dir, cut := serveRunsUntilCut(t)
	recorder := results.NewRecorder()
	w, err := results.Create(filepath.Join(dir, "now"), results.Manifest{Scenario: "login-storm", Blocks: 2, Primary: "ready.mean", Variants: []string{"monolithic", "versioned"}}, results.Options{
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
	p.eval(nil, `(() => {
		window.said = 0, window.told = 0;
		const count = (of, name) => new MutationObserver((list) => { window[name] += list.length; }).observe(document.querySelector(of), {childList: true, characterData: true, subtree: true});
		count("[role=status]", "said");
		count(".progress", "told");
	})()`)
	observe(50)
	w.Block(results.Block{Key: results.Key{Plan: "all", Variant: "monolithic"}, Valid: true})
	// What is skipped is no cell that is missing, nor one that is not valid.
	w.Block(results.Block{Key: results.Key{Plan: "all", Variant: "versioned"}, Skipped: "the target does not speak it"})
	w.Event("error", "<img src=x onerror=alert(1)>", nil)
	p.wait(seen + ` === 150 && xmppbench.live.blocks.size === 1`)
	p.wait(`document.querySelector(".progress").textContent.includes("1 of 2 cells  ·  1 skipped") && document.querySelector("progress").value === 0.5 && document.querySelectorAll(".plot canvas").length === 2`)

	// A picture that is being read stays, and stays at what is read.
	p.do(chromedp.Focus(`.plot`, chromedp.ByQuery), chromedp.KeyEvent(kb.Home))
	const reading = `document.querySelector(".readout").textContent`
	p.wait(reading + `.includes("monolithic")`)
	var read string
	p.eval(&read, reading)
	p.eval(nil, `void (xmppbench.charts[0].chart.data.old = true, document.activeElement.marked = true)`)

	// After a lost connection the run is told once more, and is seen once.
	cut()
	observe(50)
	p.wait(seen + ` === 200 && xmppbench.live.blocks.size === 1 && document.querySelectorAll(".events li").length === 1`)
	p.wait(`!xmppbench.charts[0].chart.data.old`)
	var still struct {
		Marked    bool
		Read      string
		Said, Max int
		Told      int
	}
	p.eval(&still, `({marked: document.activeElement.marked === true, read: %s, said, told, max: 1 + Math.floor(performance.now() / 10000)})`, reading)
	if x, _, _ := strings.Cut(read, " "); !still.Marked || !strings.HasPrefix(still.Read, x+" ") {
		t.Errorf("the picture with the focus was drawn anew, or left at %q for %q", read, still.Read)
	}
	if still.Said > still.Max || still.Told < 2 {
		t.Errorf("progress was written %d times and announced %d times, more than %d", still.Told, still.Said, still.Max)
	}
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

// Of a long run what is drawn is kept, and no more.
func TestViewLiveLong(t *testing.T) {
	url, dir := serveRuns(t)
	dir = filepath.Join(dir, "long")
	recorder := results.NewRecorder()
	w, err := results.Create(dir, results.Manifest{Scenario: "login-storm", Blocks: 1, Primary: "ready.mean", Variants: []string{"monolithic"}}, results.Options{Recorder: recorder})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	recorder.Sink(results.Key{Plan: "all", Variant: "monolithic"}).Observe(results.Sample{Metric: "ready", Intended: now, Start: now, End: now.Add(time.Second)})
	if err := w.Close(results.StatusOK); err != nil {
		t.Fatal(err)
	}
	// Its one second is made into many.
	const seconds = 1500
	b, err := os.ReadFile(filepath.Join(dir, "latency.hlog"))
	if err != nil {
		t.Fatal(err)
	}
	var latency, series strings.Builder
	for i := range seconds {
		for line := range strings.Lines(string(b)) {
			fields := strings.Split(line, ",")
			if !strings.HasPrefix(line, "Tag=") {
				if i == 0 {
					latency.WriteString(line)
				}
				continue
			}
			start, err := strconv.ParseFloat(fields[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			fields[1] = strconv.FormatFloat(start+float64(i), 'f', 3, 64)
			latency.WriteString(strings.Join(fields, ","))
		}
		line, err := json.Marshal(results.Second{Time: now.Add(time.Duration(i) * time.Second), Elapsed: float64(i), Figures: map[string]float64{"cpu.generator": float64(i)}})
		if err != nil {
			t.Fatal(err)
		}
		series.Write(append(line, '\n'))
	}
	for name, text := range map[string]string{"latency.hlog": latency.String(), "series.jsonl": series.String()} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := open(t, url+"/#/live?run=long", 1280, 1000)
	p.wait(`document.querySelector(".progress").textContent.includes("ended: ok")`)
	var kept struct {
		Figures, Latencies int
		First, Last        float64
	}
	p.eval(&kept, `({figures: xmppbench.live.figures.length, latencies: xmppbench.live.latencies.get("ready").length, first: xmppbench.live.figures[0].elapsed, last: xmppbench.live.figures.at(-1).elapsed})`)
	if kept.Figures != 601 || kept.First != seconds-601 || kept.Last != seconds-1 || kept.Latencies < 600 || kept.Latencies > 602 {
		t.Errorf("of %d seconds are kept %+v", seconds, kept)
	}
	p.quiet(own(url))
}
