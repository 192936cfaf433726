package results

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

//go:embed web
var webFiles embed.FS

// Web returns the files that reports are drawn with: report.css, charts.js and what
// they stand on, for a page of another kind.
func Web() fs.FS {
	web, err := fs.Sub(webFiles, "web")
	if err != nil {
		panic(err) // The folder is part of this package.
	}
	return web
}

// webText reads one of the embedded files.
func webText(name string) string {
	b, err := webFiles.ReadFile("web/" + name)
	if err != nil {
		panic(err) // The file is part of this package.
	}
	return string(b)
}

// page is what the template of the HTML report is filled with.
type page struct {
	Title    string
	Policy   string
	Style    template.CSS
	Scripts  []template.JS
	Data     template.JS
	Answers  []string // of searches
	Sheets   []pageSheet
	Verdicts []verdictGroup
	Primary  string
	Baseline string
	Refused  string
	Invalid  []string
	Flags    []pageFlag
	Runs     []pageRun
	Several  bool
	Model    *pageTable // errors of a model
}

// pageSheet is a capacity sheet.
type pageSheet struct {
	Target string
	Rows   []pageSheetRow
}

type pageSheetRow struct{ Name, Value, Between, About string }

// verdictGroup is what was decided about plans alike.
type verdictGroup struct {
	Name     string
	Verdicts []verdictLine
}

// verdictLine is one verdict as a sentence.
type verdictLine struct {
	Text     string
	Decision string // a class
	Mark     string // what stands for it where colours do not
}

// pageFlag is something a reader has to know before believing figures.
type pageFlag struct{ Kind, Mark, Text string }

type pageRun struct {
	RunReport
	When   string
	Parts  []pagePart
	Facts  []pageFact
	Argv   string
	Source string
}

// pagePart is what stands in tables about one plan. Where there are many, all but the
// first are folded.
type pagePart struct {
	Plan         string
	Folded, Open bool
	Tables       []pageTable
}

type pageTable struct {
	Title string
	Plan  string // where there are several
	Grid  pageGrid
	Notes []string
}

type pageGrid struct {
	Head []string
	Left int // columns that name the row
	Rows []pageRow
}

type pageRow struct {
	Name  string
	Lead  []string // further columns that name the row
	Cells []pageCell
}

// pageCell is a figure with what theory expects.
type pageCell struct{ Value, Theory string }

type pageFact struct{ Name, Value string }

// reportData is the data part of an HTML report.
type reportData struct {
	Document *Document `json:"document"`
	Plots    *Plots    `json:"plots"`
}

// writeHTML writes one file that shows everything and fetches nothing: its content
// security policy allows its own scripts and styles alone, by their hashes.
func writeHTML(w io.Writer, runs []*Run, d *Document, o CompareOptions) error {
	// encoding/json escapes <, > and & in strings, so that no string of a run can end
	// the element that holds the data.
	data, err := json.Marshal(reportData{d, MakePlots(runs, d, o)})
	if err != nil {
		return err
	}
	p := page{
		Title:   "xmppbench report",
		Style:   template.CSS(webText("uplot/uPlot.min.css") + webText("report.css")), // #nosec G203 -- files of this package
		Data:    template.JS(data),                                                    // #nosec G203 -- JSON, escaped
		Several: len(runs) > 1,
	}
	for _, name := range []string{"uplot/uPlot.iife.min.js", "charts.js", "report.js"} {
		p.Scripts = append(p.Scripts, template.JS(webText(name))) // #nosec G203 -- files of this package
	}
	p.Policy = policy(p.Style, p.Scripts)
	p.fill(runs, d, o)
	t, err := template.New("report").Parse(webText("report.html"))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, p); err != nil {
		return err
	}
	_, err = b.WriteTo(w)
	return err
}

// policy is the content security policy of a page with these inline parts.
func policy(style template.CSS, scripts []template.JS) string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	var hashes []string
	for _, s := range scripts {
		hashes = append(hashes, hash(string(s)))
	}
	return "default-src 'none'; script-src " + strings.Join(hashes, " ") + "; style-src " + hash(string(style)) +
		"; base-uri 'none'; form-action 'none'"
}

func (p *page) fill(runs []*Run, d *Document, o CompareOptions) {
	if len(d.Runs) > 0 {
		p.Title = d.Runs[0].Scenario
	}
	p.Refused = d.Refused
	p.verdicts(d.Comparison)
	p.model(d.Model)
	for i, r := range d.Runs {
		p.searches(r)
		p.sheet(r.Sheet)
		p.flags(r)
		p.Runs = append(p.Runs, makePageRun(runs[i], r, o.Metrics))
	}
}

func (p *page) verdicts(c *Comparison) {
	if c == nil {
		return
	}
	p.Baseline = c.Baseline
	p.Primary = parseScalar(nil, c.Primary).label()
	if c.Primary == "" {
		p.Primary = ""
	}
	p.Invalid = append(p.Invalid, c.Invalid...)
	for _, text := range c.Warnings {
		p.Flags = append(p.Flags, pageFlag{"warning", "!", text})
	}
	for _, v := range c.Flagged() {
		p.Flags = append(p.Flags, pageFlag{"invalid", "×", v.String()})
	}
	for _, g := range c.Gates {
		kind, mark := outcomeMark(g.State)
		p.Flags = append(p.Flags, pageFlag{kind, mark, g.Text})
	}
	several := len(c.groups()) > 1
	for _, v := range c.Verdicts {
		if !v.Primary && c.Primary != "" || v.Decision == Flagged {
			continue
		}
		group := ""
		if several {
			group = v.Group
		}
		n := len(p.Verdicts)
		if n == 0 || p.Verdicts[n-1].Name != group {
			p.Verdicts = append(p.Verdicts, verdictGroup{Name: group})
			n++
		}
		mark := map[Decision]string{Faster: "↓", Fewer: "↓", Slower: "↑", More: "↑", Same: "=", CannotTell: "?"}[v.Decision]
		p.Verdicts[n-1].Verdicts = append(p.Verdicts[n-1].Verdicts, verdictLine{v.String(), strings.ReplaceAll(string(v.Decision), " ", "-"), mark})
	}
}

// model shows the errors of a model, and says what came of them.
func (p *page) model(m *ModelReport) {
	if m == nil || m.Check == nil {
		return
	}
	p.Model = &pageTable{Title: modelErrors, Grid: makeGrid(m.Check.grid())}
	kind, mark := outcomeMark(m.Check.State)
	p.Flags = append(p.Flags, pageFlag{kind, mark, "model: " + m.Check.outcome()})
	for _, v := range m.Check.Verdicts {
		if v.Judged && !v.Within {
			p.Model.Notes = append(p.Model.Notes, v.String())
		}
	}
}

func outcomeMark(s State) (kind, mark string) {
	switch s {
	case Passed:
		return "good", "✓"
	case Failed:
		return "invalid", "×"
	}
	return "warning", "?"
}

// searches tells what was found, and what has to be known to read it.
func (p *page) searches(r RunReport) {
	for _, s := range r.Searches {
		p.Answers = append(p.Answers, s.Answer)
		of := ""
		if len(r.Searches) > 1 {
			of = s.Name + ": "
		}
		for _, text := range s.Remarks {
			p.Flags = append(p.Flags, pageFlag{"warning", "!", of + text})
		}
	}
}

func (p *page) sheet(s *Sheet) {
	if s == nil {
		return
	}
	out := pageSheet{Target: s.Target}
	for _, r := range s.Rows {
		out.Rows = append(out.Rows, pageSheetRow{Name: r.Name, Value: r.value(), Between: r.between(), About: r.about()})
	}
	p.Sheets = append(p.Sheets, out)
}

func (p *page) flags(r RunReport) {
	of := ""
	if p.Several {
		of = r.ID + ": "
	}
	for _, reason := range r.Invalid {
		p.Flags = append(p.Flags, pageFlag{"invalid", "×", of + "invalid: " + reason})
	}
	for _, reason := range r.Reasons {
		if !slices.Contains(r.Invalid, reason) {
			p.Flags = append(p.Flags, pageFlag{"invalid", "×", of + string(r.Status) + ": " + reason})
		}
	}
	for _, text := range r.Warnings {
		p.Flags = append(p.Flags, pageFlag{"warning", "!", of + text})
	}
	differ, equal := 0, 0
	for _, c := range r.Counts {
		if c.Equal {
			equal++
			continue
		}
		differ++
		p.Flags = append(p.Flags, pageFlag{"invalid", "×", of + c.difference()})
	}
	if equal > 0 && differ == 0 && len(r.Invalid) == 0 {
		p.Flags = append(p.Flags, pageFlag{"good", "✓", fmt.Sprintf("%s%s equal their closed forms", of, plural(int64(equal), "count"))})
	}
	for _, t := range thresholdSentences(r.Thresholds) {
		kind, mark := outcomeMark(t.state)
		p.Flags = append(p.Flags, pageFlag{kind, mark, of + t.text})
	}
}

// maxUnfolded is the number of plans and searches whose tables are shown at once.
const maxUnfolded = 2

func makePageRun(run *Run, r RunReport, table []Metric) pageRun {
	out := pageRun{RunReport: r, When: r.Started.UTC().Format("2 January 2006, 15:04:05 UTC"), Argv: strings.Join(run.Manifest.Argv, " ")}
	t := textReport{table: table}
	plans := slices.DeleteFunc(slices.Clone(r.Plans), r.searched)
	many := len(r.Searches)+len(plans) > maxUnfolded
	for _, s := range r.Searches {
		out.Parts = append(out.Parts, pagePart{Plan: "search " + s.Name, Folded: many, Open: len(out.Parts) == 0,
			Tables: []pageTable{{"Levels", s.Name, makeGrid(s.grid()), nil}}})
	}
	for _, p := range plans {
		part := pagePart{Plan: p.Name, Folded: many, Open: len(out.Parts) == 0}
		plan := ""
		if len(plans)+len(r.Searches) > 1 {
			plan = p.Name
		}
		if g := t.scalars(p, cmp.Or(p.Blocks, r.Blocks)); len(g.rows) > 0 {
			turned, skipped := turn(g)
			part.Tables = append(part.Tables, pageTable{"Median of the blocks", plan, makeGrid(turned), skipped})
		}
		if g := t.costs(p); len(g.rows) > 0 {
			part.Tables = append(part.Tables, pageTable{"Costs", plan, makeGrid(g), nil})
		}
		if g := t.latencies(p); len(g.rows) > 0 {
			part.Tables = append(part.Tables, pageTable{"Response times", plan, makeGrid(g), nil})
		}
		if g := t.stages(p); len(g.rows) > 0 {
			part.Tables = append(part.Tables, pageTable{"Stages of the load", plan, makeGrid(g), nil})
		}
		if g := errorGrid(p); len(g.rows) > 0 {
			part.Tables = append(part.Tables, pageTable{"Errors", plan, makeGrid(g), nil})
		}
		out.Parts = append(out.Parts, part)
	}
	out.Facts = run.Manifest.facts()
	if config, ok := run.Manifest.Config.(map[string]any); ok {
		out.Source, _ = config["source"].(string)
	}
	return out
}

// errorGrid lists failed samples.
func errorGrid(p PlanReport) grid {
	g := grid{head: []string{"variant", "metric", "kind", "errors"}, left: 3}
	for _, v := range p.Variants {
		for _, metric := range slices.Sorted(maps.Keys(v.Errors)) {
			for _, kind := range slices.Sorted(maps.Keys(v.Errors[metric])) {
				g.add(v.Name, metric, kind, fmt.Sprint(v.Errors[metric][kind]))
			}
		}
	}
	return g
}

func makeGrid(g grid) pageGrid {
	out := pageGrid{Head: g.head, Left: g.left}
	for _, cells := range g.rows {
		row := pageRow{Name: cells[0], Lead: cells[1:g.left]}
		for _, c := range cells[g.left:] {
			value, theory, _ := strings.Cut(strings.TrimSuffix(c, ")"), " (theory ")
			row.Cells = append(row.Cells, pageCell{value, theory})
		}
		out.Rows = append(out.Rows, row)
	}
	return out
}

// facts are what a reader needs to judge or repeat the run.
func (m Manifest) facts() []pageFact {
	e := m.Environment
	var out []pageFact
	add := func(name, value string) {
		if value != "" {
			out = append(out, pageFact{name, value})
		}
	}
	add("machine", strings.Join(slices.DeleteFunc([]string{e.Host, e.CPU, fmt.Sprintf("%d CPUs", e.CPUs), formatBytes(float64(e.Memory)), e.Governor}, func(s string) bool { return s == "" }), ", "))
	add("system", fmt.Sprintf("%s/%s %s, clock %s", e.OS, e.Arch, orUnknown(e.Kernel), orUnknown(e.Clock)))
	add("program", strings.TrimSpace(fmt.Sprintf("%s %s %s", e.Module, e.Version, revision(e))))
	add("Go", fmt.Sprintf("%s, GOMAXPROCS %d, GOGC %d", e.Go, e.GOMAXPROCS, e.GOGC))
	add("target", targets(m, m))
	add("link", dimensionLabel(m.Link))
	add("seeds", seedsText(m.Seeds))
	add("blocks", fmt.Sprintf("%d in random order, level %s", m.Blocks, percent(1-cmp.Or(m.Alpha, 0.05))))
	add("limits of the self-check changed", strings.Join(m.limits(), "; "))
	for _, k := range slices.Sorted(maps.Keys(e.Sysctl)) {
		add(k, e.Sysctl[k])
	}
	for _, k := range slices.Sorted(maps.Keys(e.Ulimit)) {
		add("ulimit "+k, e.Ulimit[k])
	}
	return out
}

func revision(e Environment) string {
	if e.Revision == "" {
		return ""
	}
	if e.Modified {
		return e.Revision + ", modified"
	}
	return e.Revision
}
