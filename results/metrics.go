package results

import (
	"slices"
	"strings"
)

// Units of metrics.
const (
	UnitSeconds = "s" // timed, or CPU time
	UnitBytes   = "B"
	UnitCount   = "1"
)

// Metric describes one thing that is measured: what the reports, docs and the
// k6 module say of it.
type Metric struct {
	Name string // native name, such as "roster.complete"
	Unit string // one of the Unit constants
	From string // stamp at which a timed metric begins; empty for counts
	To   string // stamp at which it ends
	Doc  string // one sentence
	K6   string // name of the k6 metric, empty if there is none

	// Columns are the statistics of a timed metric that the summary table
	// shows; the other forms of the report hold all of them.
	Columns []string

	// Exact marks counts that follow from seed and protocol alone: where every
	// block has the same, no interval is needed to compare them.
	Exact bool
}

// Timed reports whether samples of the metric go into histograms.
func (m Metric) Timed() bool { return m.From != "" }

// Metrics returns the project's metrics in the order in which reports show
// them. The stamps t0, t1, … and s0, s1, … are those of docs/metrics.md.
func Metrics() []Metric {
	mean, meanMax := []string{"mean"}, []string{"mean", "max"}
	return []Metric{
		{"login.dial", UnitSeconds, "t0", "t1", "TCP connection to the server.", "xmpp_dial_duration", nil, false},
		{"login.header", UnitSeconds, "header sent", "header received", "Stream header, one sample for each stream of a login.", "", nil, false},
		{"login.features", UnitSeconds, "header received", "features received", "Stream features, one sample for each stream of a login.", "", nil, false},
		{"login.starttls", UnitSeconds, "t2", "t3", "Request to begin TLS.", "", nil, false},
		{"login.tls", UnitSeconds, "t3", "t4", "TLS handshake.", "xmpp_tls_duration", nil, false},
		{"login.sasl", UnitSeconds, "t5", "t6", "SASL exchange.", "xmpp_sasl_duration", nil, false},
		{"login.bind", UnitSeconds, "t7", "t8", "Resource binding.", "xmpp_bind_duration", nil, false},
		{"login", UnitSeconds, "t0", "t8", "From connect to a bound resource.", "xmpp_login_duration", mean, false},
		{"roster.first", UnitSeconds, "t9", "t11", "From the roster request to the first contact decoded.", "xmpp_roster_first_item", mean, false},
		{"roster.complete", UnitSeconds, "t9", "t12", "From the roster request to the last contact.", "xmpp_roster_duration", mean, false},
		{"items.first", UnitSeconds, "request", "first item", "From the request for a node's items to the first item decoded.", "xmpp_pubsub_first_item", mean, false},
		{"items.complete", UnitSeconds, "request", "last item", "From the request for a node's items to the last one.", "xmpp_pubsub_items_duration", mean, false},
		{"ready", UnitSeconds, "intended start of the login", "answer to the first ping after t12", "From the wish to log in to being able to talk.", "", mean, false},
		{"probe", UnitSeconds, "ping due", "answer", "Round trip of a ping on the same stream while the transfer runs.", "xmpp_ping_rtt", meanMax, false},
		{"probe.outside", UnitSeconds, "ping due", "answer", "Round trip of a ping on the same stream before and after the transfer.", "xmpp_ping_rtt", nil, false},
		{"probe.control", UnitSeconds, "ping due", "answer", "Round trip of a ping on an idle stream while the transfer runs.", "xmpp_ping_rtt", nil, false},
		{"presence.settled", UnitSeconds, "t13", "t15", "From initial presence to the last presence of a contact.", "", mean, false},
		{"push", UnitSeconds, "change due", "push received", "From a change of a roster to its arrival at another session of the account.", "", meanMax, false},
		{"message", UnitSeconds, "sent", "received", "Delivery of a message to another session.", "xmpp_message_rtt", mean, false},
		{"iq", UnitSeconds, "request", "answer", "Answer to a request.", "xmpp_iq_duration", mean, false},
		{"room.join", UnitSeconds, "presence sent", "subject received", "Joining a room.", "xmpp_muc_join_duration", mean, false},
		{"pair.ready", UnitSeconds, "s0", "s6", "From the first stanza for a domain pair to a stream that may carry it.", "xmpp_s2s_domain_auth_duration", mean, false},
		{"pair.echo", UnitSeconds, "s0", "s8", "From the first stanza for a domain pair to its answer.", "xmpp_s2s_setup_duration", mean, false},
		{"echo", UnitSeconds, "sent", "answer", "Round trip between two domains that already talk.", "xmpp_s2s_rtt", mean, false},
		{"victim", UnitSeconds, "sent", "answer", "Round trip of a quiet domain pair while another one is noisy.", "xmpp_s2s_rtt", meanMax, false},
		{"bytes.in", UnitBytes, "", "", "XML received by the client, before TLS.", "", nil, true},
		{"bytes.out", UnitBytes, "", "", "XML sent by the client, before TLS.", "", nil, true},
		{"bytes.in.tls", UnitBytes, "", "", "Bytes received on the socket, TLS included.", "", nil, true},
		{"bytes.out.tls", UnitBytes, "", "", "Bytes sent on the socket, TLS included.", "", nil, true},
		{"stanzas", UnitCount, "", "", "Stanzas in both directions.", "", nil, true},
		{"round-trips", UnitCount, "", "", "Times one side waited for the other.", "", nil, true},
		{"connections", UnitCount, "", "", "TCP connections opened.", "xmpp_s2s_connections", nil, true},
		{"handshakes.full", UnitCount, "", "", "Full TLS handshakes.", "xmpp_s2s_tls_handshakes", nil, true},
		{"handshakes.resumed", UnitCount, "", "", "Resumed TLS handshakes.", "", nil, true},
		{"signatures.made", UnitCount, "", "", "Signatures made, handshakes included.", "", nil, true},
		{"signatures.verified", UnitCount, "", "", "Signatures verified, handshakes included.", "", nil, true},
		{"authority", UnitCount, "", "", "Messages that prove or check authority for a domain.", "", nil, true},
		{"fetches", UnitCount, "", "", "Documents fetched to prove authority.", "", nil, true},
		{"keys.customer", UnitCount, "", "", "Private keys of hosted domains that a provider holds.", "", nil, true},
		{"cpu.client", UnitSeconds, "", "", "CPU time of the clients.", "", nil, false},
		{"cpu.server", UnitSeconds, "", "", "CPU time of the server.", "", nil, false},
		{"rss.client", UnitBytes, "", "", "Peak resident memory of the clients.", "", nil, false},
		{"rss.server", UnitBytes, "", "", "Peak resident memory of the server.", "", nil, false},
		{"session.rss.client", UnitBytes, "", "", "Resident memory of the clients for each session held.", "", nil, false},
		{"session.rss.server", UnitBytes, "", "", "Resident memory of the server for each session held.", "", nil, false},
		{"fds.client", UnitCount, "", "", "Open descriptors of the clients.", "", nil, false},
		{"fds.server", UnitCount, "", "", "Open descriptors of the server.", "", nil, false},
		{"sessions", UnitCount, "", "", "Sessions held.", "xmpp_sessions", nil, false},
		{"logins.failed", UnitCount, "", "", "Logins that failed or were cut off.", "", nil, false},
		{"logins.rate", UnitCount, "", "", "Logins done each second.", "", nil, false},
		{"in-flight.peak", UnitCount, "", "", "Most operations under way at one time.", "", nil, false},
		{"pushes.lost", UnitCount, "", "", "Pushes that did not arrive in time.", "", nil, false},
		{"presence.in", UnitCount, "", "", "Presence stanzas received from contacts.", "", nil, false},
		{"presence.bounced", UnitCount, "", "", "Presence stanzas answered by an error.", "", nil, false},
	}
}

// scalar is the name of a figure of a block, taken apart.
type scalar struct {
	name   string // "probe.mean"
	metric Metric
	stat   string // "mean", "p50", "max", "n", or "" for a plain count
}

// unit is the unit of the figure: the number of samples of a metric is a count.
func (s scalar) unit() string {
	if s.stat == "n" {
		return UnitCount
	}
	return s.metric.Unit
}

// label is what a person calls the figure: "mean probe", "bytes.in".
func (s scalar) label() string {
	switch s.stat {
	case "":
		return s.metric.Name
	case "n":
		return "number of " + s.metric.Name + " samples"
	case "p50":
		return "median " + s.metric.Name
	}
	return s.stat + " " + s.metric.Name
}

// parseScalar finds the metric and the statistic that a scalar's name stands
// for. A metric that the table lacks is taken for a timed one if the name ends
// in a statistic, for a count otherwise.
func parseScalar(table []Metric, name string) scalar {
	find := func(n string) (Metric, bool) {
		i := slices.IndexFunc(table, func(m Metric) bool { return m.Name == n })
		if i < 0 {
			return Metric{Name: n, Unit: UnitCount}, false
		}
		return table[i], true
	}
	if m, ok := find(name); ok {
		return scalar{name: name, metric: m}
	}
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		if stat := name[i+1:]; slices.Contains([]string{"mean", "p50", "max", "n"}, stat) {
			m, ok := find(name[:i])
			if !ok {
				m.Unit = UnitSeconds
			}
			return scalar{name: name, metric: m, stat: stat}
		}
	}
	m, _ := find(name)
	return scalar{name: name, metric: m}
}
