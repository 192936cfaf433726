package simulator

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// offered returns the mechanisms on offer on this connection.
func (c *connection) offered() []mechanism {
	plus := len(c.sim.channels.bindings(c.tls)) > 0
	var on []mechanism
	for _, m := range c.sim.mechanisms {
		if !m.plus || plus {
			on = append(on, m)
		}
	}
	return on
}

// appendMechanisms appends the SASL features (RFC 6120 §6.4.1, XEP-0440).
func (c *connection) appendMechanisms(dst []byte) []byte {
	dst = append(dst, "<mechanisms xmlns='"+wire.NSSASL+"'>"...)
	on := c.offered()
	for _, m := range on {
		dst = append(dst, "<mechanism>"+m.name+"</mechanism>"...)
	}
	dst = append(dst, "</mechanisms>"...)
	if !slices.ContainsFunc(on, func(m mechanism) bool { return m.plus }) {
		return dst
	}
	dst = append(dst, "<sasl-channel-binding xmlns='"+wire.NSChannelBinding+"'>"...)
	for _, typ := range c.sim.channels.bindings(c.tls) {
		dst = append(dst, "<channel-binding"...)
		dst = wire.AppendAttr(dst, "type", typ)
		dst = append(dst, "/>"...)
	}
	return append(dst, "</sasl-channel-binding>"...)
}

// authenticate runs one attempt at SASL (RFC 6120 §6.4). A failed one leaves the
// stream as it was, for another, up to the limit.
func (c *connection) authenticate(ctx context.Context, el *wire.Element) error {
	name := el.Attr("mechanism")
	user, final, err := c.exchange(ctx, name, el)
	var refused *saslError
	switch {
	case errors.As(err, &refused):
		c.failures++
		c.sim.figures.add("logins.failed", 1)
		b := append([]byte("<failure xmlns='"+wire.NSSASL+"'><"), refused.condition...)
		b = append(b, "/>"...)
		if refused.text != "" {
			b = append(b, "<text xml:lang='en'>"...)
			b = append(wire.AppendText(b, refused.text), "</text>"...)
		}
		if err := c.stream.Send(append(b, "</failure>"...)); err != nil {
			return err
		}
		if c.failures >= c.sim.config.Attempts {
			return leave(wire.PolicyViolation, "too many failed logins")
		}
		return nil
	case err != nil:
		return err
	}
	c.user = user
	c.greeted = false
	c.sim.figures.add("logins."+name, 1)
	b := []byte("<success xmlns='" + wire.NSSASL + "'")
	if final == nil {
		b = append(b, "/>"...)
	} else {
		b = base64.StdEncoding.AppendEncode(append(b, '>'), final)
		b = append(b, "</success>"...)
	}
	if err := c.stream.Send(b); err != nil {
		return err
	}
	return c.stream.Restart()
}

// exchange leads one mechanism to its end and returns who the client is, and the
// data that goes with success.
func (c *connection) exchange(ctx context.Context, name string, auth *wire.Element) (user string, final []byte, err error) {
	if !c.authenticable() {
		return "", nil, refuse("encryption-required", "")
	}
	on := c.offered()
	i := slices.IndexFunc(on, func(m mechanism) bool { return m.name == name })
	if i < 0 {
		return "", nil, refuse("invalid-mechanism", "")
	}
	m := on[i]
	msg, err := decodeSASL(auth.Text())
	if err != nil {
		return "", nil, err
	}
	if msg == nil {
		if msg, err = c.challenge(ctx, nil); err != nil {
			return "", nil, err
		}
	}
	if m.hash == nil {
		user, err = c.plain(msg)
		return user, nil, err
	}
	sc := &scram{
		hash: m.hash, plus: m.plus,
		offered: slices.ContainsFunc(on, func(m mechanism) bool { return m.plus }),
		binding: func(typ string) []byte {
			if !slices.Contains(c.sim.channels.bindings(c.tls), typ) {
				return nil
			}
			return c.sim.channels.binding(c.tls, typ)
		},
		salt: func(user string) ([]byte, int) {
			return c.sim.credentials.salt(c.account(user)), c.sim.config.Iterations
		},
		keys: func(user string) storedKeys { return c.sim.credentials.derive(c.account(user), m.hash) },
	}
	reply, err := sc.first(msg)
	if err != nil {
		return "", nil, err
	}
	if msg, err = c.challenge(ctx, reply); err != nil {
		return "", nil, err
	}
	if final, err = sc.final(msg); err != nil {
		return "", nil, err
	}
	user = c.account(sc.user)
	if !c.authorized(user, sc.authzid) {
		return "", nil, refuse("invalid-authzid", "")
	}
	return user, final, nil
}

// plain checks PLAIN (RFC 4616).
func (c *connection) plain(msg []byte) (user string, err error) {
	parts := bytes.Split(msg, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[2]) == 0 {
		return "", refuse("malformed-request", "")
	}
	user = c.account(string(parts[1]))
	want, known := c.sim.password(user)
	same := subtle.ConstantTimeCompare([]byte(want), parts[2]) == 1
	if !same || !known {
		return "", refuse("not-authorized", "wrong user name or password")
	}
	if !c.authorized(user, string(parts[0])) {
		return "", refuse("invalid-authzid", "")
	}
	return user, nil
}

// account returns the bare JID that a user name means on this stream. A name that
// is no local part gives a JID that no account has.
func (c *connection) account(user string) string {
	a, ok := parseAddress(user + "@" + c.domain)
	if !ok || a.resource != "" || a.domain != c.domain {
		return user + "@"
	}
	return a.bare()
}

// authorized reports whether a user may act as authzid: only as itself.
func (c *connection) authorized(user, authzid string) bool {
	if authzid == "" {
		return true
	}
	a, ok := parseAddress(authzid)
	return ok && a.resource == "" && a.bare() == user
}

// challenge sends data and returns the response.
func (c *connection) challenge(ctx context.Context, data []byte) ([]byte, error) {
	b := []byte("<challenge xmlns='" + wire.NSSASL + "'>")
	b = base64.StdEncoding.AppendEncode(b, data)
	if err := c.stream.Send(append(b, "</challenge>"...)); err != nil {
		return nil, err
	}
	el, _, err := c.next(ctx)
	switch {
	case err != nil:
		return nil, err
	case el.Space == wire.NSSASL && el.Name == "abort":
		return nil, refuse("aborted", "")
	case el.Space != wire.NSSASL || el.Name != "response":
		return nil, leave("not-authorized", "a SASL response was expected")
	}
	msg, err := decodeSASL(el.Text())
	if msg == nil && err == nil {
		msg = []byte{}
	}
	return msg, err
}

// decodeSASL decodes the text of auth and response. Nil means that there is none,
// which differs from "=", the empty one (RFC 6120 §6.4.2).
func decodeSASL(text string) ([]byte, error) {
	switch text {
	case "":
		return nil, nil
	case "=":
		return []byte{}, nil
	}
	msg, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, refuse("incorrect-encoding", "")
	}
	return msg, nil
}
