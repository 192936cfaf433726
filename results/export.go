package results

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// writeCSV writes one figure a row, in the long form that data frames take: block is
// empty for what is taken over all blocks, and elapsed, the end of a second since the
// run began, for what is not of series.jsonl.
func writeCSV(w io.Writer, d *Document, runs []*Run) error {
	t := csvRows{csv.NewWriter(w)}
	t.write("run", "plan", "variant", "block", "metric", "clock", "statistic", "unit", "value", "elapsed")
	for i, r := range d.Runs {
		if n := len(runs[i].Changed); n > 0 {
			t.row(csvKey{run: r.ID}, "", "", "files changed", UnitCount, float64(n))
		}
		if len(r.Invalid) > 0 {
			continue
		}
		t.blocks(r, runs[i])
		t.plans(r)
		t.series(r.ID, runs[i])
	}
	t.w.Flush()
	return t.w.Error()
}

// csvRows writes rows; Flush reports the error.
type csvRows struct{ w *csv.Writer }

// csvKey says what a row is of.
type csvKey struct{ run, plan, variant, block, elapsed string }

func (t csvRows) write(fields ...string) { _ = t.w.Write(fields) }

func (t csvRows) row(k csvKey, metric string, c Clock, statistic, unit string, v float64) {
	format := byte('g')
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		format = 'f' // whole numbers stay whole
	}
	t.write(k.run, k.plan, k.variant, k.block, metric, string(c), statistic, unit, strconv.FormatFloat(v, format, -1, 64), k.elapsed)
}

// errors writes failed samples by metric and kind.
func (t csvRows) errors(k csvKey, errors map[string]map[string]int64) {
	for _, metric := range slices.Sorted(maps.Keys(errors)) {
		for _, kind := range slices.Sorted(maps.Keys(errors[metric])) {
			t.row(k, metric, "", "errors."+kind, UnitCount, float64(errors[metric][kind]))
		}
	}
}

func (t csvRows) blocks(r RunReport, run *Run) {
	for _, b := range run.Blocks {
		if b.Skipped != "" || !b.Valid {
			continue
		}
		k := csvKey{run: r.ID, plan: b.Plan, variant: b.Variant, block: strconv.Itoa(b.Block)}
		for _, name := range slices.Sorted(maps.Keys(b.Scalars)) {
			s := parseScalar(nil, name)
			unit := s.unit()
			for _, p := range r.Plans {
				unit = unitOf(p, name, unit)
			}
			var c Clock
			if s.stat != "" {
				c = Response
			}
			t.row(k, s.metric.Name, c, cmp.Or(s.stat, "value"), unit, b.Scalars[name])
		}
	}
}

// plans writes what is taken over all blocks.
func (t csvRows) plans(r RunReport) {
	for _, p := range r.Plans {
		for _, v := range p.Variants {
			k := csvKey{run: r.ID, plan: p.Name, variant: v.Name}
			for _, value := range v.Values {
				if value.Theory != nil {
					t.row(k, value.Name, "", "theory", value.Unit, *value.Theory)
				}
				if e := value.Estimate; e != nil {
					t.row(k, value.Name, "", "estimate", value.Unit, e.Value)
					t.row(k, value.Name, "", "lo", value.Unit, e.Lo)
					t.row(k, value.Name, "", "hi", value.Unit, e.Hi)
					t.row(k, value.Name, "", "level", UnitCount, e.Level)
				}
			}
			for _, l := range v.Latencies {
				t.row(k, l.Metric, l.Clock, "n", UnitCount, float64(l.N))
				t.row(k, l.Metric, l.Clock, "mean", UnitSeconds, l.Mean)
				for _, q := range l.Quantiles {
					if q.Value != nil {
						t.row(k, l.Metric, l.Clock, "p"+quantileName(q.Q), UnitSeconds, *q.Value)
					}
				}
				t.row(k, l.Metric, l.Clock, "max", UnitSeconds, l.Max)
			}
			t.errors(k, v.Errors)
		}
	}
}

// series writes what was sampled and counted in each second; what belongs to a block
// that does not count is left out.
func (t csvRows) series(id string, run *Run) {
	units := make(map[string]string)
	for _, s := range run.Series {
		k := csvKey{run: id, elapsed: strconv.FormatFloat(s.Elapsed, 'f', 3, 64)}
		for _, name := range slices.Sorted(maps.Keys(s.Figures)) {
			if _, known := units[name]; !known {
				f, _, _, _ := FindSeries(name)
				units[name] = cmp.Or(f.Unit, UnitCount)
			}
			t.row(k, name, "", "value", units[name], s.Figures[name])
		}
		for _, c := range s.Counts {
			if run.discarded[c.Key] {
				continue
			}
			k := k
			k.plan, k.variant, k.block = c.Plan, c.Variant, strconv.Itoa(c.Block)
			for _, name := range slices.Sorted(maps.Keys(c.Counts)) {
				t.row(k, name, "", "count", parseScalar(Metrics(), name).unit(), float64(c.Counts[name]))
			}
			t.errors(k, c.Errors)
			for _, metric := range slices.Sorted(maps.Keys(c.Clamped)) {
				t.row(k, metric, "", "clamped", UnitCount, float64(c.Clamped[metric]))
			}
		}
	}
}

func quantileName(q float64) string { return strconv.FormatFloat(100*q, 'g', 6, 64) }

func unitOf(p PlanReport, name, otherwise string) string {
	for _, v := range p.Variants {
		for _, value := range v.Values {
			if value.Name == name {
				return value.Unit
			}
		}
	}
	return otherwise
}

// writeLog writes the intervals of all runs and blocks that are not invalid, in
// order of time. Of several runs, tags end in the name of the run.
func writeLog(w io.Writer, runs []*Run) error {
	type entry struct {
		interval
		run string // "" if there is only one
	}
	var all []entry
	var b bytes.Buffer
	for _, r := range runs {
		run := ""
		if len(runs) > 1 {
			run = r.Manifest.ID
		}
		if bad, _ := r.Invalid(); !bad {
			for _, iv := range r.intervals {
				if !r.discarded[iv.key] {
					all = append(all, entry{iv, run})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b entry) int { return cmp.Compare(a.start, b.start) })
	var first float64
	if len(all) > 0 {
		first = all[0].start
	}
	writeLogHead(&b, time.UnixMilli(int64(first*1e3)))
	if len(runs) > 1 {
		b.WriteString("#[of several runs: tag = metric/clock/plan/variant/block/run]\n")
	}
	for _, r := range runs {
		if text := r.change(); text != "" {
			fmt.Fprintf(&b, "#[%s: %s]\n", oneLineOf(r.Manifest.ID), oneLineOf(text))
		}
	}
	var d decoder
	for _, e := range all {
		for _, c := range []struct {
			clock Clock
			text  string
		}{{Response, e.response}, {Lateness, e.lateness}, {Service, e.service}} {
			if c.text == "" {
				continue
			}
			largest := d.mustAdd(c.text, nil).max
			tag := logTag(e.metric, c.clock, e.key)
			if e.run != "" {
				tag += "/" + url.PathEscape(e.run)
			}
			writeLogLine(&b, tag, e.start, e.length, time.Duration(largest), c.text)
		}
	}
	_, err := b.WriteTo(w)
	return err
}

// writeBench writes a line for each valid block in the format of Go's
// benchmarks, so that benchstat reads it.
func writeBench(w io.Writer, runs []*Run, table []Metric) error {
	var b bytes.Buffer
	for _, r := range runs {
		if bad, why := r.Invalid(); bad {
			fmt.Fprintf(&b, "# run %s is invalid: %s\n", oneLineOf(r.Manifest.ID), oneLineOf(strings.Join(orNone(why), "; ")))
			continue
		}
		if text := r.change(); text != "" {
			fmt.Fprintf(&b, "# run %s: %s\n", oneLineOf(r.Manifest.ID), oneLineOf(text))
		}
		e := r.Manifest.Environment
		// A key tells the runs of one file apart, which benchstat -col run sets side by
		// side. In a file of its own it would keep it from being compared with another.
		mark := "# run "
		if len(runs) > 1 {
			mark = "run: "
		}
		fmt.Fprintf(&b, "goos: %s\ngoarch: %s\ncpu: %s\n%s%s\n", oneLineOf(e.OS), oneLineOf(e.Arch), oneLineOf(e.CPU), mark, oneLineOf(r.Manifest.ID))
		for _, block := range r.Blocks {
			if block.Skipped != "" || !block.Valid {
				continue
			}
			names := sortScalars(table, slices.Collect(maps.Keys(block.Scalars)), "")
			name := "Benchmark" + benchName(r.Manifest.Scenario)
			if block.Plan != "" {
				name += "/plan=" + benchWord(block.Plan)
			}
			// The number at the end is what Go's benchmarks have there. Without it the one of a label
			// such as chunk-500 would be taken for it.
			fmt.Fprintf(&b, "%s/variant=%s-%d 1", name, benchWord(block.Variant), max(e.GOMAXPROCS, 1))
			for _, n := range names {
				s := parseScalar(table, n)
				if s.stat == "n" {
					continue
				}
				unit := map[string]string{UnitSeconds: "-sec", UnitBytes: "-bytes"}[s.unit()]
				fmt.Fprintf(&b, " %s %s%s", strconv.FormatFloat(block.Scalars[n], 'g', -1, 64), benchWord(n), unit)
			}
			b.WriteByte('\n')
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func oneLineOf(s string) string { return printable(strings.Join(strings.Fields(s), " ")) }

// benchName makes a scenario's name a benchmark's: RosterLogin.
func benchName(s string) string {
	var b strings.Builder
	upper := true
	for _, r := range s {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			upper = true
			continue
		}
		if upper {
			r = unicode.ToUpper(r)
		}
		upper = false
		b.WriteRune(r)
	}
	return b.String()
}

// benchWord replaces what would end a word, or a part of a benchmark's name.
func benchWord(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || r == '/' {
			return '_'
		}
		return r
	}, printable(s))
}
