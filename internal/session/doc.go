// Package session logs a client in: it finds the server, connects, and negotiates TLS, SASL, resource binding and
// stream management (RFC 6120, XEP-0198, XEP-0368) with mellium.im/xmpp, taking the time of each step.
//
// What it returns is a [wire.Stream] at the first byte after the negotiation. The negotiating library reads byte by
// byte from a connection that implements io.ByteReader, so nothing that the server sent early is lost, and it is
// garbage once [Dial] returns: an idle session costs what its stream costs.
//
// The package does not retry, does not reconnect, keeps no list of sessions and knows neither rosters nor metrics:
// how often to try, and what a failed login counts as, is its caller's business. It does not receive sessions.
package session
