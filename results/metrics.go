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

// Metric describes one thing that is measured: what the reports and docs say of
// it.
type Metric struct {
	Name string // native name, such as "roster.complete"
	Unit string // one of the Unit constants
	From string // stamp at which a timed metric begins; empty for counts
	To   string // stamp at which it ends
	Doc  string // one sentence

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
		{"login.dial", UnitSeconds, "t0", "t1", "TCP connection to the server.", nil, false},
		{"login.header", UnitSeconds, "header sent", "header received", "Stream header, one sample for each stream of a login.", nil, false},
		{"login.features", UnitSeconds, "header received", "features received", "Stream features, one sample for each stream of a login.", nil, false},
		{"login.starttls", UnitSeconds, "t2", "t3", "Request to begin TLS.", nil, false},
		{"login.tls", UnitSeconds, "t3", "t4", "TLS handshake.", nil, false},
		{"login.sasl", UnitSeconds, "t5", "t6", "SASL exchange.", nil, false},
		{"login.bind", UnitSeconds, "t7", "t8", "Resource binding.", nil, false},
		{"login", UnitSeconds, "t0", "t8", "From connect to a bound resource.", mean, false},
		{"roster.first", UnitSeconds, "t9", "t11", "From the roster request to the first contact decoded.", mean, false},
		{"roster.complete", UnitSeconds, "t9", "t12", "From the roster request to the last contact.", mean, false},
		{"roster.resume", UnitSeconds, "connection lost", "t12", "From the loss of the connection to the last contact, the second login included.", mean, false},
		{"ready", UnitSeconds, "intended start of the login", "answer to the first ping after t12", "From the wish to log in to being able to talk.", mean, false},
		{"probe", UnitSeconds, "ping due", "answer", "Round trip of a ping on the same stream while the transfer runs.", meanMax, false},
		{"probe.outside", UnitSeconds, "ping due", "answer", "Round trip of a ping on the same stream before and after the transfer.", nil, false},
		{"probe.control", UnitSeconds, "ping due", "answer", "Round trip of a ping on an idle stream while the transfer runs.", nil, false},
		{"presence.settled", UnitSeconds, "t13", "t15", "From initial presence to the last presence of a contact.", mean, false},
		{"push", UnitSeconds, "change due", "push received", "From a change of a roster to its arrival at another session of the account.", meanMax, false},
		{"iq", UnitSeconds, "request", "answer", "Answer to a request.", mean, false},
		{"bytes.in", UnitBytes, "", "", "XML received by the client, before TLS.", nil, true},
		{"bytes.out", UnitBytes, "", "", "XML sent by the client, before TLS.", nil, true},
		{"bytes.in.tls", UnitBytes, "", "", "Bytes received on the socket, TLS included.", nil, true},
		{"bytes.out.tls", UnitBytes, "", "", "Bytes sent on the socket, TLS included.", nil, true},
		{"stanzas", UnitCount, "", "", "Stanzas in both directions.", nil, true},
		{"round-trips", UnitCount, "", "", "Times one side waited for the other.", nil, true},
		{"resume.bytes", UnitBytes, "", "", "XML received after the loss of the connection.", nil, false},
		{"resume.items", UnitCount, "", "", "Contacts received after the loss of the connection, repeats included.", nil, false},
		{"cut.bytes", UnitBytes, "", "", "XML of the roster received before the connection was lost.", nil, false},
		{"cpu.client", UnitSeconds, "", "", "CPU time of the clients.", nil, false},
		{"cpu.server", UnitSeconds, "", "", "CPU time of the server.", nil, false},
		{"rss.client", UnitBytes, "", "", "Resident memory of the clients.", nil, false},
		{"rss.server", UnitBytes, "", "", "Resident memory of the server.", nil, false},
		{"session.rss.client", UnitBytes, "", "", "Resident memory of the clients for each session held.", nil, false},
		{"session.rss.server", UnitBytes, "", "", "Resident memory of the server for each session held.", nil, false},
		{"fds.client", UnitCount, "", "", "Open descriptors of the clients.", nil, false},
		{"fds.server", UnitCount, "", "", "Open descriptors of the server.", nil, false},
		{"sessions", UnitCount, "", "", "Sessions held.", nil, false},
		{"logins", UnitCount, "", "", "Logins done.", nil, false},
		{"logins.failed", UnitCount, "", "", "Logins that failed or were cut off.", nil, false},
		{"logins.rate", UnitCount, "", "", "Logins done each second.", nil, false},
		{"in-flight.peak", UnitCount, "", "", "Most operations under way at one time.", nil, false},
		{"changes", UnitCount, "", "", "Changes made to the roster.", nil, false},
		{"pushes", UnitCount, "", "", "Pushes received.", nil, false},
		{"pushes.lost", UnitCount, "", "", "Pushes that did not arrive in time.", nil, false},
		{"presence.in", UnitCount, "", "", "Presence stanzas received from contacts.", nil, false},
		{"presence.bounced", UnitCount, "", "", "Presence stanzas answered by an error.", nil, false},
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
