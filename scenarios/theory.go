package scenarios

import (
	"time"

	"github.com/xmppbench/xmppbench/internal/session"
	"github.com/xmppbench/xmppbench/results"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Sizes in bytes that theory assumes; what is measured is counted.
const (
	probeBytes = 110 // a ping and its answer on the wire, TLS included
	tlsRecord  = 22  // what a TLS 1.3 record adds to its content
	meanItem   = 150 // an item whose length nobody asked for
	// relayBuffer is what the link's own receive buffer holds of a stream; the
	// kernel's bookkeeping takes the rest of the 8 KiB that are asked for.
	relayBuffer = 5600
	segment     = 1448
)

// loginRoundTrips is the number of round trips of the login ladder: TCP, then
// STARTTLS (stream, offer, handshake, stream) or direct TLS (handshake, stream),
// SASL, stream and bind.
func (p Plan) loginRoundTrips() int {
	turns := 1 // TCP
	switch p.Login.TLS {
	case session.StartTLS.String():
		turns += 4
	case session.DirectTLS.String():
		turns += 2
	default:
		turns++
	}
	if p.Login.TLS != session.NoTLS.String() && p.Login.TLSMax == "1.2" {
		turns++
	}
	turns += 2 // SCRAM
	if p.Login.SASL == "PLAIN" {
		turns--
	}
	turns += 2 // stream and bind
	if p.Login.SM {
		turns++
	}
	return turns
}

// size is the roster that the arm's retrieval is about; the variant knows what of
// it is sent to a client that holds an older one.
func (p Plan) size() roster.Size {
	bytes := p.Roster.ItemBytes
	if bytes == 0 {
		bytes = meanItem
	}
	return roster.Size{Items: p.Roster.Items, Bytes: int64(p.Roster.Items) * int64(bytes), Largest: p.Roster.ItemBytes}
}

// link is the plan's link as theory takes it.
func (p Plan) link() roster.Link {
	rate, record := p.Link.Rate/8, 0
	if p.Login.TLS != session.NoTLS.String() {
		piece := float64(p.Simulator.Piece)
		rate *= piece / (piece + tlsRecord)
		record = p.Simulator.Piece + tlsRecord
	}
	return roster.Link{RTT: p.Link.RTT, Rate: rate, ProbeBytes: probeBytes, ProbeEvery: p.Probe.Every, Record: record, Unsent: p.unsent()}
}

// unsent estimates how many bytes the simulator can have written that have not
// left the bottleneck: in its socket, in the relay's, and in the link's queue. 0
// means any number, as with the kernel's own buffers, which grow into megabytes.
func (p Plan) unsent() int64 {
	queue := int64(p.Link.Params().WithDefaults().Queue)
	hidden := queue + segment + relayBuffer
	switch s := p.Simulator; {
	case s.NotSentLowat > 0:
		// A writer is woken at half the mark and then writes pieces up to it.
		half := (s.NotSentLowat + 1) / 2
		return hidden + int64(half+(half+s.Piece-1)/s.Piece*s.Piece)
	case s.SendBuffer > 0:
		// The kernel doubles the size and takes about an eighth for its bookkeeping.
		return hidden + int64(s.SendBuffer)*2*7/8
	}
	return 0
}

// theoryTimelines returns the pings that the arm should show on the plan's link while
// the roster arrives, nil where no theory of them is known.
func (p Plan) theoryTimelines(arm Arm) map[string][]results.Point {
	if p.Scenario != RosterLogin || p.Load.Rate.Any() || p.Probe.Every <= 0 {
		return nil
	}
	t, ok := p.rosterTheory(arm)
	if !ok {
		return nil
	}
	points := make([]results.Point, len(t.Probes))
	for i, probe := range t.Probes {
		points[i] = results.Point{probe.Due.Seconds(), probe.Took.Seconds()}
	}
	return map[string][]results.Point{"probe": points}
}

// rosterTheory replays the arm's retrieval on the plan's link, and reports false where
// there is no theory: without a link, or if the connection is cut.
func (p Plan) rosterTheory(arm Arm) (roster.Theory, bool) {
	if p.Cut.At > 0 || !p.Link.Shaped() {
		return roster.Theory{}, false
	}
	return p.link().Replay(arm.Variant.Flow(arm.Params, p.size())), true
}

// loginTheory is what a login and a retrieval should show on the plan's link.
func (p Plan) loginTheory(arm Arm) (map[string]float64, bool) {
	t, ok := p.rosterTheory(arm)
	if !ok {
		return nil, false
	}
	scalars := map[string]float64{
		"login.mean":           (time.Duration(p.loginRoundTrips()) * p.Link.RTT).Seconds(),
		"roster.complete.mean": t.Complete.Seconds(),
		"ready.mean":           (time.Duration(p.loginRoundTrips()+1)*p.Link.RTT + t.Complete).Seconds(),
	}
	if t.First > 0 {
		scalars["roster.first.mean"] = t.First.Seconds()
	}
	if p.Probe.Every > 0 {
		scalars["probe.mean"] = t.ProbeMean.Seconds()
		scalars["probe.max"] = t.ProbeMax.Seconds()
	}
	return scalars, true
}

// Estimate is what a plan of sessions is going to take, before anything is connected.
type Estimate struct {
	Plan string `json:"plan"`
	Arm  string `json:"variant"`
	// Each cell's retrieval, by closed form. Exact says that the counts of
	// stanzas hold exactly.
	StanzasIn  int   `json:"stanzas-in"`
	StanzasOut int   `json:"stanzas-out"`
	RoundTrips int   `json:"round-trips"`
	Bytes      int64 `json:"bytes"`
	Exact      bool  `json:"exact"`
	// Over all blocks, warm-up included. The idle session of probes, one for all
	// arms, is not among them.
	Connections int           `json:"connections"`
	Handshakes  int           `json:"handshakes"`
	Duration    time.Duration `json:"duration-ns"`
	// Theory holds the expected scalars of a block, nil where none are known.
	Theory map[string]float64 `json:"theory,omitempty"`
}

// Estimates returns what each arm of a plan of sessions is going to take.
func (p Plan) Estimates() []Estimate {
	var all []Estimate
	for _, arm := range p.Arms {
		size := p.size()
		n := arm.Variant.Counts(arm.Params, size)
		e := Estimate{
			Plan: p.Label, Arm: arm.Label, StanzasIn: n.StanzasIn, StanzasOut: n.StanzasOut, RoundTrips: n.RoundTrips,
			Bytes: n.ItemBytes, Exact: n.Exact, Connections: p.outlook().connections(arm), Duration: p.armDuration(arm),
		}
		if p.Login.TLS != session.NoTLS.String() {
			e.Handshakes = e.Connections
		}
		e.Theory, _ = p.Theory(arm)
		all = append(all, e)
	}
	return all
}
