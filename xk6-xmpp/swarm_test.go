package xk6xmpp

import (
	"strings"
	"testing"
)

// TestSwarm runs many sessions in one virtual user.
func TestSwarm(t *testing.T) {
	sim := simulate(t, 20)
	u := newUser(t, New(), sim.plain, sim)
	u.state.VUIDGlobal = 2
	u.must(`
		const users = new UserPool({ jid: "u{i}@sim.test", password: "pw", count: 100, pad: 7 });
		const s = new Swarm({ users, size: 30, rate: 3000, ...server, roster: { mode: "chunked-push", chunk: 10 }, presence: { show: "chat", status: "number {i}" } });
		equal([s.size, s.connected], [30, 0], "before");
		const r = await s.connect();
		equal([r.connected, r.failed, r.errors], [30, 0, {}], "connect");
		equal(s.connected, 30, "connected");
		throws(() => s.connect(), "connected already");
		const c = await s.chatter({ subject: "{i}", body: "hello {i}", lang: "en", payload: "<x xmlns='urn:x' number='{i}'/>" }, { rate: 500, duration: "200ms" });
		equal([c.sent, c.received, c.failed], [100, 100, 0], "chatter");
		ok(c.mean > 0 && c.p50 > 0 && c.p99 === null && c.max >= c.p50, JSON.stringify(c));
		await s.hold("20ms");
		await s.disconnect();
		equal(s.connected, 0, "after");
	`)
	for _, tt := range []struct {
		metric string
		want   int
	}{{metricSessions, 30}, {metricLogin, 30}, {metricRoster, 30}, {metricMessage, 100}} {
		if got := len(u.values(tt.metric)); got != tt.want {
			t.Errorf("%d samples of %s, want %d", got, tt.metric, tt.want)
		}
	}
	if got := u.sum(metricSent, "kind", "message"); got != 200 {
		t.Errorf("%v messages sent", got)
	}
	if got := u.sum(metricRosterItems, "roster_mode", "chunked-push"); got != 600 {
		t.Errorf("%v items", got)
	}
	// By the iteration, which is the first, and not by the virtual user.
	u.must(`
		const users = new UserPool({ jid: "u{i}@sim.test", password: "pw", count: 100, pad: 7 });
		const first = new Swarm({ users, size: 2, by: "iteration", presence: {}, ...server });
		await first.connect();
		const to = first.chatter({ to: "u0000001@sim.test", body: "by iteration" }, { rate: 100, duration: "20ms" });
		equal((await to).failed, 0, "to the second account of the pool");
		await first.disconnect();
	`)
}

// TestSwarmFails looks at failed logins and what becomes of a swarm at the end
// of its iteration.
func TestSwarmFails(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const users = new UserPool({ jid: "u{i}@sim.test", password: "wrong", count: 10, pad: 7 });
		const s = new Swarm({ users, size: 5, ...server });
		let e;
		const r = await s.connect();
		equal([r.connected, r.failed, r.errors], [0, 5, { "sasl:not-authorized": 5 }], "connect");
		const few = new UserPool({ jid: "u{i}@sim.test", count: 10, onExhausted: "reject" });
		try { new Swarm({ users: few, size: 11, ...server }).connect(); } catch (x) { e = x; }
		equal(e.condition, "resource-constraint", "exhausted");
	`)
	if got := u.values(metricLoginSuccess); len(got) != 5 {
		t.Errorf("%d logins", len(got))
	}
	for _, tt := range []string{
		`waiting(); await s.hold("60s");`, `waiting(); await s.chatter({}, { rate: 10, duration: "60s" });`,
	} {
		u.cancelled(`
			const users = new UserPool({ jid: "u{i}@sim.test", password: "pw", count: 10, pad: 7 });
			const s = new Swarm({ users, size: 5, ...server });
			await s.connect();
		` + tt)
		u.alone()
	}
	u.cancelled(`
		const users = new UserPool({ jid: "u{i}@sim.test", password: "pw", count: 10, pad: 7 });
		const s = new Swarm({ users, size: 10, rate: 1, ...server });
		const login = s.connect();
		while (s.connected === 0) await sleep(5);
		waiting();
		await login;
	`)
	u.alone()
	err := u.run(`new Swarm({ users: new UserPool({ jid: "u{i}@sim.test", count: 1 }), size: 2, ...server }).connect(); ok(false, "went on");`)
	if err == nil || !strings.Contains(err.Error(), "user 1 is wanted of a pool of 1") {
		t.Errorf("a pool that is exhausted ends the test with %v", err)
	}
}
