package scenarios

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/bench"

	"github.com/xmppbench/xmppbench/results"
)

func TestParseShape(t *testing.T) {
	up := bench.Stage{From: 0, To: 200, Duration: 30 * time.Second}
	level := bench.Stage{From: 200, To: 200, Duration: 2 * time.Minute}
	down := bench.Stage{From: 200, To: 0, Duration: 10 * time.Second}
	tests := []struct {
		text  string
		want  Shape  // but for its text
		again string // as it is written again, where that differs
		wrong string // in the error
	}{
		{text: "200/s", want: Shape{rate: 200}},
		{text: "90/min", want: Shape{rate: 1.5}},
		{text: " constant   2/s ", want: Shape{rate: 2, process: "constant"}, again: "constant 2/s"},
		{text: "ramp 0->200/s in 30s", want: Shape{stages: []stage{{up, false}}}},
		{text: "ramp 0/s → 200/s in 30s", want: Shape{stages: []stage{{up, false}}}, again: "ramp 0/s -> 200/s in 30s"},
		{
			text: "ramp 0→200/s in 30s,hold 2m ,  ramp 200->0/s in 10s", want: Shape{stages: []stage{{up, false}, {level, true}, {down, false}}},
			again: "ramp 0->200/s in 30s, hold 2m, ramp 200->0/s in 10s",
		},
		{text: "poisson hold 200/s for 2m", want: Shape{process: "poisson", stages: []stage{{level, true}}}},
		{text: "ramp 60/min->12000/min in 30s", want: Shape{stages: []stage{{bench.Stage{From: 1, To: 200, Duration: 30 * time.Second}, false}}}},
		{text: "closed 16", want: Shape{workers: 16}},
		{text: "closed 1k", want: Shape{workers: 1000}},
		{text: "trace my logins, sorted.txt", want: Shape{file: "my logins, sorted.txt"}},

		{text: "", wrong: "is empty"},
		{text: "200", wrong: `"200" is not a value such as 20/s`},
		{text: "0/s", wrong: "a rate of 0"},
		{text: "poisson", wrong: "is no stage"},
		{text: "hold 2m", wrong: "stage 1: hold 2m: at which rate?"},
		{text: "ramp 0->200/s", wrong: "stage 1: \"ramp 0->200/s\" is no stage"},
		{text: "ramp 0->200 in 30s", wrong: "stage 1: \"200\" is not a value"},
		{text: "ramp 200/s in 30s", wrong: "is no stage"},
		{text: "ramp x->200/s in 30s", wrong: `stage 1: "x/s" is not a value`},
		{text: "ramp 0->200/s in 30s,", wrong: `stage 2: "" is no stage`},
		{text: "ramp 0->200/s in 30s, hold -2m", wrong: `stage 2: "-2m" is negative`},
		{text: "ramp 0->200/s in 30s, hold 0s", wrong: "stage 2: length 0s"},
		{text: "ramp 0->200/s in 30s, 200/s", wrong: "stage 2"},
		{text: "ramp 0->0/s in 30s", wrong: "all rates are 0"},
		{text: "hold 1/s for 2000000h, hold 2000000h", wrong: "too long"},
		{text: strings.Repeat("hold 1/s for 1s, ", maxStages) + "hold 1s", wrong: "more than 1000 stages"},
		{text: "closed", wrong: "say how many workers"},
		{text: "closed 0", wrong: "from 1 to"},
		{text: "closed many", wrong: "from 1 to"},
		{text: "trace", wrong: "name a file"},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseShape(tt.text)
			if tt.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("error %v, want one with %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.again == "" {
				tt.again = tt.text
			}
			tt.want.text = tt.again
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// A shape that is read says the same when it is written and read again, in text and
// in JSON, and its plan keeps what the shape promises.
func FuzzParseShape(f *testing.F) {
	for _, s := range []string{
		"20/s", "poisson 3/min", "ramp 0->200/s in 30s, hold 2m, ramp 200→0/s in 10s", "constant hold 1/h for 1h", "closed 4", "trace x", "ramp .5->1/s in 1ns",
	} {
		f.Add(s, uint64(1))
	}
	f.Fuzz(func(t *testing.T, text string, seed uint64) {
		shape, err := ParseShape(text)
		if err != nil {
			return
		}
		again, err := ParseShape(shape.String())
		if err != nil || !reflect.DeepEqual(shape, again) {
			t.Fatalf("%q reads as %+v, then as %+v, %v", text, shape, again, err)
		}
		b, err := json.Marshal(shape)
		if err != nil {
			t.Fatal(err)
		}
		var back Shape
		if err := json.Unmarshal(b, &back); err != nil || strings.ToValidUTF8(shape.text, "�") == shape.text && !reflect.DeepEqual(shape, back) {
			t.Fatalf("%s reads as %+v, %v", b, back, err)
		}
		if shape.workers > 0 || shape.file != "" {
			return
		}
		plan, err := shape.pacer(ArrivalsPoisson, seed)
		if err != nil {
			t.Fatalf("%q has no plan: %v", text, err)
		}
		length, finite := shape.length()
		from, to := shape.held()
		if from < 0 || finite && (to <= from || to > length) {
			t.Fatalf("%q holds from %s to %s of %s", text, from, to, length)
		}
		last := time.Duration(0)
		for seq := range uint64(100) {
			at, ok := plan.At(seq)
			if !ok {
				break
			}
			if at < last || finite && at > length {
				t.Fatalf("%q: arrival %d at %s after one at %s, of %s", text, seq, at, last, length)
			}
			last = at
		}
	})
}

func TestExpectedArrivals(t *testing.T) {
	tests := []struct {
		text     string
		from, to time.Duration
		want     float64
	}{
		{"10/s", time.Second, 4 * time.Second, 30},
		{"ramp 0->10/s in 10s, hold 10s, ramp 10->0/s in 10s", 0, 30 * time.Second, 200},
		{"ramp 0->10/s in 10s, hold 10s, ramp 10->0/s in 10s", 0, 5 * time.Second, 12.5},
		{"ramp 0->10/s in 10s, hold 10s, ramp 10->0/s in 10s", 5 * time.Second, 25 * time.Second, 175},
		{"ramp 0->10/s in 10s", 20 * time.Second, 30 * time.Second, 0},
		{"closed 4", 0, time.Second, 0},
	}
	for _, tt := range tests {
		shape, err := ParseShape(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := shape.expected(tt.from, tt.to); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s from %s to %s: %v, want %v", tt.text, tt.from, tt.to, got, tt.want)
		}
	}
}

// Stages bring their own windows: what is held is measured.
func TestWindowsOfStages(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "logins.txt"), []byte("# two\n1s\n2500ms\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		load                       string
		warmup, duration, cooldown time.Duration
		wrong                      string
	}{
		{load: "rate: 5/s", warmup: 5 * time.Second, duration: 30 * time.Second, cooldown: time.Second},
		{load: "rate: 'ramp 0->5/s in 3s, hold 4s, ramp 5->1/s in 2s'", warmup: 3 * time.Second, duration: 4 * time.Second, cooldown: 2 * time.Second},
		{load: "rate: 'ramp 0->5/s in 3s, hold 4s, ramp 5->9/s in 1s, hold 4s'", warmup: 3 * time.Second, duration: 9 * time.Second},
		{load: "rate: ramp 0->5/s in 3s", duration: 3 * time.Second},
		{load: "rate: ramp 0->5/s in 3s, warmup: 1s", warmup: time.Second, duration: 2 * time.Second},
		{load: "rate: ramp 0->5/s in 3s, duration: 10s", warmup: 5 * time.Second, duration: 10 * time.Second, cooldown: time.Second},
		{load: "rate: ramp 0->5/s in 3s, warmup: 3s", wrong: "at no common time"},
		{load: "rate: trace logins.txt", duration: 2500*time.Millisecond + 1},
		{load: "rate: trace none.txt", wrong: "x.yaml:2:14: load.rate: stat " + filepath.Join(dir, "none.txt")},
		{load: "rate: trace .", wrong: "is not a file"},
		{load: "rate: trace x.yaml", wrong: "x.yaml: line 1: want an offset"},
		{load: "rate: 'ramp 0->5 in 3s'", wrong: `x.yaml:2:14: load.rate: stage 1: "5" is not a value`},
		{load: "rate: 'ramp 0->5M/s in 3s'", wrong: "is not a value"},
		{load: "rate: 'ramp 0->5000000/s in 3s'", wrong: "is above the maximum, 1000000/s"},
		{load: "rate: 0.0001/s", wrong: "is below the minimum, 0.001/s"},
	}
	for _, tt := range tests {
		t.Run(tt.load, func(t *testing.T) {
			source := []byte("scenario: login-storm\nload: {" + tt.load + "}\n")
			name := filepath.Join(dir, "x.yaml")
			if err := os.WriteFile(name, source, 0o600); err != nil {
				t.Fatal(err)
			}
			plans, err := Parse(name, source, Override{})
			if tt.wrong != "" {
				if _, ok := errors.AsType[*FileError](err); !ok || !strings.Contains(err.Error(), tt.wrong) {
					t.Errorf("error %v, want one with %q", err, tt.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			l := plans[0].Load
			if l.Warmup != tt.warmup || l.Duration != tt.duration || l.Cooldown != tt.cooldown {
				t.Errorf("windows %s, %s, %s, want %s, %s, %s", l.Warmup, l.Duration, l.Cooldown, tt.warmup, tt.duration, tt.cooldown)
			}
		})
	}
}

// Stages of the command line go before windows of the file, and windows of the
// command line before both.
func TestWindowsOfTheCommandLine(t *testing.T) {
	source := []byte("scenario: login-storm\nload: {rate: 1/s, warmup: 2s, duration: 10s, cooldown: 3s}\n")
	const stages = "load.rate=ramp 0->5/s in 4s, hold 6s"
	tests := []struct {
		set                        []string
		warmup, duration, cooldown time.Duration
	}{
		{nil, 2 * time.Second, 10 * time.Second, 3 * time.Second},
		{[]string{"load.rate=5/s"}, 2 * time.Second, 10 * time.Second, 3 * time.Second},
		{[]string{stages}, 4 * time.Second, 6 * time.Second, 0},
		{[]string{stages, "load.duration=1s"}, 2 * time.Second, time.Second, 3 * time.Second},
		{[]string{stages, "load.warmup=5s"}, 5 * time.Second, 5 * time.Second, 0},
	}
	for _, tt := range tests {
		plans, err := Parse("x.yaml", source, Override{Set: tt.set})
		if err != nil {
			t.Fatal(err)
		}
		if l := plans[0].Load; l.Warmup != tt.warmup || l.Duration != tt.duration || l.Cooldown != tt.cooldown {
			t.Errorf("%q: windows %s, %s, %s, want %s, %s, %s", tt.set, l.Warmup, l.Duration, l.Cooldown, tt.warmup, tt.duration, tt.cooldown)
		}
	}
}

// A closed loop stands in the label of its plan, and so in every output.
func TestClosedLoopsAreLabelled(t *testing.T) {
	tests := map[string][]string{
		"load: {rate: closed 4}":                             {"load.rate=closed_4"},
		"load: {rate: [closed 4, closed 8]}":                 {"rate=closed_4", "rate=closed_8"},
		"load: {rate: [5/s, closed 8]}":                      {"rate=5_s", "rate=closed_8"},
		"load: {rate: closed 8}\nroster: {items: [10, 100]}": {"items=10,load.rate=closed_8", "items=100,load.rate=closed_8"},
		"load: {rate: 5/s}":                                  {"all"},
	}
	for source, want := range tests {
		plans, err := Parse("x.yaml", []byte("scenario: login-storm\n"+source), Override{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range plans {
			got = append(got, p.Label)
			if (len(p.Closed()) > 0) != (p.Label != "all" && p.Label != "rate=5_s") {
				t.Errorf("%s: %v is closed", p.Label, p.Closed())
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: labels %q, want %q", source, got, want)
		}
	}
}

// Manifests hold rates as text; earlier ones hold numbers.
func TestShapeInJSON(t *testing.T) {
	for text, want := range map[string]string{`50`: "50/s", `0`: "none", `null`: "none", `"closed 3"`: "closed 3"} {
		var s Shape
		if err := json.Unmarshal([]byte(text), &s); err != nil || s.String() != want {
			t.Errorf("%s reads as %q, %v", text, s, err)
		}
	}
	var s Shape
	if json.Unmarshal([]byte(`"fast"`), &s) == nil {
		t.Error("any text is a shape")
	}
}

// The stages of a plan are the stretches of its measured window in which a load holds a
// rate, of loads that hold several.
func TestPlanStages(t *testing.T) {
	for _, tt := range []struct {
		source string
		want   []results.Stage
	}{
		{"scenario: login-storm\nload: {rate: \"ramp 0->10/s in 5s, hold 20s, ramp 10->30/s in 10s, hold 40s, ramp 30->0/s in 5s\"}\n", []results.Stage{
			{Load: "load.rate", Metric: "ready", Rate: 10, From: 0, To: 20}, {Load: "load.rate", Metric: "ready", Rate: 30, From: 30, To: 70},
		}},
		{"scenario: login-storm\nload: {rate: \"hold 10/s for 20s, hold 30/s for 20s\", warmup: 5s, duration: 25s}\n", []results.Stage{
			{Load: "load.rate", Metric: "ready", Rate: 10, From: 0, To: 15}, {Load: "load.rate", Metric: "ready", Rate: 30, From: 15, To: 25},
		}},
		{"scenario: message-steady\nmessages: {rate: \"hold 10/s for 20s, hold 30/s for 20s\"}\npings: {rate: 5/s}\n", []results.Stage{
			{Load: "messages.rate", Metric: "message", Rate: 10, From: 0, To: 20}, {Load: "messages.rate", Metric: "message", Rate: 30, From: 20, To: 40},
		}},
		{"scenario: login-storm\nload: {rate: \"ramp 0->10/s in 5s, hold 20s\"}\n", nil},
		{"scenario: login-storm\nload: {rate: 5/s}\n", nil},
	} {
		plans, err := Parse("f.yaml", []byte(tt.source), Override{})
		if err != nil {
			t.Fatal(err)
		}
		if got := plans[0].Stages(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %+v", tt.source, got)
		}
	}
}
