package s2s

import "github.com/xmppbench/xmppbench/internal/wire"

// Namespaces of federation that no other package speaks.
const (
	nsDialbackFeature = "urn:xmpp:features:dialback" // XEP-0220 §2.2
	nsBidi            = "urn:xmpp:bidi"              // XEP-0288
	nsBidiFeature     = "urn:xmpp:features:bidi"     // XEP-0288
	nsMux             = "urn:xmpp:mux:0"             // ProtoXEP Stanza Multiplexing
)

// NSDAC is the namespace of domain attribute certificates on a stream.
const NSDAC = wire.Experimental + "dac:0"

// ALPN is the protocol name of direct TLS between servers (XEP-0368 §2).
const ALPN = "xmpp-server"
