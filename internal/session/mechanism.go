package session

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Names of the SASL mechanisms that a client can use.
const (
	ScramSHA256Plus = "SCRAM-SHA-256-PLUS" // RFC 7677, bound to the TLS connection
	ScramSHA256     = "SCRAM-SHA-256"
	ScramSHA1Plus   = "SCRAM-SHA-1-PLUS" // RFC 5802
	ScramSHA1       = "SCRAM-SHA-1"
	Plain           = "PLAIN"     // RFC 4616; over TLS only, unless Config.PlainInClear
	External        = "EXTERNAL"  // the TLS client certificate (RFC 6120 §6.3.8, XEP-0178)
	Anonymous       = "ANONYMOUS" // RFC 4505, without a trace; the server makes up the account (XEP-0175)
)

// DefaultMechanisms returns what a login tries when it is not told otherwise, best first. Over TLS 1.3 it then uses a
// -PLUS mechanism only if the server says by XEP-0440 that it knows tls-exporter: ejabberd 23.01 for one offers -PLUS
// there and refuses it.
func DefaultMechanisms() []string {
	return []string{ScramSHA256Plus, ScramSHA256, ScramSHA1Plus, ScramSHA1, Plain}
}

// mechanism is the client's half of a SASL exchange. done says that nothing is expected of the server but success.
type mechanism interface {
	start() (response []byte, done bool, err error)
	next(challenge []byte) (response []byte, done bool, err error)
}

// oneShot is a mechanism that says all it has to say at once.
type oneShot []byte

func (m oneShot) start() ([]byte, bool, error) { return m, true, nil }

func (m oneShot) next([]byte) ([]byte, bool, error) {
	return nil, false, errors.New("the server sent a challenge, which this mechanism does not have")
}

// credentials are what a login proves itself with.
type credentials struct {
	user, password string // prepared with SASLprep
	keys           *KeyCache
	maxIterations  int
	nonce          func() string
}

// wish is what the configuration allows.
type wish struct {
	mechanisms   []string // best first
	plainInClear bool
	trustPlus    bool // use tls-exporter also with a server that does not say that it knows it
}

// offer is what can be used on a connection.
type offer struct {
	mechanisms []string             // the server's
	bindings   []string             // channel bindings the server says it knows (XEP-0440); nil when it does not say
	state      *tls.ConnectionState // nil without TLS
}

// choose returns the first wanted mechanism that the server offers and this connection allows.
func (c *credentials) choose(w wish, o offer) (name string, m mechanism, err error) {
	var reasons []string
	usable := slices.Clone(w.mechanisms)
	refuse := func(name, why string) {
		usable = slices.DeleteFunc(usable, func(s string) bool { return s == name })
		reasons = append(reasons, name+": "+why)
	}
	bind, err := c.binding(w, o)
	if err != nil {
		for _, name := range []string{ScramSHA256Plus, ScramSHA1Plus} {
			if slices.Contains(usable, name) {
				refuse(name, err.Error())
			}
		}
	}
	if o.state == nil && !w.plainInClear && slices.Contains(usable, Plain) {
		refuse(Plain, "not without TLS")
	}
	for _, name := range usable {
		if !slices.Contains(o.mechanisms, name) {
			continue
		}
		m, err := c.mechanism(name, bind)
		return name, m, err
	}
	failed := &MechanismError{Wanted: usable, Offered: o.mechanisms}
	if len(reasons) > 0 {
		failed.Reason = strings.Join(reasons, "; ")
	}
	return "", nil, failed
}

// binding returns what SCRAM says about channel binding when a -PLUS mechanism is used, and in flag what it says
// when none is. An error says why no -PLUS mechanism can be used.
func (c *credentials) binding(w wish, o offer) (binding, error) {
	plus := func(name string) bool { return strings.HasSuffix(name, "-PLUS") }
	b := binding{flag: "n"}
	if !slices.ContainsFunc(w.mechanisms, plus) {
		return b, nil
	}
	name, data, err := channelBinding(o.state)
	if err != nil {
		return b, err
	}
	if !slices.ContainsFunc(o.mechanisms, plus) {
		// Tells the server, under the proof, that its list came without -PLUS: it notices if somebody removed them.
		b.flag = "y"
		return b, nil
	}
	if o.bindings == nil && name == "tls-exporter" && !w.trustPlus {
		// Servers made before RFC 9266 offer -PLUS over TLS 1.3 as well and then refuse the binding.
		return b, fmt.Errorf("the server does not say (XEP-0440) that it knows %s", name)
	}
	if o.bindings != nil && !slices.Contains(o.bindings, name) {
		return b, fmt.Errorf("the server knows the channel bindings %s, this connection has %s", list(o.bindings), name)
	}
	b.name, b.data = name, data
	return b, nil
}

func (c *credentials) mechanism(name string, b binding) (mechanism, error) {
	base, plus := strings.CutSuffix(name, "-PLUS")
	if plus {
		b.flag = "p=" + b.name
	} else {
		b.data = nil
	}
	s := &scram{user: c.user, password: c.password, binding: b, nonce: c.nonce(), cache: c.keys, maxIterations: c.maxIterations}
	switch base {
	case ScramSHA256:
		s.hash = sha256Hash()
		return s, nil
	case ScramSHA1:
		s.hash = sha1Hash()
		return s, nil
	case Plain:
		return oneShot("\x00" + c.user + "\x00" + c.password), nil
	case External, Anonymous:
		return oneShot(nil), nil
	}
	return nil, fmt.Errorf("session: unknown SASL mechanism %q", name)
}
