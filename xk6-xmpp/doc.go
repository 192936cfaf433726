// Package xk6xmpp is XMPP for k6: the JavaScript module k6/x/xmpp. It is a thin
// layer: sessions, roster variants and federations are those of the native engine,
// and what happens on the wire stays outside of the JavaScript runtime unless a
// script asks for it.
//
// Values of JavaScript are touched on the event loop only. What waits for the
// network runs on goroutines of its own, which end with the context of the
// iteration, and settles its promise through the event loop.
//
// It is the only package besides cmd/k6 that knows k6.
package xk6xmpp
