package scenarios

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/xmppbench/xmppbench/results"
)

// The rows of a sheet, in the order in which they are read.
const (
	rowSessions      = "idle sessions per GiB"
	rowSessionMemory = "memory of an idle session"
	rowLogins        = "logins at the SLO"
	rowItemsCPU      = "CPU time of 1 000 roster items"
	rowItemsTime     = "time of 1 000 roster items"
	rowItemsBytes    = "bytes of 1 000 roster items"
	rowMessages      = "messages at the SLO"
	rowPresence      = "presence until the last contact knows"
	rowFanOut        = "presence stanzas for one change"
	rowBack95        = "95 % can talk again"
	rowBackAll       = "all can talk again"
)

// sheetRows returns the names of all rows in their order.
func sheetRows() []string {
	return []string{
		rowLogins, rowMessages, rowSessions, rowSessionMemory, rowItemsCPU, rowItemsTime, rowItemsBytes, rowPresence, rowFanOut, rowBack95, rowBackAll,
	}
}

// sheetLevel is the confidence of the intervals of a sheet, each for itself.
const sheetLevel = 1 - Alpha

// values are those of a scalar in the valid blocks of a plan.
func (r *partRun) values(plan, scalar string) []float64 {
	var v []float64
	for _, b := range r.blocks {
		if x, ok := b.Scalars[scalar]; ok && (plan == "" || b.Plan == plan) {
			v = append(v, x)
		}
	}
	return v
}

// estimated is a row of the centre of values over blocks, with an interval where there
// are enough of them and the range where there are not.
func estimated(name, unit string, values []float64) results.SheetRow {
	if len(values) == 0 {
		return results.SheetRow{Name: name, Unit: unit, Missing: "no block measured it"}
	}
	if len(values) == 1 {
		return results.SheetRow{Name: name, Unit: unit, Value: &values[0], Basis: "one block, which tells nothing of its spread"}
	}
	return between(name, unit, results.SignedRank(values, sheetLevel), fmt.Sprintf("%d blocks", len(values)), slices.Min(values), slices.Max(values))
}

// between is a row of an estimate; lo and hi are the range of what it was made from.
func between(name, unit string, e results.Estimate, of string, lo, hi float64) results.SheetRow {
	row := results.SheetRow{Name: name, Unit: unit, Value: &e.Value, Lo: &lo, Hi: &hi, Basis: "range of " + of}
	if !math.IsInf(e.Lo, 0) && !math.IsInf(e.Hi, 0) {
		row.Lo, row.Hi = &e.Lo, &e.Hi
		row.Basis = fmt.Sprintf("%g %% interval over %s", 100*sheetLevel, of)
	}
	return row
}

// inverse turns a row of what one thing takes into one of how many fit into a whole.
func inverse(name, unit string, whole float64, row results.SheetRow) results.SheetRow {
	row.Name, row.Unit = name, unit
	flip := func(v *float64) *float64 {
		if v == nil || *v <= 0 {
			return nil
		}
		f := whole / *v
		return &f
	}
	row.Value, row.Lo, row.Hi = flip(row.Value), flip(row.Hi), flip(row.Lo)
	if row.Value == nil && row.Missing == "" {
		row.Missing = "what was measured is not above zero"
	}
	return row
}

func idleRows(r *partRun) []results.SheetRow {
	slopes, of := r.slopes("sessions", "rss.server", "session.rss.server")
	memory := estimated(rowSessionMemory, results.UnitBytes, slopes)
	if memory.Value == nil {
		memory.Missing = "the memory of the server could not be read: say in the target file, under observe, which process it is"
	}
	if held := r.values("", "sessions"); len(held) > 0 {
		memory.Valid = fmt.Sprintf("up to %.0f sessions, %s", slices.Max(held), r.conditions())
	}
	if len(slopes) > 1 {
		memory.Basis = strings.Replace(memory.Basis, fmt.Sprintf("%d blocks", len(slopes)), of, 1)
	}
	return []results.SheetRow{inverse(rowSessions, "sessions", 1<<30, memory), memory}
}

// slopes are those of y over x between blocks that lie half of them apart, each block
// in one pair (Theil's incomplete method): what memory jitters by from block to block
// weighs less there than between neighbours. Of fewer than four blocks they are what
// each block says itself. The text says what they are of.
func (r *partRun) slopes(x, y, each string) (slopes []float64, of string) {
	type point struct{ x, y float64 }
	var points []point
	for _, b := range r.blocks {
		if v, ok := b.Scalars[y]; ok {
			points = append(points, point{b.Scalars[x], v})
		}
	}
	if len(points) < 4 {
		own := r.values("", each)
		return own, fmt.Sprintf("%d blocks", len(own))
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	half := len(points) / 2
	for i := range half {
		a, b := points[i], points[len(points)-half+i]
		if b.x > a.x {
			slopes = append(slopes, (b.y-a.y)/(b.x-a.x))
		}
	}
	return slopes, fmt.Sprintf("%d pairs of blocks", len(slopes))
}

// conditions are those under which all clients of the sheet log in.
func (r *partRun) conditions() string {
	tls := "TLS"
	switch r.plan.Login.TLS {
	case "none":
		tls = "no TLS"
	case "direct":
		tls = "direct TLS"
	}
	return fmt.Sprintf("with %s, rosters of %d", tls, r.plan.Roster.Items)
}

func rosterRows(r *partRun) []results.SheetRow {
	small, large := r.part.Plans[0], r.part.Plans[1]
	thousands := float64(large.Roster.Items-small.Roster.Items) / 1000
	row := func(name, unit, scalar string) results.SheetRow {
		x, y := r.values(small.Label, scalar), r.values(large.Label, scalar)
		if len(x) == 0 || len(y) == 0 {
			return results.SheetRow{Name: name, Unit: unit, Missing: scalar + " was not measured at both sizes"}
		}
		e := results.MannWhitney(x, y, sheetLevel)
		lo, hi := (slices.Min(y)-slices.Max(x))/thousands, (slices.Max(y)-slices.Min(x))/thousands
		e.Value, e.Lo, e.Hi = e.Value/thousands, e.Lo/thousands, e.Hi/thousands
		out := between(name, unit, e, fmt.Sprintf("%d and %d blocks", len(x), len(y)), lo, hi)
		out.Valid = fmt.Sprintf("the slope from %d to %d items, one retrieval at a time", small.Roster.Items, large.Roster.Items)
		return out
	}
	return []results.SheetRow{
		row(rowItemsCPU, results.UnitSeconds, "cpu.server"),
		row(rowItemsTime, results.UnitSeconds, "roster.complete.mean"),
		row(rowItemsBytes, results.UnitBytes, "bytes.in"),
	}
}

func loginRows(r *partRun) []results.SheetRow {
	return []results.SheetRow{r.searched(rowLogins, "each fetches its roster; "+r.conditions())}
}

func messageRows(r *partRun) []results.SheetRow {
	return []results.SheetRow{r.searched(rowMessages, fmt.Sprintf("between %d sessions; %s", r.plan.Sheet.Online, r.conditions()))}
}

// searched is the row of a search, whose figures the report takes from the search.
func (r *partRun) searched(name, valid string) results.SheetRow {
	return results.SheetRow{Name: name, Goal: r.part.Name, Valid: fmt.Sprintf("while %s holds, %s", r.part.SLO, valid)}
}

func presenceRows(r *partRun) []results.SheetRow {
	valid := fmt.Sprintf("of %d sessions, %s", r.plan.Sheet.Online, r.conditions())
	time := estimated(rowPresence, results.UnitSeconds, r.values("", "presence.fanout.mean"))
	fan := estimated(rowFanOut, results.UnitCount, r.values("", "presence.amplification"))
	time.Valid, fan.Valid = valid, valid
	return []results.SheetRow{time, fan}
}

func returnRows(r *partRun) []results.SheetRow {
	about := "every connection is lost at once"
	if r.plan.Sheet.Event == EventRestart {
		about = "the server restarts"
	}
	valid := about + " under " + strconv.Itoa(r.plan.Sheet.Online) + " sessions, which log in anew; " + r.conditions()
	most, all := r.until(rowBack95, "back.95"), r.until(rowBackAll, "back.all")
	most.Valid, all.Valid = valid, valid
	return []results.SheetRow{most, all}
}

// until is a row of when so many were back. Blocks in which they never were count with
// the time after which nobody was waited for any more, so that the answer is a lower
// bound.
func (r *partRun) until(name, scalar string) results.SheetRow {
	var times []float64
	never := 0
	limit := r.part.Plans[0].Herd.Limit
	for _, b := range r.blocks {
		t, ok := b.Scalars[scalar]
		if !ok {
			never++
			t = limit.Seconds()
		}
		times = append(times, t)
	}
	row := estimated(name, results.UnitSeconds, times)
	if never > 0 {
		row.AtLeast = true
		row.Basis += fmt.Sprintf("; a lower bound, since they were not back within %s in %d of %d blocks", limit, never, len(times))
	}
	return row
}
