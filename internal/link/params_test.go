package link_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/internal/link"
)

func TestParamsValidate(t *testing.T) {
	tests := []struct {
		name string
		give link.Params
		want string
	}{
		{"zero", link.Params{}, ""},
		{"all set", link.Params{RTT: time.Second, Rate: 1, Jitter: 1, Queue: 1, Scheduling: link.FIFO, Seed: 1}, ""},
		{"negative RTT", link.Params{RTT: -1}, "RTT"},
		{"negative rate", link.Params{Rate: -1}, "rate"},
		{"fast as no line", link.Params{Rate: 1_000_000_000_001}, "1 Tbit/s"},
		{"negative jitter", link.Params{Jitter: -1}, "jitter"},
		{"negative queue", link.Params{Queue: -1}, "queue"},
		{"long RTT", link.Params{RTT: 2 * time.Hour}, "an hour at most"},
		{"long queue", link.Params{Queue: math.MaxInt32 + 1}, "2 GiB"},
		{"unknown scheduling", link.Params{Scheduling: "lifo"}, `"lifo"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.give.Validate()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
			if _, newErr := link.New(tt.give); (newErr == nil) != (err == nil) {
				t.Errorf("New says %v, Validate %v", newErr, err)
			}
		})
	}
}

func TestParamsDefaults(t *testing.T) {
	tests := []struct {
		rate int64
		want int
	}{
		{0, 4 << 20},
		{1_000_000, 16 << 10},
		{10_000_000, 16 << 10},
		{100_000_000, 50_000},
		{1_000_000_000, 500_000},
		{1_000_000_000_000, 500_000_000},
	}
	for _, tt := range tests {
		got := link.Params{Rate: tt.rate}.WithDefaults()
		want := link.Params{Rate: tt.rate, Queue: tt.want, Scheduling: link.RoundRobin}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d bit/s: (-want +got)\n%s", tt.rate, diff)
		}
	}
	set := link.Params{Rate: 1_000_000, Queue: 7, Scheduling: link.FIFO}
	if got := set.WithDefaults(); got != set {
		t.Errorf("what was set became %+v", got)
	}
}

// A configuration reaches another process unchanged.
func TestConfigJSON(t *testing.T) {
	want := link.Config{
		Params: link.Params{RTT: 50 * time.Millisecond, Rate: 10_000_000, Jitter: 1, Queue: 2, Scheduling: link.FIFO, Seed: 1 << 63},
		Shared: true,
		Routes: []link.Route{{Listen: "127.0.0.1:0", Dial: "[::1]:5222", Reverse: true}}, ReceiveBuffer: 4096,
	}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got link.Config
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
