package scenarios

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// What models of logins call what costs depend on, but for messages.
const (
	driverSessions = "sessions"
	driverItems    = "items"
)

// loginModel is the design of models of logins: what sessions cost that come, fetch
// their rosters, stay and write to each other.
func loginModel(simulated bool) results.ModelDesign {
	held := []string{driverSessions, driverItems}
	if simulated {
		held = held[:1] // it makes rosters of the seed, and keeps none
	}
	return results.ModelDesign{
		Scenario: SessionCost,
		Drivers: []results.Driver{
			{Name: driverSessions, Of: []string{"sessions"}, Doc: "Sessions that log in and stay.",
				Vary: "run several numbers of sessions, such as online: {sessions: [125, 250, 500, 1k]}"},
			{Name: driverItems, Of: []string{"roster.items"}, Doc: "Contacts of all rosters.",
				Vary: "run each size with rosters of several lengths, such as roster: {items: [20, 200]}"},
			{Name: driverMessages, Of: []string{"messages.sent"}, Doc: "Messages between sessions.",
				Vary: "run each size with several numbers of messages, such as messages: {each: [5, 50]}"},
		},
		Quantities: []results.Quantity{
			{Name: "cpu.server", Unit: results.UnitSeconds, Of: []string{"cpu.server"}, Doc: "CPU time of the server.", Limit: results.QuantityLimits{Relative: cpuLimit}},
			{Name: "cpu.client", Unit: results.UnitSeconds, Of: []string{"cpu.client"}, Doc: "CPU time of the clients.", Limit: results.QuantityLimits{Relative: cpuLimit}},
			{Name: "bytes", Unit: results.UnitBytes, Of: []string{"bytes.in", "bytes.out"}, Doc: "XML in both directions.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			{Name: "bytes.tls", Unit: results.UnitBytes, Of: []string{"bytes.in.tls", "bytes.out.tls"}, Doc: "Bytes on sockets in both directions.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			{Name: "heap.server", Unit: results.UnitBytes, Of: []string{"heap.server"}, By: held, Doc: "Live heap of the simulator: its memory without stacks, and without what the runtime keeps for later.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			{Name: "rss.server", Unit: results.UnitBytes, Of: []string{"rss.server"}, By: held, Doc: "Resident memory of the server.", Limit: results.QuantityLimits{Relative: bytesLimit}},
			{Name: "fds.server", Unit: results.UnitCount, Of: []string{"fds.server"}, By: []string{driverSessions}, Doc: "Open descriptors of the server.", Limit: results.QuantityLimits{Exact: true}},
		},
		Over: driverSessions,
		Group: func(drivers map[string]float64) string {
			each := func(driver string) string {
				return strconv.FormatFloat(drivers[driver]/drivers[driverSessions], 'g', 4, 64)
			}
			return each(driverItems) + " contacts and " + each(driverMessages) + " messages a session"
		},
		Counts:   []string{"sessions", "roster.items", "messages.sent", "stanzas"},
		Forms:    loginForms,
		Settings: loginSettings,
	}
}

// loginForms are the counts of a plan of a run by closed form: none at a real server,
// whose rosters the manifest does not tell.
func loginForms(r *results.Run, plan, variant string) (map[string]float64, error) {
	if !simulated(r.Manifest.Targets) {
		return nil, nil
	}
	p, arm, err := ranPlan(r, plan, variant)
	if err != nil {
		return nil, err
	}
	n := p.online(p.Accounts)
	if n < 1 || n > maxForecast || p.Roster.Items < 0 || p.Roster.Items > maxForecast || p.Messages.Each < 0 || p.Messages.Each > maxForecast {
		return nil, fmt.Errorf("its manifest has %d sessions with %d contacts and %d messages each", n, p.Roster.Items, p.Messages.Each)
	}
	return p.sessionCounts(arm, n, p.Roster.Items, n*p.Messages.Each), nil
}

// maxForecast bounds sizes, so that what follows from them can be computed.
const maxForecast = 1e9

// crowdSettings are those that costs of logins depend on besides sizes and variant.
type crowdSettings struct {
	TLS        string           `json:"tls"`
	TLSMin     string           `json:"tls-min"`
	TLSMax     string           `json:"tls-max"`
	Curves     string           `json:"curves"`
	SASL       string           `json:"sasl"`
	SM         bool             `json:"sm"`
	ItemBytes  int              `json:"item-bytes"`
	Size       population.Sizes `json:"message-size"`
	Peers      int              `json:"peers"`
	Logins     Shape            `json:"logins"`
	Link       Link             `json:"link"`
	Key        string           `json:"key"`
	Piece      int              `json:"piece"`
	Lowat      int              `json:"notsent-lowat"`
	SendBuffer int              `json:"send-buffer"`
	Iterations int              `json:"iterations"`
}

func (p Plan) crowdSettings() crowdSettings {
	l, s := p.Login, p.Simulator
	return crowdSettings{
		l.TLS, l.TLSMin, l.TLSMax, l.Curves, l.SASL, l.SM, p.Roster.ItemBytes, p.Messages.Size, p.Messages.Peers, p.Logins,
		p.Link, s.Key, s.Piece, s.NotSentLowat, s.SendBuffer, s.Iterations,
	}
}

// rosterSettings are those of a variant.
type rosterSettings struct {
	Name      string        `json:"variant"`
	Params    roster.Params `json:"roster"`
	ItemBytes int           `json:"item-bytes"` // on which the number of stanzas depends
}

func loginSettings(r *results.Run, variant string) (run, of json.RawMessage, err error) {
	plans, err := ranPlans(r)
	if err != nil {
		return nil, nil, err
	}
	if run, err = commonSettings(plans, Plan.crowdSettings); err != nil {
		return nil, nil, err
	}
	p, arm, err := ranPlan(r, "", variant)
	if err != nil {
		return nil, nil, err
	}
	of, err = json.Marshal(rosterSettings{arm.Name, arm.Params, p.Roster.ItemBytes})
	return run, of, err
}

// LoginTraffic says how many sessions are predicted to log in, and what they do.
type LoginTraffic struct {
	Sessions int
	Items    int // of each roster
	Messages int // in all
	// LoginRate and MessageRate are what goes on each second once everybody is online, 0
	// for nothing: logins, each with its roster, and messages.
	LoginRate, MessageRate float64
}

// ForecastLogins returns what closed forms say of sessions that fetch their rosters in
// the way of the variant whose settings stand in a model.
func ForecastLogins(variant json.RawMessage, t LoginTraffic) (Forecast, error) {
	var about rosterSettings
	if err := json.Unmarshal(variant, &about); err != nil {
		return Forecast{}, fmt.Errorf("scenarios: the model's settings of the variant: %w", err)
	}
	v, ok := roster.Find(about.Name)
	if !ok {
		return Forecast{}, fmt.Errorf("scenarios: the model is one of a variant %q that this program does not know", about.Name)
	}
	if about.ItemBytes < 0 || about.ItemBytes > math.MaxUint16 {
		return Forecast{}, fmt.Errorf("scenarios: the model's settings of the variant: items of %d bytes", about.ItemBytes)
	}
	p := Plan{Roster: Roster{ItemBytes: about.ItemBytes}}
	f := Forecast{scenario: SessionCost}
	f.Counts = p.sessionCounts(Arm{Variant: v, Name: about.Name, Params: about.Params}, t.Sessions, t.Items, t.Messages)
	f.Ends = float64(t.Sessions)
	f.Ports = f.Ends
	if t.LoginRate > 0 || t.MessageRate > 0 {
		f.PerSecond = map[string]float64{driverSessions: t.LoginRate, driverItems: t.LoginRate * float64(t.Items), driverMessages: t.MessageRate}
	}
	return f, nil
}
