package results

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/internal/schema"
)

// withTimelines gives the fixture pings that were slow at first, and what theory
// expects of them.
func withTimelines(r *Run) *Run {
	for _, b := range r.Blocks {
		if b.Skipped != "" {
			continue
		}
		t := Timeline{Key: b.Key, Metric: "probe", Since: "roster request"}
		for i := range 60 {
			due := float64(i-10) * 0.005
			took := 0.05
			if i >= 10 {
				took = math.Max(took, 0.2-due) + float64(b.Block)/1000
			}
			t.Points = append(t.Points, Point{due, took})
		}
		r.Timelines = append(r.Timelines, t)
	}
	for i := range r.Theory {
		r.Theory[i].Timelines = map[string][]Point{"probe": {{0, 0.2}, {0.15, 0.05}}}
	}
	return r
}

// dataOf is the data part of an HTML report.
func dataOf(t testing.TB, page []byte) []byte {
	t.Helper()
	_, data, ok := bytes.Cut(page, []byte(`<script type="application/json" id="data">`))
	data, _, closed := bytes.Cut(data, []byte("</script>"))
	if !ok || !closed {
		t.Fatal("the page has no data part")
	}
	return data
}

// The data part is the document, and what the pictures are drawn from.
func TestHTMLData(t *testing.T) {
	r := withTimelines(fixture(t, "20261122T124900Z-roster-login-a1b2", 1, 1))
	var data struct{ Document, Plots json.RawMessage }
	if err := json.Unmarshal(dataOf(t, report(t, "html", ReportOptions{}, r)), &data); err != nil {
		t.Fatal(err)
	}
	var got, want any
	if err := errors.Join(json.Unmarshal(data.Document, &got), json.Unmarshal(report(t, "json", ReportOptions{}, r), &want)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the document in the page is not that of the JSON report:\n%s", diff)
	}
	// One entry of a list a line: a difference shows where it is.
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data.Plots, &parts); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(parts)) {
		var list []json.RawMessage
		if json.Unmarshal(parts[name], &list) != nil {
			list = []json.RawMessage{parts[name]}
		}
		lines.WriteString(name + ":\n")
		for _, entry := range list {
			lines.Write(append(entry, '\n'))
		}
	}
	golden.File(t, filepath.Join("testdata", "plots.txt"), lines.Bytes())
}

// TestPlotsSchema holds the schema of what pictures are drawn from against the types;
// -update writes it anew.
func TestPlotsSchema(t *testing.T) {
	golden.File(t, filepath.Join("schema", "plots.schema.json"), schema.Document{
		ID: "plots.schema.json", Title: "xmppbench plots: what the pictures of an HTML report are drawn from", Version: PlotsSchema,
		Other: map[reflect.Type]map[string]any{reflect.TypeFor[Ratio](): {"type": []string{"number", "null"}}},
	}.Of(Plots{}))
}

// parsePage walks the elements of a page.
func parsePage(t testing.TB, page []byte, visit func(*html.Node)) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			visit(n)
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// The page carries all it needs, and its policy allows nothing else: not the scripts of
// others, and no connection.
func TestHTMLPolicy(t *testing.T) {
	page := report(t, "html", ReportOptions{}, fixture(t, "run", 1, 1))
	var policy string
	var hashes []string
	parsePage(t, page, func(n *html.Node) {
		switch n.Data {
		case "meta":
			if attribute(n, "http-equiv") == "Content-Security-Policy" {
				policy = attribute(n, "content")
			}
		case "script", "style":
			if attribute(n, "type") != "application/json" {
				sum := sha256.Sum256([]byte(n.FirstChild.Data))
				hashes = append(hashes, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
			}
		}
		for _, a := range n.Attr {
			if slices.Contains([]string{"src", "href", "srcset", "action", "style", "data"}, a.Key) && !strings.HasPrefix(a.Val, "#") || strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s %s=%q> fetches, or is not covered by the policy", n.Data, a.Key, a.Val)
			}
		}
	})
	if len(hashes) != 4 { // styles, the library, the charts and the page
		t.Fatalf("%d inline parts, want 4", len(hashes))
	}
	want := "default-src 'none'; script-src " + strings.Join(hashes[1:], " ") + "; style-src " + hashes[0] + "; base-uri 'none'; form-action 'none'"
	if policy != want {
		t.Errorf("policy\n%s\nwant\n%s", policy, want)
	}
	if n := len(page); n > 1<<20 {
		t.Errorf("the page has %d bytes", n)
	}
}

// Names come from scenario files, servers and directories of others: none may become
// markup.
func TestHTMLHostileNames(t *testing.T) {
	const bad = `</script><script>alert(1)</script><img src=x onerror=alert(2)>" onmouseover="alert(3)' <!--<script> {{.}}`
	count := func(page []byte) map[string]int {
		names := make(map[string]int)
		parsePage(t, page, func(n *html.Node) {
			for _, a := range n.Attr {
				if strings.HasPrefix(a.Key, "on") {
					t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
				}
			}
			names[n.Data]++
		})
		return names
	}
	hostile := func(name string) *Run {
		r := withTimelines(fixture(t, "run", 1, 1))
		m := &r.Manifest
		m.ID, m.Scenario, m.Argv, m.Notes = name, name, []string{name}, []string{name}
		m.Config = map[string]any{"source": name}
		m.Targets = []TargetInfo{{Name: name, Version: name}}
		m.Environment.CPU, m.Environment.Host, m.Environment.Sysctl = name, name, map[string]string{name: name}
		m.Thresholds = append(m.Thresholds, name)
		m.Plans[0].Name, m.Plans[0].Dimensions = name, map[string]string{name: name}
		m.Variants[1] = name
		rename := func(k *Key) {
			if k.Plan == "items=1k" {
				k.Plan = name
			}
			if k.Variant == "chunked-push" {
				k.Variant = name
			}
		}
		for i := range r.Blocks {
			rename(&r.Blocks[i].Key)
			if r.Blocks[i].Skipped != "" {
				r.Blocks[i].Skipped = name
			}
		}
		for i := range r.intervals {
			rename(&r.intervals[i].key)
		}
		for i := range r.Timelines {
			rename(&r.Timelines[i].Key)
			r.Timelines[i].Since = name
		}
		r.Counts[0].Name, r.Counts[0].Equal = name, false
		r.Flags = []Flag{{Kind: name, Severity: Warning, Text: name}}
		r.Done.Reasons = []string{name}
		return r
	}
	page := report(t, "html", ReportOptions{}, hostile(bad))
	tame := count(report(t, "html", ReportOptions{}, hostile("tame")))
	for name, n := range count(page) {
		if tame[name] != n {
			t.Errorf("%d elements <%s>, a tame run has %d", n, name, tame[name])
		}
	}
	var data struct {
		Document Document
		Plots    Plots
	}
	if err := json.Unmarshal(dataOf(t, page), &data); err != nil {
		t.Fatal(err)
	}
	if data.Document.Runs[0].Scenario != bad || !slices.Contains(data.Plots.Plans, bad) || data.Plots.Arms[1].Variant != bad {
		t.Error("the data lost a name")
	}
}

// Markdown is shown by web pages too.
func TestMarkdownHostileNames(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	r.Manifest.Scenario, r.Manifest.Notes = "<img src=x>", []string{"a\n# b <script>", `![x](http://evil.example/x.png) a|b \[c] ` + "`d`"}
	r.Manifest.Variants[0], r.Manifest.Baseline = "[link](http://evil.example)|x", ""
	for i := range r.Blocks {
		if r.Blocks[i].Variant == "monolithic" {
			r.Blocks[i].Variant = r.Manifest.Variants[0]
		}
	}
	out := string(report(t, "md", ReportOptions{}, r))
	for _, want := range []string{
		`# \<img src=x>`, `- note: a # b \<script>`, `- note: \!\[x\](http://evil.example/x.png) a\|b \\\[c\] ` + "\\`d\\`",
		`| \[link\](http://evil.example)\|x |`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
}

// An invalid run shows its reason, and no figure anywhere.
func TestHTMLOfInvalidRun(t *testing.T) {
	r := fixture(t, "bad", 1, 1)
	r.Done = Done{Status: StatusInvalid, Reasons: []string{"7 arrivals were dropped, at most 0 may be"}}
	page := report(t, "html", ReportOptions{}, r)
	body := string(page[bytes.Index(page, []byte("<main>")):bytes.Index(page, []byte("</main>"))])
	for _, want := range []string{"No verdict", "invalid: 7 arrivals were dropped", "No figures: 7 arrivals were dropped"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %q:\n%s", want, body)
		}
	}
	if m := regexp.MustCompile(`<td|[0-9](ms|µs)\b`).FindString(body); m != "" {
		t.Errorf("the page of an invalid run shows figures: %q", m)
	}
	var data struct{ Plots Plots }
	if err := json.Unmarshal(dataOf(t, page), &data); err != nil {
		t.Fatal(err)
	}
	if p := data.Plots; len(p.Arms)+len(p.Latency)+len(p.Ratios)+len(p.Resources) > 0 {
		t.Errorf("an invalid run has plots: %+v", p)
	}
}

// What pictures are drawn from agrees with the histograms, whatever was thinned.
func TestPlotsAgreeWithHistograms(t *testing.T) {
	r := withTimelines(fixture(t, "run", 1, 1))
	p := MakePlots([]*Run{r}, Summarize([]*Run{r}, CompareOptions{}), CompareOptions{})
	if len(p.Latency) == 0 || len(p.Timelines) == 0 || len(p.Ratios) == 0 {
		t.Fatalf("%d latencies, %d timelines, %d ratios: want some of each", len(p.Latency), len(p.Timelines), len(p.Ratios))
	}
	for _, l := range p.Latency {
		for i, c := range l.Curves {
			h := r.Timings(l.Metric, Filter{Plan: l.Plan, Variant: p.Arms[c.Arm].Variant}).Of(Response)
			if c.N != h.N() || c.Max != rounded(h.Max().Seconds()) {
				t.Errorf("%s of %s: n %d, max %v; the histogram has %d, %v", l.Metric, p.Arms[c.Arm].Label, c.N, c.Max, h.N(), h.Max())
			}
			if !slices.IsSorted(c.Value) || c.Value[len(c.Value)-1] > c.Max {
				t.Errorf("%s of %s is not monotonous up to its maximum: %v, %v", l.Metric, p.Arms[c.Arm].Label, c.Value, c.Max)
			}
			for k := range c.Lo {
				if c.Lo[k] > c.Hi[k] {
					t.Errorf("band %d of %s is upside down: %v, %v", k, l.Metric, c.Lo[k], c.Hi[k])
				}
			}
			heat := l.Heat[i]
			var n int64
			for k := 0; k < len(heat.Cells); k += 3 {
				n += heat.Cells[k+2]
				if row := heat.Cells[k+1]; row < 0 || row >= int64(l.Rows) {
					t.Errorf("row %d of %d", row, l.Rows)
				}
			}
			if n != h.N() || slices.Max(heat.Max) != c.Max {
				t.Errorf("the heat map of %s of %s has %d samples up to %v, the histogram %d up to %v", l.Metric, p.Arms[c.Arm].Label, n, slices.Max(heat.Max), h.N(), c.Max)
			}
		}
	}
	for _, tl := range p.Timelines {
		for _, c := range tl.Courses {
			if got, want := slices.Max(c.Hi), 0.207; got != want || c.N != 8*60 {
				t.Errorf("%s of %s: %d points up to %v, want 480 up to %v", tl.Metric, p.Arms[c.Arm].Label, c.N, got, want)
			}
		}
	}
	for _, rp := range p.Ratios {
		for _, row := range rp.Rows {
			if len(row.Blocks) != 8 || slices.Min(row.Blocks) > float64(row.Ratio)*1.001 || slices.Max(row.Blocks) < float64(row.Ratio)*0.999 {
				t.Errorf("%s: the ratio %v of %s does not lie among its blocks %v", rp.Metric, row.Ratio, row.Variant, row.Blocks)
			}
		}
	}
}

// Pictures of several runs have an arm for each variant of each run.
func TestPlotsOfSeveralRuns(t *testing.T) {
	runs := []*Run{fixture(t, "before", 1, 1), fixture(t, "after", 2, 1.5)}
	p := MakePlots(runs, Summarize(runs, CompareOptions{}), CompareOptions{})
	if len(p.Arms) != 8 || p.Arms[0].Label != "before monolithic" || p.Arms[4].Label != "after monolithic" {
		t.Fatalf("arms %v", p.Arms)
	}
	if n := len(p.Latency[0].Curves); n != 8 {
		t.Errorf("%d curves in one picture, want 8", n)
	}
	runs[0].Done = Done{Status: StatusInvalid}
	p = MakePlots(runs, Summarize(runs, CompareOptions{}), CompareOptions{})
	if len(p.Arms) != 4 || p.Arms[0].Run != "after" {
		t.Errorf("arms %v, want those of the valid run", p.Arms)
	}
}

func TestThinKeepsTheLargest(t *testing.T) {
	points := make([]Point, 10_007)
	for i := range points {
		points[i] = Point{float64(i), 1}
	}
	points[5003][1], points[5004][1] = 9, 8
	got := thin(points, maxPoints)
	if len(got) != maxPoints || !slices.Contains(got, Point{5003, 9}) {
		t.Errorf("%d points, the largest kept: %v", len(got), slices.Contains(got, Point{5003, 9}))
	}
	if !slices.IsSortedFunc(got, func(a, b Point) int { return int(a[0] - b[0]) }) {
		t.Error("the points are not in order")
	}
}

// A day of windows has more ratios than a picture has room for.
func TestRatiosAreThinnedEvenly(t *testing.T) {
	many := make([]float64, 86_400)
	for i := range many {
		many[len(many)-1-i] = float64(i)
	}
	got := evenly(many, ratioDots)
	if len(got) != ratioDots || got[0] != 0 || got[len(got)-1] != 86_399 || math.Abs(got[100]-86_399./399*100) > 1 {
		t.Errorf("%d of them: %v", len(got), got[:3])
	}
	if few := []float64{3, 1, 2}; !slices.Equal(evenly(few, 3), few) {
		t.Error("few ratios keep the order of their blocks")
	}
}

// Offered rates, sizes of federations and series over time come from what runs say of
// themselves.
func TestPlotsOfRatesMeshesAndSeries(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	r.Manifest.Plans[0].Dimensions = map[string]string{"load.rate": "50/s"}
	r.Manifest.Plans[1].Dimensions = map[string]string{"load.rate": "1.5k/s"}
	r.Manifest.Config = map[string]any{"plans": []any{
		map[string]any{"label": "items=1k", "federation": map[string]any{"domains": "5x4", "providers": 2.0}},
		map[string]any{"label": "items=10k", "federation": map[string]any{"domains": "10x10", "providers": 3.0}},
	}}
	for i := range r.Blocks {
		if r.Blocks[i].Valid {
			r.Blocks[i].Scalars["connections"] = 40
		}
	}
	r.Series = nil
	for i := range 1300 {
		s := Second{Elapsed: float64(i + 1), Figures: map[string]float64{
			"cpu.server": 0.25 * float64(i), "rss.server": 1 << 20, "fds.server": 7,
			// These are no processes of their own.
			"rss.peak.server": 9 << 20, "fds.limit.server": 1024, "thread.cpu.server/a-1": 1, "pressure.cpu": 1,
		}}
		if i == 700 {
			s.Figures["rss.server"] = 9 << 20
		}
		if i >= 1000 { // The server was started again.
			s.Figures["cpu.server"] = 0.5 * float64(i-1000)
		}
		r.Series = append(r.Series, s)
	}
	p := MakePlots([]*Run{r}, Summarize([]*Run{r}, CompareOptions{}), CompareOptions{})
	if len(p.Load) == 0 || p.Load[0].Over != "load.rate" || p.Load[0].Metric != "probe" || p.Load[0].Points[0].Rate != 50 || p.Load[0].Points[1].Rate != 1500 {
		t.Errorf("loads %+v", p.Load)
	}
	i := slices.IndexFunc(p.Meshes, func(m MeshPlot) bool { return m.Plan == "items=10k" })
	if i < 0 {
		t.Fatalf("meshes %+v", p.Meshes)
	}
	if got := p.Meshes[0]; !slices.Equal(got.Domains, []int{5, 4}) || got.Pairs != 20 || got.Shared || got.Connections != 40 {
		t.Errorf("mesh of two providers %+v", got)
	}
	// Three providers with ten domains each: a hundred pairs for each two of them.
	if got := p.Meshes[i]; !slices.Equal(got.Domains, []int{10, 10, 10}) || got.Pairs != 300 || !got.Shared {
		t.Errorf("mesh of three providers %+v", got)
	}
	if len(p.Costs) != 1 || p.Costs[0].Metric != "connections" || p.Costs[0].Points[0].Size != 20 || p.Costs[0].Points[1].Size != 300 {
		t.Errorf("costs %+v", p.Costs)
	}
	res := p.Resources[0]
	for what, lines := range map[string][]ResourceLine{"CPU": res.CPU, "memory": res.RSS, "descriptors": res.FDs} {
		if len(lines) != 1 || lines[0].Role != "server" || len(lines[0].Value) != len(res.T) {
			t.Fatalf("%s of %+v, want one line of %d points", what, lines, len(res.T))
		}
	}
	if len(res.T) > seriesSteps {
		t.Errorf("%d points", len(res.T))
	}
	most := func(line []*float64) float64 {
		out := 0.0
		for _, v := range line {
			if v != nil {
				out = max(out, *v)
			}
		}
		return out
	}
	if got := most(res.CPU[0].Value); got != 0.5 {
		t.Errorf("at most %v cores, want 0.5: a process that was replaced did not go back in time", got)
	}
	if res.CPU[0].Value[0] == nil || *res.CPU[0].Value[0] != 0.25 {
		t.Errorf("the first point is %v, want 0.25 cores", res.CPU[0].Value[0])
	}
	if got := most(res.RSS[0].Value); got != 9<<20 {
		t.Errorf("the peak of memory is %v, want 9 MiB", got)
	}
	if res.Metric != "probe" || len(res.Response) == 0 {
		t.Errorf("responses of %q: %d", res.Metric, len(res.Response))
	}
}

// How many pairs talked is what was counted, and whether they share connections what the
// run says of its streams: traffic that meets few pairs leaves fewer connections than
// there are pairs, of whichever kind.
func TestPlotsOfLazyMeshes(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	r.Manifest.Config = map[string]any{"plans": []any{map[string]any{
		"label": "items=1k", "federation": map[string]any{"domains": "20x20"}, "arms": []any{
			map[string]any{"label": "monolithic", "layout": "each-pair-both"}, map[string]any{"label": "chunked-push", "layout": "each-provider-both"},
		},
	}}}
	for i := range r.Blocks {
		if b := &r.Blocks[i]; b.Valid {
			b.Scalars["pairs"], b.Scalars["connections"] = 150, 150
		}
	}
	p := MakePlots([]*Run{r}, Summarize([]*Run{r}, CompareOptions{}), CompareOptions{})
	shared := make(map[string]bool)
	for _, m := range p.Meshes {
		if m.Plan == "items=1k" {
			shared[p.Arms[m.Arm].Variant] = m.Shared
			if m.Pairs != 150 || !slices.Equal(m.Domains, []int{20, 20}) {
				t.Errorf("mesh %+v", m)
			}
		}
	}
	if want := map[string]bool{"monolithic": false, "monolithic#aa": false, "chunked-push": true, "rsm": false}; !maps.Equal(shared, want) {
		t.Errorf("shared %v, want %v", shared, want)
	}
	if p.Costs[0].Points[0].Size != 150 {
		t.Errorf("cost of %v pairs, want 150", p.Costs[0].Points[0].Size)
	}
}

// Where points are joined, CPU time is the mean: the largest of a few seconds would grow
// with the length of the run.
func TestCPULineIsTheMean(t *testing.T) {
	var series []Second
	total := 0.0
	for i := range 6000 {
		total += float64(i % 2) // a whole core in every other second
		series = append(series, Second{Elapsed: float64(i), Figures: map[string]float64{"cpu.server": total}})
	}
	for _, join := range []int{2, 10, 100} {
		for i, v := range cpuLine(series, "cpu.server", join) {
			// The first stretch has no second before it.
			if v == nil || math.Abs(*v-0.5) > 0.5/float64(join-1)+1e-4 || i > 0 && *v != 0.5 {
				t.Fatalf("%d joined, point %d: %v cores, want 0.5", join, i, v)
			}
		}
	}
}

// heatRun is a run of one plan in which arms recorded one sample each second, in blocks of
// so many seconds.
func heatRun(blocks map[string][]int) *plotter {
	h := NewHistogram()
	h.Record(time.Millisecond, 20)
	text, err := h.Encode()
	if err != nil {
		panic(err)
	}
	r := &Run{Manifest: Manifest{ID: "run", Variants: slices.Sorted(maps.Keys(blocks)), Started: at(0)}}
	for _, variant := range r.Manifest.Variants {
		for block, seconds := range blocks[variant] {
			for i := range seconds {
				r.intervals = append(r.intervals, interval{
					key: Key{"p", variant, block}, metric: "probe", start: epoch(at(0)) + float64(10_000*block+i), length: 1, service: text,
				})
			}
		}
	}
	p := &plotter{table: Metrics(), doc: &Document{}, runs: []*Run{r}, arms: make(map[[2]string]int)}
	p.name(p.runs)
	p.latencies()
	return p
}

// All arms have one axis, however long each of them ran.
func TestHeatMapsShareTheirAxis(t *testing.T) {
	l := heatRun(map[string][]int{"long": {700, 260}, "short": {100}}).out.Latency[0]
	if l.Column != "s" || l.Step != 4 {
		t.Fatalf("columns of %v %s, want 960 s in 240 of 4 s", l.Step, l.Column)
	}
	for i, want := range []int{240, 25} {
		if got := len(l.Heat[i].Max); got != want {
			t.Errorf("arm %d has %d columns, want %d", i, got, want)
		}
		for k, n := range l.Heat[i].N {
			if n != 4*20 {
				t.Errorf("column %d of arm %d has %d samples, want those of 4 s", k, i, n)
			}
		}
	}
	if !slices.Equal(l.Heat[0].Blocks, []float64{0, 700}) {
		t.Errorf("blocks begin at %v s", l.Heat[0].Blocks)
	}
	// A block that one arm lacks leaves a gap.
	many := make([]int, 300)
	for i := range many {
		many[i] = 1
	}
	gap := slices.Clone(many)
	gap[4], gap[5] = 0, 0
	l = heatRun(map[string][]int{"all": many, "gap": gap}).out.Latency[0]
	if l.Column != "block" || l.Step != 2 || len(l.Heat[0].N) != 150 || len(l.Heat[1].N) != 150 {
		t.Fatalf("columns of %v %ss, %d and %d", l.Step, l.Column, len(l.Heat[0].N), len(l.Heat[1].N))
	}
	if l.Heat[1].N[2] != 0 || l.Heat[1].N[1] != 40 || l.Heat[0].N[2] != 40 {
		t.Errorf("samples %v, want none in the third column of the second arm", l.Heat[1].N[:4])
	}
}

// Limits of the self-check that were changed stand in every form that people read.
func TestChangedLimitsAreTold(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	for _, format := range []string{"text", "md", "html"} {
		if strings.Contains(string(report(t, format, ReportOptions{}, r)), "limits of the self-check changed") {
			t.Errorf("%s: the usual limits are said to be changed", format)
		}
	}
	r.Manifest.Limits.LatenessFloor = 50 * time.Millisecond
	other := DefaultLimits()
	other.Dropped = 7
	r.Manifest.Plans[1].Limits = &other
	for _, format := range []string{"text", "md", "html"} {
		out := strings.Join(strings.Fields(string(report(t, format, ReportOptions{Width: 1000}, r))), " ")
		for _, want := range []string{"limits of the self-check changed", "lateness-floor 50ms (usually 3ms)", "in plan items=10k dropped 7 (usually 0)"} {
			body, _, _ := strings.Cut(out, `<script type="application/json"`) // what is shown
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %q", format, want)
			}
		}
	}
}

// A search is drawn level by level, with what it found and its limits.
func TestPlotsOfSearch(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	d := Summarize([]*Run{r}, CompareOptions{})
	level := func(rate, p99 float64, judgement string) SearchLevel {
		return SearchLevel{Level: rate, Judgement: judgement, Response: &Latency{Metric: "ready", N: 2000, Max: 2 * p99, Quantiles: []QuantileReport{{0.5, nil}, {0.99, &p99}}}}
	}
	d.Runs[0].Searches = []SearchReport{{
		SearchGoal: SearchGoal{Name: "goal", Variant: "monolithic", Over: "load.rate", Unit: "logins/s", Metric: "ready", SLO: []string{"ready p(99)<2s"}},
		Answer:     "90 logins/s keep it", Remarks: []string{"one search"}, Median: 90, Lowest: 80, Highest: 95, Fails: 100,
		Levels: []SearchLevel{level(50, 0.1, "pass"), level(90, 0.5, "split"), level(95, 9, "invalid"), level(100, 3, "fail"), {Level: 200, Judgement: "fail"}},
	}}
	p := MakePlots([]*Run{r}, d, CompareOptions{})
	if len(p.Load) != 1 {
		t.Fatalf("%d pictures, want 1", len(p.Load))
	}
	l := p.Load[0]
	var got []string
	for _, pt := range l.Points {
		got = append(got, fmt.Sprint(pt.Rate, " ", *pt.P99, " ", pt.Judgement))
	}
	if want := []string{"50 0.1 pass", "90 0.5 split", "100 3 fail"}; !slices.Equal(got, want) {
		t.Errorf("points %q, want %q", got, want)
	}
	if l.Unit != "logins/s" || *l.Found != (LoadFound{Median: 90, Lowest: 80, Most: 95, Fails: 100}) {
		t.Errorf("picture %+v, found %+v", l, l.Found)
	}
	if !slices.Contains(p.Limits, PlotLimit{Metric: "ready", Text: "ready p(99)<2s", Value: 2}) {
		t.Errorf("limits %+v", p.Limits)
	}
	var b bytes.Buffer
	if err := writeHTML(&b, []*Run{r}, d, CompareOptions{Metrics: Metrics()}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"What was found", "90 logins/s keep it", "one search"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	// The levels are one table, and no parts of their own.
	d.Runs[0].Searches[0].Levels[0].Plan = d.Runs[0].Plans[0].Name
	var parts []string
	for _, part := range makePageRun(r, d.Runs[0], Metrics()).Parts {
		parts = append(parts, fmt.Sprint(part.Plan, " ", len(part.Tables[0].Grid.Rows)))
	}
	if len(parts) != len(d.Runs[0].Plans) || parts[0] != "search goal 5" || strings.Contains(strings.Join(parts, ","), d.Runs[0].Plans[0].Name) {
		t.Errorf("parts %q of plans that begin with %s", parts, d.Runs[0].Plans[0].Name)
	}
}

// A run that dies leaves timelines that can be read; a run that took none has none.
func TestTimelinesRoundTrip(t *testing.T) {
	r, err := Open(testRun(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Timelines) != 4 || r.Timelines[0].Metric != "probe" || r.Timelines[0].Thin != 500 || len(r.Timelines[0].Points) != maxPoints {
		t.Fatalf("%d timelines", len(r.Timelines))
	}
	if p := r.Timelines[0].Points[0]; p != (Point{0.000001, 0.01}) {
		t.Errorf("first point %v, want microseconds", p)
	}
	if got := r.Theory[0].Timelines["probe"]; len(got) != 1 || got[0] != (Point{0, 0.02}) {
		t.Errorf("theory %v", got)
	}
}

// Blocks are told of those that the plan asks for, where it asks for others than the run.
func TestBlocksOfPlans(t *testing.T) {
	r := fixture(t, "run", 1, 1)
	r.Manifest.Plans[0].Blocks = 19
	for _, format := range []string{"text", "md", "html"} {
		if out := string(report(t, format, ReportOptions{}, r)); !strings.Contains(out, "8/19") || strings.Count(out, "/19") > len(r.Manifest.Variants) {
			t.Errorf("%s: the blocks of the first plan are not told as of 19:\n%.2000s", format, out)
		}
	}
}
