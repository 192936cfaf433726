package scenarios

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/internal/link"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

// Plan is one run of a scenario: every value of its file decided. It marshals to
// JSON as it stands in a run's manifest.
type Plan struct {
	// Label names the plan by the values of its dimensions, such as "items=10k";
	// it is "all" where there is only one plan.
	Label string `json:"label"`
	// Dimensions are the values that tell this plan from the others.
	Dimensions map[string]string `json:"dimensions,omitempty"`
	// Scenario is the name of the scenario.
	Scenario string `json:"scenario"`
	// Arms are what each block runs once, the baseline first.
	Arms []Arm `json:"arms"`

	Accounts   int        `json:"accounts"`
	Roster     Roster     `json:"roster"`
	Login      Login      `json:"login"`
	Link       Link       `json:"link"`
	Probe      Probe      `json:"probe"`
	Cut        Cut        `json:"cut"`
	Load       Load       `json:"load"`
	Online     Online     `json:"online,omitzero"`
	Logins     Shape      `json:"logins,omitzero"` // how sessions come online
	Barrier    Barrier    `json:"barrier,omitzero"`
	Messages   Messages   `json:"messages,omitzero"`
	Pings      Requests   `json:"pings,omitzero"`
	Disco      Requests   `json:"disco,omitzero"`
	Presence   Presence   `json:"presence"`
	Push       Push       `json:"push"`
	Hold       Hold       `json:"hold"`
	Herd       Herd       `json:"herd,omitzero"`
	Federation Federation `json:"federation,omitzero"`
	Sheet      Sheet      `json:"sheet,omitzero"`
	Simulator  Simulator  `json:"simulator"`
	Limits     Limits     `json:"limits"`
	Repeats    int        `json:"repeats"` // of an invalid block
	Blocks     int        `json:"blocks"`
	Seed       uint64     `json:"seed"`
	Thresholds []string   `json:"thresholds,omitempty"` // in the grammar of package results

	// Given lists the paths of the keys that were written down, as opposed to
	// left to their defaults.
	Given []string `json:"given,omitempty"`
}

// Arm is one variant with its settings under the label it has in results.
type Arm struct {
	Label   string         `json:"label"`
	Variant roster.Variant `json:"-"`
	Name    string         `json:"variant"`
	Params  roster.Params  `json:"params,omitzero"`
	// Federation and S2S stand in their place where providers federate.
	Federation s2s.Variant `json:"-"`
	S2S        s2s.Params  `json:"s2s,omitzero"`
	Layout     string      `json:"layout,omitempty"` // of their streams: see [s2s.Layout]
	// Return says how clients come back, where they do; Variant and Params are then how they
	// retrieve their rosters.
	Return *Return  `json:"return,omitempty"`
	Given  []string `json:"given,omitempty"` // settings written beside the variant's name
}

// Roster says what every account's roster holds.
type Roster struct {
	Items     int `json:"items"`
	ItemBytes int `json:"item-bytes"` // of each item as sent by the simulator; 0: as it comes
}

// Login says how sessions are made.
type Login struct {
	TLS       string        `json:"tls"`  // starttls, direct or none
	SASL      string        `json:"sasl"` // a mechanism, or "auto": the best on offer
	TLSMin    string        `json:"tls-min"`
	TLSMax    string        `json:"tls-max"`
	Curves    string        `json:"curves"` // "default", "x25519" or "p256"
	SM        bool          `json:"sm"`     // enable stream management (XEP-0198)
	StepLimit time.Duration `json:"step-limit"`
	Limit     time.Duration `json:"limit"` // of a whole operation
	Verify    int           `json:"verify"`
}

// Link is the access link of each session, or the link between two providers; the
// zero value means none.
type Link struct {
	RTT    time.Duration `json:"rtt"`
	Jitter time.Duration `json:"jitter"`
	Rate   float64       `json:"rate"`  // bit/s; 0: unlimited
	Queue  int64         `json:"queue"` // bytes; 0: the link's default
	// Scheduling is the order in which connections are served that share a link:
	// round-robin or fifo.
	Scheduling string `json:"scheduling,omitempty"`
}

// Shaped reports whether there is anything to emulate.
func (l Link) Shaped() bool { return l.RTT > 0 || l.Rate > 0 }

// Params are what a relay of internal/link is started with. They have no seed.
func (l Link) Params() link.Params {
	return link.Params{
		RTT: l.RTT, Jitter: l.Jitter, Rate: int64(l.Rate), Queue: int(l.Queue), Scheduling: link.Scheduling(l.Scheduling),
	}
}

// Probe says when pings are sent on the stream under study.
type Probe struct {
	Every  time.Duration `json:"every"`  // 0: no probes
	Before time.Duration `json:"before"` // from the end of the login to the request
	After  time.Duration `json:"after"`  // from the end of the transfer on
}

// probing reports whether pings are sent beside a retrieval. A stream that is
// going to be cut carries none: they would be cut with it.
func (p Plan) probing() bool { return p.Probe.Every > 0 && p.Cut.At == 0 }

// Cut says whether the connection is lost while the roster arrives.
type Cut struct {
	At       float64 `json:"at"`       // share of the bytes after which it is; 0: never
	Continue string  `json:"continue"` // same or other: the mode of the chunked protocol that goes on
}

// Load is the arrival plan. Without a Rate there are one-shot cells: one operation
// for each block and variant.
type Load struct {
	Arrivals    string        `json:"arrivals"` // poisson or constant, where Rate says neither
	Rate        Shape         `json:"rate"`
	Warmup      time.Duration `json:"warmup"`
	Duration    time.Duration `json:"duration"`
	Cooldown    time.Duration `json:"cooldown"`
	MaxInFlight int           `json:"max-in-flight"`
	// Drain is how long what is under way is waited for after the last arrival.
	Drain time.Duration `json:"drain,omitzero"`
}

// Online says who is online, in scenarios of traffic among many.
type Online struct {
	Sessions int  `json:"sessions"` // one of each account; 0: of every account
	Roster   bool `json:"roster"`   // rosters are retrieved
}

// online is how many sessions are online, of so many accounts at the target.
func (p Plan) online(accounts int) int {
	if p.Online.Sessions > 0 {
		return p.Online.Sessions
	}
	return min(p.Accounts, accounts)
}

// Barrier says how long a crowd is waited for, and how much of it has to come.
type Barrier struct {
	Timeout time.Duration `json:"timeout"`
	Least   float64       `json:"least"` // share of the sessions
}

// Messages is what sessions send each other.
type Messages struct {
	Rate   Shape            `json:"rate"`
	Each   int              `json:"each,omitzero"` // for each session, in place of a rate
	Size   population.Sizes `json:"size"`          // of bodies, without a seed
	Remote float64          `json:"remote"`        // share that goes to another domain
	Peers  int              `json:"peers"`         // whom each session writes to in turn
}

// sizes are those of bodies with the seed of the plan.
func (m Messages) sizes(seed uint64) population.Sizes {
	m.Size.Seed = seed
	return m.Size
}

// Requests is what sessions ask their servers.
type Requests struct {
	Rate Shape `json:"rate"`
}

// Presence says whether initial presence follows the roster, and when.
type Presence struct {
	Send  string        `json:"send"` // never, after (the roster is complete) or during (as soon as it is requested)
	Quiet time.Duration `json:"quiet"`
	Rate  Shape         `json:"rate,omitzero"` // of changes, in scenarios of traffic among many
}

// Push is the load of changes that the scenario roster-push-storm makes.
type Push struct {
	Resources int     `json:"resources"` // sessions that receive each push
	Rate      float64 `json:"rate"`      // changes per second
}

// Hold is how sessions are kept of which it is seen what they cost.
type Hold struct {
	Sessions int           `json:"sessions"`
	Settle   time.Duration `json:"settle"`
	Grow     bool          `json:"grow,omitzero"` // from block to block
}

// Herd is what happens to the sessions of the scenario reconnect-herd.
type Herd struct {
	Sessions int           `json:"sessions"`
	Settle   time.Duration `json:"settle"` // from the last of them to the event
	Event    string        `json:"event"`  // drop or restart
	Down     time.Duration `json:"down"`   // of the simulator in a restart
	Limit    time.Duration `json:"limit"`  // from the event on
}

// Simulator holds the settings of the built-in simulator, which a real server
// has in its own configuration.
type Simulator struct {
	Key          string        `json:"key"`           // p256, rsa-2048 or ed25519
	Piece        int           `json:"piece"`         // bytes, the largest single write
	NotSentLowat int           `json:"notsent-lowat"` // bytes, TCP_NOTSENT_LOWAT of accepted sockets; 0: the kernel's
	SendBuffer   int           `json:"send-buffer"`   // bytes, SO_SNDBUF of accepted sockets; 0: the kernel's
	Shuffled     bool          `json:"shuffled"`
	Online       float64       `json:"online"`    // share of the contacts that are online
	Resources    int           `json:"resources"` // of each contact that is
	Delay        time.Duration `json:"delay"`     // until a contact's server answers a probe
	ProbePolicy  string        `json:"probe-policy"`
	OfflineReply string        `json:"offline-reply"`
	Domains      int           `json:"domains,omitzero"`
	Iterations   int           `json:"iterations"`     // of PBKDF2 in SCRAM
	Keep         string        `json:"keep,omitempty"` // what outlives a restart: rosters, nothing or sessions
}

// Limits bound what makes a run invalid.
type Limits = results.Limits

// Population returns the accounts and rosters of the plan. The domains, pattern
// and password are those of the target; empty ones take the population's
// defaults.
func (p Plan) Population(domains []string, pattern, password string) (*population.Population, error) {
	return population.New(population.Config{
		Seed:      p.Seed,
		Domains:   domains,
		Pattern:   pattern,
		Accounts:  p.Accounts,
		Contacts:  p.Roster.Items,
		ItemBytes: p.Roster.ItemBytes,
		Password:  password,
	})
}

// allPlans is the label of the only plan of a run.
const allPlans = "all"

// AddThreshold adds a condition that the run must meet. It refuses a metric that
// the scenario does not measure, and a quantile that the planned number of samples
// cannot support.
func (p *Plan) AddThreshold(e results.Expr) error {
	if err := checkThreshold(p.Scenario, e); err != nil {
		return err
	}
	if err := p.supports(e); err != nil {
		return err
	}
	p.Thresholds = append(slices.Clone(p.Thresholds), e.String())
	return nil
}

// CheckGate refuses a gate on a metric that the scenario does not measure, and on a
// quantile that the planned number of samples of a block cannot support: a gate
// compares blocks.
func (p *Plan) CheckGate(e results.Expr) error {
	if err := measures(p.Scenario, e.Metric); err != nil {
		return err
	}
	if expected, need := p.samples(e.Metric)/int64(p.Blocks), e.MinSamples(); expected > 0 && need > expected {
		return fmt.Errorf("%s needs %d samples in each block, and this plan makes about %d: use the mean, or run longer or faster", e, need, expected)
	}
	return nil
}

// CheckTargets refuses a plan that asks for what one of its targets cannot be
// given: settings of the simulator on a real server, or a federation that it is not
// prepared for.
func CheckTargets(p Plan, targets []Targets) error {
	for _, t := range targets {
		server, ok := t.(ServerTargets)
		if !ok {
			continue
		}
		if p.Scenario == FederationScenario {
			if key, err := p.against(server.File); err != nil {
				return &FileError{File: server.File.Name, Key: key, Err: err}
			}
			continue // settings of the simulator are those of our own provider
		}
		if p.Herd.Event == EventRestart && server.File.Control.Restart == "" {
			return &FileError{File: server.File.Name, Key: "control.restart", Err: errors.New("is missing: the scenario restarts the server, and this is the command that does it; or set herd.event=drop")}
		}
		for _, path := range p.Given {
			i := slices.IndexFunc(Keys(), func(k Key) bool { return k.Path == path })
			if i >= 0 && Keys()[i].Simulator {
				return &FileError{File: server.File.Name, Key: path, Err: errors.New("is a setting of the simulator: a real server has its own configuration")}
			}
		}
		s, _ := Find(p.Scenario)
		f := s.family()
		for _, arm := range p.Arms {
			about, _ := f.find(arm.Name)
			for _, param := range about.Params {
				path := f.prefix + "." + param.Name
				if param.Server && (slices.Contains(p.Given, path) || slices.Contains(arm.Given, param.Name)) {
					return &FileError{File: server.File.Name, Key: path, Err: errors.New("is a setting of the simulator: a real server has its own configuration")}
				}
			}
		}
	}
	return nil
}
