package wire

// Namespaces of the standard protocols.
const (
	NSStreams        = "http://etherx.jabber.org/streams"       // RFC 6120 §4.8.1
	NSClient         = "jabber:client"                          // RFC 6120 §4.8.2
	NSServer         = "jabber:server"                          // RFC 6120 §4.8.2
	NSTLS            = "urn:ietf:params:xml:ns:xmpp-tls"        // RFC 6120 §5
	NSSASL           = "urn:ietf:params:xml:ns:xmpp-sasl"       // RFC 6120 §6
	NSBind           = "urn:ietf:params:xml:ns:xmpp-bind"       // RFC 6120 §7
	NSSession        = "urn:ietf:params:xml:ns:xmpp-session"    // RFC 3921 §3
	NSStanzas        = "urn:ietf:params:xml:ns:xmpp-stanzas"    // RFC 6120 §8.3
	NSStreamErrors   = "urn:ietf:params:xml:ns:xmpp-streams"    // RFC 6120 §4.9
	NSRoster         = "jabber:iq:roster"                       // RFC 6121 §2
	NSRosterVer      = "urn:xmpp:features:rosterver"            // RFC 6121 §2.6
	NSPreApproval    = "urn:xmpp:features:pre-approval"         // RFC 6121 §3.4
	NSDiscoInfo      = "http://jabber.org/protocol/disco#info"  // XEP-0030
	NSDiscoItems     = "http://jabber.org/protocol/disco#items" // XEP-0030
	NSRSM            = "http://jabber.org/protocol/rsm"         // XEP-0059
	NSVersion        = "jabber:iq:version"                      // XEP-0092
	NSSM             = "urn:xmpp:sm:3"                          // XEP-0198
	NSPing           = "urn:xmpp:ping"                          // XEP-0199
	NSDelay          = "urn:xmpp:delay"                         // XEP-0203
	NSDialback       = "jabber:server:dialback"                 // XEP-0220
	NSHints          = "urn:xmpp:hints"                         // XEP-0334
	NSCSI            = "urn:xmpp:csi:0"                         // XEP-0352
	NSChannelBinding = "urn:xmpp:sasl-cb:0"                     // XEP-0440
	NSXML            = "http://www.w3.org/XML/1998/namespace"   // Namespaces in XML §3
	nsXMLNS          = "http://www.w3.org/2000/xmlns/"          // Namespaces in XML §3
)

// Experimental is the root of every namespace that this project made. RFC 6963
// allows urn:example: for private tests only, so it is spelled here and nowhere
// else, to be replaced in one place.
const Experimental = "urn:example:xmppbench:"

// Experimental namespaces. Their last number rises with every change that the
// other end cannot read.
const (
	NSChunk     = Experimental + "chunk:0"      // generic chunk transport
	NSRosterX   = Experimental + "roster:0"     // chunked and versioned rosters
	NSRosterRSM = Experimental + "roster-rsm:0" // feature: XEP-0059 pages of a roster
)

// WireVersion numbers the experimental protocols as a whole. It belongs into every
// result: figures of different wire versions must not be averaged.
const WireVersion = 0
