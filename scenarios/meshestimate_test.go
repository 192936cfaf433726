package scenarios

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// parseFederation makes the plans of a file that says what source does.
func parseFederation(t *testing.T, source string) []Plan {
	t.Helper()
	plans, err := Parse("f.yaml", []byte("scenario: federation\n"+source), Override{})
	if err != nil {
		t.Fatal(err)
	}
	return plans
}

func TestFederationKeys(t *testing.T) {
	defaults := Federation{
		Domains: Domains{20, 20}, Providers: 2, BringUp: BringUpAll, Messages: 1, Settle: 500 * time.Millisecond, Limit: 5 * time.Minute,
		Traffic: Traffic{Matrix: MatrixFull, Zipf: 1, Duration: 2 * time.Second, Size: 300}, BulkEvery: time.Second, Event: EventNone, Idle: time.Second,
	}
	tests := []struct {
		name, give string
		want       func(*Federation)
	}{
		{"defaults", "", func(*Federation) {}},
		{"domains", "domains: 1kx100", func(f *Federation) { f.Domains = Domains{1000, 100} }},
		{"providers", "providers: 5\nworkers: 4", func(f *Federation) { f.Providers, f.Workers = 5, 4 }},
		{"workers", "workers: auto", func(*Federation) {}},
		{"mesh", "mesh: {bring-up: lazy, settle: 1s, limit: 10s}\ntraffic: {rate: 5/s}", func(f *Federation) {
			f.BringUp, f.Settle, f.Limit, f.Traffic.Rate = BringUpLazy, time.Second, 10*time.Second, 5
		}},
		{"traffic", "traffic: {matrix: zipf, zipf: 1.5, rate: 90/min, duration: 3s, size: 1KiB}", func(f *Federation) {
			f.Traffic = Traffic{Matrix: MatrixZipf, Zipf: 1.5, Rate: 1.5, Duration: 3 * time.Second, Size: 1024}
		}},
		{"no traffic", "traffic: {rate: none}", func(*Federation) {}},
		{"bulk", "traffic: {rate: 5/s}\nbulk: {bytes: 1MiB, every: 250ms}", func(f *Federation) {
			f.Traffic.Rate, f.Bulk, f.BulkEvery = 5, 1<<20, 250*time.Millisecond
		}},
		{"noisy", "traffic: {rate: 5/s}\nnoisy: {rate: 500/s}", func(f *Federation) { f.Traffic.Rate, f.Noisy = 5, 500 }},
		{"event", "event: {kind: idle, idle: 2s}", func(f *Federation) { f.Event, f.Idle = EventIdle, 2*time.Second }},
		{"restart", "event: {kind: restart}", func(f *Federation) { f.Event = EventRestart }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults
			tt.want(&want)
			p := parseFederation(t, tt.give)[0]
			if diff := cmp.Diff(want, p.Federation); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFederationErrors(t *testing.T) {
	const file = "scenario: federation\n"
	tests := []struct {
		name, give, want string
		override         Override
	}{
		{name: "domains without an x", give: file + "domains: 20", want: `f.yaml:2:10: domains: "20" is not two numbers of domains such as 20x20`},
		{name: "no domain", give: file + "domains: 0x5", want: `f.yaml:2:10: domains: "0x5": each provider hosts 1 to 100000 domains`},
		{name: "half a domain", give: file + "domains: 1.5x5", want: `f.yaml:2:10: domains: "1.5" is not a whole number`},
		{name: "too many pairs", give: file + "domains: 10kx1k", want: `f.yaml: domains: 10000x1000 domains of 2 providers make 10000000 pairs; the limit is 1000000`},
		{name: "one provider", give: file + "providers: 1", want: `f.yaml:2:12: providers: 1 is below the minimum, 2`},
		{name: "more workers than domains", give: file + "domains: 3x9\nworkers: 4", want: `f.yaml: workers: 4 processes have no more than 3 domains to divide`},
		{name: "pool of more streams than pairs", give: file + "domains: 2x2\nvariants: shared-cert\ns2s: {pool: 5}", want: `f.yaml: s2s.pool: shared-cert: a pool of 5 streams has 4 pairs of domains to carry`},
		{name: "lazily without traffic", give: file + "mesh: {bring-up: lazy}", want: `f.yaml: mesh.bring-up: needs messages beside it: set traffic.rate`},
		{name: "bulk without traffic", give: file + "bulk: {bytes: 1MiB}", want: `f.yaml: bulk.bytes: needs messages beside it`},
		{name: "bulk over what peers take", give: file + "bulk: {bytes: 5MB}", want: `f.yaml:2:15: bulk.bytes: 5MB is above the maximum, 4000000 bytes`},
		{name: "two disturbances", give: file + "traffic: {rate: 5/s}\nbulk: {bytes: 1MiB}\nnoisy: {rate: 9/s}", want: `f.yaml: noisy.rate: and bulk.bytes would disturb the same messages`},
		{name: "matrix of nothing", give: file + "traffic: {matrix: zipf}", want: `f.yaml:2:11: traffic.matrix: does nothing without traffic.rate`},
		{name: "exponent of nothing", give: file + "traffic: {rate: 5/s, zipf: 2}", want: `f.yaml:2:22: traffic.zipf: does nothing without traffic.matrix: zipf`},
		{name: "idle time of nothing", give: file + "event: {idle: 5s}", want: `f.yaml:2:9: event.idle: does nothing without event.kind: idle`},
		{name: "interval of nothing", give: file + "bulk: {every: 5s}", want: `f.yaml:2:8: bulk.every: does nothing without bulk.bytes`},
		{name: "key of sessions", give: file + "roster: {items: 5}", want: `f.yaml:2:10: roster.items: the scenario federation has no such key`},
		{name: "login", give: file + "login: {tls: none}", want: `f.yaml:2:9: login.tls: the scenario federation has no such key`},
		{name: "setting of rosters", give: file + "roster: {window: 5}", want: `f.yaml:2:10: roster.window: the scenario federation has no such key`},
		{name: "roster variant", give: file + "variants: monolithic", want: `f.yaml:2:11: variants: "monolithic" is not one of pair-external, `},
		{name: "federation variant", give: "scenario: roster-login\nvariants: pair-external", want: `f.yaml:2:11: variants: "pair-external" is not one of monolithic, `},
		{name: "setting of federation", give: "scenario: roster-login\ns2s: {tls: direct}", want: `f.yaml:2:7: s2s.tls: the scenario roster-login has no such key`},
		{name: "key of federation", give: "scenario: roster-login\ndomains: 2x2", want: `f.yaml:2:1: domains: the scenario roster-login has no such key`},
		{name: "scheduling of own links", give: "scenario: roster-login\nlink: {scheduling: fifo}", want: `f.yaml:2:8: link.scheduling: the scenario roster-login has no such key`},
		{name: "setting no variant here has", give: file + "s2s: {pool: 2}", want: `f.yaml:2:7: s2s.pool: none of the variants in this run has such a setting`},
		{name: "value no variant here takes", give: file + "s2s: {tls: none}", want: `tls: none is not one of starttls, direct`},
		{name: "setting beside another variant", give: file + "variants: [{variant: pair-external, pool: 2}]", want: `pool: no such setting`},
		{name: "setting nobody knows", give: file, override: Override{Set: []string{"s2s.tsl=direct"}}, want: `--set s2s.tsl=direct: is unknown; did you mean s2s.tls?`},
		{name: "too few blocks", give: file, override: Override{Variants: []string{"all"}, Blocks: new(6)}, want: `--blocks: 6 blocks cannot tell`},
		{name: "threshold on what is not measured", give: file + "thresholds: {ready: [\"mean<2s\"]}", want: `f.yaml:2:22: thresholds.ready: the scenario federation does not measure ready`},
		{name: "quantile without samples", give: file + "domains: 2x2\nthresholds: {pair.ready: [\"p(99)<2s\"]}", want: `needs 1000 samples and this plan makes about 48`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.give), tt.override)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error\n\t%v\nwants\n\t%s", err, tt.want)
			}
		})
	}
}

// TestTurnedOff turns off on the command line what a file asks for.
func TestTurnedOff(t *testing.T) {
	source, err := Shipped(FederationScenario)
	if err != nil {
		t.Fatal(err)
	}
	plans, err := Parse("federation.yaml", source, Override{Set: []string{"bulk.bytes=0", "traffic.rate=none"}})
	if err != nil {
		t.Fatal(err)
	}
	if f := plans[0].Federation; f.Bulk != 0 || f.Traffic.Rate != 0 {
		t.Errorf("%+v", f)
	}
}

func TestFederationArms(t *testing.T) {
	plans := parseFederation(t, `
variants: [pair-external, {variant: shared-cert, pool: 4, as: pool-4}, shared-cert]
s2s: {tls: [starttls, direct], tls-max: "1.2"}
`)
	if len(plans) != 2 || plans[1].Label != "tls=direct" {
		t.Fatalf("%d plans, the last is %s", len(plans), plans[len(plans)-1].Label)
	}
	for _, arm := range plans[1].Arms {
		if arm.S2S.TLS != s2s.TLSDirect || arm.S2S.TLSMax != "1.2" {
			t.Errorf("%s has %+v", arm.Label, arm.S2S)
		}
	}
	if pool := plans[0].Arms[1]; pool.Label != "pool-4" || pool.Name != "shared-cert" || pool.S2S.Pool != 4 || pool.Federation.Name != "shared-cert" {
		t.Errorf("second arm %s: %+v", pool, pool.S2S)
	}
}

// TestMeshCounts holds meshes of several providers against the closed forms of
// meshes, which are those of each two of them added up.
func TestMeshCounts(t *testing.T) {
	tests := []struct {
		variant, give string
		want          map[string]int
	}{
		{"pair-external", "domains: 50x50", map[string]int{"connections": 5000, "connections.opened": 5000, "authority.sasl": 5000, "keys.customer": 100}},
		{"pair-dialback", "domains: 10x10\ns2s: {verify: separate}", map[string]int{"connections": 200, "connections.opened": 400, "keys.customer": 0}},
		{"pair-bidi", "domains: 1000x100", map[string]int{"connections": 100_000, "keys.customer": 1100}},
		{"shared-7712", "domains: 1000x100", map[string]int{"connections": 2, "connections.opened": 1102}},
		{"shared-cert", "domains: 50x50", map[string]int{"connections": 1, "authority.results": 2500, "keys.customer": 2}},
		{"shared-cert", "domains: 50x50\ns2s: {pool: 4}", map[string]int{"connections": 4}},
		{"pair-external", "domains: 2x2\nproviders: 3", map[string]int{"connections": 24, "keys.customer": 6}},
		{"pair-external", "domains: 3x2\nproviders: 3", map[string]int{"connections": 32, "keys.customer": 7}},
		{"shared-cert", "domains: 7x7\nproviders: 4", map[string]int{"connections": 6, "keys.customer": 4, "authority.results": 294}},
	}
	for _, tt := range tests {
		t.Run(tt.variant+" "+tt.give, func(t *testing.T) {
			p := parseFederation(t, "variants: "+tt.variant+"\n"+tt.give)[0]
			got := p.meshCounts(p.Arms[0])
			maps.DeleteFunc(got, func(name string, _ int) bool { _, asked := tt.want[name]; return !asked })
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestEstimatesAreExpected holds what a dry run prints against what a run expects of
// the pairs that it has seen.
func TestEstimatesAreExpected(t *testing.T) {
	for variant, settings := range map[string]map[string]any{
		"pair-dialback": {"verify": "separate"}, "shared-dialback": {"pool": 3}, "shared-7712": {"pool": 3}, "shared-cert": {"streams": "two", "pool": 3},
		"shared-mux": {"pool": 3}, "shared-posh": {"pool": 3}, "shared-dane": {"pool": 3}, "shared-attrcert": {"pool": 3, "batch": 2},
	} {
		t.Run(variant, func(t *testing.T) {
			p := meshPlan(t, variant, settings)
			p.Federation.Providers, p.Federation.Traffic.Rate = 3, 0
			want := p.meshCounts(p.Arms[0])
			run := federate(t, p)
			if len(run.Counts) < 10 {
				t.Errorf("%d counts", len(run.Counts))
			}
			for _, c := range run.Counts {
				if n, ok := want[c.Name]; ok && float64(n) != c.Expected {
					t.Errorf("%s is estimated to be %d, and %g is expected", c.Name, n, c.Expected)
				}
			}
		})
	}
}

func TestMeshEstimates(t *testing.T) {
	p := parseFederation(t, "domains: 20x10\nworkers: 2\nlink: {rtt: 50ms}\nvariants: [pair-external, {variant: shared-cert, pool: 2}]\ntraffic: {rate: 100/s}\n")[0]
	got := p.MeshEstimates()
	for i := range got {
		got[i].Counts, got[i].Duration = nil, 0
	}
	want := []MeshEstimate{
		{
			Plan: "all", Arm: "pair-external", Pairs: 200, Workers: 2,
			Rounds:      map[string]int{"pair.first": 7, "pair.first.echo": 15, "pair.further": 7, "pair.further.echo": 15},
			Descriptors: 200 + reservedDescriptors, Ports: 100, Memory: 800*endMemory + 4*processMemory,
			Theory: map[string]float64{"pair.first.mean": 0.35, "pair.first.echo.mean": 0.75, "pair.further.mean": 0.35, "pair.further.echo.mean": 0.75},
		},
		{
			Plan: "all", Arm: "shared-cert", Pairs: 200, Workers: 1,
			Rounds:      map[string]int{"pair.first": 6, "pair.first.echo": 7},
			Descriptors: 2 + reservedDescriptors, Ports: 2, Memory: 4*endMemory + 2*processMemory,
			Theory: map[string]float64{"pair.first.mean": 0.3, "pair.first.echo.mean": 0.35},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if shared, pairs := p.armDuration(p.Arms[1]), p.armDuration(p.Arms[0]); shared >= pairs || pairs <= 0 {
		t.Errorf("a mesh of pairs takes %s, a shared one %s", pairs, shared)
	}
}

// TestFits refuses what a machine has not got, with the arithmetic.
func TestFits(t *testing.T) {
	tests := []struct {
		name, give string
		machine    machine
		want       string // empty: it fits
	}{
		{"nothing known", "domains: 100x100\nworkers: 1", machine{}, ""},
		{"all fits", "domains: 20x20\nworkers: 1", machine{1024, 28232, 1 << 30}, ""},
		{
			"descriptors", "domains: 100x100\nworkers: 4", machine{descriptors: 1024},
			"pair-external: each provider is an end of 20000 connections; in 4 processes that is up to 5064 file descriptors in a process, which may open 1024: raise workers or ulimit -n, or lower domains",
		},
		{
			"descriptors of the link", "domains: 20x20\nworkers: 4\nlink: {rtt: 5ms}", machine{descriptors: 1024},
			"pair-external: the link takes 1664 file descriptors, two for each connection, and its process may open 1024: raise ulimit -n, lower domains, or leave link out",
		},
		{
			"ports", "domains: 200x200\nworkers: 1", machine{ports: 28232},
			"pair-external: up to 40000 connections go from one address to one other, which has 28232 ports for them (net.ipv4.ip_local_port_range): raise workers or lower domains",
		},
		{"ports of several processes", "domains: 200x200\nworkers: 2", machine{ports: 28232}, ""},
		{
			"memory", "domains: 200x200\nworkers: 2", machine{memory: 1 << 30},
			"pair-external: the mesh takes about 4423 MiB of memory, 28 KiB for each of the two ends of 80000 connections, and 1024 MiB are available: lower domains",
		},
		{"shared streams", "domains: 1000x1000\nvariants: shared-cert", machine{1024, 1000, 1 << 30}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := parseFederation(t, tt.give)[0].fits(tt.machine)
			if got := errorText(err); got != tt.want {
				t.Errorf("error\n\t%s\nwants\n\t%s", got, tt.want)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
