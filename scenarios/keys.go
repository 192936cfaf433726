package scenarios

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/xmppbench/xmppbench/bench"
	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/population"
)

// Kind is the type of a key's value.
type Kind string

// The kinds, as docs and schema name them.
const (
	KindString   Kind = "string"
	KindBool     Kind = "bool"
	KindCount    Kind = "count"
	KindBytes    Kind = "bytes"
	KindDuration Kind = "duration"
	KindRate     Kind = "rate"
	KindLoad     Kind = "load" // a rate, stages, a trace or a closed loop: see Shape
	KindBitRate  Kind = "bit rate"
	KindShare    Kind = "share"
	KindNumber   Kind = "number"
	KindDomains  Kind = "domains" // of two providers, such as 20x20
	KindSizes    Kind = "sizes"   // of messages: one, or a distribution
)

// Key is one setting of a scenario file.
type Key struct {
	// Path is where it stands, such as "roster.items".
	Path string
	Kind Kind
	// Default is the value of a file that leaves the key out, as it would be
	// written there.
	Default string
	// Min and Max bound the value in its base unit (items, bytes, seconds, events
	// or bits per second); a Max of 0 means no bound.
	Min, Max float64
	// Choices lists the strings allowed; on other kinds, words that may stand in
	// place of a value.
	Choices []string
	// Scenarios names the scenarios that have the key; nil means all.
	Scenarios []string
	// Need, where set, is what the key does nothing without.
	Need *Need
	// Simulator says that the key is a setting of the server under test, which
	// only the simulator can be given.
	Simulator bool
	// Counts is what a value is a number of, such as "logins"; empty where nobody asks.
	Counts string
	// Doc is one sentence.
	Doc string

	sessions bool // it is a number of sessions that are held at one time
	apart    bool // each of them is of another account; else they go round those there are
	set      func(*Plan, any)
}

// parse reads the value as it stands in the file.
func (k Key) parse(s string) (any, error) {
	if k.Kind != KindString && slices.Contains(k.Choices, s) {
		return s, nil
	}
	v, number, err := k.parseKind(s)
	if err != nil {
		return nil, err
	}
	if k.Kind == KindString || k.Kind == KindBool || k.Kind == KindDomains {
		return v, nil // without bounds, or with its own
	}
	if shape, ok := v.(Shape); ok && shape.peak() == 0 {
		return v, nil // it names no rate
	}
	if number < k.Min {
		return nil, fmt.Errorf("%s is below the minimum, %s", s, k.show(k.Min))
	}
	if k.Max > 0 && number > k.Max {
		return nil, fmt.Errorf("%s is above the maximum, %s", s, k.show(k.Max))
	}
	return v, nil
}

// Number reads a value of a numeric key, in its base unit, within its bounds.
func (k Key) Number(s string) (float64, error) {
	if k.Kind == KindLoad {
		k.Kind = KindRate
	}
	if _, err := k.parse(s); err != nil {
		return 0, err
	}
	v, number, err := k.parseKind(s)
	if _, text := v.(string); text {
		return 0, fmt.Errorf("%q is not a number", s)
	}
	return number, err
}

func (k Key) parseKind(s string) (value any, number float64, err error) {
	switch k.Kind {
	case KindString:
		if len(k.Choices) > 0 && !slices.Contains(k.Choices, s) {
			return nil, 0, fmt.Errorf("%q is not one of %s", s, strings.Join(k.Choices, ", "))
		}
		return s, 0, nil
	case KindBool:
		switch s {
		case "true":
			return true, 0, nil
		case "false":
			return false, 0, nil
		}
		return nil, 0, fmt.Errorf("%q is neither true nor false", s)
	case KindCount:
		v, err := ParseCount(s)
		return int(v), float64(v), err
	case KindBytes:
		v, err := ParseBytes(s)
		return int(v), float64(v), err
	case KindDuration:
		v, err := ParseDuration(s)
		return v, v.Seconds(), err
	case KindRate:
		v, err := ParseRate(s)
		return v, v, err
	case KindLoad:
		v, err := ParseShape(s)
		return v, v.peak(), err
	case KindSizes:
		v, err := ParseSizes(s)
		return v, float64(v.Longest()), err
	case KindBitRate:
		v, err := ParseBitRate(s)
		return v, v, err
	case KindShare:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(v) {
			return nil, 0, fmt.Errorf("%q is not a number between 0 and 1", s)
		}
		return v, v, nil
	case KindNumber:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(v) {
			return nil, 0, fmt.Errorf("%q is not a number", s)
		}
		return v, v, nil
	case KindDomains:
		v, err := ParseDomains(s)
		return v, 0, err
	}
	panic("scenarios: kind " + string(k.Kind))
}

// show writes a bound in the unit that a file would use.
func (k Key) show(v float64) string {
	number := strconv.FormatFloat(v, 'f', -1, 64)
	switch k.Kind {
	case KindDuration:
		return time.Duration(v * float64(time.Second)).String()
	case KindRate, KindLoad:
		return number + "/s"
	case KindBitRate:
		return number + "bit/s"
	case KindBytes, KindSizes:
		return number + " bytes"
	case KindString, KindBool, KindCount, KindShare, KindNumber, KindDomains:
	}
	return number
}

// has reports whether the scenario has the key.
func (k Key) has(scenario string) bool {
	return k.Scenarios == nil || slices.Contains(k.Scenarios, scenario)
}

// lacking returns the only scenario that lacks the key, and false if there is none
// or several do.
func (k Key) lacking() (string, bool) {
	names := slices.DeleteFunc(Names(), k.has)
	if len(names) != 1 {
		return "", false
	}
	return names[0], true
}

// field makes a setter for a key whose parsed value is a T.
func field[T any](at func(*Plan) *T) func(*Plan, any) {
	return func(p *Plan, v any) { *at(p) = v.(T) }
}

// Keys returns the settings of scenario files but for scenario, variants and
// thresholds, which are lists of names, and the settings of the variants.
func Keys() []Key {
	var (
		steady     = []string{MessageSteady, PresenceFanout}
		sheet      = []string{CapacitySheet}
		sessions   = append([]string{RosterLogin, LoginStorm, RosterPushStorm, IdleCost, SessionCost, ReconnectHerd, CapacitySheet}, steady...)
		crowded    = append([]string{SessionCost}, steady...)
		retrieval  = []string{RosterLogin, LoginStorm}
		presence   = append(slices.Clone(retrieval), steady...)
		rated      = []string{RosterLogin, LoginStorm}
		windowed   = append(slices.Clone(rated), steady...)
		judged     = append([]string{RosterLogin, LoginStorm, RosterPushStorm, ReconnectHerd, FederationScenario, CapacitySheet}, steady...)
		herd       = []string{ReconnectHerd}
		blocked    = append([]string{RosterLogin, LoginStorm, RosterPushStorm, IdleCost, SessionCost, ReconnectHerd, FederationScenario}, steady...)
		federation = []string{FederationScenario}

		restarted = only("herd.event", ": restart", func(p *Plan) bool { return p.Herd.Event == EventRestart })
		traffic   = only("traffic.rate", "", func(p *Plan) bool { return p.Federation.Traffic.Rate > 0 })
	)
	const day = 24 * 3600
	return []Key{
		{Path: "accounts", Kind: KindCount, Default: "3", Min: 3, Max: 10e6, Scenarios: sessions,
			Doc: "Accounts that take part; sessions go round them.",
			set: field(func(p *Plan) *int { return &p.Accounts })},
		{Path: "roster.items", Kind: KindCount, Counts: "contacts", Default: "10k", Max: 10e6, Scenarios: sessions,
			Doc: "Contacts in every roster.",
			set: field(func(p *Plan) *int { return &p.Roster.Items })},
		{Path: "roster.item-bytes", Kind: KindBytes, Default: "100", Max: 4096, Scenarios: sessions,
			Doc: "Length of each item as the simulator writes it; 0 leaves names and groups as they come.",
			set: field(func(p *Plan) *int { return &p.Roster.ItemBytes })},

		{Path: "login.tls", Kind: KindString, Default: "starttls", Choices: []string{"starttls", "direct", "none"}, Scenarios: sessions,
			Doc: "How the stream is encrypted: RFC 6120 §5, XEP-0368 or not at all.",
			set: field(func(p *Plan) *string { return &p.Login.TLS })},
		{Path: "login.sasl", Kind: KindString, Default: "SCRAM-SHA-256",
			Choices:   []string{"auto", "PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"},
			Scenarios: sessions,
			Doc:       "The SASL mechanism; auto takes the strongest on offer.",
			set:       field(func(p *Plan) *string { return &p.Login.SASL })},
		{Path: "login.tls-min", Kind: KindString, Default: "1.2", Choices: []string{"1.2", "1.3"}, Scenarios: sessions,
			Doc: "Lowest TLS version the client takes.",
			set: field(func(p *Plan) *string { return &p.Login.TLSMin })},
		{Path: "login.tls-max", Kind: KindString, Default: "1.3", Choices: []string{"1.2", "1.3"}, Scenarios: sessions,
			Doc: "Highest TLS version the client takes.",
			set: field(func(p *Plan) *string { return &p.Login.TLSMax })},
		{Path: "login.curves", Kind: KindString, Default: "default", Choices: []string{"default", "x25519", "p256"}, Scenarios: sessions,
			Doc: "Key exchange of the TLS client; default includes the hybrid with ML-KEM.",
			set: field(func(p *Plan) *string { return &p.Login.Curves })},
		{Path: "login.sm", Kind: KindBool, Default: "false", Scenarios: sessions,
			Doc: "Enable stream management (XEP-0198) after resource binding.",
			set: field(func(p *Plan) *bool { return &p.Login.SM })},
		{Path: "login.step-limit", Kind: KindDuration, Default: "30s", Min: 0.01, Max: day, Scenarios: sessions,
			Doc: "Longest wait for a single step of the login.",
			set: field(func(p *Plan) *time.Duration { return &p.Login.StepLimit })},
		{Path: "login.limit", Kind: KindDuration, Default: "5m", Min: 0.01, Max: day, Scenarios: sessions,
			Doc: "Longest wait for a whole operation, roster included.",
			set: field(func(p *Plan) *time.Duration { return &p.Login.Limit })},
		{Path: "login.verify", Kind: KindCount, Default: "100", Min: 0, Max: 1e9, Scenarios: append(slices.Clone(retrieval), ReconnectHerd),
			Need: ratesOnly(),
			Doc:  "Of how many sessions of a load one reads with a full XML check and digest; 0: none. One-shot cells verify in the warm-up block.",
			set:  field(func(p *Plan) *int { return &p.Login.Verify })},

		{Path: "link.rtt", Kind: KindDuration, Default: "0s", Max: 60,
			Doc: "Round trip time of the link: of each session's own, or of the one between two providers, which all their streams share.",
			set: field(func(p *Plan) *time.Duration { return &p.Link.RTT })},
		{Path: "link.jitter", Kind: KindDuration, Default: "0s", Max: 60,
			Doc: "Largest random delay on top, each way; order is kept.",
			set: field(func(p *Plan) *time.Duration { return &p.Link.Jitter })},
		{Path: "link.rate", Kind: KindBitRate, Default: "unlimited", Min: 1000, Max: 100e9, Choices: []string{"unlimited"},
			Doc: "Rate of the link, each way.",
			set: func(p *Plan, v any) { p.Link.Rate, _ = v.(float64) }},
		{Path: "link.queue", Kind: KindBytes, Default: "auto", Min: 1500, Max: 1 << 30, Choices: []string{"auto"},
			Doc: "Bytes that wait before the bottleneck; auto holds 4 ms of its rate.",
			set: func(p *Plan, v any) { n, _ := v.(int); p.Link.Queue = int64(n) }},
		{Path: "link.scheduling", Kind: KindString, Default: string(link.RoundRobin), Choices: []string{string(link.RoundRobin), string(link.FIFO)}, Scenarios: federation,
			Doc: "Whether the link between two providers serves its streams in turn, or all segments in the order of their arrival.",
			set: field(func(p *Plan) *string { return &p.Link.Scheduling })},

		{Path: "probe.every", Kind: KindDuration, Default: "5ms", Max: 3600, Scenarios: []string{RosterLogin},
			Need: oneShotOnly(),
			Doc:  "Interval of the pings on the stream under study and on an idle one; 0 sends none.",
			set:  field(func(p *Plan) *time.Duration { return &p.Probe.Every })},
		{Path: "probe.before", Kind: KindDuration, Default: "100ms", Max: 3600, Scenarios: []string{RosterLogin},
			Need: oneShotOnly(),
			Doc:  "How long to probe between login and roster request; not part of ready.",
			set:  field(func(p *Plan) *time.Duration { return &p.Probe.Before })},
		{Path: "probe.after", Kind: KindDuration, Default: "250ms", Max: 3600, Scenarios: []string{RosterLogin},
			Need: oneShotOnly(),
			Doc:  "How long to probe after the roster is complete.",
			set:  field(func(p *Plan) *time.Duration { return &p.Probe.After })},

		{Path: "cut.at", Kind: KindShare, Default: "0", Max: 0.99, Scenarios: []string{RosterLogin},
			Need: oneShotOnly(),
			Doc:  "Share of the roster's bytes after which the connection is lost, once; the client logs in again and goes on where the variant can. No probes are sent then.",
			set:  field(func(p *Plan) *float64 { return &p.Cut.At })},
		{Path: "cut.continue", Kind: KindString, Default: "same", Choices: []string{"same", "other"}, Scenarios: []string{RosterLogin},
			Need: only("cut.at", "", func(p *Plan) bool { return p.Cut.At > 0 }),
			Doc:  "Whether a chunked retrieval goes on in the same mode after a cut, or a push as pulls and the other way.",
			set:  field(func(p *Plan) *string { return &p.Cut.Continue })},

		{Path: "load.arrivals", Kind: KindString, Default: "poisson", Choices: []string{ArrivalsPoisson, ArrivalsConstant}, Scenarios: windowed,
			Need: unnamedOnly(),
			Doc:  "Arrival process of loads that name none themselves: independent of each other, or at equal distances.",
			set:  field(func(p *Plan) *string { return &p.Load.Arrivals })},
		{Path: "load.rate", Kind: KindLoad, Counts: "logins", Default: "one-shot", Min: 0.001, Max: 1e6, Choices: []string{"one-shot"}, Scenarios: rated,
			Doc: "Logins per second, or how they come otherwise; one-shot runs one login for each block and variant.",
			set: func(p *Plan, v any) { p.Load.Rate, _ = v.(Shape) }},
		{Path: "load.warmup", Kind: KindDuration, Default: "5s", Max: day, Scenarios: windowed,
			Need: ratesOnly(),
			Doc:  "Time before the measured window.",
			set:  field(func(p *Plan) *time.Duration { return &p.Load.Warmup })},
		{Path: "load.duration", Kind: KindDuration, Default: "30s", Min: 0.1, Max: 30 * day, Scenarios: append(slices.Clone(windowed), RosterPushStorm),
			Need: ratesOnly(),
			Doc:  "Length of the measured window.",
			set:  field(func(p *Plan) *time.Duration { return &p.Load.Duration })},
		{Path: "load.cooldown", Kind: KindDuration, Default: "1s", Max: day, Scenarios: windowed,
			Need: ratesOnly(),
			Doc:  "Time after the measured window in which load goes on.",
			set:  field(func(p *Plan) *time.Duration { return &p.Load.Cooldown })},
		{Path: "load.max-in-flight", Kind: KindCount, Default: "1k", Min: 1, Max: 1e6, Scenarios: rated,
			Need: openOnly(),
			Doc:  "Most sessions under way; an arrival that finds them all busy waits, and its wait is counted.",
			set:  field(func(p *Plan) *int { return &p.Load.MaxInFlight })},
		{Path: "load.drain", Kind: KindDuration, Default: "10s", Min: 0.01, Max: day, Scenarios: steady,
			Doc: "Longest wait, after the last arrival, for what is under way; what has not come then is lost, and has failed.",
			set: field(func(p *Plan) *time.Duration { return &p.Load.Drain })},

		{Path: "online.sessions", Kind: KindCount, Counts: "sessions", sessions: true, apart: true, Default: "all", Min: 2, Max: 1e6, Choices: []string{"all"}, Scenarios: crowded,
			Doc: "Accounts that are online, each with one session.",
			set: func(p *Plan, v any) { p.Online.Sessions, _ = v.(int) }},
		{Path: "online.roster", Kind: KindBool, Default: "true", Scenarios: steady,
			Doc: "Retrieve the roster at login, as the variant does.",
			set: field(func(p *Plan) *bool { return &p.Online.Roster })},
		{Path: "logins.rate", Kind: KindLoad, Default: "100/s", Min: 0.001, Max: 1e6, Scenarios: append(slices.Clone(crowded), ReconnectHerd),
			Doc: "How the sessions come online, before there is traffic or an event.",
			set: func(p *Plan, v any) { p.Logins, _ = v.(Shape) }},
		{Path: "barrier.timeout", Kind: KindDuration, Default: "1m", Min: 0.01, Max: day, Scenarios: crowded,
			Doc: "Longest wait for everybody at a barrier.",
			set: field(func(p *Plan) *time.Duration { return &p.Barrier.Timeout })},
		{Path: "barrier.least", Kind: KindShare, Default: "1", Max: 1, Scenarios: steady,
			Doc: "Share of the sessions that has to be online for the run to go on; fewer end it with an error.",
			set: field(func(p *Plan) *float64 { return &p.Barrier.Least })},
		{Path: "messages.rate", Kind: KindLoad, Counts: "messages", Default: "none", Min: 0.001, Max: 1e6, Choices: []string{"none"}, Scenarios: steady,
			Doc: "Messages per second of all sessions together, or how they come otherwise.",
			set: func(p *Plan, v any) { p.Messages.Rate, _ = v.(Shape) }},
		{Path: "messages.size", Kind: KindSizes, Default: "100", Min: 1, Max: 64 << 10, Scenarios: crowded,
			Need: messagesOnly(),
			Doc:  "Length of the bodies: one for all, uniform 20..500, or lognormal 60 sigma 1, cut at 100 times the median.",
			set:  field(func(p *Plan) *population.Sizes { return &p.Messages.Size })},
		{Path: "messages.remote", Kind: KindShare, Default: "0", Max: 1, Scenarios: steady,
			Need: messagesOnly(),
			Doc:  "Share of the messages that go to another domain of the target.",
			set:  field(func(p *Plan) *float64 { return &p.Messages.Remote })},
		{Path: "messages.each", Kind: KindCount, Counts: "messages", Default: "10", Max: 100_000, Scenarios: []string{SessionCost},
			Doc: "Messages for each session that is online, sent a few at a time by sessions that the seed chooses.",
			set: field(func(p *Plan) *int { return &p.Messages.Each })},
		{Path: "messages.peers", Kind: KindCount, Default: "3", Min: 1, Max: 10000, Scenarios: crowded,
			Need: messagesOnly(),
			Doc:  "Sessions that each one writes to, in turn, at its own domain and at others.",
			set:  field(func(p *Plan) *int { return &p.Messages.Peers })},
		{Path: "presence.rate", Kind: KindLoad, Counts: "changes", Default: "none", Min: 0.001, Max: 1e6, Choices: []string{"none"}, Scenarios: steady,
			Doc: "Changes of presence per second of all sessions together, which take turns, or how they come otherwise.",
			set: func(p *Plan, v any) { p.Presence.Rate, _ = v.(Shape) }},
		{Path: "pings.rate", Kind: KindLoad, Counts: "pings", Default: "none", Min: 0.001, Max: 1e6, Choices: []string{"none"}, Scenarios: steady,
			Doc: "Pings per second of sessions to their servers, or how they come otherwise.",
			set: func(p *Plan, v any) { p.Pings.Rate, _ = v.(Shape) }},
		{Path: "disco.rate", Kind: KindLoad, Counts: "requests", Default: "none", Min: 0.001, Max: 1e6, Choices: []string{"none"}, Scenarios: steady,
			Doc: "Requests for the features of their servers per second (XEP-0030), or how they come otherwise.",
			set: func(p *Plan, v any) { p.Disco.Rate, _ = v.(Shape) }},

		{Path: "presence.send", Kind: KindString, Default: "never", Choices: []string{presenceNever, "after", "during"}, Scenarios: append(slices.Clone(presence), ReconnectHerd),
			Doc: "When initial presence is sent: not at all, after the roster is complete, or while it still arrives.",
			set: field(func(p *Plan) *string { return &p.Presence.Send })},
		{Path: "presence.quiet", Kind: KindDuration, Default: "500ms", Min: 0.01, Max: 60, Scenarios: presence,
			Need: only("presence.send", ": after or during", func(p *Plan) bool { return p.Presence.Send != presenceNever }),
			Doc:  "Silence after which presence counts as settled on a server that does not tell how much comes.",
			set:  field(func(p *Plan) *time.Duration { return &p.Presence.Quiet })},

		{Path: "push.resources", Kind: KindCount, Default: "20", Min: 1, Max: 10000, Scenarios: []string{RosterPushStorm},
			Doc: "Sessions of the account that every roster push goes to.",
			set: field(func(p *Plan) *int { return &p.Push.Resources })},
		{Path: "push.rate", Kind: KindRate, Counts: "changes", Default: "50/s", Min: 0.001, Max: 1e6, Scenarios: []string{RosterPushStorm},
			Doc: "Roster changes per second.",
			set: field(func(p *Plan) *float64 { return &p.Push.Rate })},

		{Path: "hold.sessions", Kind: KindCount, Counts: "sessions", sessions: true, Default: "2k", Min: 1, Max: 1e6, Scenarios: []string{IdleCost},
			Doc: "Sessions that are logged in and then left idle.",
			set: field(func(p *Plan) *int { return &p.Hold.Sessions })},
		{Path: "hold.grow", Kind: KindBool, Default: "false", Scenarios: []string{IdleCost},
			Doc: "Keep the sessions from block to block and add to them, so that hold.sessions are there in the last block: most servers keep memory when sessions end, and what begins anew costs them less than it did at first.",
			set: field(func(p *Plan) *bool { return &p.Hold.Grow })},
		{Path: "hold.settle", Kind: KindDuration, Default: "2s", Max: day, Scenarios: []string{IdleCost, SessionCost},
			Doc: "Time from the last login, or the last message, to the reading of memory and descriptors.",
			set: field(func(p *Plan) *time.Duration { return &p.Hold.Settle })},

		{Path: "herd.sessions", Kind: KindCount, Counts: "sessions", sessions: true, Default: "1k", Min: 1, Max: 1e6, Scenarios: herd,
			Doc: "Sessions that are online when the event happens.",
			set: field(func(p *Plan) *int { return &p.Herd.Sessions })},
		{Path: "herd.settle", Kind: KindDuration, Default: "1s", Max: day, Scenarios: herd,
			Doc: "Time from the last of these logins to the event.",
			set: field(func(p *Plan) *time.Duration { return &p.Herd.Settle })},
		{Path: "herd.event", Kind: KindString, Default: EventDrop, Choices: []string{EventDrop, EventRestart}, Scenarios: herd,
			Doc: "Whether all connections are lost, each with a reset and in the middle of a stanza's way, or the server restarts: the simulator by itself, a real one by control.restart of its target file.",
			set: field(func(p *Plan) *string { return &p.Herd.Event })},
		{Path: "herd.down", Kind: KindDuration, Default: "2s", Max: 3600, Simulator: true, Scenarios: herd,
			Need: restarted,
			Doc:  "How long the simulator is away in a restart.",
			set:  field(func(p *Plan) *time.Duration { return &p.Herd.Down })},
		{Path: "herd.limit", Kind: KindDuration, Default: "2m", Min: 0.01, Max: day, Scenarios: herd,
			Doc: "Longest wait, from the event, for all sessions to be back.",
			set: field(func(p *Plan) *time.Duration { return &p.Herd.Limit })},
		{Path: "budget", Kind: KindDuration, Default: "20m", Min: 60, Max: day, Scenarios: sheet,
			Doc: "Time for all measurements of the sheet together, which decides how often each is repeated and how long it goes on.",
			set: field(func(p *Plan) *time.Duration { return &p.Sheet.Budget })},
		{Path: "sheet.searches", Kind: KindCount, Default: "5", Min: 1, Max: 100, Scenarios: sheet,
			Doc: "Searches for each rate, whose median and range are the answer.",
			set: field(func(p *Plan) *int { return &p.Sheet.Searches })},
		{Path: "sheet.login-slo", Kind: KindString, Default: "ready p(95)<1s", Scenarios: sheet,
			Doc: "Condition that logins have to meet, in the grammar of thresholds.",
			set: field(func(p *Plan) *string { return &p.Sheet.LoginSLO })},
		{Path: "sheet.message-slo", Kind: KindString, Default: "message p(95)<200ms", Scenarios: sheet,
			Doc: "Condition that messages have to meet.",
			set: field(func(p *Plan) *string { return &p.Sheet.MessageSLO })},
		{Path: "sheet.online", Kind: KindCount, Default: "200", Min: 2, Max: 1e6, Scenarios: sheet,
			Doc: "Sessions that send messages and presence, and that come back after they were lost.",
			set: field(func(p *Plan) *int { return &p.Sheet.Online })},
		{Path: "sheet.idle", Kind: KindCount, Default: "1k", Min: 10, Max: 1e6, Scenarios: sheet,
			Doc: "Sessions that are held to see what one costs.",
			set: field(func(p *Plan) *int { return &p.Sheet.Idle })},
		{Path: "sheet.small", Kind: KindCount, Default: "1k", Min: 1, Max: 10e6, Scenarios: sheet,
			Doc: "Contacts of the smaller rosters that are fetched to see what a contact costs.",
			set: field(func(p *Plan) *int { return &p.Sheet.Small })},
		{Path: "sheet.large", Kind: KindCount, Default: "10k", Min: 2, Max: 10e6, Scenarios: sheet,
			Doc: "Contacts of the larger ones.",
			set: field(func(p *Plan) *int { return &p.Sheet.Large })},
		{Path: "sheet.event", Kind: KindString, Default: EventDrop, Choices: []string{EventDrop, EventRestart}, Scenarios: sheet,
			Doc: "What everybody comes back from: all connections are lost, or the server restarts, a real one by control.restart of its target file.",
			set: field(func(p *Plan) *string { return &p.Sheet.Event })},

		{Path: "domains", Kind: KindDomains, Default: "20x20", Scenarios: federation,
			Doc: "Domains of the first provider and of each other one.",
			set: field(func(p *Plan) *Domains { return &p.Federation.Domains })},
		{Path: "providers", Kind: KindCount, Default: "2", Min: 2, Max: 16, Scenarios: federation,
			Doc: "Providers; all federate with all.",
			set: field(func(p *Plan) *int { return &p.Federation.Providers })},
		{Path: "workers", Kind: KindCount, Default: "auto", Min: 1, Max: maxWorkers, Choices: []string{"auto"}, Scenarios: federation,
			Doc: "Processes of each provider, which divide its domains; auto takes as few as the limit of descriptors admits. A variant whose domains share streams runs in one process, whatever is asked for.",
			set: func(p *Plan, v any) { p.Federation.Workers, _ = v.(int) }},
		{Path: "mesh.bring-up", Kind: KindString, Default: BringUpAll, Choices: []string{BringUpAll, BringUpLazy}, Scenarios: federation,
			Doc: "Whether all pairs of domains are brought up at once, or each by the first message of the traffic for it.",
			set: field(func(p *Plan) *string { return &p.Federation.BringUp })},
		{Path: "mesh.messages", Kind: KindCount, Default: "1", Min: 1, Max: 100_000, Scenarios: federation,
			Need: only("mesh.bring-up", ": all", func(p *Plan) bool { return p.Federation.BringUp == BringUpAll }),
			Doc:  "Messages of each pair in a bring-up of all at once, each of which is echoed. The first of each are timed; the others follow when all pairs talk, a few at a time, and show in counts and CPU time.",
			set:  field(func(p *Plan) *int { return &p.Federation.Messages })},
		{Path: "mesh.settle", Kind: KindDuration, Default: "500ms", Max: day, Scenarios: federation,
			Doc: "Time from the last answer of the bring-up to the reading of counts and memory.",
			set: field(func(p *Plan) *time.Duration { return &p.Federation.Settle })},
		{Path: "mesh.limit", Kind: KindDuration, Default: "5m", Min: 0.01, Max: day, Scenarios: federation,
			Doc: "Longest wait for all pairs to talk.",
			set: field(func(p *Plan) *time.Duration { return &p.Federation.Limit })},
		{Path: "traffic.matrix", Kind: KindString, Default: MatrixFull, Choices: []string{MatrixFull, MatrixUniform, MatrixZipf}, Scenarios: federation,
			Need: traffic,
			Doc:  "Which pairs of domains talk: every one in turn, any with equal chance, or popular domains more than others.",
			set:  field(func(p *Plan) *string { return &p.Federation.Traffic.Matrix })},
		{Path: "traffic.zipf", Kind: KindNumber, Default: "1", Max: 5, Scenarios: federation,
			Need: only("traffic.matrix", ": zipf", func(p *Plan) bool { return p.Federation.Traffic.Matrix == MatrixZipf }),
			Doc:  "Exponent of the popularity of domains under zipf.",
			set:  field(func(p *Plan) *float64 { return &p.Federation.Traffic.Zipf })},
		{Path: "traffic.rate", Kind: KindRate, Counts: "messages", Default: "none", Min: 0.001, Max: 1e6, Choices: []string{"none"}, Scenarios: federation,
			Doc: "Messages per second of each provider but the last to those after it, each of which is echoed; none leaves the steady phase out.",
			set: func(p *Plan, v any) { p.Federation.Traffic.Rate, _ = v.(float64) }},
		{Path: "traffic.duration", Kind: KindDuration, Default: "2s", Min: 0.1, Max: 30 * day, Scenarios: federation,
			Need: traffic,
			Doc:  "Length of the steady phase.",
			set:  field(func(p *Plan) *time.Duration { return &p.Federation.Traffic.Duration })},
		{Path: "traffic.size", Kind: KindBytes, Default: "300", Min: 200, Max: 64 << 10, Scenarios: federation,
			Doc: "Length of each message.",
			set: field(func(p *Plan) *int { return &p.Federation.Traffic.Size })},
		{Path: "bulk.bytes", Kind: KindBytes, Default: "0", Max: maxBulk, Scenarios: federation,
			Doc: "Length of a large message that crosses during the steady phase, while small ones wait; 0 sends none.",
			set: field(func(p *Plan) *int { return &p.Federation.Bulk })},
		{Path: "bulk.every", Kind: KindDuration, Default: "1s", Min: 0.01, Max: day, Scenarios: federation,
			Need: only("bulk.bytes", "", func(p *Plan) bool { return p.Federation.Bulk > 0 }),
			Doc:  "Interval of the large messages.",
			set:  field(func(p *Plan) *time.Duration { return &p.Federation.BulkEvery })},
		{Path: "noisy.rate", Kind: KindRate, Default: "none", Min: 0.001, Max: 1e6, Choices: []string{"none"}, Scenarios: federation,
			Doc: "Messages per second of one pair of domains that sends more than the others.",
			set: func(p *Plan, v any) { p.Federation.Noisy, _ = v.(float64) }},
		{Path: "event.kind", Kind: KindString, Default: EventNone, Choices: []string{EventNone, EventIdle, EventRestart, EventAdd}, Scenarios: federation,
			Doc: "What happens to the mesh that stands: nothing, streams close for want of traffic and come back with it, all providers but the first restart, or the first one gets one domain more.",
			set: field(func(p *Plan) *string { return &p.Federation.Event })},
		{Path: "event.idle", Kind: KindDuration, Default: "1s", Min: 0.1, Max: day, Scenarios: federation,
			Need: only("event.kind", ": idle", func(p *Plan) bool { return p.Federation.Event == EventIdle }),
			Doc:  "Time without stanzas after which a stream is closed, in the event idle.",
			set:  field(func(p *Plan) *time.Duration { return &p.Federation.Idle })},

		{Path: "simulator.key", Kind: KindString, Default: "p256", Choices: []string{"p256", "rsa-2048", "ed25519"}, Simulator: true,
			Doc: "Key of the simulator's certificates.",
			set: field(func(p *Plan) *string { return &p.Simulator.Key })},
		{Path: "simulator.piece", Kind: KindBytes, Default: "4KiB", Min: 256, Max: 1 << 20, Simulator: true,
			Doc: "Largest single write of the simulator.",
			set: field(func(p *Plan) *int { return &p.Simulator.Piece })},
		{Path: "simulator.notsent-lowat", Kind: KindBytes, Default: "0", Max: 1 << 30, Simulator: true, Scenarios: sessions,
			Doc: "TCP_NOTSENT_LOWAT of accepted sockets, the bound of what is written ahead; 0 leaves the kernel's.",
			set: field(func(p *Plan) *int { return &p.Simulator.NotSentLowat })},
		{Path: "simulator.send-buffer", Kind: KindBytes, Default: "0", Max: 1 << 30, Simulator: true, Scenarios: sessions,
			Doc: "SO_SNDBUF of accepted sockets; 0 leaves the kernel's.",
			set: field(func(p *Plan) *int { return &p.Simulator.SendBuffer })},
		{Path: "simulator.shuffled", Kind: KindBool, Default: "false", Simulator: true, Scenarios: sessions,
			Doc: "Send whole rosters in another order than that of the keys, as servers with hashed storage do.",
			set: field(func(p *Plan) *bool { return &p.Simulator.Shuffled })},
		{Path: "simulator.online", Kind: KindShare, Default: "0", Max: 1, Simulator: true, Scenarios: retrieval,
			Doc: "Share of the contacts that are online.",
			set: field(func(p *Plan) *float64 { return &p.Simulator.Online })},
		{Path: "simulator.resources", Kind: KindCount, Default: "1", Min: 1, Max: 100, Simulator: true, Scenarios: retrieval,
			Doc: "Resources of each contact that is online.",
			set: field(func(p *Plan) *int { return &p.Simulator.Resources })},
		{Path: "simulator.delay", Kind: KindDuration, Default: "0s", Max: 60, Simulator: true, Scenarios: retrieval,
			Doc: "Time until a contact's server answers a presence probe.",
			set: field(func(p *Plan) *time.Duration { return &p.Simulator.Delay })},
		{Path: "simulator.probe-policy", Kind: KindString, Default: "first-resource", Choices: []string{"first-resource", "always"}, Simulator: true, Scenarios: retrieval,
			Doc: "Whether contacts are probed for the first resource of a user only.",
			set: field(func(p *Plan) *string { return &p.Simulator.ProbePolicy })},
		{Path: "simulator.offline-reply", Kind: KindString, Default: "unavailable", Choices: []string{"unavailable", "silent"}, Simulator: true, Scenarios: retrieval,
			Doc: "What the server of a contact who is offline answers to a probe.",
			set: field(func(p *Plan) *string { return &p.Simulator.OfflineReply })},
		{Path: "simulator.domains", Kind: KindCount, Default: "1", Min: 1, Max: 1000, Simulator: true, Scenarios: steady,
			Doc: "Domains of the simulator, which its accounts are dealt out to.",
			set: field(func(p *Plan) *int { return &p.Simulator.Domains })},
		{Path: "simulator.iterations", Kind: KindCount, Default: "4096", Min: 1, Max: 10e6, Simulator: true, Scenarios: sessions,
			Doc: "PBKDF2 iterations of the simulator's SCRAM keys.",
			set: field(func(p *Plan) *int { return &p.Simulator.Iterations })},
		{Path: "simulator.keep", Kind: KindString, Default: "rosters", Choices: []string{"rosters", "nothing", "sessions"}, Simulator: true, Scenarios: herd,
			Need: restarted,
			Doc:  "What outlives a restart of the simulator: rosters with their versions, as on servers with a database; nothing; or sessions to be resumed as well.",
			set:  field(func(p *Plan) *string { return &p.Simulator.Keep })},

		{Path: "limits.lateness-floor", Kind: KindDuration, Default: "3ms", Max: 60, Scenarios: judged,
			Doc: "Lateness of the generator, at p99, that never invalidates a run.",
			set: field(func(p *Plan) *time.Duration { return &p.Limits.LatenessFloor })},
		{Path: "limits.lateness-share", Kind: KindShare, Default: "0.1", Max: 10, Scenarios: judged,
			Doc: "Lateness above the floor, as a share of the response time's p99, that invalidates a run.",
			set: field(func(p *Plan) *float64 { return &p.Limits.LatenessShare })},
		{Path: "limits.rate-shortfall", Kind: KindShare, Default: "0.02", Max: 1, Scenarios: judged,
			Doc: "Share of the planned arrivals that may be missing.",
			set: field(func(p *Plan) *float64 { return &p.Limits.RateShortfall })},
		{Path: "limits.dropped", Kind: KindCount, Default: "0", Max: 1e9, Scenarios: judged,
			Doc: "Arrivals that may find no room.",
			set: func(p *Plan, v any) { p.Limits.Dropped = int64(v.(int)) }},
		{Path: "limits.clamped", Kind: KindCount, Default: "0", Max: 1e9,
			Doc: "Samples that may lie outside the range of the histograms, 0 to 1h.",
			set: func(p *Plan, v any) { p.Limits.Clamped = int64(v.(int)) }},
		{Path: "limits.generator-cpu", Kind: KindShare, Default: "0.7", Max: 1,
			Doc: "Share of its CPUs above which the generator warns of itself.",
			set: field(func(p *Plan) *float64 { return &p.Limits.GeneratorCPU })},
		{Path: "limits.gc", Kind: KindShare, Default: "0.1", Max: 100, Scenarios: judged,
			Doc: "Longest pause of the generator's garbage collector, as a share of the response time's p99, above which it warns.",
			set: field(func(p *Plan) *float64 { return &p.Limits.GC })},
		{Path: "limits.scheduling", Kind: KindShare, Default: "0.1", Max: 100, Scenarios: judged,
			Doc: "Longest wait of what was ready to run in the generator, as a share of the response time's p99, above which it warns.",
			set: field(func(p *Plan) *float64 { return &p.Limits.Scheduling })},
		{Path: "limits.pressure", Kind: KindShare, Default: "0.2", Max: 1,
			Doc: "Share of the time in which tasks of the machine waited for a CPU above which a run warns, where the server is elsewhere.",
			set: field(func(p *Plan) *float64 { return &p.Limits.Pressure })},
		{Path: "limits.steal", Kind: KindShare, Default: "0.05", Max: 1,
			Doc: "Share of the machine's CPU time that the hypervisor may give to others before a run warns.",
			set: field(func(p *Plan) *float64 { return &p.Limits.Steal })},
		{Path: "limits.link", Kind: KindShare, Default: "0.05", Max: 10,
			Doc: "Lateness of the link itself, at p99, as a share of its round trip, above which a run warns.",
			set: field(func(p *Plan) *float64 { return &p.Limits.Link })},
		{Path: "limits.repeats", Kind: KindCount, Default: strconv.Itoa(bench.DefaultRepeat), Max: 10, Scenarios: judged,
			Doc: "How often an invalid block is repeated, after a wait that grows, before the run is invalid.",
			set: field(func(p *Plan) *int { return &p.Repeats })},

		{Path: "blocks", Kind: KindCount, Default: "12", Min: 1, Max: 10000, Scenarios: blocked,
			Doc: "Measured blocks; each runs every arm once in random order.",
			set: field(func(p *Plan) *int { return &p.Blocks })},
		{Path: "seed", Kind: KindCount, Default: "1", Max: 1 << 53,
			Doc: "What everything random follows from.",
			set: func(p *Plan, v any) { p.Seed = uint64(v.(int)) }}, // #nosec G115 -- not negative: the least is 0
	}
}
