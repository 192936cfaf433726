package xk6xmpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.k6.io/k6/v2/js/modulestest"
	"go.k6.io/k6/v2/lib"
	"go.k6.io/k6/v2/metrics"
	"go.uber.org/goleak"
	"gopkg.in/guregu/null.v3"

	"github.com/xmppbench/xmppbench/internal/population"
	"github.com/xmppbench/xmppbench/internal/wire"
	"github.com/xmppbench/xmppbench/simulator"
)

// simulated is a simulator for tests: accounts u0000000@sim.test and up, password "pw".
type simulated struct {
	*simulator.Simulator
	plain, secure string // addresses
}

// simulate starts a simulator with rosters of the given size.
func simulate(t testing.TB, contacts int) *simulated {
	t.Helper()
	s, err := simulator.Start(t.Context(), simulator.Config{
		Populations: []population.Config{{Seed: 1, Domains: []string{"sim.test"}, Accounts: 100, Contacts: contacts, Password: "pw"}},
		Listeners: []simulator.Listener{
			{Address: "127.0.0.1:0", Security: simulator.Plaintext}, {Address: "127.0.0.1:0"},
		},
		Iterations: 16, Conflict: simulator.ConflictReplace,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return &simulated{s, s.Addrs()[0].String(), s.Addrs()[1].String()}
}

// user is one virtual user under test.
type user struct {
	*modulestest.Runtime
	t       testing.TB
	root    *RootModule
	virtual bool // in a bubble of time
	state   *lib.State
	samples chan metrics.SampleContainer

	mu  sync.Mutex
	all []metrics.Sample
	ran sync.WaitGroup
}

// newUser makes a virtual user that has imported the module. Its script sees the
// exports, and HOST and PORT of address.
func newUser(t testing.TB, root *RootModule, address string, sim *simulated) *user {
	t.Helper()
	rt := modulestest.NewRuntime(t)
	u := &user{Runtime: rt, t: t, root: root, samples: make(chan metrics.SampleContainer, 1000)}
	registry := rt.VU.InitEnvField.Registry
	m := root.NewModuleInstance(rt.VU)
	for name, value := range m.Exports().Named {
		must(rt.VU.RuntimeField, rt.VU.RuntimeField.Set(name, value))
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rt.VU.RuntimeField.RunString(fmt.Sprintf(`
		const server = { host: %q, port: %s, tls: { mode: "none" } };
		const account = (i) => ({ jid: "u" + String(i).padStart(7, "0") + "@sim.test", password: "pw", ...server });
		function equal(got, want, what) {
			if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(what + ": " + JSON.stringify(got) + " is not " + JSON.stringify(want));
		}
		function ok(yes, what) { if (!yes) throw new Error(what); }
		async function rejects(promise, want) {
			let e;
			try { await promise; } catch (x) { e = x; }
			ok(e instanceof XMPPError, "rejected with " + e + ", want an XMPPError " + want);
			equal(e.stage + ":" + e.condition, want, "rejection (" + e.message + ")");
			return e;
		}
		function throws(f, want) {
			let e;
			try { f(); } catch (x) { e = x; }
			ok(e instanceof TypeError && e.message.includes(want), "thrown " + e + ", want a TypeError with " + want);
		}
		const sleep = (ms) => new Promise((r) => setTimeout(r, ms));
	`, host, port))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if sim != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(sim.CA())
	}
	u.state = &lib.State{
		Options: lib.Options{SystemTags: metrics.NewSystemTagSet(metrics.TagProto, metrics.TagScenario), Throw: null.BoolFrom(true)},
		Dialer:  &net.Dialer{}, TLSConfig: config, Samples: u.samples, Tags: lib.NewVUStateTags(registry.RootTagSet()),
		Logger: rt.VU.InitEnvField.Logger, BuiltinMetrics: rt.BuiltinMetrics, VUID: 1, VUIDGlobal: 1, TestStatus: lib.NewTestStatus(),
		GetScenarioGlobalVUIter: func() uint64 { return 0 },
	}
	rt.MoveToVUContext(u.state)
	u.ran.Go(func() {
		for c := range u.samples {
			u.mu.Lock()
			u.all = append(u.all, c.GetSamples()...)
			u.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		root.closeAll()
		close(u.samples)
		u.ran.Wait()
	})
	return u
}

// run runs an iteration as k6 does: the script until nothing is left to do, then the end
// of its context.
func (u *user) run(script string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	return u.iteration(ctx, cancel, script)
}

func (u *user) iteration(ctx context.Context, cancel func(), script string) error {
	u.VU.CtxField = ctx
	err := u.EventLoop.Start(func() error {
		_, err := u.VU.RuntimeField.RunString("(async () => {" + script + "\n})()")
		return err
	})
	cancel()
	u.EventLoop.WaitOnRegistered()
	return err
}

// must runs an iteration that has to succeed.
func (u *user) must(script string) {
	u.t.Helper()
	if err := u.run(script); err != nil {
		u.t.Fatal(err)
	}
}

// values returns the samples of a metric whose tags hold all of the given pairs.
func (u *user) values(name string, tags ...string) []float64 {
	u.t.Helper()
	// Samples are taken up in order: an empty one says that those before it are there.
	mark := make(chan struct{})
	u.samples <- marker(mark)
	<-mark
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []float64
	for _, s := range u.all {
		matches := s.Metric.Name == name
		for i := 0; i < len(tags); i += 2 {
			got, _ := s.Tags.Get(tags[i])
			matches = matches && got == tags[i+1]
		}
		if matches {
			out = append(out, s.Value)
		}
	}
	return out
}

// sum adds up the samples of a metric.
func (u *user) sum(name string, tags ...string) float64 {
	var sum float64
	for _, v := range u.values(name, tags...) {
		sum += v
	}
	return sum
}

// marker is a container without samples that tells when it is taken.
type marker chan struct{}

func (m marker) GetSamples() []metrics.Sample { close(m); return nil }

// cancelled runs a script and ends its iteration while it waits: all promises must be
// settled within a second, where a machine that is busy cannot delay that, and otherwise
// long before any time-out of theirs.
func (u *user) cancelled(script string) {
	u.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	must(u.VU.RuntimeField, u.VU.RuntimeField.Set("waiting", func() { time.AfterFunc(20*time.Millisecond, cancel) }))
	done := make(chan error, 1)
	go func() { done <- u.iteration(ctx, cancel, script) }()
	<-ctx.Done()
	bound := 10 * time.Second
	if u.virtual {
		bound = time.Second
	}
	select {
	case err := <-done:
		if err != nil && !strings.Contains(err.Error(), "context canceled") {
			u.t.Error(err)
		}
	case <-time.After(bound):
		u.t.Fatalf("a promise is not settled %v after the end of the iteration", bound)
	}
}

// alone waits until no session is left.
func (u *user) alone() {
	u.t.Helper()
	for i := 0; u.root.active() > 0; i++ {
		if i == 2000 {
			u.t.Fatalf("%d sessions outlive the iteration", u.root.active())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// fake is a server that authenticates anybody and does with stanzas what a test says.
type fake struct {
	net.Listener
	t         testing.TB
	wg        sync.WaitGroup
	mechanism string // of SASL, which lets in whoever comes
	silent    bool   // acknowledges nothing
	clogged   bool   // reads nothing after the login
	// stanza is called for each stanza after the login and returns what to send.
	stanza func(jid string, el *wire.Element) string
}

func newFake(t testing.TB, stanza func(jid string, el *wire.Element) string) *fake {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{Listener: ln, t: t, mechanism: "PLAIN", stanza: stanza}
	ctx, cancel := context.WithCancel(context.Background())
	f.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			f.wg.Go(func() { f.serve(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		f.wg.Wait()
	})
	return f
}

func (f *fake) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	s := wire.NewStream(c, nil, wire.StreamOptions{Server: true, CloseTimeout: 100 * time.Millisecond})
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Close(closing)
	}()
	header := func(features string) bool {
		if _, err := s.Next(ctx); err != nil {
			return false
		}
		b := wire.AppendHeader(nil, wire.Header{From: "sim.test", ID: "fake"})
		return s.Send(append(b, "<stream:features>"+features+"</stream:features>"...)) == nil
	}
	next := func() *wire.Element {
		st, err := s.Next(ctx)
		if err != nil {
			return nil
		}
		el, err := st.Element()
		if err != nil {
			return nil
		}
		return el
	}
	if !header("<mechanisms xmlns='"+wire.NSSASL+"'><mechanism>"+f.mechanism+"</mechanism></mechanisms>") || next() == nil ||
		s.Send([]byte("<success xmlns='"+wire.NSSASL+"'/>")) != nil || s.Restart() != nil || !header("<bind xmlns='"+wire.NSBind+"'/><sm xmlns='"+wire.NSSM+"'/>") {
		return
	}
	const jid = "u0000001@sim.test/fake"
	handled := 0 // by stream management
	for el := next(); el != nil; el = next() {
		var answer string
		switch {
		case el.Child(wire.NSBind, "bind") != nil:
			answer = string(wire.AppendIQ(nil, "result", el.Attr("id"), "", "", []byte("<bind xmlns='"+wire.NSBind+"'><jid>"+jid+"</jid></bind>")))
		case el.Name == "enable":
			answer = "<enabled xmlns='" + wire.NSSM + "' id='s' resume='true'/>"
		case el.Name == "resume":
			answer = "<resumed xmlns='" + wire.NSSM + "' previd='s' h='0'/>"
		case el.Name == "r" && f.silent:
		case el.Name == "r":
			answer = fmt.Sprintf("<a xmlns='%s' h='%d'/>", wire.NSSM, handled)
		default:
			handled++
			answer = f.stanza(jid, el)
		}
		if answer != "" && s.Send([]byte(answer)) != nil {
			return
		}
		if f.clogged {
			<-ctx.Done()
		}
	}
}

// silent answers nothing.
func silent(string, *wire.Element) string { return "" }

// login is how clients log in at a fake.
const plainLogin = `{ ...account(1), mechanisms: ["PLAIN"] }`

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
