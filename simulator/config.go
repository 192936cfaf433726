package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xmppbench/xmppbench/internal/lab"
	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/scenarios/roster"
)

// Config describes a simulator. It goes through JSON unchanged, so that a parent
// can hand it to a child process; durations are in nanoseconds there. At least
// one population and one listener are required, the zero value of everything else is useful.
type Config struct {
	// Listeners are the sockets to serve clients on.
	Listeners []Listener `json:"listeners"`
	// Populations are the accounts. Their domains are the domains served. No JID
	// may be in two of them.
	Populations []population.Config `json:"populations"`

	// TLS says what the TLS side looks like.
	TLS TLS `json:"tls,omitzero"`
	// Mechanisms are the SASL mechanisms on offer; empty means all of PLAIN,
	// SCRAM-SHA-1, SCRAM-SHA-256 and their -PLUS forms.
	Mechanisms []string `json:"mechanisms,omitempty"`
	// Iterations is the cost of a SCRAM key, 4096 if zero (RFC 7677 §4 asks for no less).
	Iterations int `json:"iterations,omitempty"`
	// Attempts is how many authentications may fail on one stream before it is
	// closed with policy-violation, 5 if zero (RFC 6120 §6.4.5).
	Attempts int `json:"attempts,omitempty"`
	// Conflict says what happens when a resource is asked for that is already
	// connected.
	Conflict Conflict `json:"conflict,omitempty"`
	// Resources is the largest number of sessions of one account, 64 if zero.
	Resources int `json:"resources,omitempty"`

	// Roster says which variants of roster retrieval are on offer.
	Roster roster.Settings `json:"roster,omitzero"`
	// Presence says how contacts behave that nobody is logged in as.
	Presence Presence `json:"presence,omitzero"`
	// OfflineMessages is the number of messages kept for an account that has no
	// resource to take them, 100 if zero, none if negative. Above it senders get an error.
	OfflineMessages int `json:"offline-messages,omitempty"`
	// Resumption bounds stream management (XEP-0198).
	Resumption Resumption `json:"resumption,omitzero"`

	// Piece is the largest single write in bytes, 4096 if zero. Larger ones make
	// TLS clients in Go keep larger buffers for ever.
	Piece int `json:"piece,omitempty"`
	// NotSentLowat and SendBuffer bound what the kernel takes ahead of the network
	// on accepted sockets, in bytes: TCP_NOTSENT_LOWAT and SO_SNDBUF. Zero leaves
	// the system's defaults. The first exists on Linux only: elsewhere Start fails.
	NotSentLowat int `json:"notsent-lowat,omitempty"`
	SendBuffer   int `json:"send-buffer,omitempty"`

	// StanzaBytes is the largest stanza accepted, 256 KiB if zero, at least 10000
	// (RFC 6120 §13.12). Larger ones end the stream with policy-violation.
	StanzaBytes int `json:"stanza-bytes,omitempty"`
	// QueueBytes bounds what waits to be written to one session, 4 MiB if zero.
	// A session over it is closed with policy-violation.
	QueueBytes int `json:"queue-bytes,omitempty"`
	// LoginTimeout is how long a connection may take until its resource is bound,
	// 60 s if zero; IdleTimeout how long a session may be silent, whitespace
	// included, for ever if zero. Both end with connection-timeout.
	LoginTimeout time.Duration `json:"login-timeout,omitempty"`
	IdleTimeout  time.Duration `json:"idle-timeout,omitempty"`
}

// Security says how a listener secures its connections.
type Security string

// The kinds of security.
const (
	// StartTLS demands STARTTLS before anything else (RFC 6120 §5).
	StartTLS Security = "starttls"
	// DirectTLS begins with the TLS handshake (XEP-0368).
	DirectTLS Security = "direct"
	// Plaintext offers no TLS.
	Plaintext Security = "none"
	// OptionalTLS offers STARTTLS and admits clients that do without.
	OptionalTLS Security = "optional"
)

// Listener is one socket to serve clients on.
type Listener struct {
	// Address is host:port as for net.Listen; port 0 takes a free one.
	Address string `json:"address"`
	// Security is StartTLS if empty.
	Security Security `json:"security,omitempty"`
}

// TLS says what the TLS side looks like.
type TLS struct {
	// Key is the type of the domains' keys, P-256 if empty.
	Key lab.KeyType `json:"key,omitempty"`
	// CA and CAKey are the authority in PEM, for children that share one; empty
	// makes a new one.
	CA    []byte `json:"ca,omitempty"`
	CAKey []byte `json:"ca-key,omitempty"`
	// MinVersion and MaxVersion are "1.2" or "1.3"; empty admits both.
	MinVersion string `json:"min-version,omitempty"`
	MaxVersion string `json:"max-version,omitempty"`
	// Curves are the key exchanges by Go's names ("X25519MLKEM768", "X25519",
	// "P-256", "P-384"), empty for Go's own choice.
	Curves []string `json:"curves,omitempty"`
	// Resumption issues session tickets. Without it every handshake is a full one.
	Resumption bool `json:"resumption,omitempty"`
	// Plus13 offers the -PLUS mechanisms over TLS 1.3 too. It is off by default
	// because some clients claim tls-unique whatever the version.
	Plus13 bool `json:"plus13,omitempty"`
}

// Conflict is a policy for a resource that is already connected (RFC 6120 §7.7.2.2).
type Conflict string

// The policies.
const (
	// ConflictRefuse answers the new session with a conflict error. It is the default.
	ConflictRefuse Conflict = "refuse"
	// ConflictReplace ends the old session with a conflict stream error.
	ConflictReplace Conflict = "replace"
	// ConflictRename gives the new session a resource made by the server.
	ConflictRename Conflict = "rename"
)

// Presence says how contacts behave that nobody is logged in as, and when they
// are asked (RFC 6121 §4).
type Presence struct {
	// Online is the share of contacts that is online, 0 to 1; Resources the mean
	// number of resources of such a contact, 1 if zero.
	Online    float64 `json:"online,omitempty"`
	Resources float64 `json:"resources,omitempty"`
	// Delay is the mean time to the answer of a probe, Spread how it is distributed.
	Delay  time.Duration `json:"delay,omitempty"`
	Spread Spread        `json:"spread,omitempty"`
	// Probes is the probe policy.
	Probes ProbePolicy `json:"probe-policy,omitempty"`
	// OfflineReply says how a contact without a resource answers a probe.
	OfflineReply OfflineReply `json:"offline-reply,omitempty"`
	// Local says which contacts count as being on the user's own server, which
	// are not probed.
	Local Locality `json:"local,omitempty"`
}

// Spread is a distribution of delays.
type Spread string

// The distributions.
const (
	// SpreadConstant is always the mean. It is the default.
	SpreadConstant Spread = "constant"
	// SpreadUniform is evenly between zero and twice the mean.
	SpreadUniform Spread = "uniform"
	// SpreadExponential has many short delays and few long ones, cut at 10 times the mean.
	SpreadExponential Spread = "exponential"
)

// ProbePolicy says when probes are sent.
type ProbePolicy string

// The policies.
const (
	// ProbeFirst probes for the first available resource of a user only: for
	// others the server knows already. It is the default.
	ProbeFirst ProbePolicy = "first-resource"
	// ProbeAlways probes for every resource that becomes available.
	ProbeAlways ProbePolicy = "always"
)

// OfflineReply says how a contact without a resource answers (RFC 6121 §4.3.2).
type OfflineReply string

// The replies.
const (
	// ReplyUnavailable answers unavailable, with the time since. It is the default.
	ReplyUnavailable OfflineReply = "unavailable"
	// ReplySilent does not answer.
	ReplySilent OfflineReply = "silent"
)

// Locality says which contacts are on the user's own server.
type Locality string

// The localities.
const (
	// LocalDomain: those of the same domain. It is the default.
	LocalDomain Locality = "domain"
	// LocalAll: all of them, so that nobody is probed.
	LocalAll Locality = "all"
	// LocalNone: none of them, so that everybody is probed.
	LocalNone Locality = "none"
)

// Resumption bounds stream management (XEP-0198).
type Resumption struct {
	// Off takes stream management off the offer.
	Off bool `json:"off,omitempty"`
	// Timeout is how long a session waits for its client to come back, 300 s if zero.
	Timeout time.Duration `json:"timeout,omitempty"`
	// QueueStanzas and QueueBytes bound what is kept unacknowledged, 10000 and
	// 4 MiB if zero. A session over them cannot be resumed any more.
	QueueStanzas int `json:"queue-stanzas,omitempty"`
	QueueBytes   int `json:"queue-bytes,omitempty"`
}

// withDefaults checks the configuration and fills in what was left out. The error
// names every setting that is wrong.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if len(c.Populations) == 0 {
		bad("no population: at least one is needed")
	}
	if len(c.Listeners) == 0 {
		bad("no listener: at least one is needed")
	}
	c.Listeners = slices.Clone(c.Listeners)
	for i := range c.Listeners {
		l := &c.Listeners[i]
		choose(&l.Security, bad, "security", StartTLS, DirectTLS, Plaintext, OptionalTLS)
		if l.Address == "" {
			bad("listener %d has no address: write host:port, port 0 for a free one", i+1)
		}
	}
	choose(&c.TLS.Key, bad, "key", lab.P256, lab.RSA2048, lab.Ed25519)
	choose(&c.Conflict, bad, "conflict", ConflictRefuse, ConflictReplace, ConflictRename)
	choose(&c.Presence.Spread, bad, "spread", SpreadConstant, SpreadUniform, SpreadExponential)
	choose(&c.Presence.Probes, bad, "probe-policy", ProbeFirst, ProbeAlways)
	choose(&c.Presence.OfflineReply, bad, "offline-reply", ReplyUnavailable, ReplySilent)
	choose(&c.Presence.Local, bad, "local", LocalDomain, LocalAll, LocalNone)
	if p := c.Presence; p.Online < 0 || p.Online > 1 || p.Resources < 0 || p.Resources > 64 || p.Delay < 0 {
		bad("presence: online %v, resources %v, delay %v: want a share from 0 to 1, 0 to 64 resources and no negative delay", p.Online, p.Resources, p.Delay)
	}
	for _, name := range c.Mechanisms {
		if !slices.ContainsFunc(mechanisms(), func(m mechanism) bool { return m.name == name }) {
			bad("mechanism %q is not known", name)
		}
	}
	if c.StanzaBytes != 0 && c.StanzaBytes < 10000 {
		bad("stanza-bytes %d: a server must accept stanzas of 10000 bytes (RFC 6120 §13.12)", c.StanzaBytes)
	}
	for _, v := range []int{c.Iterations, c.Attempts, c.Resources, c.Piece, c.NotSentLowat, c.SendBuffer, c.StanzaBytes, c.QueueBytes, c.Resumption.QueueStanzas, c.Resumption.QueueBytes} {
		if v < 0 {
			bad("%d: sizes and counts cannot be negative", v)
		}
	}
	for _, d := range []time.Duration{c.LoginTimeout, c.IdleTimeout, c.Resumption.Timeout} {
		if d < 0 {
			bad("%v: times cannot be negative", d)
		}
	}
	if err := c.Roster.Check(); err != nil {
		errs = append(errs, err)
	}
	c.Iterations = cmp.Or(c.Iterations, 4096)
	c.Attempts = cmp.Or(c.Attempts, 5)
	c.Resources = cmp.Or(c.Resources, 64)
	c.OfflineMessages = cmp.Or(c.OfflineMessages, 100)
	c.StanzaBytes = cmp.Or(c.StanzaBytes, 256<<10)
	c.Resumption.QueueStanzas = cmp.Or(c.Resumption.QueueStanzas, 10000)
	c.Resumption.QueueBytes = cmp.Or(c.Resumption.QueueBytes, 4<<20)
	c.Presence.Resources = cmp.Or(c.Presence.Resources, 1)
	c.LoginTimeout = cmp.Or(c.LoginTimeout, time.Minute)
	c.Resumption.Timeout = cmp.Or(c.Resumption.Timeout, 5*time.Minute)
	if err := errors.Join(errs...); err != nil {
		return c, fmt.Errorf("simulator: %w", err)
	}
	return c, nil
}

// choose fills in the first choice where nothing was chosen and refuses what is
// not among the choices.
func choose[T ~string](v *T, bad func(string, ...any), what string, choices ...T) {
	if *v == "" {
		*v = choices[0]
	}
	if !slices.Contains(choices, *v) {
		bad("%s %q is not one of %q", what, *v, choices)
	}
}
