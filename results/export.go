package results

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// writeCSV writes one figure a row, in the long form that data frames take:
// block is empty for what is taken over all blocks.
func writeCSV(w io.Writer, d *Document, runs []*Run) error {
	c := csv.NewWriter(w)
	row := func(fields ...string) { _ = c.Write(fields) } // Flush reports the error.
	num := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	row("run", "plan", "variant", "block", "metric", "clock", "statistic", "unit", "value")
	for i, r := range d.Runs {
		if len(r.Invalid) > 0 {
			continue
		}
		for _, b := range runs[i].Blocks {
			if b.Skipped != "" || !b.Valid {
				continue
			}
			for _, name := range slices.Sorted(maps.Keys(b.Scalars)) {
				s := parseScalar(nil, name)
				unit := s.unit()
				for _, p := range r.Plans {
					unit = unitOf(p, name, unit)
				}
				clock := ""
				if s.stat != "" {
					clock = string(Response)
				}
				row(r.ID, b.Plan, b.Variant, strconv.Itoa(b.Block), s.metric.Name, clock, cmp.Or(s.stat, "value"), unit, num(b.Scalars[name]))
			}
		}
		for _, p := range r.Plans {
			for _, v := range p.Variants {
				for _, value := range v.Values {
					if value.Theory != nil {
						row(r.ID, p.Name, v.Name, "", value.Name, "", "theory", value.Unit, num(*value.Theory))
					}
					if e := value.Estimate; e != nil {
						row(r.ID, p.Name, v.Name, "", value.Name, "", "estimate", value.Unit, num(e.Value))
						row(r.ID, p.Name, v.Name, "", value.Name, "", "lo", value.Unit, num(e.Lo))
						row(r.ID, p.Name, v.Name, "", value.Name, "", "hi", value.Unit, num(e.Hi))
						row(r.ID, p.Name, v.Name, "", value.Name, "", "level", UnitCount, num(e.Level))
					}
				}
				for _, l := range v.Latencies {
					row(r.ID, p.Name, v.Name, "", l.Metric, string(l.Clock), "n", UnitCount, strconv.FormatInt(l.N, 10))
					row(r.ID, p.Name, v.Name, "", l.Metric, string(l.Clock), "mean", UnitSeconds, num(l.Mean))
					for _, q := range l.Quantiles {
						if q.Value != nil {
							row(r.ID, p.Name, v.Name, "", l.Metric, string(l.Clock), "p"+quantileName(q.Q), UnitSeconds, num(*q.Value))
						}
					}
					row(r.ID, p.Name, v.Name, "", l.Metric, string(l.Clock), "max", UnitSeconds, num(l.Max))
				}
				for _, metric := range slices.Sorted(maps.Keys(v.Errors)) {
					for _, kind := range slices.Sorted(maps.Keys(v.Errors[metric])) {
						row(r.ID, p.Name, v.Name, "", metric, "", "errors."+kind, UnitCount, strconv.FormatInt(v.Errors[metric][kind], 10))
					}
				}
			}
		}
	}
	c.Flush()
	return c.Error()
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
// order of time.
func writeLog(w io.Writer, runs []*Run) error {
	var all []interval
	for _, r := range runs {
		if bad, _ := r.Invalid(); !bad {
			for _, iv := range r.intervals {
				if !r.discarded[iv.key] {
					all = append(all, iv)
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
	var b bytes.Buffer
	var first float64
	if len(all) > 0 {
		first = all[0].start
	}
	writeLogHead(&b, time.UnixMilli(int64(first*1e3)))
	var d decoder
	for _, iv := range all {
		for _, c := range []struct {
			clock Clock
			text  string
		}{{Response, iv.response}, {Lateness, iv.lateness}, {Service, iv.service}} {
			if c.text == "" {
				continue
			}
			largest := d.mustAdd(c.text, nil).max
			writeLogLine(&b, logTag(iv.metric, c.clock, iv.key), iv.start, iv.length, time.Duration(largest), c.text)
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
			fmt.Fprintf(&b, "# run %s is invalid: %s\n", r.Manifest.ID, oneLineOf(strings.Join(orNone(why), "; ")))
			continue
		}
		e := r.Manifest.Environment
		// A key tells the runs of one file apart, which benchstat -col run sets side by
		// side. In a file of its own it would keep it from being compared with another.
		mark := "# run "
		if len(runs) > 1 {
			mark = "run: "
		}
		fmt.Fprintf(&b, "goos: %s\ngoarch: %s\ncpu: %s\n%s%s\n", e.OS, e.Arch, oneLineOf(e.CPU), mark, oneLineOf(r.Manifest.ID))
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

func oneLineOf(s string) string { return strings.Join(strings.Fields(s), " ") }

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
	}, s)
}
