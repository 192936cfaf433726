package scenarios

import (
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/results"
)

// Blocks in which not everybody came back must not be left out of the time that this
// takes: they make it a lower bound.
func TestSheetOfAbsent(t *testing.T) {
	run := func(all ...float64) *partRun {
		r := &partRun{part: Part{Plans: []Plan{{Herd: Herd{Limit: time.Minute}}}}, blocks: make(map[results.Key]results.Block)}
		for i, v := range all {
			b := results.Block{Key: results.Key{Block: i}, Scalars: map[string]float64{"absent": 0, "back.all": v}}
			if v == 0 {
				b.Scalars = map[string]float64{"absent": 1}
			}
			r.blocks[b.Key] = b
		}
		return r
	}
	if row := run(2, 2, 2).until(rowBackAll, "back.all"); row.AtLeast || row.Value == nil || *row.Value != 2 {
		t.Errorf("all were back: %+v", row)
	}
	row := run(2, 0, 0).until(rowBackAll, "back.all")
	if !row.AtLeast || *row.Hi != 60 || *row.Value < 30 || !strings.Contains(row.Basis, "not back within 1m0s in 2 of 3 blocks") {
		t.Errorf("some were not: %+v", row)
	}
	if row := run().until(rowBackAll, "back.all"); row.Value != nil || row.Missing == "" {
		t.Errorf("nothing was measured: %+v", row)
	}
}

// Memory that jitters from block to block by more than a share of the sessions costs must
// not hide what they cost.
func TestSheetOfMemory(t *testing.T) {
	r := &partRun{part: Part{Plans: []Plan{{Scenario: IdleCost}}}, blocks: make(map[results.Key]results.Block)}
	jitter := []float64{3e6, -2e6, 1e6, -3e6, 2e6, -1e6, 2e6, -3e6, 1e6, -2e6, 3e6, -1e6}
	last := 50e6
	for i, j := range jitter {
		n := float64(80 * (i + 1))
		rss := 50e6 + 45e3*n + j
		b := results.Block{Key: results.Key{Block: i}, Scalars: map[string]float64{"sessions": n, "rss.server": rss, "session.rss.server": (rss - last) / 80}}
		last, r.blocks[b.Key] = rss, b
	}
	memory := idleRows(r)[1]
	if *memory.Value < 40e3 || *memory.Value > 50e3 || *memory.Lo < 30e3 || *memory.Hi > 60e3 || memory.Basis != "95 % interval over 6 pairs of blocks" {
		t.Errorf("%.0f, %.0f to %.0f, %s", *memory.Value, *memory.Lo, *memory.Hi, memory.Basis)
	}
	for i := 2; i < len(jitter); i++ {
		delete(r.blocks, results.Key{Block: i})
	}
	if memory := idleRows(r)[1]; memory.Basis != "range of 2 blocks" {
		t.Errorf("of two blocks it is the %s", memory.Basis)
	}
}
