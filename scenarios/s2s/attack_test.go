package s2s_test

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xmppbench/xmppbench/internal/golden"
	"github.com/xmppbench/xmppbench/scenarios/s2s"
)

//go:generate go test -run "^(TestAttacks|TestDocumentation)$" . -update

// An attack is one thing that a foe does to a host.
type attack struct {
	name string
	// only says where it makes sense; nil is everywhere.
	only func(g *ground) bool
	// on says that it begins on a stream which has authority for (f1, b1), opened
	// with the kind of certificate.
	on   bool
	kind string
	// change, where set, changes the host before.
	change func(*s2s.Config)
	run    func(a *arena, p *scripted) string
	// right says where the stanza may be delivered: what the foe does is no attack
	// there, since the proof is another one. Nil is nowhere.
	right func(g *ground) bool
}

func everywhere(*ground) bool        { return true }
func headers(g *ground) bool         { return g.proof != byConfiguration }
func encrypted(g *ground) bool       { return g.tls != s2s.TLSNone }
func negotiated(g *ground) bool      { return encrypted(g) && headers(g) }
func sasl(g *ground) bool            { return g.proof == bySASL || g.proof == byMux }
func noSASL(g *ground) bool          { return headers(g) && !sasl(g) }
func attributes(g *ground) bool      { return g.proof == byAttributes }
func keys(g *ground) bool            { return g.proof == byKey }
func oneWay(g *ground) bool          { return !g.layout.Both() }
func isOpen(g *ground) bool          { return g.open }
func openOrDANE(g *ground) bool      { return g.open || g.variant == "shared-dane" }
func openOrPublished(g *ground) bool { return openOrDANE(g) || g.variant == "shared-posh" }
func wide(g *ground) bool {
	return g.proof == byMux || g.proof == byConfiguration || g.given["granularity"] == "domain"
}

// attacks are what a foe with two domains of its own does to a host. What comes of
// them stands in docs/variants.md.
func attacks() []attack {
	var all []attack
	all = append(all, headerAttacks()...)
	all = append(all, certificateAttacks()...)
	all = append(all, proofAttacks()...)
	all = append(all, attributeAttacks()...)
	all = append(all, stanzaAttacks()...)
	return append(all, serverAttacks()...)
}

// headerAttacks happen before anything is proved.
func headerAttacks() []attack {
	opening := func(header string) func(a *arena, _ *scripted) string {
		return func(a *arena, _ *scripted) string { return a.connect(a.foe).begin(header) }
	}
	arriving := func(o approach) func(a *arena, _ *scripted) string {
		return func(a *arena, _ *scripted) string {
			_, out := a.approach(a.foe, o)
			return out
		}
	}
	plain := func(run func(a *arena, p *scripted) string) func(a *arena, _ *scripted) string {
		return func(a *arena, _ *scripted) string {
			p := a.connect(a.foe)
			if out := p.open(f1, b1); out != "" {
				return out
			}
			return run(a, p)
		}
	}
	right := headerOf("from", f1, "to", b1, "version", "1.0")
	return []attack{
		{name: "header to a domain that is not hosted", only: headers, run: opening(headerOf("from", f1, "to", nobody, "version", "1.0"))},
		{name: "header without `to`", only: headers, run: opening(headerOf("from", f1, "version", "1.0"))},
		{name: "header without `version`", only: headers, run: opening(headerOf("from", f1, "to", b1))},
		{name: "header of the namespace `jabber:client`", only: headers, run: opening(strings.Replace(right, nsServer, "jabber:client", 1))},
		{name: "header of 20 kB", only: headers, run: opening(headerOf("from", strings.Repeat("x", 20<<10), "to", b1, "version", "1.0"))},
		{name: "no XML at all", only: headers, run: opening("GET / HTTP/1.1\r\n\r\n")},
		{name: "something before the header", only: headers, run: opening("<message from='u@f1.test' to='v@b1.test' id='poison'/>")},
		{name: "document type before the header", only: headers, run: opening("<!DOCTYPE x [<!ENTITY e 'e'>]>" + right)},
		{name: "header without `from` after TLS", only: headers, run: plain(func(a *arena, p *scripted) string {
			if out := p.startTLS(a.config(a.foe, approach{from: f1, to: b1})); out != "" {
				return out
			}
			return p.begin(headerOf("to", b1, "version", "1.0"))
		})},
		{name: "header's `to` changes with TLS", only: headers, run: arriving(approach{from: f1, to: b1, firstTo: b2, noSNI: true})},
		{name: "header's `from` changes with TLS to one without proof", only: headers, run: func(a *arena, _ *scripted) string {
			p, out := a.approach(a.foe, approach{from: c1, first: f1, to: b1})
			if out != "" {
				return out
			}
			return a.claim(a.foe, p, c1, b1)
		}},
		{name: "header's `from` changes after SASL", only: sasl, run: restarted(c1, b1)},
		{name: "header's `to` changes after SASL", only: sasl, run: restarted(f1, b2)},
		{name: "SNI of a domain that is not hosted", only: encrypted, run: arriving(approach{from: f1, to: b1, sni: nobody})},
		{name: "SNI of one hosted domain, header to another", only: negotiated, run: arriving(approach{from: f1, to: b1, sni: b2})},
		{name: "ALPN `xmpp-client`", only: encrypted, run: arriving(approach{from: f1, to: b1, alpn: "xmpp-client"})},
		{name: "no TLS: proof in the clear", only: headers, run: plain(func(a *arena, p *scripted) string { return a.claim(a.foe, p, f1, b1) })},
		{name: "no TLS: stanza in the clear", only: headers, run: plain(func(a *arena, p *scripted) string { return a.say(p, f1, b1) })},
		{name: "STARTTLS with a proof injected behind it", only: headers, run: plain(func(a *arena, p *scripted) string {
			p.printf("<starttls xmlns='%s'/><db:result from='%s' to='%s'>%s</db:result>", nsTLS, f1, b1, keyFor(a.foe.secret, b1, f1, p.id))
			if n := p.next(); !n.is(nsTLS, "proceed") {
				return p.outcome(n)
			}
			return p.outcome(p.next())
		})},
	}
}

// restarted sasl rightly and goes on as somebody else.
func restarted(from, to string) func(a *arena, _ *scripted) string {
	return func(a *arena, _ *scripted) string {
		p, out := a.approach(a.foe, approach{from: f1, to: b1})
		if out != "" {
			return out
		}
		if out := p.auth(f1); out != accepted {
			return out
		}
		if out := p.open(from, to); out != "" {
			return out
		}
		return a.say(p, from, to)
	}
}

// certificateAttacks are about who the foe's certificate says that it is.
func certificateAttacks() []attack {
	with := func(kind string) func(a *arena, _ *scripted) string {
		return func(a *arena, _ *scripted) string { return a.prove(approach{kind: kind}) }
	}
	return []attack{
		{name: "no certificate", only: encrypted, run: with(without), right: isOpen},
		{name: "certificate that has expired", only: encrypted, run: with(expired), right: openOrDANE},
		{name: "certificate that expired a second ago, by the host's clock", only: encrypted, run: with(short), right: openOrDANE,
			change: func(c *s2s.Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour + time.Second) } }},
		{name: "certificate of another name", only: encrypted, run: with(misnamed), right: isOpen},
		{name: "certificate of an unknown authority", only: encrypted, run: with(untrusted), right: isOpen},
		{name: "certificate signed by itself", only: encrypted, run: with(selfmade), right: isOpen},
		{name: "certificate of an authority, with the right name", only: encrypted, run: with(authority), right: isOpen},
		{name: "certificate without clientAuth, where that is wanted", only: encrypted, run: with(server), right: openOrPublished,
			change: func(c *s2s.Config) { c.Credentials.ClientAuth = true }},
		{name: "TLS session of another domain's certificate resumed", only: negotiated, run: resumed,
			change: func(c *s2s.Config) { c.Params.Resumption = true }},
		{name: "certificate that expires while its stream lives", only: encrypted, on: true, kind: short, run: func(a *arena, p *scripted) string {
			a.ahead.Store(int64(2 * time.Hour))
			return a.say(p, f1, b1)
		}},
		{name: "domain that is hosted here, without a certificate for it", run: func(a *arena, _ *scripted) string { return a.prove(approach{from: b2}) }},
		{name: "domain that is hosted here, with a certificate for it", only: encrypted, run: func(a *arena, _ *scripted) string {
			return a.prove(approach{from: b2, kind: stolen})
		}},
	}
}

// resumed resumes the TLS session that the foe's own certificate was shown for, as
// another domain and without a certificate.
func resumed(a *arena, _ *scripted) string {
	cache := tls.NewLRUClientSessionCache(1)
	p, out := a.approach(a.foe, approach{from: f1, to: b1, cache: cache})
	if out != "" {
		return out
	}
	p.settle(b1)
	p.close()
	p, out = a.approach(a.foe, approach{from: c1, to: b1, cache: cache, kind: without})
	if out != "" {
		return out
	}
	if !p.conn.(*tls.Conn).ConnectionState().DidResume {
		a.t.Error("the session was not resumed")
	}
	return a.claim(a.foe, p, c1, b1)
}

// proofAttacks are about the exchange of proof itself.
func proofAttacks() []attack {
	fresh := func(from string, run func(a *arena, p *scripted) string) func(a *arena, p *scripted) string {
		return func(a *arena, _ *scripted) string {
			p, out := a.approach(a.foe, approach{from: from, to: b1})
			if out != "" {
				return out
			}
			return run(a, p)
		}
	}
	return []attack{
		{name: "sender's domain that is not in the DNS", only: headers, run: func(a *arena, _ *scripted) string { return a.prove(approach{from: ghost}) }},
		{name: "sender's domain whose server cannot be reached", only: headers, run: func(a *arena, _ *scripted) string { return a.prove(approach{from: lost}) }},
		{name: "SASL EXTERNAL as another domain", only: sasl, run: fresh(f1, func(_ *arena, p *scripted) string { return p.auth(c1) })},
		{name: "SASL EXTERNAL as another domain, three times", only: sasl, run: fresh(f1, func(_ *arena, p *scripted) string {
			for range 3 {
				p.auth(c1)
			}
			return p.outcome(p.next())
		})},
		{name: "SASL PLAIN", only: sasl, run: fresh(f1, func(_ *arena, p *scripted) string {
			p.printf("<auth xmlns='%s' mechanism='PLAIN'>AGYxAHg=</auth>", nsSASL)
			return p.outcome(p.next())
		})},
		{name: "SASL where none is offered", only: noSASL, run: fresh(f1, func(_ *arena, p *scripted) string { return p.auth(f1) })},
		{name: "forged key, first on its stream", only: headers, run: fresh(c1, func(a *arena, p *scripted) string { return a.ask(p, c1, b1, "0") })},
		{name: "forged key, on a stream with authority", on: true, run: func(_ *arena, p *scripted) string { return p.result(c1, b1, "0") }},
		{name: "forged key, and the verdict on it behind it on the same stream", only: keys, run: fresh(c1, func(_ *arena, p *scripted) string {
			p.printf("<db:result from='%s' to='%s'>0</db:result><db:verify from='%s' to='%s' id='%s' type='valid'/>", c1, b1, c1, b1, p.id)
			return p.answer(c1, b1)
		})},
		{name: "two forged keys for one pair at once", only: keys, on: true, run: func(a *arena, p *scripted) string {
			hold := make(chan struct{})
			a.honest.hook(func() {
				a.honest.verify = func(n *xmlElement) (string, string) {
					<-hold
					return "invalid", n.attr("id")
				}
			})
			p.printf("<db:result from='%s' to='%s'>0</db:result><db:result from='%s' to='%s'>1</db:result>", c1, b1, c1, b1)
			second := p.answer(c1, b1)
			close(hold)
			return p.answer(c1, b1) + ", " + second
		}},
		{name: "key of another stream", only: keys, run: fresh(f1, func(a *arena, p *scripted) string {
			return a.ask(p, f1, b1, keyFor(a.foe.secret, b1, f1, p.id+"x"))
		})},
		{name: "key of another pair", only: keys, run: fresh(f1, func(a *arena, p *scripted) string {
			return a.ask(p, f1, b1, keyFor(a.foe.secret, b2, f1, p.id))
		})},
		{name: "forged key, and a verdict with another id before the right one", only: keys, run: func(a *arena, _ *scripted) string {
			a.foe.hook(func() {
				a.foe.heard = func(p *scripted, n *xmlElement) bool {
					if n.is(nsDialback, "verify") && n.attr("type") == "" {
						p.printf("<db:verify from='%s' to='%s' id='%sx' type='valid'/>", n.attr("to"), n.attr("from"), n.attr("id"))
					}
					return true
				}
			})
			p, out := a.approach(a.foe, approach{from: f1, to: b1})
			if out != "" {
				return out
			}
			return a.ask(p, f1, b1, "0")
		}},
		{name: "dialback for a domain that is not hosted", on: true, run: func(_ *arena, p *scripted) string { return p.result(f1, nobody, "0") }},
		{name: "dialback from a domain that is hosted here", on: true, run: func(_ *arena, p *scripted) string { return p.result(b2, b1, "0") }},
		{name: "dialback without `from`", on: true, run: func(a *arena, p *scripted) string {
			p.printf("<db:result%s to='%s'>0</db:result>", p.db(), b1)
			return a.settle(p)
		}},
		{name: "acceptance that nobody asked for", on: true, run: func(a *arena, p *scripted) string {
			p.printf("<db:result%s from='%s' to='%s' type='valid'/>", p.db(), c1, b1)
			return a.settle(p)
		}},
		{name: "cut in the middle of dialback", only: headers, run: fresh(f1, func(a *arena, p *scripted) string {
			p.printf("<db:result from='%s' to='%s'>%s</db:res", f1, b1, keyFor(a.foe.secret, b1, f1, p.id))
			return a.gone(p)
		})},
		{name: "cut in the middle of SASL", only: sasl, run: fresh(f1, func(a *arena, p *scripted) string {
			p.printf("<auth xmlns='%s' mechanism='EXTERNAL'>ZjEudGVzdA==</auth", nsSASL)
			return a.gone(p)
		})},
		{name: "key of 100 kB", on: true, run: func(_ *arena, p *scripted) string { return p.result(f1, b1, strings.Repeat("0", 100<<10)) }},
		{name: "element that nobody knows", on: true, run: func(a *arena, p *scripted) string {
			p.printf("<x xmlns='urn:x'/>")
			return a.settle(p)
		}},
		{name: "second header inside the stream", on: true, run: func(a *arena, p *scripted) string {
			p.printf("<stream:stream to='%s' from='%s' version='1.0' xmlns='jabber:server'></stream:stream>", b1, c1)
			return a.settle(p)
		}},
	}
}

// stanzaAttacks are about stanzas on a stream that has authority for something else.
func stanzaAttacks() []attack {
	saying := func(from, to string) func(a *arena, p *scripted) string {
		return func(a *arena, p *scripted) string { return a.say(p, from, to) }
	}
	writing := func(stanza string) func(a *arena, p *scripted) string {
		return func(a *arena, p *scripted) string {
			p.printf("%s", stanza)
			return a.settle(p)
		}
	}
	return []attack{
		{name: "stanza before any proof", only: headers, run: func(a *arena, _ *scripted) string {
			p, out := a.approach(a.foe, approach{from: f1, to: b1})
			if out != "" {
				return out
			}
			return a.say(p, f1, b1)
		}},
		{name: "stanza from another provider's domain", on: true, run: saying(c1, b1)},
		{name: "stanza from a domain that is hosted here", on: true, run: saying(b2, b1)},
		{name: "stanza from a subdomain of a proved domain", on: true, run: saying("sub.f1.test", b1)},
		{name: "stanza from a proved domain in capitals and with a final dot", on: true, run: saying("F1.TEST.", "B1.Test."), right: everywhere},
		{name: "stanza whose `from` is another domain once it is unescaped", on: true,
			run: writing("<message from='c1.test&#47;@f1.test' to='v@b1.test' id='poison'/>")},
		{name: "stanza whose `from` is proved once it is unescaped", on: true,
			run: writing("<message from='u@&#102;1.test' to='v@b1.test' id='poison'/>"), right: everywhere},
		{name: "stanza with two `from`", on: true, run: writing("<message from='u@f1.test' from='u@c1.test' to='v@b1.test' id='poison'/>")},
		{name: "stanza whose tags do not match", on: true, right: everywhere,
			run: writing("<message from='u@f1.test' to='v@b1.test' id='poison'><body>x</boby></message>")},
		{name: "stanza of the namespace `jabber:client`", on: true, run: writing("<message xmlns='jabber:client' from='u@f1.test' to='v@b1.test' id='poison'/>")},
		{name: "stanza without `from`", on: true, run: writing("<message to='v@b1.test' id='poison'/>")},
		{name: "stanza without `to`", on: true, run: writing("<message from='u@f1.test' id='poison'/>")},
		{name: "stanza with an empty `from`", on: true, run: writing("<message from='' to='v@b1.test' id='poison'/>")},
		{name: "stanza from a user of no domain", on: true, run: writing("<message from='u@' to='v@b1.test' id='poison'/>")},
		{name: "stanza to a domain that is not hosted", on: true, run: saying(f1, nobody)},
		{name: "stanza to a hosted domain without proof for the pair", on: true, right: wide,
			run: func(a *arena, p *scripted) string { return a.returned(a.say(p, f1, b3)) }},
		{name: "error from another provider's domain", on: true, run: writing("<message type='error' from='u@c1.test' to='v@b1.test' id='poison'/>")},
		{name: "101 stanzas from another provider's domain", on: true, run: func(a *arena, p *scripted) string {
			for range 101 {
				p.message(c1, b1, poison)
			}
			for {
				if out := p.outcome(p.next()); out != "bounced: not-authorized" {
					return out
				}
			}
		}},
		{name: "stanza of 100 kB", on: true, run: func(a *arena, p *scripted) string {
			p.message(f1, b1, poison+strings.Repeat("x", 100<<10))
			return a.settle(p)
		}},
		{name: "comment between stanzas", on: true, run: writing("<!-- x --><message from='u@f1.test' to='v@b1.test' id='poison'/>")},
		{name: "stanza in the other direction of a one-way stream", only: oneWay, run: func(a *arena, _ *scripted) string {
			return a.heard(a.reverse(f1), "<message from='u@%s' to='v@%s' id='%s'/>", f1, b1, poison)
		}},
		{name: "dialback in the other direction of a one-way stream", only: oneWay, run: func(a *arena, _ *scripted) string {
			p := a.reverse(f1)
			return a.heard(p, "<db:result from='%s' to='%s'>%s</db:result>", f1, b1, keyFor(a.foe.secret, b1, f1, p.id))
		}},
	}
}

// serverAttacks are done by whoever the host connects to.
func serverAttacks() []attack {
	return []attack{
		{name: "the DNS leads the host to the foe", run: func(a *arena, _ *scripted) string { return a.send(led) }},
		{name: "server without STARTTLS", only: headers, run: func(a *arena, _ *scripted) string {
			a.lone.hook(func() { a.lone.silent = true })
			return a.send(lone)
		}},
		{name: "server with a certificate of another name", only: encrypted, run: func(a *arena, _ *scripted) string { return a.send(lone) }},
	}
}

// sent puts into words what became of a stanza of the host's own.
func sent(err error) string {
	var bounced *s2s.RouteError
	switch {
	case err == nil:
		return "sent"
	case errors.As(err, &bounced):
		return "not sent: " + bounced.Condition
	}
	return "not sent: " + err.Error()
}

// verdict is what came of an attack in a variant.
type verdict struct {
	outcome      string
	lost, others int
}

// TestAttacks runs every attack against every variant, with both settings of unauth,
// and holds the table in docs/variants.md to what came of it.
func TestAttacks(t *testing.T) {
	settings := []string{string(s2s.UnauthClose), string(s2s.UnauthBounce)}
	var mu sync.Mutex
	verdicts := map[string]verdict{}
	t.Run("all", func(t *testing.T) {
		for _, c := range conducts() {
			g := newGround(t, c)
			for _, unauth := range settings {
				for _, k := range attacks() {
					if k.only != nil && !k.only(g) {
						continue
					}
					t.Run(c.name+"/"+unauth+"/"+k.name, func(t *testing.T) {
						t.Parallel()
						v := k.against(t, g, unauth)
						mu.Lock()
						defer mu.Unlock()
						verdicts[k.name+"|"+c.name+"|"+unauth] = v
					})
				}
			}
		}
	})
	tested := map[string]bool{}
	for _, c := range conducts() {
		tested[c.variant] = true
	}
	for _, v := range s2s.Variants() {
		if !tested[v.Name] {
			t.Errorf("nobody attacks %s: add its conduct", v.Name)
		}
	}
	if t.Failed() {
		return
	}
	golden.Part(t, filepath.Join("..", "..", "docs", "variants.md"), "attacks", attackTable(settings, verdicts))
}

// against runs the attack once.
func (k attack) against(t *testing.T, g *ground, unauth string) verdict {
	a := newArena(t, g, unauth, k.change)
	p := a.pledge(k.on, k.kind)
	v := verdict{outcome: k.run(a, p)}
	v.lost, v.others = a.lost(), len(a.others)
	if n := a.delivered(poison); n > 0 != (v.outcome == delivered) {
		t.Errorf("%d delivered, but the outcome is %s", n, v.outcome)
	}
	if v.outcome == delivered && (k.right == nil || !k.right(g)) {
		t.Errorf("delivered")
	}
	return v
}

// attackTable sets out the outcomes. Variants with the same one share a row.
func attackTable(settings []string, verdicts map[string]verdict) string {
	var b strings.Builder
	b.WriteString("| attack | `unauth` | outcome | others lost | variants |\n| --- | --- | --- | --- | --- |\n")
	for _, k := range attacks() {
		var order []string
		where := map[string][]conduct{}
		add := func(unauth string, v verdict, c conduct) {
			lost := "none"
			if v.lost > 0 {
				lost = fmt.Sprintf("%d of %d", v.lost, v.others)
			}
			row := fmt.Sprintf("%s | %s | %s", unauth, v.outcome, lost)
			if where[row] == nil {
				order = append(order, row)
			}
			where[row] = append(where[row], c)
		}
		for _, c := range conducts() {
			closes, ok := verdicts[k.name+"|"+c.name+"|"+settings[0]]
			if !ok {
				continue
			}
			bounces := verdicts[k.name+"|"+c.name+"|"+settings[1]]
			if closes == bounces {
				add("either", closes, c)
				continue
			}
			add("close", closes, c)
			add("bounce", bounces, c)
		}
		slices.SortFunc(order, func(x, y string) int {
			return cmp.Or(-strings.Compare(x[:1], y[:1]), cmp.Compare(len(where[y]), len(where[x])), strings.Compare(x, y))
		})
		for i, row := range order {
			name := k.name
			if i > 0 {
				name = ""
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, row, named(where[row]))
		}
	}
	return b.String()
}

// named lists conducts in as few words as there are.
func named(some []conduct) string {
	has := func(c conduct) bool {
		return slices.ContainsFunc(some, func(x conduct) bool { return x.name == c.name })
	}
	var in, out []string
	all := conducts()
	for i := 0; i < len(all); {
		n := 1 // conducts of this variant
		for i+n < len(all) && all[i+n].variant == all[i].variant {
			n++
		}
		var with, without []string
		for _, c := range all[i : i+n] {
			if has(c) {
				with = append(with, "`"+c.name+"`")
			} else {
				without = append(without, "`"+c.name+"`")
			}
		}
		if len(without) == 0 {
			with = []string{"`" + all[i].variant + "`"}
		}
		if len(with) == 0 {
			without = []string{"`" + all[i].variant + "`"}
		}
		in, out = append(in, with...), append(out, without...)
		i += n
	}
	switch {
	case len(out) == 0:
		return "all"
	case len(out) < len(in):
		return "all but " + strings.Join(out, ", ")
	}
	return strings.Join(in, ", ")
}
