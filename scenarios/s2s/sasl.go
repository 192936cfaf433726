package s2s

import (
	"encoding/base64"
	"errors"
	"time"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// offerExternal announces SASL EXTERNAL where the peer's certificate can carry it
// (RFC 6120 §6.4.1, XEP-0178 §4).
func offerExternal(s *Stream, dst []byte) []byte {
	if !s.trusted(s.remote) {
		return dst
	}
	return append(dst, "<mechanisms xmlns='"+wire.NSSASL+"'><mechanism>EXTERNAL</mechanism></mechanisms>"...)
}

// beginExternal authenticates with the certificate (RFC 6120 §6, XEP-0178 §3).
func beginExternal(n *negotiation) error {
	s := n.s
	if !s.peer.external {
		return &UnspokenError{Peer: s.remote, Missing: "SASL EXTERNAL: it does not accept the certificate for " + s.local}
	}
	s.host.tally.add(FigureSASL, 1)
	auth := "<auth xmlns='" + wire.NSSASL + "' mechanism='EXTERNAL'>" + base64.StdEncoding.EncodeToString([]byte(s.local)) + "</auth>"
	if err := n.send([]byte(auth)); err != nil {
		return err
	}
	s.opened.Asked = time.Now()
	el, err := n.next()
	if err != nil {
		return err
	}
	s.opened.Granted = time.Now()
	if el.Space != wire.NSSASL || el.Name != "success" {
		reason := "not-authorized"
		if c := el.Child(wire.NSSASL, ""); c != nil {
			reason = c.Name
		}
		return &ProofError{Domain: s.local, Reason: reason, Err: errors.New("SASL EXTERNAL was refused")}
	}
	return n.restart()
}

// maxAuths is how many authentications may fail on one stream (RFC 6120 §6.4.5).
const maxAuths = 3

// authenticate answers an element of SASL.
func (s *Stream) authenticate(el *wire.Element, r *reception) error {
	v := s.host.c.Variant
	if el.Name != "auth" || v.authenticated == nil {
		return streamError("unsupported-stanza-type", "SASL is not on offer")
	}
	fail := func(condition string) error {
		s.failures++
		if err := s.wire.Send([]byte("<failure xmlns='" + wire.NSSASL + "'><" + condition + "/></failure>")); err != nil {
			return err
		}
		if s.failures >= maxAuths {
			return streamError(wire.PolicyViolation, "too many failed authentications")
		}
		return nil
	}
	if el.Attr("mechanism") != "EXTERNAL" {
		return fail("invalid-mechanism")
	}
	id := s.remote
	switch text := el.Text(); text {
	case "", "=":
	default:
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return fail("incorrect-encoding")
		}
		id = domainOf(b)
	}
	// The identity is that of the stream: another one would be a second authority in one breath.
	if id != s.remote || !s.trusted(id) {
		return fail("not-authorized")
	}
	if err := s.wire.Send([]byte("<success xmlns='" + wire.NSSASL + "'/>")); err != nil {
		return err
	}
	if err := s.wire.Restart(); err != nil {
		return err
	}
	s.settled, r.greeted = true, false
	return nil
}
