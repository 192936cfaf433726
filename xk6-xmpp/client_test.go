package xk6xmpp

import (
	"net"
	"strings"
	"testing"
)

// TestLogin logs in with and without TLS and looks at metrics and information.
func TestLogin(t *testing.T) {
	sim := simulate(t, 5)
	for _, tt := range []struct{ name, address, options, mechanism, version string }{
		{"in clear", sim.plain, ``, "SCRAM-SHA-256", ""},
		{"starttls", sim.secure, `, tls: { mode: "starttls" }`, "", "TLS 1.3"},
		{"mechanism", sim.plain, `, mechanisms: ["SCRAM-SHA-1"]`, "SCRAM-SHA-1", ""},
		{"ca", sim.secure, `, tls: { mode: "starttls", ca: CA }`, "", "TLS 1.3"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUser(t, New(), tt.address, sim)
			must(u.VU.RuntimeField, u.VU.RuntimeField.Set("CA", string(sim.CA())))
			u.must(`
				const c = await connect({ ...account(1), resource: "r"` + tt.options + ` });
				ok(c instanceof Client, "a Client");
				ok(c.connected, "connected");
				equal(c.info.jid, "u0000001@sim.test/r", "jid");
				ok(c.info.timings.total > 0, "timings");
				ok(c.info.streamId.length > 4, "stream " + c.info.streamId);
				equal(c.info.tlsVersion, "` + tt.version + `", "version");
				await c.disconnect();
				ok(!c.connected, "still connected");
			`)
			if got := u.sum(metricSessions); got != 1 {
				t.Errorf("%v sessions", got)
			}
			if tt.mechanism != "" && u.sum(metricSessions, "mechanism", tt.mechanism) != 1 {
				t.Errorf("not with %s", tt.mechanism)
			}
			if got := u.values(metricLoginSuccess); len(got) != 1 || got[0] != 1 {
				t.Errorf("login success %v", got)
			}
			if got := u.values(metricLogin); len(got) != 1 || got[0] <= 0 {
				t.Errorf("login duration %v", got)
			}
			if got := u.values(metricActive); len(got) != 2 || got[0] != 1 || got[1] != 0 {
				t.Errorf("active sessions %v", got)
			}
		})
	}
}

// TestLoginFails looks at what scripts are told.
func TestLoginFails(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const e = await rejects(connect({ ...account(1), password: "wrong" }), "sasl:not-authorized");
		equal(e.name, "XMPPError", "name");
		await rejects(connect({ ...account(1), port: 1 }), "dial:connection-refused");
		await rejects(connect({ ...account(1), tls: { mode: "starttls" } }), "stream:tls-not-offered");
		await rejects(connect({ ...account(1), mechanisms: ["EXTERNAL"] }), "sasl:invalid-mechanism");
	`)
	if got := u.values(metricLoginSuccess); len(got) != 4 || u.sum(metricLoginSuccess) != 0 {
		t.Errorf("login success %v", got)
	}
	if got := u.sum(metricErrors, "stage", "sasl", "condition", "not-authorized"); got != 1 {
		t.Errorf("%v errors", got)
	}
	if got := u.sum(metricErrors); got != 4 {
		t.Errorf("%v errors", got)
	}
	err := u.run(`await connect({ ...account(1), password: "wrong" })`)
	if err == nil || !strings.Contains(err.Error(), "Uncaught (in promise) XMPPError: xmpp: sasl: not-authorized") {
		t.Errorf("an unhandled rejection ends as %v", err)
	}
}

// TestNotConnected makes calls that need a session, or one with stream management.
func TestNotConnected(t *testing.T) {
	u := callUser(t, false)
	u.must(`
		let e;
		try { new Client(me).ping(); } catch (x) { e = x; }
		ok(e instanceof XMPPError && e.condition === "not-connected", "" + e);
		const c = await connect(me);
		try { c.sm.request(); } catch (x) { e = x; }
		ok(e instanceof XMPPError && e.stage === "sm", "" + e);
		equal([c.sm.enabled, c.sm.unacked], [false, 0], "stream management");
	`)
}

// TestRequests runs what a client asks for.
func TestRequests(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const c = await connect(account(1));
		ok(await c.ping() > 0, "ping");
		ok(await c.ping("sim.test", { tags: { who: "domain" } }) > 0, "ping");
		const info = await c.iq({ type: "get", to: "sim.test", payload: { name: "query", ns: "http://jabber.org/protocol/disco#info" } });
		equal(info.type, "result", "type");
		equal(info.child("query").children[0].attrs.category, "server", "identity");
		equal(info.child("query", "urn:other"), null, "another namespace");
		ok(info.toString().startsWith("<iq"), "text");
		ok(info.size > 100 && info.receivedAt > 1e12, "size and time");
		const e = await rejects(c.iq({ type: "get", to: "sim.test", payload: "<x xmlns='urn:x'/>" }), "iq:service-unavailable");
		equal(e.type, "cancel", "type");
		const answer = c.waitFor({ name: "iq", id: "raw1", type: "result" });
		await c.raw("<iq type='get' id='raw1' to='sim.test'><ping xmlns='urn:xmpp:ping'/></iq>");
		equal((await answer).id, "raw1", "id");
		await c.disconnect();
	`)
	if got := len(u.values(metricPing)); got != 2 {
		t.Errorf("%d pings", got)
	}
	if got := len(u.values(metricPing, "who", "domain")); got != 1 {
		t.Errorf("%d tagged pings", got)
	}
	if got := len(u.values(metricIQ)); got != 1 {
		t.Errorf("%d iqs", got)
	}
	if got := u.sum(metricSent, "kind", "iq"); got != 5 {
		t.Errorf("%v iq sent", got)
	}
	if got := u.sum(metricReceived, "kind", "iq"); got != 5 {
		t.Errorf("%v iq received", got)
	}
}

// TestMessages lets two clients talk.
func TestMessages(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const a = await connect({ ...account(1), resource: "a" });
		const b = await connect({ ...account(2), resource: "b" });
		const to = b.info.jid;
		await b.presence({ show: "chat", status: "here", priority: 5 });
		const got = b.waitFor({ name: "message", from: "u0000001@sim.test", bare: true, type: "chat", body: "hello <&>" });
		ok(await a.message({ to, type: "chat", id: "m1", subject: "s", body: "hello <&>", payload: { name: "x", ns: "urn:x", attrs: { a: "1" }, children: ["t", { name: "y" }] } }) >= 0, "sent");
		const m = await got;
		equal([m.name, m.id, m.body, m.from], ["message", "m1", "hello <&>", a.info.jid], "message");
		equal(m.child("x", "urn:x"), { name: "x", ns: "urn:x", attrs: { a: "1" }, children: ["t", { name: "y", ns: "urn:x", attrs: {}, children: [] }] }, "payload");
		ok(await a.message({ to, type: "chat", body: "with receipt", receipt: true }) > 0, "receipt");
		const child = b.waitFor({ child: "z", ns: "urn:z" });
		await a.message({ to, payload: "<z xmlns='urn:z'/>" });
		equal((await child).child("z").name, "z", "child");
		const all = b.waitForCount({ name: "message" }, 10);
		for (let i = 0; i < 10; i++) await a.message({ to, body: "" + i, receipt: false });
		const r = await all;
		equal(r.count, 10, "count");
		ok(r.duration > 0, "duration");
		await Promise.all([a.disconnect(), b.disconnect()]);
	`)
	if got := len(u.values(metricMessage)); got != 1 {
		t.Errorf("%d round trips", got)
	}
	if got := u.sum(metricSent, "kind", "message"); got != 13+1 {
		t.Errorf("%v messages sent", got)
	}
	if got := u.sum(metricSent, "kind", "presence"); got != 1 {
		t.Errorf("%v presence sent", got)
	}
}

// TestListeners looks at events and at what they keep alive.
func TestListeners(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const a = await connect({ ...account(1), resource: "a" });
		const b = new Client({ ...account(2), resource: "b" });
		const log = [];
		const silent = () => { throw new Error("was taken off"); };
		b.off("message", silent).on("message", silent).on("message", (m) => log.push(m.body)).off("message", silent);
		b.on("close", (r) => log.push("close " + r.clean));
		b.on("presence", (p) => log.push(p.type + p.from));
		b.on("rosterpush", (item) => log.push("push " + item.jid + " " + item.subscription));
		b.on("iq", (q) => q.child("custom") ? { name: "answer", ns: "urn:a" } : undefined);
		await b.connect();
		await b.roster.get();
		await b.roster.set([{ jid: "new@sim.test", name: "N", groups: ["g"] }]);
		await a.presence({ to: b.info.jid });
		const shared = a.waitFor({ name: "presence", from: b.info.jid });
		await b.presence({ to: a.info.jid });
		await shared;
		const answer = await a.iq({ type: "get", to: b.info.jid, payload: "<custom xmlns='urn:c'/>" });
		equal(answer.child("answer").ns, "urn:a", "answer");
		await rejects(a.iq({ type: "get", to: b.info.jid, payload: "<other xmlns='urn:c'/>" }), "iq:service-unavailable");
		await a.message({ to: b.info.jid, body: "1" });
		await a.message({ to: b.info.jid, body: "2", receipt: true });
		await b.roster.remove("new@sim.test");
		await b.disconnect();
		await sleep(20);
		equal(log, ["push new@sim.test none", "u0000001@sim.test/a", "1", "2", "push new@sim.test remove", "close true"], "events");
		await a.disconnect();
	`)
	err := u.run(`
		const b = new Client({ ...account(2), resource: "b" });
		b.on("message", () => { throw new Error("from a listener"); });
		await b.connect();
		await b.message({ to: b.info.jid, body: "1" });
	`)
	if err == nil || !strings.Contains(err.Error(), "from a listener") {
		t.Errorf("an exception in a listener ends as %v", err)
	}
}

// TestLifetime follows a session through iterations.
func TestLifetime(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		globalThis.kept = new Client({ ...account(1), resource: "kept", lifetime: "vu", inboxSize: 2 });
		globalThis.seen = [];
		kept.on("message", (m) => seen.push(m.body));
		await kept.connect();
		globalThis.gone = await connect({ ...account(2), resource: "gone" });
	`)
	u.must(`
		ok(kept.connected, "the session ended with the iteration");
		for (let i = 0; gone.connected && i < 100; i++) await sleep(10);
		ok(!gone.connected, "the session did not end with the iteration");
		const a = await connect({ ...account(3), resource: "a" });
		for (const body of ["1", "2", "3"]) await a.message({ to: kept.info.jid, body, receipt: true });
		await a.disconnect();
	`)
	u.must(`
		await kept.ping();
		equal(seen, ["2", "3"], "what came between two calls");
		equal(kept.connected, true, "connected");
	`)
	if got := u.sum(metricDropped); got != 1 {
		t.Errorf("%v events dropped", got)
	}
	u.root.closeAll()
	u.must(`equal(kept.connected, false, "after the test");`)
}

// TestCutOff ends an iteration during a handshake: the login does not count.
func TestCutOff(t *testing.T) {
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	u := newUser(t, New(), hole.Addr().String(), nil)
	u.cancelled(`waiting(); await connect({ ...account(1), tls: { mode: "direct" } });`)
	if got := u.values(metricLoginSuccess); len(got) != 0 {
		t.Errorf("a login that was cut off counts: %v", got)
	}
}

// TestRoster fetches with every variant.
func TestRoster(t *testing.T) {
	sim := simulate(t, 250)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const c = await connect(account(1));
		for (const mode of ["monolithic", "versioned", "rsm", "rsm-index", "chunked-push", "chunked-pull"]) {
			const r = await c.roster.get({ mode, items: true, ...(mode === "versioned" ? { ver: "" } : {}), probe: { interval: 1 } });
			equal([mode, r.mode, r.count, r.items.length, r.verdict], [mode, mode, 250, 250, "spoken"], "result");
			ok(r.duration > 0 && r.firstItem <= r.duration && r.bytes > 10000, JSON.stringify(r).slice(0, 200));
			equal(Object.keys(r.items[0]), ["jid", "name", "subscription", "ask", "groups"], "item");
		}
		const some = await c.roster.get({ mode: "rsm", chunk: 50 });
		equal([some.count, some.stanzas, some.items, some.probes, some.maxStall], [250, 5, null, [], null], "pages");
		for (const [mode, least, most] of [["monolithic", 250, 250], ["versioned", 250, 250], ["rsm", 120, 120], ["rsm-index", 120, 240], ["chunked-push", 120, 120], ["chunked-pull", 120, 120]]) {
			const r = await c.roster.get({ mode, limit: 111, items: true, ...(least < 250 ? { chunk: 40 } : {}) });
			ok(r.count >= least && r.count <= most, mode + ": " + r.count);
			equal([r.items.length, r.limited], [111, most < 250], mode);
			if (r.limited) equal([r.ver, r.epoch, r.version], [null, null, 0], mode);
		}
		const first = await c.roster.get({ mode: "versioned" });
		const again = await c.roster.get({ mode: "versioned", ver: first.ver });
		equal([again.count, again.firstItem], [0, null], "nothing new");
		const known = await c.roster.get({ mode: "chunked-push" });
		const delta = await c.roster.get({ mode: "chunked-push", epoch: known.epoch, version: known.version });
		equal(delta.count, 0, "delta");
		await c.disconnect();
	`)
	if got := len(u.values(metricRoster)); got != 17 {
		t.Errorf("%d retrievals", got)
	}
	if got := u.sum(metricRosterItems, "roster_mode", "rsm"); got != 620 {
		t.Errorf("%v items by rsm", got)
	}
	large := simulate(t, 20_000)
	w := newUser(t, New(), large.plain, large)
	w.must(`
		const c = await connect(account(1));
		const r = await c.roster.get({ probe: { interval: 1, to: "sim.test" } });
		ok(r.probes.length > 0 && r.maxStall >= Math.max(...r.probes), JSON.stringify(r));
	`)
	if len(w.values(metricPing, "roster_mode", "monolithic")) == 0 || len(w.values(metricRosterStall)) != 1 {
		t.Error("no probes")
	}
}

// TestAnonymous logs in without an account.
func TestAnonymous(t *testing.T) {
	u := callUser(t, false)
	u.must(`
		const c = await connect({ ...at("guests"), jid: "sim.test", mechanisms: ["ANONYMOUS"] });
		equal([c.info.mechanism, c.info.jid], ["ANONYMOUS", "u0000001@sim.test/fake"], "who");
		await c.disconnect();
	`)
	if got := u.sum(metricSessions, "mechanism", "ANONYMOUS"); got != 1 {
		t.Errorf("%v sessions", got)
	}
}

// TestManagement counts, acknowledges and resumes (XEP-0198).
func TestManagement(t *testing.T) {
	sim := simulate(t, 5)
	u := newUser(t, New(), sim.plain, sim)
	u.must(`
		const a = await connect({ ...account(1), resource: "a", streamManagement: true });
		const b = await connect({ ...account(2), resource: "b", streamManagement: { ackEvery: 2 } });
		ok(a.sm.enabled && a.info.smId, "enabled");
		equal(a.sm.unacked, 0, "unacked");
		await a.message({ to: b.info.jid, body: "1" });
		equal(a.sm.unacked, 1, "unacked");
		ok(await a.sm.request() > 0, "request");
		equal(a.sm.unacked, 0, "unacked");
		let closed = 0;
		b.on("close", () => closed++);
		for (let round = 0; round < 3; round++) {
			const jid = b.info.jid;
			const missed = b.waitForCount({ name: "message", from: a.info.jid, type: "chat" }, 1);
			const resumed = b.sm.resume({ after: "50ms" });
			await sleep(10);
			await a.message({ to: jid, type: "chat", body: "while away " + round });
			const info = await resumed;
			equal([info.resumed, info.jid], [true, jid], "resumed");
			equal((await missed).count, 1, "waited for across the resumption");
			await b.ping();
			const got = b.waitFor({ name: "message", body: "after" });
			await a.message({ to: jid, body: "after" });
			await got;
			await b.sm.request();
			equal(b.sm.unacked, 0, "unacked");
		}
		equal(closed, 0, "closed");
		await a.disconnect();
		await b.disconnect();
		await sleep(10);
		equal(closed, 1, "closed");
	`)
	if got := len(u.values(metricAck)); got != 4 {
		t.Errorf("%d acknowledgements", got)
	}
	u.must(`
		const c = await connect({ ...account(3), streamManagement: { resume: false } });
		equal([c.sm.enabled, c.info.smId], [true, null], "without resumption");
		ok(await c.sm.request() > 0, "request");
		let e;
		try { c.sm.resume(); } catch (x) { e = x; }
		equal([e.stage, e.condition], ["sm", "item-not-found"], "resume");
		await c.disconnect();
	`)
}
