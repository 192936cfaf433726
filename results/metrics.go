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

	// Column says whether a count has a column there.
	Column Column

	// Exact marks counts that follow from seed and protocol alone: where every
	// block has the same, no interval is needed to compare them.
	Exact bool
}

// Column says whether the summary table shows a count; the other forms of the report
// hold all of them.
type Column int

// Whether there is a column.
const (
	ColumnAlways Column = iota
	ColumnSeldom        // where the count of some variant is not zero
	ColumnHidden
	ColumnCost // none: it is the price of one thing, and has a row in the table of costs
)

// Timed reports whether samples of the metric go into histograms.
func (m Metric) Timed() bool { return m.From != "" }

// Metrics returns the project's metrics in the order in which reports show
// them. The stamps t0, t1, … and s0, s1, … are those of docs/metrics.md.
func Metrics() []Metric {
	return []Metric{
		timing("login.dial", "t0", "t1", "TCP connection to the server."),
		timing("login.header", "header sent", "header received", "Stream header, one sample for each stream of a login."),
		timing("login.features", "header received", "features received", "Stream features, one sample for each stream of a login."),
		timing("login.starttls", "t2", "t3", "Request to begin TLS."),
		timing("login.tls", "t3", "t4", "TLS handshake."),
		timing("login.sasl", "t5", "t6", "SASL exchange."),
		timing("login.bind", "t7", "t8", "Resource binding."),
		timing("login.sm", "request", "answer", "Stream management enabled, or a session resumed."),
		timing("login", "t0", "t8", "From connect to a bound resource.", "mean"),
		timing("roster.first", "t9", "t11", "From the roster request to the first contact decoded.", "mean"),
		timing("roster.complete", "t9", "t12", "From the roster request to the last contact.", "mean"),
		timing("roster.resume", "connection lost", "t12", "From the loss of the connection to the last contact, the second login included.", "mean"),
		timing("ready", "intended start of the login", "answer to the first ping after t12", "From the wish to log in to being able to talk.", "mean"),
		timing("probe", "ping due", "answer", "Round trip of a ping on the same stream while the transfer runs.", "mean", "max"),
		timing("probe.outside", "ping due", "answer", "Round trip of a ping on the same stream before and after the transfer."),
		timing("probe.control", "ping due", "answer", "Round trip of a ping on an idle stream while the transfer runs."),
		timing("presence.settled", "t13", "t15", "From initial presence to the last presence of a contact.", "mean"),
		timing("push", "change due", "push received", "From a change of a roster to its arrival at another session of the account.", "mean", "max"),
		timing("iq", "request", "answer", "Answer to a request.", "mean"),
		timing("message", "message due", "message read", "A message between two sessions, until its receiver has read it.", "mean", "max"),
		timing("presence", "change due", "presence read", "A change of presence, until one contact has read it."),
		timing("presence.fanout", "change due", "last presence read", "A change of presence, until the last contact who is online has read it.", "mean", "max"),
		timing("ping", "ping due", "answer", "A ping of a session to its server.", "mean"),
		timing("disco", "request due", "answer", "A request for the features of the server.", "mean"),
		timing("pair.first", "s0", "s6", "The first pair of domains of two providers that did not know each other, until stanzas may pass.", "mean"),
		timing("pair.first.echo", "s0", "s8", "The same until its first echo, the set-up of the other direction included."),
		timing("pair.further", "s0", "s6", "A second pair of the same providers, until stanzas may pass.", "mean"),
		timing("pair.further.echo", "s0", "s8", "The same until its first echo."),
		timing("pair.ready", "s0", "s6", "Each pair of a bring-up, until stanzas may pass."),
		timing("pair.echo", "s0", "s8", "Each pair of a bring-up, until its first echo.", "mean"),
		timing("mesh", "first message", "last echo", "Bring-up of all pairs, each with a message and its echo.", "mean"),
		timing("echo", "message due", "s8", "A message between domains and its echo, on a mesh that stands.", "mean"),
		timing("victim", "message due", "s8", "The same while a bulk stanza crosses, or one pair sends more than all others.", "mean", "max"),
		timing("bulk", "message due", "s8", "A bulk stanza and its echo."),
		timing("reconnect", "providers are back", "s8", "Each pair after its stream was closed for want of traffic, or the other provider restarted, until its echo.", "mean"),
		timing("pair.added", "s0", "s8", "Each pair of a domain that was added to a mesh that stands, until its first echo.", "mean"),
		timing("talk", "the event", "answer to the first ping after the return", "From the loss of all connections, or the begin of a restart, until a session can talk again.", "mean"),
		timing("attempt", "attempt due", "answer to the first ping", "An attempt to return that succeeded; those that failed are counted by kind of error."),
		exact("bytes.in", UnitBytes, "XML received by the client, before TLS."),
		exact("bytes.out", UnitBytes, "XML sent by the client, before TLS."),
		exact("bytes.in.tls", UnitBytes, "Bytes received on the socket, TLS included."),
		exact("bytes.out.tls", UnitBytes, "Bytes sent on the socket, TLS included."),
		exact("stanzas", UnitCount, "Stanzas in both directions."),
		exact("round-trips", UnitCount, "Times one side waited for the other."),
		counted("resume.bytes", UnitBytes, "XML received after the loss of the connection."),
		counted("resume.items", UnitCount, "Contacts received after the loss of the connection, repeats included."),
		counted("cut.bytes", UnitBytes, "XML of the roster received before the connection was lost."),
		counted("cpu.client", UnitSeconds, "CPU time of the clients."),
		counted("cpu.server", UnitSeconds, "CPU time of the server."),
		counted("rss.client", UnitBytes, "Resident memory of the clients."),
		counted("rss.server", UnitBytes, "Resident memory of the server."),
		hidden(counted("heap.server", UnitBytes, "Of the simulator's memory, the live heap.")),
		counted("session.rss.client", UnitBytes, "Resident memory of the clients for each session held."),
		cost(counted("session.rss.server", UnitBytes, "Resident memory of the server for each session held.")),
		counted("fds.client", UnitCount, "Open descriptors of the clients."),
		counted("fds.server", UnitCount, "Open descriptors of the server."),
		counted("sessions", UnitCount, "Sessions held."),
		hidden(exact("roster.items", UnitCount, "Contacts of all rosters received.")),
		seldom(counted("sessions.lost", UnitCount, "Sessions that ended before they were to.")),
		counted("messages.sent", UnitCount, "Messages sent, in all windows."),
		hidden(counted("messages.delivered", UnitCount, "Messages that arrived, each counted once.")),
		counted("messages.lost", UnitCount, "Messages that did not arrive, those returned as errors included."),
		seldom(counted("messages.duplicated", UnitCount, "Messages that arrived once more.")),
		seldom(counted("messages.reordered", UnitCount, "Messages that arrived behind later ones of the same sender.")),
		seldom(counted("messages.bounced", UnitCount, "Messages that were returned as errors.")),
		counted("messages.rate", UnitCount, "Messages that arrived, for each second of the measured window in which they were due."),
		counted("presence.changes", UnitCount, "Changes of presence, in all windows."),
		hidden(counted("presence.delivered", UnitCount, "Presence that arrived at contacts, each counted once.")),
		hidden(counted("presence.expected", UnitCount, "Presence that contacts were to get, by their rosters: changes times contacts online.")),
		counted("presence.lost", UnitCount, "Presence that a contact did not get, and none later of the same sender."),
		seldom(counted("presence.superseded", UnitCount, "Presence that a contact did not get, but a later one of the same sender.")),
		seldom(counted("presence.duplicated", UnitCount, "Presence that arrived once more.")),
		seldom(counted("presence.reordered", UnitCount, "Presence that arrived behind a later one of the same sender.")),
		counted("presence.amplification", UnitCount, "Presence delivered for each change."),
		seldom(counted("requests.unanswered", UnitCount, "Requests without an answer in time.")),
		counted("stanzas.rate", UnitCount, "Stanzas of all sessions in both directions, for each second of the measured window."),
		cost(counted("cpu.login", UnitSeconds, "CPU time of the server for each login, with the roster and whatever else a client asks for then.")),
		cost(counted("cpu.items", UnitSeconds, "CPU time of the server for each 1 000 items of a whole roster, in one-shot cells of as many at least; the login is not part of it.")),
		cost(counted("cpu.stanza", UnitSeconds, "CPU time of the server for each stanza, in either direction.")),
		counted("logins", UnitCount, "Logins done."),
		counted("logins.failed", UnitCount, "Logins that failed or were cut off."),
		counted("logins.rate", UnitCount, "Logins done each second."),
		counted("in-flight.peak", UnitCount, "Most operations under way at one time."),
		hidden(counted("back.first", UnitSeconds, "From the event until the first session could talk again.")),
		counted("back.50", UnitSeconds, "From the event until half of all sessions could talk again."),
		counted("back.95", UnitSeconds, "From the event until 95 % of all sessions could talk again."),
		counted("back.all", UnitSeconds, "From the event until all sessions could talk again; nothing where some never could."),
		hidden(counted("back.bound", UnitSeconds, "Of runs made before theory had it: the CPU time of all logins on all processors.")),
		counted("back.rate", UnitCount, "Most sessions that were back within one second."),
		seldom(counted("absent", UnitCount, "Sessions that were not back by the limit.")),
		counted("attempts", UnitCount, "Attempts to return."),
		counted("attempts.failed", UnitCount, "Attempts to return that failed."),
		seldom(counted("resumed", UnitCount, "Sessions that were resumed.")),
		seldom(counted("resumed.refused", UnitCount, "Sessions bound anew because the server did not resume them.")),
		seldom(counted("roster.whole", UnitCount, "Rosters sent in whole to clients that had them.")),
		seldom(counted("stanzas.lost", UnitCount, "Stanzas on their way at the event, one for each session, that were never answered.")),
		seldom(counted("lost.again", UnitCount, "Sessions that were back and lost their connection once more.")),
		counted("changes", UnitCount, "Changes made to the roster."),
		counted("pushes", UnitCount, "Pushes received."),
		counted("pushes.lost", UnitCount, "Pushes that did not arrive in time."),
		counted("presence.in", UnitCount, "Presence stanzas received from contacts."),
		counted("presence.bounced", UnitCount, "Presence stanzas answered by an error."),
		exact("connections", UnitCount, "Connections between providers that stay, each counted once."),
		exact("connections.opened", UnitCount, "Connections made until all pairs talked, those for verification included."),
		exact("handshakes.full", UnitCount, "Full TLS handshakes between providers."),
		seldom(counted("handshakes.resumed", UnitCount, "TLS handshakes that resumed a session.")),
		hidden(exact("signatures.made", UnitCount, "Signatures made with any private key.")),
		hidden(exact("signatures.verified", UnitCount, "Signatures verified in handshakes, chains and proofs.")),
		seldom(exact("authority.sasl", UnitCount, "Exchanges of SASL EXTERNAL.")),
		seldom(exact("authority.results", UnitCount, "Requests to accept a pair of domains (db:result).")),
		seldom(exact("authority.verifies", UnitCount, "Requests to verify a dialback key (db:verify).")),
		seldom(exact("authority.asserts", UnitCount, "Assertions of domains by attribute certificate.")),
		seldom(exact("authority.proofs", UnitCount, "Attribute certificates sent, or references to them.")),
		seldom(exact("authority.verdicts", UnitCount, "Verdicts on domains sent unasked.")),
		seldom(exact("fetches", UnitCount, "Documents fetched from third parties.")),
		hidden(exact("lookups", UnitCount, "Look-ups of the servers of a domain (SRV).")),
		hidden(exact("lookups.tlsa", UnitCount, "Look-ups of the certificates of a server (TLSA).")),
		exact("keys.customer", UnitCount, "Private keys of customers' domains that the providers hold."),
		hidden(exact("pairs", UnitCount, "Pairs of domains that talk, either direction being the same pair.")),
		hidden(exact("domains", UnitCount, "Domains that talk.")),
		hidden(exact("messages", UnitCount, "Messages between domains until all pairs have talked, echoes included.")),
		counted("bytes.mesh", UnitBytes, "XML between providers until all pairs have talked."),
		hidden(counted("bytes.mesh.tls", UnitBytes, "The same on sockets, TLS included.")),
		counted("cpu.mesh", UnitSeconds, "CPU time of all providers in the bring-up."),
		hidden(counted("cpu.mesh.a", UnitSeconds, "CPU time of the first provider in the bring-up.")),
		hidden(counted("cpu.mesh.b", UnitSeconds, "CPU time of the other providers in the bring-up.")),
		counted("cpu.steady", UnitSeconds, "CPU time of all providers in the steady phase."),
		hidden(counted("cpu.steady.a", UnitSeconds, "CPU time of the first provider in the steady phase.")),
		hidden(counted("cpu.steady.b", UnitSeconds, "CPU time of the other providers in the steady phase.")),
		counted("cpu.reconnect", UnitSeconds, "CPU time of all providers while everything comes back after a restart."),
		hidden(counted("cpu.reconnect.a", UnitSeconds, "CPU time of the first provider meanwhile.")),
		hidden(counted("cpu.reconnect.b", UnitSeconds, "CPU time of the other providers meanwhile.")),
		counted("rss.a", UnitBytes, "Resident memory of the first provider when the mesh stands."),
		counted("rss.b", UnitBytes, "Resident memory of the other providers when the mesh stands."),
		hidden(counted("heap.a", UnitBytes, "Of the first provider's memory, the live heap when the mesh stands.")),
		hidden(counted("heap.b", UnitBytes, "Of the other providers' memory, the live heap when the mesh stands.")),
		cost(counted("rss.connection", UnitBytes, "Resident memory of both ends of each connection, where there are many, above that of providers without any.")),
		hidden(counted("fds.a", UnitCount, "Open descriptors of the first provider when the mesh stands.")),
		hidden(counted("fds.b", UnitCount, "Open descriptors of the other providers when the mesh stands.")),
		seldom(counted("glare", UnitCount, "Streams given up because the other provider opened one as well.")),
		seldom(counted("unauthorised", UnitCount, "Stanzas without authority, which are never delivered.")),
		hidden(counted("pairs.rate", UnitCount, "Pairs of domains that came to talk in each second of a bring-up.")),
		counted("pairs.open", UnitCount, "Pairs of domains that had traffic, where it brings them up."),
		counted("pairs.expected", UnitCount, "How many of them uniform traffic meets on average, by closed form."),
	}
}

// hasColumn reports whether the summary has a column for the count because of one
// variant's value; what has none is not lost.
func (m Metric) hasColumn(v Value) bool {
	return m.Column == ColumnAlways || m.Column == ColumnSeldom && v.Max > 0
}

// timing describes what goes into histograms, and the statistics of it that have a
// column in the summary.
func timing(name, from, to, doc string, columns ...string) Metric {
	return Metric{Name: name, Unit: UnitSeconds, From: from, To: to, Doc: doc, Columns: columns}
}

// counted describes a figure of a block.
func counted(name, unit, doc string) Metric { return Metric{Name: name, Unit: unit, Doc: doc} }

// exact describes a count that follows from seed and protocol alone.
func exact(name, unit, doc string) Metric {
	m := counted(name, unit, doc)
	m.Exact = true
	return m
}

// seldom gives a count a column in the summary where there is any, hidden none.
func seldom(m Metric) Metric {
	m.Column = ColumnSeldom
	return m
}

func hidden(m Metric) Metric {
	m.Column = ColumnHidden
	return m
}

// cost marks a figure as the price of one thing, which stands in a table of its own, with
// an interval.
func cost(m Metric) Metric {
	m.Column = ColumnCost
	return m
}

// scalar is the name of a figure of a block, taken apart.
type scalar struct {
	name   string // "probe.mean"
	metric Metric
	stat   string // "mean", "p50", "max", "n", "p(99)" and the like, or "" for a plain count
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
	if i := strings.LastIndex(name, ".p("); i > 0 && strings.HasSuffix(name, ")") {
		m, _ := find(name[:i])
		m.Unit = UnitSeconds
		return scalar{name: name, metric: m, stat: name[i+1:]}
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
