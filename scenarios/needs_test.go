package scenarios

import (
	"slices"
	"strings"
	"testing"
)

// Keys that mean nothing under the kind of load that a file asks for are refused where
// they stand, with what to do.
func TestNeeds(t *testing.T) {
	const (
		login  = "scenario: roster-login\n"
		storm  = "scenario: login-storm\n"
		steady = "scenario: message-steady\n"
	)
	for _, tt := range []struct {
		name, give string
		set        []string
		want       string
	}{
		{"probes under a rate", login + "load: {rate: 5/s}\nprobe: {every: 9ms}", nil, "f.yaml:3:9: probe.every: is for one-shot cells and does nothing under a load.rate: leave one of the two out"},
		{"probes under stages", login + "load: {rate: ramp 0->5/s in 5s}\nprobe:\n  after: 1s", nil, "f.yaml:4:3: probe.after: is for one-shot cells"},
		{"probes under a closed loop", login + "load: {rate: closed 3}\nprobe: {before: 0s}", nil, "f.yaml:3:9: probe.before: is for one-shot cells"},
		{"cut under a rate", login + "load: {rate: 5/s}\ncut: {at: 0.5}", nil, "f.yaml:3:7: cut.at: is for one-shot cells"},
		{"continuation of no cut", login + "cut: {continue: other}", nil, "f.yaml:2:7: cut.continue: does nothing without cut.at"},
		{"window of one-shot cells", login + "load: {duration: 5s}", nil, "f.yaml:2:8: load.duration: is for rates and does nothing in one-shot cells: give a load.rate"},
		{"list of them", login + "load: {warmup: [1s, 2s]}", nil, "f.yaml:2:8: load.warmup: is for rates"},
		{"sessions under way in a closed loop", storm + "load: {rate: closed 5, max-in-flight: 9}", nil, "f.yaml:2:24: load.max-in-flight: is for logins that come on schedule"},
		{"arrivals of a closed loop", storm + "load: {rate: closed 5, arrivals: constant}", nil, "f.yaml:2:24: load.arrivals: does nothing, since every load of this plan says itself how it comes"},
		{"arrivals that the rate names", storm + "load: {rate: poisson 5/s, arrivals: constant}", nil, "load.arrivals: does nothing"},
		{"size of no messages", steady + "pings: {rate: 5/s}\nmessages: {size: 9}", nil, "f.yaml:3:12: messages.size: does nothing without messages.rate"},
		{"silence of no presence", storm + "presence: {quiet: 1s}", nil, "f.yaml:2:12: presence.quiet: does nothing without presence.send: after or during"},
		{"down time of no restart", "scenario: reconnect-herd\nherd: {down: 9s}", nil, "f.yaml:2:8: herd.down: does nothing without herd.event: restart"},
		{"both on the command line", login, []string{"load.rate=5/s", "probe.every=1ms"}, "--set probe.every=1ms: is for one-shot cells"},
		{"one on the command line", login + "load: {rate: 5/s}", []string{"probe.every=1ms"}, "--set probe.every=1ms: is for one-shot cells"},

		{"as it is by default", login + "load: {rate: 5/s}\nprobe: {every: 5ms, before: 0.1s, after: 250ms}\ncut: {at: 0}", nil, ""},
		{"made idle on the command line", login + "probe: {every: 9ms}", []string{"load.rate=5/s"}, ""},
		{"of one of the plans", login + "load: {rate: [one-shot, 5/s], warmup: 1s}\nprobe: {every: 9ms}", nil, ""},
		{"of the storm, which has no one-shot cells", storm + "load: {rate: closed 5, warmup: 1s, duration: 2s}\nlogin: {verify: 5}", nil, ""},
		{"how sessions come online", steady + "messages: {rate: constant 5/s}\nload: {arrivals: constant}", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(tt.give), Override{Set: append(tt.set, rateOf(tt.give)...)})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error\n\t%v\nwants\n\t%s", err, tt.want)
			}
		})
	}
}

// rateOf gives storms the rate that they need, where the file has none.
func rateOf(source string) []string {
	if strings.HasPrefix(source, "scenario: login-storm") && !strings.Contains(source, "rate") {
		return []string{"load.rate=5/s"}
	}
	return nil
}

// A search gives its key values that the file does not have.
func TestNeedsOfSearch(t *testing.T) {
	o := Override{Set: []string{"load.warmup=1s"}, Search: new("load.rate")}
	if _, err := Parse("f.yaml", []byte("scenario: roster-login\n"), o); err != nil {
		t.Error(err)
	}
	o.Search = new("roster.items")
	if _, err := Parse("f.yaml", []byte("scenario: roster-login\n"), o); err == nil || !strings.Contains(err.Error(), "is for rates") {
		t.Errorf("a search over one-shot cells: %v", err)
	}
}

// Every need is decided by a key that all scenarios of the key have.
func TestNeedsAreKeys(t *testing.T) {
	keys := Keys()
	for _, k := range keys {
		if k.Need == nil {
			continue
		}
		i := slices.IndexFunc(keys, func(by Key) bool { return by.Path == k.Need.by })
		if i < 0 {
			t.Errorf("%s: %s is no key", k.Path, k.Need.by)
		}
	}
}
