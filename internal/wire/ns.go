package wire

// Namespaces of the standard protocols.
const (
	NSStreams        = "http://etherx.jabber.org/streams"                // RFC 6120 §4.8.1
	NSClient         = "jabber:client"                                   // RFC 6120 §4.8.2
	NSServer         = "jabber:server"                                   // RFC 6120 §4.8.2
	NSTLS            = "urn:ietf:params:xml:ns:xmpp-tls"                 // RFC 6120 §5
	NSSASL           = "urn:ietf:params:xml:ns:xmpp-sasl"                // RFC 6120 §6
	NSBind           = "urn:ietf:params:xml:ns:xmpp-bind"                // RFC 6120 §7
	NSSession        = "urn:ietf:params:xml:ns:xmpp-session"             // RFC 3921 §3
	NSStanzas        = "urn:ietf:params:xml:ns:xmpp-stanzas"             // RFC 6120 §8.3
	NSStreamErrors   = "urn:ietf:params:xml:ns:xmpp-streams"             // RFC 6120 §4.9
	NSRoster         = "jabber:iq:roster"                                // RFC 6121 §2
	NSRosterVer      = "urn:xmpp:features:rosterver"                     // RFC 6121 §2.6
	NSPreApproval    = "urn:xmpp:features:pre-approval"                  // RFC 6121 §3.4
	NSDiscoInfo      = "http://jabber.org/protocol/disco#info"           // XEP-0030
	NSDiscoItems     = "http://jabber.org/protocol/disco#items"          // XEP-0030
	NSMUC            = "http://jabber.org/protocol/muc"                  // XEP-0045
	NSMUCUser        = "http://jabber.org/protocol/muc#user"             // XEP-0045
	NSMUCAdmin       = "http://jabber.org/protocol/muc#admin"            // XEP-0045
	NSMUCOwner       = "http://jabber.org/protocol/muc#owner"            // XEP-0045
	NSRSM            = "http://jabber.org/protocol/rsm"                  // XEP-0059
	NSPubSub         = "http://jabber.org/protocol/pubsub"               // XEP-0060
	NSPubSubEvent    = "http://jabber.org/protocol/pubsub#event"         // XEP-0060
	NSPubSubErrors   = "http://jabber.org/protocol/pubsub#errors"        // XEP-0060
	NSPubSubOwner    = "http://jabber.org/protocol/pubsub#owner"         // XEP-0060
	NSVersion        = "jabber:iq:version"                               // XEP-0092
	NSCaps           = "http://jabber.org/protocol/caps"                 // XEP-0115
	NSSM             = "urn:xmpp:sm:3"                                   // XEP-0198
	NSPing           = "urn:xmpp:ping"                                   // XEP-0199
	NSDelay          = "urn:xmpp:delay"                                  // XEP-0203
	NSDialback       = "jabber:server:dialback"                          // XEP-0220
	NSDialbackStream = "urn:xmpp:features:dialback"                      // XEP-0220
	NSCarbons        = "urn:xmpp:carbons:2"                              // XEP-0280
	NSBidi           = "urn:xmpp:bidi"                                   // XEP-0288
	NSBidiStream     = "urn:xmpp:features:bidi"                          // XEP-0288
	NSHints          = "urn:xmpp:hints"                                  // XEP-0334
	NSCSI            = "urn:xmpp:csi:0"                                  // XEP-0352
	NSBind2          = "urn:xmpp:bind:0"                                 // XEP-0386
	NSSASL2          = "urn:xmpp:sasl:2"                                 // XEP-0388
	NSISR            = "https://xmpp.org/extensions/isr/0"               // XEP-0397
	NSChannelBinding = "urn:xmpp:sasl-cb:0"                              // XEP-0440
	NSLimits         = "urn:xmpp:stream-limits:0"                        // XEP-0478
	NSFAST           = "urn:xmpp:fast:0"                                 // XEP-0484
	NSWave           = "http://waveprotocol.org/protocol/0.2/waveserver" // Wave federation draft
	NSXML            = "http://www.w3.org/XML/1998/namespace"            // Namespaces in XML §3
	nsXMLNS          = "http://www.w3.org/2000/xmlns/"                   // Namespaces in XML §3
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
	NSSub       = Experimental + "sub:0"        // server-to-server leg of iq subscriptions
	NSDAC       = Experimental + "dac:0"        // domain attribute certificates
	NSMUCPEP    = Experimental + "mucpep:0"     // event proxy in rooms
)

// WireVersion numbers the experimental protocols as a whole. It belongs into every
// result: figures of different wire versions must not be averaged.
const WireVersion = 0
