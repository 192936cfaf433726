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
