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
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/results"
)

// drawn is what a chart says that it has drawn: for charts of lines, x and then the
// series.
func (p *tab) drawn(panel string, into any) {
	p.t.Helper()
	var text string
	p.eval(&text, `JSON.stringify(xmppbench.live.find((l) => l.id === %q)?.chart.data ?? null)`, panel)
	if err := json.Unmarshal([]byte(text), into); err != nil {
		p.t.Fatalf("%s drew %.200s: %v", panel, text, err)
	}
}

// panels are the pictures that the page has, in order.
func (p *tab) panels() []string {
	p.t.Helper()
	var ids []string
	p.eval(&ids, `xmppbench.live.map((l) => l.id)`)
	return ids
}

// painted fails the test for every canvas and drawing without content, and for every
// series of a chart that left no trace of its colour.
func (p *tab) painted() {
	p.t.Helper()
	var bad []string
	p.eval(&bad, `(() => {
		const bad = [];
		for (const item of xmppbench.live) {
			const panel = document.getElementById("panel-" + item.id);
			const canvases = [...panel.querySelectorAll("canvas")], drawings = [...panel.querySelectorAll("svg[role=img]")];
			if (!canvases.length && !drawings.length) bad.push(item.id + " has nothing");
			for (const {uplot: u} of [item.chart, ...(item.chart.parts || [])]) {
				if (!u) continue;
				const d = pixels(u.root.querySelector("canvas"));
				u.series.slice(1).forEach((s, k) => {
					const stroke = typeof s.stroke === "function" ? s.stroke(u, k + 1) : s.stroke;
					if (!/^#[0-9a-f]{6}$/.test(stroke) || !u.data[k + 1].some((v) => v != null)) return;
					const want = [1, 3, 5].map((i) => parseInt(stroke.slice(i, i + 2), 16));
					let found = 0;
					for (let i = 0; i < d.length && found < 4; i += 4) if (d[i + 3] > 200 && want.every((w, j) => Math.abs(w - d[i + j]) < 48)) found++;
					if (found < 4) bad.push(item.id + ": " + s.label + " in " + stroke + " cannot be seen");
				});
			}
			for (const c of canvases) {
				const d = pixels(c);
				const colours = new Set();
				for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200) colours.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);
				if (c.width < 100 || c.height < 60 || colours.size < 3) bad.push(item.id + " canvas " + c.width + "x" + c.height + " of " + colours.size + " colours");
			}
			for (const s of drawings) {
				const box = s.getBBox();
				if (s.querySelectorAll("path,circle,line").length < 3 || box.width < 100 || box.x < -2 || box.x + box.width > s.clientWidth + 2)
					bad.push(item.id + " drawing from " + box.x + ", " + box.width + " wide in " + s.clientWidth);
			}
		}
		return bad;
	})()`)
	for _, b := range bad {
		p.t.Error(b)
	}
}

func (p *tab) choose(id, label string) {
	p.t.Helper()
	var ok bool
	p.eval(&ok, `(() => {
		const s = document.getElementById(%q);
		const o = [...s.options].find((o) => o.textContent === %q);
		if (!o) return false;
		s.value = o.value;
		s.dispatchEvent(new Event("change"));
		return true;
	})()`, id, label)
	if !ok {
		p.t.Fatalf("%s has no option %q", id, label)
	}
}

// values are the figures of a series, without its gaps.
func values(series []*float64) []float64 {
	var out []float64
	for _, v := range series {
		if v != nil {
			out = append(out, *v)
		}
	}
	return out
}

// checkLatency holds the chart of percentiles against the data.
func checkLatency(t testing.TB, data [][]*float64, want results.LatencyPlot, hidden ...int) {
	t.Helper()
	next := 1
	for _, c := range want.Curves {
		if slices.Contains(hidden, c.Arm) {
			continue
		}
		series := 2
		if len(c.Lo) > 0 {
			series = 4
		}
		if len(data) < next+series {
			t.Fatalf("%d series were drawn, arm %d is missing", len(data), c.Arm)
		}
		if diff := cmp.Diff(c.Value, values(data[next])); diff != "" {
			t.Errorf("curve of arm %d (-want +drawn):\n%s", c.Arm, diff)
		}
		if got := values(data[next+1]); !slices.Equal(got, []float64{c.Max}) {
			t.Errorf("maximum of arm %d drawn as %v, want %v", c.Arm, got, c.Max)
		}
		if series == 4 && (!slices.Equal(values(data[next+2]), c.Hi) || !slices.Equal(values(data[next+3]), c.Lo)) {
			t.Errorf("the band of arm %d is not that of the data", c.Arm)
		}
		next += series
	}
	if next != len(data) {
		t.Errorf("%d series were drawn, want %d", len(data)-1, next-1)
	}
}

func onlyFiles(url string) bool {
	return strings.HasPrefix(url, "file://") && strings.HasSuffix(url, "/report.html")
}

func TestReportOfRosters(t *testing.T) {
	_, run := rosters("rosters").make(t)
	url, plots := reportPage(t, run)
	p := open(t, url, 1280, 900)
	if got, want := p.panels(), []string{"timeline", "latency", "ratios", "heat", "resources"}; !slices.Equal(got, want) {
		t.Fatalf("panels %v, want %v", got, want)
	}
	p.painted()
	p.fits()

	latency := func(plan, metric string) results.LatencyPlot {
		i := slices.IndexFunc(plots.Latency, func(l results.LatencyPlot) bool { return l.Plan == plan && l.Metric == metric })
		if i < 0 {
			t.Fatalf("no figures of %s in %s", metric, plan)
		}
		return plots.Latency[i]
	}
	var lines [][]*float64
	p.drawn("latency", &lines)
	checkLatency(t, lines, latency("items=1k", "probe"))
	p.checkCurves(latency("items=1k", "probe"))
	p.checkCourses(plots.Timelines[0])
	p.checkHeat(latency("items=1k", "probe"))
	p.checkResources(plots.Resources[0])

	var courses [][][]*float64
	p.drawn("timeline", &courses)
	for i, c := range plots.Timelines[0].Courses {
		for k, want := range [][]float64{c.Hi, c.Lo, c.Mid} {
			if diff := cmp.Diff(want, values(courses[i][k+1])); diff != "" {
				t.Errorf("timeline of arm %d, series %d (-want +drawn):\n%s", c.Arm, k, diff)
			}
		}
		if got := values(courses[i][4]); !slices.Equal(got, []float64{0.04, 0.03, 0.02}) {
			t.Errorf("theory of arm %d drawn as %v", c.Arm, got)
		}
	}
	if want := plots.Ratios[0]; want.Group != "items=1k" || !want.Primary || len(want.Rows) != 4 {
		t.Fatalf("the first ratios are %+v", want)
	}
	p.checkRatios(plots.Arms, plots.Ratios[0])
	var resources [][][]*float64
	p.drawn("resources", &resources)
	if n := len(resources); n != 4 {
		t.Errorf("%d pictures of resources, want 4", n)
	} else if want := plots.Resources[0].CPU[1].Value; !slices.Equal(values(resources[1][2]), values(want)) {
		t.Error("the CPU drawn is not that of the data")
	}

	t.Run("arms", func(t *testing.T) {
		p.do(chromedp.Click(`button.arm[data-arm="1"]`, chromedp.ByQuery))
		p.drawn("latency", &lines)
		checkLatency(t, lines, latency("items=1k", "probe"), 1)
		p.checkRatios(plots.Arms, plots.Ratios[0], plots.Arms[1].Variant)
		var pressed string
		p.eval(&pressed, `document.querySelector('button.arm[data-arm="1"]').getAttribute("aria-pressed")`)
		if pressed != "false" {
			t.Errorf("the button of a hidden arm is pressed: %s", pressed)
		}
		// From the keyboard it comes back.
		p.do(chromedp.Focus(`button.arm[data-arm="1"]`, chromedp.ByQuery), chromedp.KeyEvent(kb.Enter))
		p.drawn("latency", &lines)
		checkLatency(t, lines, latency("items=1k", "probe"))
	})
	t.Run("plan", func(t *testing.T) {
		p.choose("choose-plan", "items=10k")
		p.drawn("latency", &lines)
		checkLatency(t, lines, latency("items=10k", "probe"))
		p.painted()
		p.choose("choose-plan", "items=1k")
	})
	t.Run("metric", func(t *testing.T) {
		p.choose("choose-ratios", "stanzas (exploratory)")
		i := slices.IndexFunc(plots.Ratios, func(r results.RatioPlot) bool { return r.Metric == "stanzas" && r.Group == "items=1k" })
		if i < 0 {
			t.Fatal("no ratios of stanzas")
		}
		p.checkRatios(plots.Arms, plots.Ratios[i])
	})
	t.Run("table", func(t *testing.T) {
		p.do(chromedp.Click(`#panel-latency details summary`, chromedp.ByQuery))
		p.wait(`document.querySelectorAll("#panel-latency details tbody tr").length === 5`)
		var head string
		p.eval(&head, `[...document.querySelectorAll("#panel-latency details thead th")].map((h) => h.textContent).join(" ")`)
		if head != "arm n p50 p90 p99 p99.9 p99.99 max mean blocks" {
			t.Errorf("head of the table: %s", head)
		}
	})
	t.Run("keyboard", func(t *testing.T) {
		p.do(chromedp.Focus(`#panel-latency .plot`, chromedp.ByQuery), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
		p.wait(`document.querySelector("#panel-latency .readout").textContent.includes("monolithic")`)
	})
	t.Run("names", func(t *testing.T) {
		var nameless []string
		p.eval(&nameless, `[...document.querySelectorAll("[role=img],[role=figure],[role=region],[role=group],select,button")]
			.filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() && e.tagName === "BUTTON" || e.labels?.length)).map((e) => e.outerHTML.slice(0, 80))`)
		for _, n := range nameless {
			t.Errorf("nameless: %s", n)
		}
	})
	t.Run("dark and print", func(t *testing.T) {
		background := func() (colour string) {
			p.eval(&colour, `getComputedStyle(document.documentElement).backgroundColor`)
			return colour
		}
		light := background()
		p.media("screen", "dark")
		p.wait(`charts.theme().dark`)
		if dark := background(); dark == light {
			t.Errorf("dark pages are %s too", dark)
		}
		p.painted()
		p.shot("report-dark")
		p.media("print", "light")
		p.fits()
		p.shot("report-print")
		p.media("screen", "light")
	})
	p.shot("report-1280")
	p.quiet(onlyFiles)
	t.Run("policy", func(t *testing.T) {
		var hits atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
		defer server.Close()
		var outcome string
		p.eval(&outcome, `(async () => {
			const s = document.createElement("script");
			s.textContent = "window.smuggled = true";
			document.body.append(s);
			const image = document.createElement("img");
			image.src = %q;
			document.body.append(image);
			const fetched = await fetch(%q).then(() => "fetched", () => "refused");
			return fetched + " " + Boolean(window.smuggled);
		})()`, server.URL, server.URL)
		if outcome != "refused false" || hits.Load() > 0 {
			t.Errorf("fetch and script: %s; %d requests arrived", outcome, hits.Load())
		}
	})
}

// On paper pictures are as wide as the paper, whatever the window was, and nothing is
// folded away; afterwards the page is what it was.
func TestReportPrinted(t *testing.T) {
	_, run := federations(5, 10, 40).make(t)
	_, logins := rosters("rosters").make(t)
	for _, width := range []int64{360, 1900, 3840} {
		for name, r := range map[string]*results.Run{"federation": run, "report": logins} {
			t.Run(fmt.Sprint(name, " ", width), func(t *testing.T) {
				url, _ := reportPage(t, r)
				p := open(t, url, width, 1000)
				p.do(chromedp.Click(`#panel-latency details summary`, chromedp.ByQuery))
				p.wait(`document.querySelector("#panel-latency details tbody tr") !== null`)
				p.do(chromedp.Focus(`#panel-latency .plot`, chromedp.ByQuery))
				type state struct {
					Widest     float64
					Parts      int // of the tables that are folded
					Open       int // tables of figures
					Focused    bool
					Overlap    []string
					Beyond     []string
					Background string
				}
				const look = `(() => {
					const pictures = [...document.querySelectorAll("#pictures canvas, #pictures svg[role=img]")], edge = document.getElementById("pictures").getBoundingClientRect().right;
					const overlap = [], boxes = [...document.querySelectorAll("#pictures .multiple")].map((e) => e.getBoundingClientRect());
					boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b, k) => { if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) overlap.push(i + " and " + (i + 1 + k)); }));
					return {
						widest: Math.max(...pictures.map((e) => e.getBoundingClientRect().width)), parts: document.querySelectorAll("details.part:not([open])").length,
						open: document.querySelectorAll("#pictures details[open] tbody").length, focused: document.activeElement === document.querySelector("#panel-latency .plot"),
						overlap, beyond: pictures.filter((e) => e.getBoundingClientRect().right > edge + 1).map((e) => e.closest("section").id),
						background: getComputedStyle(document.body).backgroundColor,
					};
				})()`
				var before, printed, after state
				p.eval(&before, look)
				p.media("print", "light")
				// The browser tells the page first, as it does before its own dialogue.
				p.eval(nil, `void dispatchEvent(new Event("beforeprint"))`)
				p.painted()
				p.eval(&printed, look)
				if printed.Widest > 680 || printed.Widest < 250 || printed.Parts != 0 || len(printed.Overlap)+len(printed.Beyond) > 0 {
					t.Errorf("printed: %+v", printed)
				}
				p.media("screen", "light")
				p.eval(nil, `void dispatchEvent(new Event("afterprint"))`)
				p.painted()
				p.eval(&after, look)
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("after printing (-before +after):\n%s", diff)
				}
				if before.Open != 1 || !before.Focused {
					t.Errorf("before printing: %+v", before)
				}
				// And so does the browser itself.
				p.eval(nil, `void addEventListener("beforeprint", () => { window.printed = `+look+`; })`)
				var paper []byte
				p.do(chromedp.ActionFunc(func(ctx context.Context) (err error) {
					paper, _, err = page.PrintToPDF().WithPrintBackground(true).WithPaperWidth(8.27).WithPaperHeight(11.69).WithPreferCSSPageSize(true).Do(ctx)
					return err
				}))
				if !bytes.HasPrefix(paper, []byte("%PDF-")) {
					t.Errorf("the paper begins with %.20q", paper)
				}
				p.keep(fmt.Sprintf("%s-%d.pdf", name, width), paper)
				p.eval(&printed, `window.printed`)
				if printed.Widest > 680 || printed.Parts != 0 {
					t.Errorf("printed by the browser: %+v", printed)
				}
				p.quiet(onlyFiles)
			})
		}
	}
}

// Phones and walls show the same, without scrolling sideways.
func TestReportWidths(t *testing.T) {
	_, run := rosters("rosters").make(t)
	_, mesh := federations(5, 10, 40).make(t)
	for _, width := range []int64{360, 768, 3840} {
		t.Run(fmt.Sprint(width), func(t *testing.T) {
			for name, r := range map[string]*results.Run{"report": run, "federation": mesh} {
				url, _ := reportPage(t, r)
				p := open(t, url, width, 900)
				p.painted()
				p.fits()
				p.shot(fmt.Sprintf("%s-%d", name, width))
				p.quiet(onlyFiles)
			}
		})
	}
}

// The answers of a capacity sheet are in view on a phone.
func TestSheetOnAPhone(t *testing.T) {
	run, err := results.Open("../../results/reference/prosody")
	if err != nil {
		t.Fatal(err)
	}
	url, _ := reportPage(t, run)
	p := open(t, url, 360, 900)
	p.fits()
	var sheet struct {
		Rows   int
		Hidden []string
	}
	p.eval(&sheet, `({
		rows: document.querySelectorAll(".sheet tbody tr").length,
		hidden: [...document.querySelectorAll(".sheet tbody td")].filter((e) => e.textContent && (e.getBoundingClientRect().right > e.closest(".scroll").getBoundingClientRect().right || e.getBoundingClientRect().width < 10)).map((e) => e.textContent),
	})`)
	if sheet.Rows < 10 || len(sheet.Hidden) > 0 {
		t.Errorf("of %d rows cannot be seen: %q", sheet.Rows, sheet.Hidden)
	}
	p.shot("sheet-360")
	p.quiet(onlyFiles)
}

func TestReportOfFederations(t *testing.T) {
	_, run := federations(5, 10, 40).make(t)
	url, plots := reportPage(t, run)
	p := open(t, url, 1280, 900)
	if got, want := p.panels(), []string{"mesh", "latency", "ratios", "cost", "heat", "resources"}; !slices.Equal(got, want) {
		t.Fatalf("panels %v, want %v", got, want)
	}
	p.painted()
	if plots.Meshes[0].Connections != 50 {
		t.Errorf("the first mesh is %+v", plots.Meshes[0])
	}
	p.checkMeshes(plots.Meshes[:3])
	p.checkCosts(plots.Costs[0])
	var counts []string
	p.eval(&counts, `[...document.querySelectorAll("#panel-mesh .count")].map((e) => e.textContent)`)
	if want := []string{"50 connections", "2 connections", "1 connection"}; !slices.Equal(counts, want) {
		t.Errorf("captions %q, want %q", counts, want)
	}
	if got, want := p.meshNotes(), []string{
		"each line stands for 2 connections", "each line stands for 1 connection; shared by all pairs", "each line stands for 1 connection; shared by all pairs",
	}; !slices.Equal(got, want) {
		t.Errorf("notes %q, want %q", got, want)
	}
	var cost [][]*float64
	p.drawn("cost", &cost)
	want := plots.Costs[0]
	for arm := range 3 {
		var medians []float64
		for _, pt := range want.Points {
			if pt.Arm == arm {
				medians = append(medians, pt.Value)
			}
		}
		if !slices.Equal(values(cost[arm+1]), medians) {
			t.Errorf("cost of arm %d drawn as %v, want %v", arm, values(cost[arm+1]), medians)
		}
	}
	// A large mesh says what it leaves out.
	p.choose("choose-plan", "domains=40x40")
	if got := p.meshNotes()[0]; got != "each line stands for 2 connections; drawn: 30 × 30 of the domains" {
		t.Errorf("note %q", got)
	}
	p.shot("federation-1280")
	p.quiet(onlyFiles)
}

// meshNotes is what stands below the pictures of meshes.
func (p *tab) meshNotes() []string {
	p.t.Helper()
	var notes []string
	p.eval(&notes, `[...document.querySelectorAll("#panel-mesh .note")].map((e) => e.textContent)`)
	return notes
}

// Providers stand around a circle where there are more than two, and lines are drawn for
// the pairs that talked, whether or not there are fewer than there could be.
func TestReportOfLazyMesh(t *testing.T) {
	_, run := lazyMesh().make(t)
	for _, width := range []int64{1280, 360} {
		url, plots := reportPage(t, run)
		p := open(t, url, width, 900)
		p.painted()
		p.fits()
		p.checkMeshes(plots.Meshes)
		if got, want := p.meshNotes(), []string{
			"each line stands for 1 connection; 150 of 300 pairs talked: as many are drawn, spread evenly, since runs do not say which",
			"each line stands for 1 connection; shared by all pairs",
		}; !slices.Equal(got, want) {
			t.Errorf("notes %q, want %q", got, want)
		}
		p.do(chromedp.Click(`#panel-mesh details summary`, chromedp.ByQuery))
		p.wait(`document.querySelectorAll("#panel-mesh details tbody tr").length === 2`)
		var row string
		p.eval(&row, `[...document.querySelectorAll("#panel-mesh details tbody tr:first-child > *")].map((c) => c.textContent).join(" ")`)
		if row != "pair-bidi 10 × 10 × 10 150 150" {
			t.Errorf("first row of the table: %s", row)
		}
		p.do(chromedp.ScrollIntoView(`#panel-mesh`, chromedp.ByQuery))
		p.shot(fmt.Sprintf("lazy-mesh-%d", width))
		p.quiet(onlyFiles)
	}
}

// A model is a line with its band, dots that it was fitted to and rings that it was not.
func TestReportWithModel(t *testing.T) {
	r := federations(6, 8, 10, 12, 16, 20, 40)
	r.id = "modelled"
	_, run := r.make(t)
	design := results.ModelDesign{
		Scenario: r.scenario, Over: "pairs", Group: func(map[string]float64) string { return "full mesh" },
		Drivers:    []results.Driver{{Name: "pairs", Of: []string{"pairs"}}},
		Quantities: []results.Quantity{{Name: "cpu.mesh", Unit: results.UnitSeconds, Of: []string{"cpu.mesh"}, Doc: "CPU time of both ends.", Limit: results.QuantityLimits{Relative: 0.15}}},
	}
	model, _, err := results.FitModel([]*results.Run{run}, design, results.FitOptions{HoldOut: []string{"40x40"}})
	if err != nil {
		t.Fatal(err)
	}
	beside, err := model.Report([]*results.Run{run}, design)
	if err != nil {
		t.Fatal(err)
	}
	for _, width := range []int64{1280, 360} {
		url, plots := reportWith(t, results.ReportOptions{Model: beside}, run)
		p := open(t, url, width, 900)
		p.painted()
		p.fits()
		p.choose("choose-cost", "cpu.mesh, full mesh")
		// However many arms there are, no two look alike.
		var looks int
		p.eval(&looks, `new Set(Array.from({length: 64}, (_, i) => charts.swatch(charts.theme(), i).innerHTML)).size`)
		if looks != 64 {
			t.Errorf("64 arms have %d looks", looks)
		}
		p.checkCosts(plots.Costs[0])
		var cost [][]*float64
		p.drawn("cost", &cost)
		next := 1
		for _, line := range plots.Costs[0].Lines {
			var fitted, held []float64
			for _, pt := range plots.Costs[0].Points {
				switch {
				case pt.Arm != line.Arm:
				case pt.Role == results.RoleHeldOut:
					held = append(held, pt.Value)
				default:
					fitted = append(fitted, pt.Value)
				}
			}
			if len(fitted) != 6 || len(held) != 1 || len(line.Size) < 20 {
				t.Fatalf("arm %d has %d and %d points and a line of %d", line.Arm, len(fitted), len(held), len(line.Size))
			}
			for i, want := range [][]float64{line.Value, line.Hi, line.Lo, fitted, held} {
				if diff := cmp.Diff(want, values(cost[next+i])); diff != "" {
					t.Errorf("series %d of arm %d (-want +drawn):\n%s", i, line.Arm, diff)
				}
			}
			next += 5
		}
		if next != len(cost) {
			t.Errorf("%d series were drawn, want %d", len(cost)-1, next-1)
		}
		p.do(chromedp.Click(`#panel-cost details summary`, chromedp.ByQuery))
		p.wait(`document.querySelectorAll("#panel-cost details tbody tr").length === 21`)
		var head string
		p.eval(&head, `[...document.querySelectorAll("#panel-cost details thead th")].map((h) => h.textContent).join(" ")`)
		if head != "arm pairs median smallest largest size model error" {
			t.Errorf("head of the table: %s", head)
		}
		p.do(chromedp.ScrollIntoView(`#panel-cost`, chromedp.ByQuery))
		p.shot(fmt.Sprintf("model-%d", width))
		p.quiet(onlyFiles)
	}
}

func TestReportOfStorms(t *testing.T) {
	_, run := storms().make(t)
	url, plots := reportPage(t, run)
	p := open(t, url, 1280, 900)
	p.painted()
	var load [][]*float64
	p.drawn("load", &load)
	var rates, p99 []float64
	for _, pt := range plots.Load[0].Points {
		rates = append(rates, pt.Rate)
		if pt.P99 != nil {
			p99 = append(p99, *pt.P99)
		}
	}
	if !slices.Equal(values(load[0]), rates) || !slices.Equal(values(load[1]), p99) || len(p99) != 6 {
		t.Errorf("drawn %v, %v; want %v, %v", values(load[0]), values(load[1]), rates, p99)
	}
	p.checkLoad(plots.Load[0])
	p.shot("storm-1280")
	p.quiet(onlyFiles)
}

// Several runs stand in one picture, each arm of each run by itself.
func TestReportOfSeveralRuns(t *testing.T) {
	_, a := rosters("before").make(t)
	_, b := rosters("after").make(t)
	url, plots := reportPage(t, a, b)
	p := open(t, url, 1280, 900)
	p.painted()
	var lines [][]*float64
	p.drawn("latency", &lines)
	checkLatency(t, lines, plots.Latency[0])
	if n := len(plots.Latency[0].Curves); n != 10 {
		t.Errorf("%d curves, want 10", n)
	}
	p.shot("runs-1280")
	p.quiet(onlyFiles)
}

// What others wrote into a run is text; what makes it invalid stands in place of figures.
func TestReportOfHostileAndInvalidRuns(t *testing.T) {
	const bad = `</script><script>window.hostile=1</script><img src=x onerror="window.hostile=1">`
	r := rosters("hostile")
	r.variants = []string{"monolithic", bad}
	r.plans[0].Name = bad
	_, run := r.make(t)
	run.Manifest.ID, run.Manifest.Scenario, run.Manifest.Notes = bad, bad, []string{bad}
	url, _ := reportPage(t, run)
	p := open(t, url, 1280, 900)
	p.painted()
	p.do(chromedp.Click(`button.arm[data-arm="1"]`, chromedp.ByQuery), chromedp.Click(`#panel-ratios details summary`, chromedp.ByQuery))
	var hostile bool
	p.eval(&hostile, `Boolean(window.hostile) || document.querySelectorAll("img").length > 0`)
	if hostile {
		t.Error("a name became markup")
	}
	p.quiet(onlyFiles)

	dir, _ := rosters("invalid").make(t)
	if err := os.WriteFile(dir+"/DONE", []byte(`{"status":"invalid","reasons":["7 arrivals were dropped"]}`), 0o644); err != nil {
		t.Fatal(err)
	}
	invalid, err := results.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	url, _ = reportPage(t, invalid)
	p = open(t, url, 1280, 900)
	if got := p.panels(); len(got) > 0 {
		t.Errorf("an invalid run has pictures: %v", got)
	}
	var text string
	p.eval(&text, `document.querySelector("main").innerText`)
	if !strings.Contains(text, "No figures: 7 arrivals were dropped") {
		t.Errorf("the page says:\n%s", text)
	}
	p.shot("invalid-1280")
	p.quiet(onlyFiles)
}
