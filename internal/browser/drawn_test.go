//go:build browser

package browser

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/xmppbench/xmppbench/results"
)

// What a chart was given to draw says nothing of what can be seen. These checks read the
// ticks of its axes as a reader would, and look at the picture where a sample must be.

// place is where a sample belongs in a picture.
type place struct {
	arm  int
	x, y float64
}

// scale is that of an axis.
type scale func(float64) float64

func linear(v float64) float64 { return v }

// tick is a mark of an axis, At so many pixels from the left or the top.
type tick struct{ Value, At float64 }

// at is where a value stands on an axis with these ticks.
func at(ticks []tick, s scale, v float64) float64 {
	a, b := ticks[0], ticks[len(ticks)-1]
	return a.At + (s(v)-s(a.Value))/(s(b.Value)-s(a.Value))*(b.At-a.At)
}

// armColour is the colour of an arm in the list of arms.
const armColour = `document.querySelector('button.arm[data-arm="%d"] .swatch line').getAttribute("stroke")`

// drawnAt looks for samples in a chart of lines, given as an expression: around each
// place there must be the colour that an expression with %d gives for its arm.
func (p *tab) drawnAt(chart, colour string, x, y scale, points []place) {
	p.t.Helper()
	if share := p.seenAt(chart, colour, x, y, points); share < 1 {
		p.t.Errorf("%s: of %d samples %.0f %% are drawn where the axes say", chart, len(points), 100*share)
	}
}

// seenAt is the share of the samples that are drawn where they must be: of a dashed line
// some fall between two dashes.
func (p *tab) seenAt(chart, colour string, x, y scale, points []place) float64 {
	p.t.Helper()
	var ticks [2][]tick
	p.eval(&ticks, `(%s).ticks()`, chart)
	if len(points) == 0 || len(ticks[0]) < 2 || len(ticks[1]) < 2 {
		p.t.Fatalf("%s: %d samples, ticks %v", chart, len(points), ticks)
	}
	type pixel struct {
		X, Y   float64
		Colour string
	}
	colours := make(map[int]string)
	var pixels []pixel
	for _, s := range points {
		if colours[s.arm] == "" {
			var c string
			p.eval(&c, colour, s.arm)
			colours[s.arm] = c
		}
		pixels = append(pixels, pixel{at(ticks[0], x, s.x), at(ticks[1], y, s.y), colours[s.arm]})
	}
	b, err := json.Marshal(pixels)
	if err != nil {
		p.t.Fatal(err)
	}
	var seen []bool
	p.eval(&seen, `(() => {
		const canvas = (%s).uplot.root.querySelector("canvas"), r = devicePixelRatio;
		return %s.map(({X, Y, Colour}) => {
			const want = [1, 3, 5].map((i) => parseInt(Colour.slice(i, i + 2), 16));
			const d = pixels(canvas, (X - 5) * r, (Y - 5) * r, 11 * r, 11 * r);
			for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 200 && want.every((c, k) => Math.abs(c - d[i + k]) < 32)) return true;
			return false;
		});
	})()`, chart, b)
	n := 0
	for _, s := range seen {
		if s {
			n++
		}
	}
	return float64(n) / float64(len(seen))
}

// checkCurves looks for percentiles in their picture, and for the maxima at their ends.
func (p *tab) checkCurves(want results.LatencyPlot) {
	p.t.Helper()
	const chart = `xmppbench.live.find((l) => l.id === "latency").chart`
	var maxima []place
	for _, c := range want.Curves {
		maxima = append(maxima, place{c.Arm, math.Log10(float64(c.N)), c.Max})
		var curve []place
		for i, v := range c.Value {
			curve = append(curve, place{c.Arm, c.Nines[i], v})
		}
		if share := p.seenAt(chart, armColour, linear, math.Log10, curve); share < 0.5 {
			p.t.Errorf("%.0f %% of the curve of arm %d are drawn where the axes say", 100*share, c.Arm)
		}
	}
	p.drawnAt(chart, armColour, linear, math.Log10, maxima)
}

// checkCourses looks for the medians of timelines in their pictures.
func (p *tab) checkCourses(want results.TimelinePlot) {
	p.t.Helper()
	for i, c := range want.Courses {
		var course []place
		for k, t := range c.T {
			course = append(course, place{c.Arm, t, c.Mid[k]})
		}
		p.drawnAt(fmt.Sprintf(`xmppbench.live.find((l) => l.id === "timeline").chart.parts[%d]`, i), armColour, linear, linear, course)
	}
}

// checkCosts looks for the sizes that were measured in their picture.
func (p *tab) checkCosts(want results.CostPlot) {
	p.t.Helper()
	var points []place
	for _, pt := range want.Points {
		points = append(points, place{pt.Arm, pt.Size, pt.Value})
	}
	p.drawnAt(`xmppbench.live.find((l) => l.id === "cost").chart`, armColour, math.Log10, math.Log10, points)
}

// checkLoad looks for the p99 of each level in its picture.
func (p *tab) checkLoad(want results.LoadPlot) {
	p.t.Helper()
	var points []place
	for _, pt := range want.Points {
		if pt.P99 != nil {
			points = append(points, place{pt.Arm, pt.Rate, *pt.P99})
		}
	}
	p.drawnAt(`xmppbench.live.find((l) => l.id === "load").chart`, armColour, linear, math.Log10, points)
}

// checkResources looks for response times and CPU in their pictures.
func (p *tab) checkResources(want results.ResourcePlot) {
	p.t.Helper()
	const parts = `xmppbench.live.find((l) => l.id === "resources").chart.parts`
	// A made-up run records everything at once: of what stands at one time the last is on top.
	last := make(map[float64]place)
	for _, r := range want.Response {
		if before, ok := last[r.T]; !ok || r.Arm >= before.arm {
			last[r.T] = place{r.Arm, r.T, r.Max}
		}
	}
	p.drawnAt(parts+"[0]", armColour, linear, math.Log10, slices.Collect(maps.Values(last)))
	for i, line := range want.CPU {
		var cpu []place
		for k, v := range line.Value {
			if v != nil {
				cpu = append(cpu, place{i, want.T[k], *v})
			}
		}
		// The roles have a key of their own.
		role := `document.querySelectorAll("#panel-resources .keys")[0].querySelectorAll("line")[%d].getAttribute("stroke")`
		if share := p.seenAt(parts+"[1]", role, linear, linear, cpu); share < 0.5 {
			p.t.Errorf("%.0f %% of the CPU of %s are drawn where the axes say", 100*share, line.Role)
		}
	}
}

// checkRatios reads the drawing of ratios: every diamond, bar and dot by the ticks.
func (p *tab) checkRatios(arms []results.PlotArm, want results.RatioPlot, hidden ...string) {
	p.t.Helper()
	var drawn struct {
		Ticks    []struct{ Text, X string }
		Diamonds []struct{ D, Fill string }
		Dots     []struct{ CX, Fill string }
		Bars     []struct{ X1, X2, Stroke string }
		Colours  []string
	}
	p.eval(&drawn, `(() => {
		const all = (s, f) => [...document.querySelectorAll("#panel-ratios svg[role=img] " + s)].map(f), get = (e, name) => e.getAttribute(name);
		return {
			ticks: all("text.tick", (e) => ({Text: e.textContent, X: get(e, "x")})), diamonds: all("path", (e) => ({D: get(e, "d"), Fill: get(e, "fill")})),
			dots: all("circle", (e) => ({CX: get(e, "cx"), Fill: get(e, "fill")})), bars: all('line[stroke-width="5"]', (e) => ({X1: get(e, "x1"), X2: get(e, "x2"), Stroke: get(e, "stroke")})),
			colours: [...document.querySelectorAll("button.arm .swatch line")].map((e) => get(e, "stroke")),
		};
	})()`)
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			p.t.Fatalf("%q is no number", s)
		}
		return v
	}
	var ticks []tick
	for _, t := range drawn.Ticks {
		if text, ok := strings.CutPrefix(t.Text, "×"); ok {
			ticks = append(ticks, tick{number(text), number(t.X)})
		}
	}
	if len(ticks) < 2 {
		p.t.Fatalf("the axis of ratios has the ticks %v", drawn.Ticks)
	}
	near := func(what, x string, v float64) {
		p.t.Helper()
		if want := at(ticks, math.Log, v); math.Abs(number(x)-want) > 0.5 {
			p.t.Errorf("%s: %g stands at %s, the axis says %.1f", what, v, x, want)
		}
	}
	row, dot := 0, 0
	for _, r := range want.Rows {
		if slices.Contains(hidden, r.Variant) {
			continue
		}
		if row >= len(drawn.Diamonds) || row >= len(drawn.Bars) || dot+len(r.Blocks) > len(drawn.Dots) {
			p.t.Fatalf("%d diamonds, %d bars and %d dots are drawn for %d rows", len(drawn.Diamonds), len(drawn.Bars), len(drawn.Dots), len(want.Rows))
		}
		colour := ""
		for i, a := range arms {
			if a.Variant == r.Variant {
				colour = drawn.Colours[i]
			}
		}
		d := drawn.Diamonds[row]
		x, _, _ := strings.Cut(strings.TrimPrefix(d.D, "M"), " ")
		near(r.Variant, x, float64(r.Ratio))
		near(r.Variant+" from", drawn.Bars[row].X1, float64(r.Lo))
		near(r.Variant+" to", drawn.Bars[row].X2, float64(r.Hi))
		for _, v := range r.Blocks {
			near(r.Variant+" block", drawn.Dots[dot].CX, v)
			if drawn.Dots[dot].Fill != colour {
				p.t.Errorf("a block of %s is %s, its arm %s", r.Variant, drawn.Dots[dot].Fill, colour)
			}
			dot++
		}
		if d.Fill != colour || drawn.Bars[row].Stroke != colour {
			p.t.Errorf("%s is %s and %s, its arm %s", r.Variant, d.Fill, drawn.Bars[row].Stroke, colour)
		}
		row++
	}
	if row == 0 || row != len(drawn.Diamonds) || dot != len(drawn.Dots) {
		p.t.Errorf("%d diamonds and %d dots are drawn for %d and %d", len(drawn.Diamonds), len(drawn.Dots), row, dot)
	}
}

// checkMeshes counts what is drawn: domains, and the connections between them, each of
// which ends at domains.
func (p *tab) checkMeshes(want []results.MeshPlot) {
	p.t.Helper()
	var drawn []struct {
		Colour            string
		Dots, Lines, Wide int
		Loose             int // lines that begin or end at no domain
	}
	p.eval(&drawn, `[...document.querySelectorAll("#panel-mesh svg[role=img]")].map((s) => {
		const get = (e, ...names) => names.map((n) => Number(e.getAttribute(n)).toFixed(2)).join(" ");
		const dots = [...s.querySelectorAll("circle")].filter((c) => c.getAttribute("r") !== "8"), places = new Set(dots.map((c) => get(c, "cx", "cy")));
		const lines = [...s.querySelectorAll("g > line")];
		return {
			colour: s.querySelector("g").getAttribute("stroke"), dots: dots.length, lines: lines.length, wide: s.querySelectorAll("path.lane").length,
			loose: lines.filter((l) => !places.has(get(l, "x1", "y1")) || !places.has(get(l, "x2", "y2"))).length,
		};
	})`)
	if len(drawn) != len(want) {
		p.t.Fatalf("%d meshes are drawn, want %d", len(drawn), len(want))
	}
	for i, m := range want {
		var colour string
		p.eval(&colour, armColour, m.Arm)
		dots, pairs := 0, 0
		for _, n := range m.Domains {
			pairs, dots = pairs+n*dots, dots+n
		}
		lines, wide := int(math.Round(m.Pairs)), 0
		if m.Shared {
			lines, wide = 0, int(m.Connections)
		}
		if d := drawn[i]; d.Colour != colour || d.Dots != dots || d.Lines != lines || d.Wide != wide || d.Loose != 0 || lines > pairs {
			p.t.Errorf("%g connections of %v domains in %s, of which %g pairs talked, are drawn as %+v", m.Connections, m.Domains, colour, m.Pairs, d)
		}
	}
}

// watchCanvases is a script that notes what is written on canvases and where, for
// pictures whose axes stand nowhere else, and defines pixels, which reads a part of a
// canvas without slowing it down for the page.
const watchCanvases = `(() => {
	const write = CanvasRenderingContext2D.prototype.fillText;
	CanvasRenderingContext2D.prototype.fillText = function (text, x, y, ...more) {
		(this.canvas.written ||= []).push({Text: String(text), X: x, Y: y});
		return write.call(this, text, x, y, ...more);
	};
	const clear = CanvasRenderingContext2D.prototype.clearRect;
	CanvasRenderingContext2D.prototype.clearRect = function (...at) { this.canvas.written = []; return clear.apply(this, at); };
	window.pixels = (canvas, x = 0, y = 0, w = canvas.width, h = canvas.height) => {
		const g = new OffscreenCanvas(w, h).getContext("2d", {willReadFrequently: true});
		g.drawImage(canvas, Math.round(x), Math.round(y), w, h, 0, 0, w, h);
		return g.getImageData(0, 0, w, h).data;
	};
})()`

// checkHeat looks in each heat map for the fullest cell of each column: in the colour of
// its samples, and where the axes say.
func (p *tab) checkHeat(want results.LatencyPlot) {
	p.t.Helper()
	var most int64 = 1
	for _, h := range want.Heat {
		for i := 2; i < len(h.Cells); i += 3 {
			most = max(most, h.Cells[i])
		}
	}
	var ramp []string
	p.eval(&ramp, `charts.theme().ramp`)
	for k, h := range want.Heat {
		var written []struct {
			Text string
			X, Y float64
		}
		canvas := fmt.Sprintf(`document.querySelectorAll("#panel-heat canvas")[%d]`, k)
		p.eval(&written, `%s.written`, canvas)
		var columns, times []tick
		for _, w := range written {
			if v, err := strconv.ParseFloat(w.Text, 64); err == nil {
				columns = append(columns, tick{v, w.X})
			} else if n, unit, ok := strings.Cut(w.Text, " "); ok && map[string]float64{"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}[unit] > 0 {
				v, err := strconv.ParseFloat(n, 64)
				if err != nil {
					p.t.Fatalf("tick %q", w.Text)
				}
				times = append(times, tick{v * map[string]float64{"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}[unit], w.Y})
			}
		}
		if want.Column != "block" || len(columns) < 2 || len(times) < 2 {
			p.t.Fatalf("a heat map over %s has the ticks %v and %v", want.Column, columns, times)
		}
		full := make(map[int64][2]int64) // of each column: row and samples
		for i := 0; i < len(h.Cells); i += 3 {
			if c, row, n := h.Cells[i], h.Cells[i+1], h.Cells[i+2]; n > full[c][1] {
				full[c] = [2]int64{row, n}
			}
		}
		for c, cell := range full {
			x := at(columns, linear, float64(c+1))
			middle := math.Pow(10, (float64(want.Floor)+float64(cell[0])+0.5)/float64(want.Decade))
			if math.Abs(math.Log10(h.Max[c]/middle)) < 1/float64(want.Decade) {
				continue // the line of the maximum may hide it
			}
			y := at(times, math.Log10, middle)
			share := 1.0
			if most > 1 {
				share = math.Log(float64(cell[1])) / math.Log(float64(most))
			}
			colour := ramp[int(math.Floor(share*float64(len(ramp)-1)+0.5))]
			var got string
			p.eval(&got, `"#" + [...pixels(%s, %f * devicePixelRatio, %f * devicePixelRatio, 1, 1)].slice(0, 3).map((v) => v.toString(16).padStart(2, "0")).join("")`, canvas, x, y)
			if got != colour {
				p.t.Errorf("heat map %d, column %d, row %d with %d samples is %s, want %s", k, c, cell[0], cell[1], got, colour)
			}
		}
	}
}
