package xk6xmpp

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.k6.io/k6/v2/lib"
	"go.k6.io/k6/v2/metrics"
)

// A metric is a line of the table of metrics.
type metric struct {
	name  string
	typ   metrics.MetricType
	value metrics.ValueType
	tags  string // besides k6's own, for the documentation
	doc   string
}

// Names of the metrics.
const (
	metricSessions      = "xmpp_sessions"
	metricActive        = "xmpp_sessions_active"
	metricLoginSuccess  = "xmpp_login_success"
	metricLogin         = "xmpp_login_duration"
	metricDial          = "xmpp_dial_duration"
	metricTLS           = "xmpp_tls_duration"
	metricSASL          = "xmpp_sasl_duration"
	metricBind          = "xmpp_bind_duration"
	metricRoster        = "xmpp_roster_duration"
	metricRosterFirst   = "xmpp_roster_first_item"
	metricRosterStall   = "xmpp_roster_stall"
	metricRosterItems   = "xmpp_roster_items"
	metricRosterStanzas = "xmpp_roster_stanzas"
	metricRosterBytes   = "xmpp_roster_bytes"
	metricIQ            = "xmpp_iq_duration"
	metricPing          = "xmpp_ping_rtt"
	metricMessage       = "xmpp_message_rtt"
	metricAck           = "xmpp_sm_ack_rtt"
	metricSent          = "xmpp_stanzas_sent"
	metricReceived      = "xmpp_stanzas_received"
	metricItems         = "xmpp_pubsub_items_duration"
	metricFirstItem     = "xmpp_pubsub_first_item"
	metricJoin          = "xmpp_muc_join_duration"
	metricSetup         = "xmpp_s2s_setup_duration"
	metricPairReady     = "xmpp_s2s_pair_ready"
	metricDomainAuth    = "xmpp_s2s_domain_auth_duration"
	metricS2SRTT        = "xmpp_s2s_rtt"
	metricConnections   = "xmpp_s2s_connections"
	metricHandshakes    = "xmpp_s2s_tls_handshakes"
	metricErrors        = "xmpp_errors"
	metricDropped       = "xmpp_events_dropped"
)

// metricTable lists every metric there is. All of them are registered before the test
// starts, whether a script uses them or not.
func metricTable() []metric {
	const (
		counter, gauge, rate, trend = metrics.Counter, metrics.Gauge, metrics.Rate, metrics.Trend
		plain, ms, data             = metrics.Default, metrics.Time, metrics.Data
		login                       = "mechanism, tls_version, tls_resumed"
		roster                      = "roster_mode"
		mesh                        = "s2s_strategy, s2s_layout"
	)
	return []metric{
		{metricSessions, counter, plain, "mechanism, tls_version", "Sessions that were bound or resumed."},
		{metricActive, gauge, plain, "", "Sessions open now in this process, all virtual users together. Add it up over instances."},
		{metricLoginSuccess, rate, plain, "stage, condition on failure", "One sample for each login that was not cut off by the end of the iteration."},
		{metricLogin, trend, ms, login, "From the first look-up to the bound session."},
		{metricDial, trend, ms, login, "Its look-ups and TCP connection."},
		{metricTLS, trend, ms, login, "Its STARTTLS and TLS handshake."},
		{metricSASL, trend, ms, login, "Its authentication."},
		{metricBind, trend, ms, login, "Its resource binding."},
		{metricRoster, trend, ms, roster, "From the request for the roster to its last item."},
		{metricRosterFirst, trend, ms, roster, "From the request for the roster to the first item."},
		{metricRosterStall, trend, ms, roster, "The longest that a ping, sent on schedule on the same stream, waited for its answer while the roster was under way. With probe only."},
		{metricRosterItems, trend, plain, roster, "Items of a retrieval."},
		{metricRosterStanzas, trend, plain, roster, "Stanzas received for it."},
		{metricRosterBytes, trend, data, roster, "Bytes of XML received for it."},
		{metricIQ, trend, ms, "", "From a request of iq() to its answer."},
		{metricPing, trend, ms, roster + " for probes", "Round trip of a ping (XEP-0199)."},
		{metricMessage, trend, ms, "", "From a message with a request for a receipt to the receipt (XEP-0184); in a room, to the message's reflection."},
		{metricAck, trend, ms, "", "From a request for acknowledgement to the acknowledgement (XEP-0198)."},
		{metricSent, counter, plain, "kind", "Stanzas sent: iq, message or presence. Counted when a call of their client settles."},
		{metricReceived, counter, plain, "kind", "Stanzas received, likewise."},
		{metricItems, trend, ms, "items_mode", "From the first request for the items of a node to the last item."},
		{metricFirstItem, trend, ms, "items_mode", "From the request to the first item."},
		{metricJoin, trend, ms, "", "From the presence that enters a room to the client's own presence in it, which comes after that of all others."},
		{metricSetup, trend, ms, mesh, "From the first message of a mesh to the last echo, when all pairs talk."},
		{metricPairReady, trend, ms, mesh, "Of each pair, from its first message being handed over to when stanzas could pass."},
		{metricDomainAuth, trend, ms, mesh, "One more domain: from its first message to the last echo of all pairs that it is in."},
		{metricS2SRTT, trend, ms, mesh, "From a message between two domains to its echo."},
		{metricConnections, trend, plain, mesh, "Connections that stand when all pairs talk."},
		{metricHandshakes, trend, plain, mesh, "TLS handshakes made until then."},
		{metricErrors, counter, plain, "stage, condition", "Calls that failed, logins among them, but for those cut off by the end of the iteration."},
		{metricDropped, counter, plain, "", "Events of a client with the lifetime of its virtual user that nobody came for in time."},
	}
}

// metricSet are the registered metrics.
type metricSet struct {
	byName map[string]*metrics.Metric
	root   *metrics.TagSet
}

// newMetricSet registers the metrics of the table. It fails where a script or another
// extension has one of the same name and another type.
func newMetricSet(registry *metrics.Registry) (*metricSet, error) {
	set := &metricSet{byName: make(map[string]*metrics.Metric), root: registry.RootTagSet()}
	for _, line := range metricTable() {
		registered, err := registry.NewMetric(line.name, line.typ, line.value)
		if err != nil {
			return nil, fmt.Errorf("xmpp: metric %s: %w", line.name, err)
		}
		set.byName[line.name] = registered
	}
	return set, nil
}

// A recorder pushes the samples of one call. It may be used from any goroutine.
type recorder struct {
	ctx     context.Context
	state   *lib.State
	metrics *metricSet
	tags    metrics.TagsAndMeta
}

// recorder returns one for the context of a call and its tags.
func (m *instance) recorder(ctx context.Context, tags metrics.TagsAndMeta) recorder {
	state := m.vu.State()
	enabled := state.Options.SystemTags
	tags.SetSystemTagOrMetaIfEnabled(enabled, metrics.TagProto, "XMPP")
	return recorder{ctx: ctx, state: state, metrics: m.metrics, tags: tags}
}

// with returns a recorder with more tags, which come in pairs of name and value; those
// without a value are left out.
func (r recorder) with(pairs ...string) recorder {
	r.tags = r.tags.Clone()
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			r.tags.SetTag(pair[0], pair[1])
		}
	}
	return r
}

// figure is a value of a metric.
type figure struct {
	name  string
	value float64
}

// took is a figure of a time.
func took(name string, d time.Duration) figure { return figure{name, metrics.D(d)} }

// push emits samples of one moment. After the end of the iteration it does nothing, as
// k6 wants it.
func (r recorder) push(at time.Time, figures ...figure) {
	if len(figures) == 0 {
		return
	}
	samples := make([]metrics.Sample, 0, len(figures))
	for _, f := range figures {
		samples = append(samples, metrics.Sample{
			TimeSeries: metrics.TimeSeries{Metric: r.metrics.byName[f.name], Tags: r.tags.Tags},
			Time:       at, Value: f.value, Metadata: r.tags.Metadata,
		})
	}
	metrics.PushIfNotDone(r.ctx, r.state.Samples, metrics.ConnectedSamples{Samples: samples, Tags: r.tags.Tags, Time: at})
}

// failed counts an error, unless the end of the iteration caused it.
func (r recorder) failed(stage string, err error) {
	if isCancelled(r.ctx, err) {
		return
	}
	f := fail(stage, err)
	r.with("stage", f.stage, "condition", f.condition).push(time.Now(), figure{metricErrors, 1})
}

// milliseconds is a time as scripts get it.
func milliseconds(d time.Duration) float64 { return metrics.D(d) }
