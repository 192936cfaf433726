package xk6xmpp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.k6.io/k6/v2/js/modulestest"

	"github.com/xmppbench/xmppbench/internal/wire"
)

// A call is one that scripts can make, with what each of them has to stand. Scripts see
// LIMIT, a time-out: where it is written the script can set one.
type call struct {
	// before makes what ok and bad use; waits and fails use what with makes, or before
	// without it.
	before, with string
	// ok succeeds and looks at what came.
	ok string
	// bad are expressions that throw a TypeError, each with what it says.
	bad [][2]string
	// waits is an expression that is a promise, which nothing settles but its time-out or
	// the end of the iteration. Empty for calls that wait for nobody.
	waits string
	// out is how that ends when LIMIT is over: as stage:condition, or a script that looks
	// by itself at what becomes of WAITS. Empty where there is no time-out.
	out string
	// fails is an expression whose promise is rejected, where waits is not.
	fails string
	// real is set where the call opens sockets by itself, so that time is real.
	real bool
}

// limit is the time-out of calls in virtual time, quick that in real time.
const (
	callLimit = 20 * time.Second
	callQuick = 50 * time.Millisecond
)

// calls are all of them, by class and method, "new" and class, or function.
func calls() map[string]call {
	const (
		client    = `const c = await connect(login("answers"));`
		quiet     = `const c = await connect(login("silent", { requestTimeout: LIMIT }));`
		clogged   = `const c = await connect(login("clogged", { requestTimeout: LIMIT }));`
		managed   = `const c = await connect(login("managed", { streamManagement: true }));`
		inRoom    = client + ` const room = await c.muc.join("room@muc.test", "nick", { password: "open" });`
		leftAlone = `const c = await connect(login("deaf", { requestTimeout: LIMIT })); const room = await c.muc.join("room@muc.test", "nick", { password: "open" });`
		pool      = `const users = new UserPool({ jid: "u{i}@sim.test", password: "pw", count: 100, pad: 7 });`
		swarm     = pool + `const s = new Swarm({ users, size: 2, ...at("answers") }); await s.connect();`
		loose     = pool + `const s = new Swarm({ users, size: 2, ...at("silent", { requestTimeout: LIMIT }) }); await s.connect();`
		part      = `const c = new Component(component("router")); await c.connect();`
		alone     = `const c = new Component(component("stuck", { timeout: LIMIT })); await c.connect();`
		mesh      = `const m = new Mesh({ variant: "shared-mux", local: 2, remote: 2 }); await m.open();`
	)
	type pairs = [][2]string
	return map[string]call{
		"connect": {
			ok:    `const c = await connect(login("answers")); ok(c instanceof Client && c.connected, "connected"); await c.disconnect();`,
			bad:   pairs{{`connect()`, `takes an object of options`}, {`connect(login("answers", { pasword: "x" }))`, `option "pasword": does not exist`}},
			waits: `connect(login("mute", { timeout: LIMIT }))`, out: "stream:timeout",
		},
		"new Client": {
			ok: `ok(!new Client(login("answers")).connected, "connected");`,
			bad: pairs{
				{`new Client()`, `Client() takes an object of options`},
				{`new Client({})`, `Client() option "jid": is required`},
				{`new Client({ jid: "sim.test" })`, `option "jid": "sim.test" is not user@domain`},
				{`new Client({ jid: "@sim.test" })`, `is not user@domain`},
				{`new Client({ jid: "sim.test", mechanisms: ["ANONYMOUS", "PLAIN"] })`, `"sim.test" is not user@domain`},
				{`new Client({ jid: 1 })`, `option "jid": 1 is not a string`},
				{`new Client({ ...me, pasword: "x" })`, `option "pasword": does not exist: use one of`},
				{`new Client({ ...me, compression: true })`, `option "compression": is not there: stream compression (XEP-0138) has been obsolete since 2022`},
				{`new Client({ ...me, port: 70000 })`, `option "port": 70000 is not a number from 1 to 65535`},
				{`new Client({ ...me, timeout: "soon" })`, `option "timeout": soon is neither`},
				{`new Client({ ...me, timeout: 0 })`, `option "timeout": 0 is not above zero`},
				{`new Client({ ...me, lifetime: "ever" })`, `option "lifetime": "ever" is not one of iteration, vu`},
				{`new Client({ ...me, mechanisms: "PLAIN" })`, `option "mechanisms": PLAIN is not an array`},
				{`new Client({ ...me, mechanisms: ["LOGIN"] })`, `option "mechanisms": "LOGIN" is not one of SCRAM-SHA-256-PLUS`},
				{`new Client({ ...me, tls: { mode: "ssl" } })`, `Client() option tls option "mode": "ssl" is not one of starttls, direct, none`},
				{`new Client({ ...me, tls: { ca: "x" } })`, `option "ca": holds no certificate`},
				{`new Client({ ...me, streamManagement: { resum: true } })`, `option "resum": does not exist`},
				{`new Client({ ...me, tags: { a: {} } })`, `option "tags": invalid value for metric tag 'a'`},
			},
		},
		"Client.connect": {
			before: `const c = new Client(login("answers"));`,
			ok:     `const info = await c.connect(); equal([c.connected, info.mechanism], [true, "PLAIN"], "session"); throws(() => c.connect(), "connected already"); await c.disconnect();`,
			bad:    pairs{{`c.connect(1)`, `connect() takes an object of options`}, {`c.connect({ tgs: {} })`, `option "tgs": does not exist`}, {`c.connect({ tags: 1 })`, `option "tags"`}},
			with:   `const c = new Client(login("mute", { timeout: LIMIT }));`,
			waits:  `c.connect()`, out: "stream:timeout",
		},
		"Client.disconnect": {
			before: client,
			ok:     `await c.disconnect(); ok(!c.connected, "connected");`,
			bad:    pairs{{`c.disconnect({ tmeout: 1 })`, `disconnect() option "tmeout": does not exist`}, {`c.disconnect({ timeout: "soon" })`, `option "timeout": soon is neither`}},
			with:   clogged,
			waits:  `c.disconnect({ timeout: LIMIT })`, out: "close:timeout",
		},
		"Client.message": {
			before: client,
			ok:     `ok(await c.message({ to: "a@b.test", body: "x" }) >= 0, "sent"); ok(await c.message({ to: "echo@b.test", body: "x", receipt: true }) >= 0, "receipt");`,
			bad: pairs{
				{`c.message()`, `message() takes an object`},
				{`c.message({ to: "x@y", typ: "chat" })`, `message() option "typ": does not exist`},
				{`c.message({ type: "loud" })`, `option "type": "loud" is not one of chat`},
				{`c.message({ receipt: 1 })`, `option "receipt": 1 is neither true nor false`},
				{`c.message({ payload: 1 })`, `a payload is XML as text`},
				{`c.message({ payload: { name: "a b" } })`, `"a b" is no name of an element`},
				{`c.message({ payload: { nam: "a" } })`, `an element has no "nam"`},
				{`c.message({ payload: { name: "a", attrs: { b: 1 } } })`, `attribute "b" of a`},
				{`c.message.call({}, {})`, `this is not a Client`},
			},
			with:  quiet,
			waits: `c.message({ to: "a@b.test", body: "x", receipt: true, timeout: LIMIT })`, out: "message:timeout",
		},
		"Client.presence": {
			before: client,
			ok:     `equal(await c.presence({ show: "chat", status: "x", priority: -1 }), undefined, "presence");`,
			bad: pairs{
				{`c.presence(1)`, `presence() takes an object`},
				{`c.presence({ show: "gone" })`, `option "show": "gone" is not one of`},
				{`c.presence({ priority: 1000 })`, `option "priority": 1000 is not a number`},
				{`c.presence({ stat: "x" })`, `option "stat": does not exist`},
			},
			with:  clogged,
			waits: `c.presence()`, out: "presence:timeout",
		},
		"Client.iq": {
			before: client,
			ok:     `equal((await c.iq({ type: "get", to: "b.test", payload: "<x xmlns='urn:x'/>" })).type, "result", "answer");`,
			bad:    pairs{{`c.iq({})`, `iq() option "type": is required`}, {`c.iq({ type: "result" })`, `option "type": "result" is not one of get, set`}, {`c.iq({ type: "get", body: "x" })`, `option "body": does not exist`}},
			with:   quiet,
			waits:  `c.iq({ type: "get", payload: "<x xmlns='urn:x'/>", timeout: LIMIT })`, out: "iq:timeout",
		},
		"Client.ping": {
			before: client,
			ok:     `ok(await c.ping() >= 0 && await c.ping("b.test", { tags: { a: "b" } }) >= 0, "pings");`,
			bad:    pairs{{`c.ping(1)`, `ping(): 1 is not a JID`}, {`c.ping(null, { tout: 1 })`, `option "tout": does not exist`}, {`c.ping(null, { timeout: -1 })`, `is not above zero`}},
			with:   quiet,
			waits:  `c.ping(null, { timeout: LIMIT })`, out: "iq:timeout",
		},
		"Client.raw": {
			before: client,
			ok:     `equal(await c.raw("<message to='a@b.test'/>"), undefined, "raw");`,
			bad:    pairs{{`c.raw()`, `raw() takes XML as text`}, {`c.raw("<x/>", { timeout: 1 })`, `option "timeout": does not exist`}},
			with:   clogged,
			waits:  `c.raw("<message to='a@b.test'/>")`, out: "stream:timeout",
		},
		"Client.on": {
			before: client,
			ok:     `let heard = 0; const over = new Promise((done) => equal(c.on("message", (m) => { heard++; done(); }), c, "itself")); await c.message({ to: "mirror@b.test", body: "x" }); await over; equal(heard, 1, "heard"); await c.disconnect();`,
			bad:    pairs{{`c.on("msg", () => {})`, `there is no event "msg"`}, {`c.on("message", 1)`, `the listener of "message" is not a function`}},
			with:   client + `c.on("message", () => {});`,
			waits:  `new Promise(() => {})`, // the listener holds the iteration
			fails:  `(c.on("message", () => { throw new Error("from a listener"); }), c.message({ to: "mirror@b.test", body: "x" }).then(() => sleep(1000)))`,
		},
		"Client.off": {
			before: client,
			ok:     `const f = () => { throw new Error("was taken off"); }; equal(c.off("message", f).on("message", f).off("message", f), c, "itself"); await c.message({ to: "mirror@b.test", body: "x" }); await c.ping();`,
			bad:    pairs{{`c.off("msg", () => {})`, `there is no event "msg"`}, {`c.off("message")`, `the listener of "message" is not a function`}},
		},
		"Client.waitFor": {
			before: client,
			ok:     `const m = c.waitFor({ name: "message", body: "x" }); await c.message({ to: "mirror@b.test", body: "x" }); equal((await m).body, "x", "stanza");`,
			bad:    pairs{{`c.waitFor()`, `waitFor() takes an object`}, {`c.waitFor({ nam: "iq" })`, `waitFor() option "nam": does not exist`}, {`c.waitFor({ name: "x" })`, `"x" is not one of message, presence, iq`}, {`c.waitFor({}, { timout: 1 })`, `option "timout": does not exist`}},
			with:   quiet,
			waits:  `c.waitFor({ id: "none" }, { timeout: LIMIT })`, out: "session:timeout",
		},
		"Client.waitForCount": {
			before: client,
			ok:     `const m = c.waitForCount({ name: "message" }, 2); for (let i = 0; i < 2; i++) await c.message({ to: "mirror@b.test", body: "x" }); equal((await m).count, 2, "count");`,
			bad:    pairs{{`c.waitForCount({}, 0)`, `0 is not a whole number above zero`}, {`c.waitForCount({ nam: 1 }, 1)`, `option "nam": does not exist`}, {`c.waitForCount({}, 1, { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.waitForCount({}, 5, { timeout: LIMIT })`, out: "session:timeout",
		},
		"Roster.get": {
			before: client,
			ok:     `const r = await c.roster.get({ items: true, probe: { interval: 5 } }); equal([r.count, r.items[0].subscription, r.limited], [1, "both", false], "roster");`,
			bad: pairs{
				{`c.roster.get(1)`, `roster.get() takes an object`},
				{`c.roster.get({ mode: "fast" })`, `option "mode": "fast" is not one of monolithic, versioned`},
				{`c.roster.get({ mode: "rsm", chunk: 0 })`, `roster: rsm: chunk: 0 is not a number of items`},
				{`c.roster.get({ mode: "rsm", max: 5 })`, `option "max": is called chunk`},
				{`c.roster.get({ chunk: 1 })`, `option "chunk": does not exist`},
				{`c.roster.get({ limit: 0 })`, `option "limit": 0 is not a number`},
				{`c.roster.get({ probe: { interval: 0.1 } })`, `option "interval": 100µs is below a millisecond`},
			},
			with:  quiet,
			waits: `c.roster.get({ probe: { interval: 5 }, timeout: LIMIT })`, out: "roster:timeout",
		},
		"Roster.set": {
			before: client,
			ok:     `equal(await c.roster.set([{ jid: "a@b.test", name: "A", groups: ["g"] }]), undefined, "set");`,
			bad:    pairs{{`c.roster.set([])`, `roster.set() takes an array of items`}, {`c.roster.set([{ name: "x" }])`, `option "jid": is required`}, {`c.roster.set([{ jid: "a@b", nam: "x" }])`, `option "nam": does not exist`}, {`c.roster.set([{ jid: "a@b" }], { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.roster.set([{ jid: "a@b.test" }], { timeout: LIMIT })`, out: "roster:timeout",
		},
		"Roster.remove": {
			before: client,
			ok:     `equal(await c.roster.remove("a@b.test"), undefined, "removed");`,
			bad:    pairs{{`c.roster.remove()`, `roster.remove() takes a JID`}, {`c.roster.remove("a@b", { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.roster.remove("a@b.test", { timeout: LIMIT })`, out: "roster:timeout",
		},
		"MUC.join": {
			before: client,
			ok:     `equal((await c.muc.join("room@muc.test", "nick", { password: "open" })).occupants, 4, "occupants");`,
			bad: pairs{
				{`c.muc.join("room", "nick")`, `"room" is not room@service`},
				{`c.muc.join("room@muc.test")`, `the nickname, undefined, is not a string`},
				{`c.muc.join("room@muc.test", "n", { histry: 1 })`, `option "histry": does not exist`},
				{`c.muc.join("room@muc.test", "n", { history: -1 })`, `option "history": -1 is not a number`},
				{`c.muc.join("new@muc.test", "n", { config: 1 })`, `the configuration is an object of names and values`},
			},
			with:  quiet,
			waits: `c.muc.join("room@muc.test", "nick", { timeout: LIMIT })`, out: "muc:timeout",
		},
		"Room.send": {
			before: inRoom,
			ok:     `ok(await room.send("hello", { id: "m1", lang: "en", subject: "s" }) >= 0, "reflected");`,
			bad:    pairs{{`room.send()`, `the text, undefined, is not a string`}, {`room.send("x", { to: "y" })`, `option "to": does not exist`}},
			with:   leftAlone,
			waits:  `room.send("hello", { timeout: LIMIT })`, out: "muc:timeout",
		},
		"Room.publish": {
			before: inRoom,
			ok:     `equal(await room.publish("urn:n", "<e xmlns='urn:e'/>", { id: "mine" }), "mine", "published");`,
			bad:    pairs{{`room.publish()`, `the node, undefined, is not a string`}, {`room.publish("n", 1)`, `a payload is XML as text`}, {`room.publish("n", "<e/>", { x: 1 })`, `option "x": does not exist`}},
			with:   leftAlone,
			waits:  `room.publish("urn:n", "<e xmlns='urn:e'/>", { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"Room.leave": {
			before: inRoom,
			ok:     `equal(await room.leave(), undefined, "left");`,
			bad:    pairs{{`room.leave(1)`, `takes an object`}, {`room.leave({ x: 1 })`, `option "x": does not exist`}},
			with:   leftAlone,
			waits:  `room.leave({ timeout: LIMIT })`, out: "muc:timeout",
		},
		"PubSub.create": {
			before: client,
			ok:     `equal(await c.pubsub.create("ps.test", "node", { "pubsub#max_items": 10 }), undefined, "created");`,
			bad:    pairs{{`c.pubsub.create("ps.test")`, `the node, undefined, is not a string`}, {`c.pubsub.create("ps.test", "n", 1)`, `the configuration is an object`}, {`c.pubsub.create("ps.test", "n", null, { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.pubsub.create("ps.test", "node", null, { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"PubSub.delete": {
			before: client,
			ok:     `equal(await c.pubsub.delete("ps.test", "node"), undefined, "deleted");`,
			bad:    pairs{{`c.pubsub.delete(1, "n")`, `the service, 1, is not a string`}, {`c.pubsub.delete("ps.test", "n", { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.pubsub.delete("ps.test", "node", { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"PubSub.subscribe": {
			before: client,
			ok:     `equal(await c.pubsub.subscribe("ps.test", "node"), undefined, "subscribed");`,
			bad:    pairs{{`c.pubsub.subscribe("ps.test", 1)`, `the node, 1, is not a string`}, {`c.pubsub.subscribe("ps.test", "n", { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.pubsub.subscribe("ps.test", "node", { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"PubSub.unsubscribe": {
			before: client,
			ok:     `equal(await c.pubsub.unsubscribe("ps.test", "node"), undefined, "unsubscribed");`,
			bad:    pairs{{`c.pubsub.unsubscribe("ps.test", 1)`, `the node, 1, is not a string`}, {`c.pubsub.unsubscribe("ps.test", "n", { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.pubsub.unsubscribe("ps.test", "node", { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"PubSub.publish": {
			before: client,
			ok:     `equal(await c.pubsub.publish("ps.test", "node", "<e xmlns='urn:e'/>"), "made", "published");`,
			bad:    pairs{{`c.pubsub.publish("ps.test", 1)`, `the node, 1, is not a string`}, {`c.pubsub.publish(null, "n", 1)`, `a payload is XML as text`}, {`c.pubsub.publish(null, "n", "<e/>", { x: 1 })`, `option "x": does not exist`}},
			with:   quiet,
			waits:  `c.pubsub.publish("ps.test", "node", "<e xmlns='urn:e'/>", { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"PubSub.items": {
			before: client,
			ok:     `equal((await c.pubsub.items("ps.test", "big", { mode: "rsm", max: 10 })).count, 25, "items");`,
			bad: pairs{
				{`c.pubsub.items("ps.test", "big", { mode: "all" })`, `"all" is not one of monolithic, latest, ids, rsm`},
				{`c.pubsub.items("ps.test", "big", { mode: "ids" })`, `option "ids": is required in the mode "ids"`},
				{`c.pubsub.items("ps.test", "big", { max: 5 })`, `option "max": does not exist`},
				{`c.pubsub.items("ps.test", "big", { limit: "5" })`, `option "limit": 5 is not a number`},
			},
			with:  quiet,
			waits: `c.pubsub.items("ps.test", "big", { timeout: LIMIT })`, out: "pubsub:timeout",
		},
		"StreamManagement.request": {
			before: managed,
			ok:     `ok(await c.sm.request() >= 0, "acknowledged");`,
			bad:    pairs{{`c.sm.request(1)`, `takes an object`}, {`c.sm.request({ x: 1 })`, `option "x": does not exist`}},
			with:   `const c = await connect(login("managed, silent", { streamManagement: true }));`,
			waits:  `c.sm.request({ timeout: LIMIT })`, out: "sm:timeout",
		},
		"StreamManagement.resume": {
			before: managed,
			ok:     `const info = await c.sm.resume({ after: 10 }); equal([info.resumed, c.connected], [true, true], "resumed"); await c.disconnect();`,
			bad:    pairs{{`c.sm.resume({ after: "soon" })`, `option "after": soon is neither`}, {`c.sm.resume({ x: 1 })`, `option "x": does not exist`}},
			with:   `const c = await connect(login("managed once", { streamManagement: true }));`,
			waits:  `c.sm.resume({ timeout: LIMIT })`, out: "stream:timeout",
		},
		"new Swarm": {
			before: pool,
			ok:     `equal([new Swarm({ users, size: 3 }).size, new Swarm({ users, size: 3 }).connected], [3, 0], "swarm");`,
			bad: pairs{
				{`new Swarm({ size: 1 })`, `option "users": is not a UserPool`},
				{`new Swarm({ users })`, `option "size": is required`},
				{`new Swarm({ users, size: 0 })`, `option "size": 0 is not a number`},
				{`new Swarm({ users, size: 1, jid: "a@b" })`, `option "jid": does not exist`},
				{`new Swarm({ users, size: 1, roster: { items: true } })`, `option "items": cannot be handed`},
				{`new Swarm({ users, size: 1, presence: { shw: "x" } })`, `option "shw": does not exist`},
			},
		},
		"Swarm.connect": {
			before: pool + `const s = new Swarm({ users, size: 3, rate: 100, ...at("answers") });`,
			ok:     `const r = await s.connect(); equal([r.connected, r.failed, r.errors, s.connected], [3, 0, {}, 3], "connected"); throws(() => s.connect(), "connected already");`,
			bad:    pairs{{`s.connect(1)`, `takes an object`}, {`s.connect({ x: 1 })`, `option "x": does not exist`}},
			with:   pool + `const s = new Swarm({ users, size: 2, ...at("mute", { timeout: LIMIT }) });`,
			waits:  `s.connect()`, out: `const r = await WAITS; equal([r.connected, r.errors], [0, { "stream:timeout": 2 }], "time-outs");`,
			fails: `new Swarm({ users: new UserPool({ jid: "u{i}@sim.test", count: 1, onExhausted: "reject" }), size: 2 }).connect()`,
		},
		"Swarm.chatter": {
			before: swarm,
			ok:     `const r = await s.chatter({ to: "echo@b.test", body: "{i}" }, { rate: 100, duration: 200 }); equal([r.sent, r.received, r.failed], [20, 20, 0], "chatter");`,
			bad: pairs{
				{`s.chatter({}, {})`, `and duration are required`},
				{`s.chatter({}, { rate: "fast", duration: 1 })`, `option "rate": fast is not a number`},
				{`s.chatter({ bdy: "x" }, { rate: 1, duration: 1 })`, `option "bdy": does not exist`},
				{`s.chatter({}, { rate: 1, duration: 1, x: 1 })`, `option "x": does not exist`},
			},
			with:  loose,
			waits: `s.chatter({}, { rate: 10, duration: "1s" })`, out: `const r = await WAITS; equal([r.sent, r.received, r.failed], [10, 0, 10], "time-outs");`,
			fails: `s.disconnect().then(() => s.chatter({}, { rate: 1, duration: 1 }))`,
		},
		"Swarm.hold": {
			before: swarm,
			ok:     `equal(await s.hold("20ms"), undefined, "held");`,
			bad:    pairs{{`s.hold()`, `option "duration": is required`}, {`s.hold("long")`, `option "duration": long is neither`}},
			waits:  `s.hold("1h")`,
		},
		"Swarm.disconnect": {
			before: swarm,
			ok:     `await s.disconnect(); equal(s.connected, 0, "connected");`,
			bad:    pairs{{`s.disconnect(1)`, `takes an object`}, {`s.disconnect({ x: 1 })`, `option "x": does not exist`}},
			with:   pool + `const s = new Swarm({ users, size: 2, ...at("clogged") }); await s.connect();`,
			waits:  `s.disconnect({ timeout: LIMIT })`, out: `await WAITS; equal(s.connected, 0, "gone all the same");`,
		},
		"new Component": {
			ok: `const c = new Component(component("router")); equal([c.connected, c.domain, c.autoReply], [false, "c.test", true], "component");`,
			bad: pairs{
				{`new Component({ domain: "c.test" })`, `option "secret": is required`},
				{`new Component(component("router", { autoReply: 1 }))`, `option "autoReply": 1 is neither`},
				{`new Component(component("router", { x: 1 }))`, `option "x": does not exist`},
			},
		},
		"Component.connect": {
			before: `const c = new Component(component("router"));`,
			ok:     `ok((await c.connect()).total >= 0 && c.connected, "connected"); throws(() => c.connect(), "connected already"); await c.disconnect();`,
			bad:    pairs{{`c.connect(1)`, `takes an object`}, {`c.connect({ x: 1 })`, `option "x": does not exist`}},
			with:   `const c = new Component(component("mute", { timeout: LIMIT }));`,
			waits:  `c.connect()`, out: "stream:timeout",
		},
		"Component.disconnect": {
			before: part,
			ok:     `await c.disconnect(); ok(!c.connected, "connected");`,
			bad:    pairs{{`c.disconnect(1)`, `takes an object`}, {`c.disconnect({ x: 1 })`, `option "x": does not exist`}},
			with:   alone,
			waits:  `c.disconnect({ timeout: LIMIT })`, out: `await WAITS; ok(!c.connected, "gone all the same");`,
		},
		"Component.message": {
			before: part,
			ok:     `equal(await c.message({ from: "a@c.test", to: "b@c.test", body: "x" }), undefined, "sent");`,
			bad:    pairs{{`c.message({ from: "a@c.test" })`, `option "to": is required`}, {`c.message({ from: "a@d.test", to: "b@c.test" })`, `is not at c.test`}, {`c.message({ from: "a@c.test", to: "b@c.test", receipt: true })`, `option "receipt": does not exist`}},
			with:   alone,
			waits:  `c.message({ from: "a@c.test", to: "b@c.test", body: "x" })`, out: "message:timeout",
		},
		"Component.ping": {
			before: part,
			ok:     `ok(await c.ping("a@c.test", "b@c.test") >= 0, "ping");`,
			bad:    pairs{{`c.ping("a@c.test")`, `takes the JID that asks`}, {`c.ping("a@d.test", "b@c.test")`, `is not at c.test`}, {`c.ping("a@c.test", "b@c.test", { x: 1 })`, `option "x": does not exist`}},
			with:   part,
			waits:  `c.ping("a@c.test", "nobody@c.test", { timeout: LIMIT })`, out: "iq:timeout",
		},
		"Component.on": {
			before: part,
			ok:     `const m = new Promise((done) => equal(c.on("message", done), c, "itself")); await c.message({ from: "a@c.test", to: "b@c.test", body: "x" }); equal((await m).body, "x", "heard"); await c.disconnect();`,
			bad:    pairs{{`c.on("iq", () => {})`, `use one of message, presence`}, {`c.on("message", 1)`, `is not a function`}},
			with:   part + `c.on("message", () => {});`,
			waits:  `new Promise(() => {})`,
			fails:  `(c.on("message", () => { throw new Error("from a listener"); }), c.message({ from: "a@c.test", to: "b@c.test", body: "x" }).then(() => sleep(1000)))`,
		},
		"new Mesh": {
			ok: `equal(new Mesh({ local: 1, remote: ["x.test"] }).remote, ["x.test"], "mesh");`,
			bad: pairs{
				{`new Mesh({ remote: 1 })`, `option "local": is required`},
				{`new Mesh({ local: 1, remote: ["A.test"] })`, `"A.test" is no domain in lower case`},
				{`new Mesh({ local: ["a.test", "a.test"], remote: 1 })`, `stands twice`},
				{`new Mesh({ local: 1, remote: 1, variant: "magic" })`, `option "variant": "magic" is not one of pair-external`},
				{`new Mesh({ local: 1, remote: 1, variant: "shared-mux", pool: 0 })`, `s2s: shared-mux: pool: 0 is not a number`},
				{`new Mesh({ local: 1, remote: 1, strategy: "shared" })`, `option "strategy": is said by the variant: use one of pair-external`},
				{`new Mesh({ local: 1, remote: 1, auth: "dialback" })`, `option "auth": is said by the variant`},
				{`new Mesh({ local: 1, remote: 1, host: "a" })`, `option "host": is said by the target`},
				{`new Mesh({ local: 1, remote: 1, pol: 0 })`, `option "pol": does not exist`},
				{`new Mesh({ local: 1, remote: 1, target: "server: other" })`, `option "target": target.yaml:`},
			},
		},
		"Mesh.open": {
			before: `const m = new Mesh({ variant: "shared-mux", local: 2, remote: 2 });`,
			ok:     `const st = await m.open(); equal([st.pairs, st.agrees], [4, true], "stats"); throws(() => m.open(), "open already"); await m.close();`,
			bad:    pairs{{`m.open(1)`, `takes an object`}, {`m.open({ x: 1 })`, `option "x": does not exist`}},
			with:   `const m = new Mesh({ local: 20, remote: 20, timeout: LIMIT });`,
			waits:  `m.open()`, out: "s2s:timeout", real: true,
		},
		"Mesh.addDomain": {
			before: mesh,
			ok:     `ok((await m.addDomain("late.test")).duration > 0, "added"); equal(m.local.length, 3, "domains");`,
			bad:    pairs{{`m.addDomain("A")`, `is not a domain in lower case`}, {`m.addDomain("a.test", { x: 1 })`, `option "x": does not exist`}},
			waits:  `m.addDomain("late.test", { timeout: TINY })`, out: "s2s:timeout", real: true,
		},
		"Mesh.ping": {
			before: mesh,
			ok:     `ok(await m.ping({ from: "a1.test", size: 1000 }) > 0, "ping");`,
			bad:    pairs{{`m.ping({ from: "b1.test" })`, `option "from": "b1.test" is not one of`}, {`m.ping({ x: 1 })`, `option "x": does not exist`}},
			waits:  `m.ping({ timeout: TINY })`, out: "s2s:timeout", real: true,
		},
		"Mesh.burst": {
			before: mesh,
			ok:     `const b = await m.burst({ count: 20, concurrency: 4 }); equal([b.sent, b.failed], [20, 0], "burst");`,
			bad:    pairs{{`m.burst({})`, `option "count": is required`}, {`m.burst({ count: 1.5 })`, `1.5 is not a whole number`}, {`m.burst({ count: 1, x: 1 })`, `option "x": does not exist`}},
			waits:  `m.burst({ count: 100_000_000, timeout: LIMIT })`, out: "s2s:timeout", real: true,
		},
		"Mesh.close": {
			before: mesh,
			ok:     `await m.close(); await m.close(); let e; try { m.ping(); } catch (x) { e = x; } equal([e.stage, e.condition], ["s2s", "not-connected"], "closed");`,
			real:   true,
		},
		"new UserPool": {
			ok: `equal(new UserPool({ jid: "u{i}@a.test", count: 7 }).count, 7, "count");`,
			bad: pairs{
				{`new UserPool({ jid: "u@a.test", count: 1 })`, `must hold {i} once`},
				{`new UserPool({ jid: "u{i}", count: 1 })`, `is not user{i}@domain`},
				{`new UserPool({ jid: "u{i}@a", cout: 1 })`, `option "count": is required`},
				{`new UserPool({ jid: "u{i}@a", count: 1, x: 1 })`, `option "x": does not exist`},
			},
		},
		"UserPool.at":          {before: pool, ok: `equal(users.at(3).jid, "u0000003@sim.test", "at");`, bad: pairs{{`users.at(100)`, `the index, 100, is not a whole number from 0 to 99`}, {`users.at("x")`, `is not a whole number`}}},
		"UserPool.byIteration": {before: pool, ok: `equal(users.byIteration(2).index, 2, "by iteration");`, bad: pairs{{`users.byIteration("x")`, `the offset, x, is not a whole number`}}},
		"UserPool.byVU":        {before: pool, ok: `equal(users.byVU(2).index, 2, "by virtual user");`, bad: pairs{{`users.byVU(-1)`, `the offset, -1, is not a whole number`}}},
		"new RateLimit": {
			ok:  `ok(new RateLimit({ rate: 1, name: "x" }) instanceof RateLimit, "limit");`,
			bad: pairs{{`new RateLimit({})`, `option "rate": is required`}, {`new RateLimit({ rate: 0 })`, `option "rate": 0 is not a number`}, {`new RateLimit({ rate: 1, x: 1 })`, `option "x": does not exist`}},
		},
		"RateLimit.pass": {
			before: `const l = new RateLimit({ name: "slow", rate: 0.01 }); await l.pass();`,
			ok:     `equal(Math.round(await l.pass() / 1000), 100, "seconds waited");`,
			waits:  `l.pass()`,
		},
		"domains":   {ok: `equal(domains("d{i}.test", 2, 1), ["d1.test", "d2.test"], "domains");`, bad: pairs{{`domains("d.test", 3)`, `must be a name that holds {i} once`}, {`domains("d{i}.test", -1)`, `the count, -1, is not a whole number`}}},
		"rosterFor": {before: pool, ok: `equal(rosterFor(users, 1, 5).length, 5, "items");`, bad: pairs{{`rosterFor({}, 1, 1)`, `not a UserPool`}, {`rosterFor(users, 100, 1)`, `the index of the user, 100, is not`}, {`rosterFor(users, 1, 1, "x")`, `the seed, x, is not`}}},
		"share":     {ok: `equal(share(10), 10, "share");`, bad: pairs{{`share("x")`, `the total, x, is not a whole number`}}},
	}
}

// TestCalls makes every call of the module: it succeeds, refuses options, ends when its
// time-out does and within a second of the end of its iteration, and a rejection that
// nobody handles is told. Time is virtual, but for meshes.
func TestCalls(t *testing.T) {
	all := calls()
	if missing, unknown := compare(public(t), all); len(missing)+len(unknown) > 0 {
		t.Fatalf("calls without cases: %v; cases without a call: %v", missing, unknown)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := all[name]
		if c.ok == "" {
			t.Errorf("%s has no case that succeeds", name)
		}
		run := func(what string, f func(*testing.T)) {
			t.Run(name+"/"+what, func(t *testing.T) {
				if c.real {
					t.Parallel()
					f(t)
					return
				}
				synctest.Test(t, f)
			})
		}
		before := c.before
		if c.with != "" {
			before = c.with
		}
		script := func(s string) string {
			limit := callLimit
			if c.real {
				limit = callQuick
			}
			s = strings.ReplaceAll(s, "WAITS", c.waits)
			return strings.NewReplacer("LIMIT", fmt.Sprint(limit.Milliseconds()), "TINY", "0.001").Replace(s)
		}
		run("succeeds", func(t *testing.T) { callUser(t, !c.real).must(script(c.before + c.ok)) })
		if len(c.bad) > 0 {
			run("options", func(t *testing.T) {
				var b strings.Builder
				for _, bad := range c.bad {
					fmt.Fprintf(&b, "throws(() => %s, %q);\n", bad[0], bad[1])
				}
				callUser(t, !c.real).must(script(c.before + b.String()))
			})
		}
		if c.out != "" {
			run("times out", func(t *testing.T) {
				out := c.out
				if !strings.Contains(out, "WAITS") {
					out = fmt.Sprintf("await rejects(WAITS, %q);", c.out)
				}
				start := time.Now()
				callUser(t, !c.real).must(script(before + out))
				if took := time.Since(start); !c.real && (took < time.Second || took > callLimit+time.Second) {
					t.Errorf("it took %v", took)
				}
			})
		}
		if c.waits != "" {
			run("is cancelled", func(t *testing.T) {
				u := callUser(t, !c.real)
				u.cancelled(strings.NewReplacer("LIMIT", "60_000", "TINY", "60_000").Replace(before + "waiting(); await " + c.waits))
				if got := u.sum(metricErrors); got != 0 {
					t.Errorf("%v errors", got)
				}
				start := time.Now()
				u.root.closeAll() // as at the end of the test
				if took := time.Since(start); u.virtual && took > time.Second || u.root.active() > 0 {
					t.Errorf("%d sessions are left after %v", u.root.active(), took)
				}
			})
		}
		fails := c.fails
		if fails == "" && c.waits != "" && c.out != "" && !strings.Contains(c.out, "WAITS") {
			fails = c.waits
		}
		if fails != "" {
			run("is not handled", func(t *testing.T) {
				err := callUser(t, !c.real).run(script(before + fails))
				if err == nil || !strings.Contains(err.Error(), "XMPPError: xmpp: ") && !strings.Contains(err.Error(), "from a listener") {
					t.Errorf("it ends with %v", err)
				}
			})
		}
	}
}

// public are the calls that scripts can make, as the module's tables have them.
func public(t *testing.T) []string {
	var names []string
	add := func(class string, methods, _ []string) {
		for _, m := range methods {
			names = append(names, class+"."+m)
		}
	}
	everyClass(add)
	for name := range New().NewModuleInstance(modulestest.NewRuntime(t).VU).Exports().Named {
		switch {
		case name == errorName: // scripts do not make errors
		case strings.ToUpper(name[:1]) == name[:1]:
			names = append(names, "new "+name)
		default:
			names = append(names, name)
		}
	}
	return names
}

// compare returns the names that cases lacks, and those that it has besides.
func compare(names []string, cases map[string]call) (missing, unknown []string) {
	for _, name := range names {
		if _, ok := cases[name]; !ok {
			missing = append(missing, name)
		}
	}
	for name := range cases {
		if !slices.Contains(names, name) {
			unknown = append(unknown, name)
		}
	}
	return missing, unknown
}

// callUser makes a virtual user whose dialer knows servers by name.
func callUser(t *testing.T, virtual bool) *user {
	u := newUser(t, New(), "answers:5222", nil)
	u.virtual = virtual
	servers := &named{t: t}
	servers.ctx, servers.end = context.WithCancel(context.Background())
	u.state.Dialer = servers
	t.Cleanup(servers.close)
	_, err := u.VU.RuntimeField.RunString(`
		const at = (host, more) => ({ host, tls: { mode: "none" }, mechanisms: ["PLAIN"], ...more });
		const me = { jid: "u0000001@sim.test", password: "pw", ...at("answers") };
		const login = (host, more) => ({ ...me, host, ...more });
		const component = (host, more) => ({ domain: "c.test", secret: "secret", host, ...more });
	`)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// named are servers that are connected to in memory, by what their name says:
//
//	answers          answers whatever is asked
//	silent           answers nothing after the login
//	deaf             lets in to rooms, and answers nothing else
//	clogged          reads nothing after the login
//	guests           lets anybody in
//	mute             accepts connections, and that is all
//	managed          answers, and acknowledges; "managed, silent" does neither
//	managed once     is mute from the second connection on
//	router           takes components; stuck reads nothing after the handshake
type named struct {
	t     *testing.T
	ctx   context.Context
	end   func()
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

// DialContext implements lib.DialContexter.
func (n *named) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	client, server := net.Pipe()
	n.mu.Lock()
	n.conns = append(n.conns, server)
	first := len(n.conns) == 1
	n.mu.Unlock()
	f := &fake{t: n.t, mechanism: "PLAIN", stanza: silent, silent: host == "managed, silent", clogged: host == "clogged"}
	switch {
	case host == "mute", host == "managed once" && !first:
		return client, nil
	case host == "router", host == "stuck":
		n.wg.Go(func() { route(n.ctx, server, host == "stuck") })
		return client, nil
	case host == "answers", host == "managed":
		f.stanza = answers
	case host == "guests":
		f.mechanism = "ANONYMOUS"
	case host == "deaf":
		f.stanza = func(jid string, el *wire.Element) string {
			if el.Name == "presence" && el.Attr("type") == "" {
				return services(jid, el)
			}
			return ""
		}
	case host == "silent", host == "managed once", f.clogged, f.silent:
	default:
		return nil, errors.New("no such server: " + host)
	}
	n.wg.Go(func() { f.serve(n.ctx, server) })
	return client, nil
}

// close ends all connections.
func (n *named) close() {
	n.end()
	n.mu.Lock()
	for _, c := range n.conns {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

// answers is services that besides has a roster with one contact and sends messages
// back: to mirror@ as they are, to echo@ as a receipt.
func answers(jid string, el *wire.Element) string {
	switch to := el.Attr("to"); {
	case el.Name == "message" && strings.HasPrefix(to, "mirror@"):
		return fmt.Sprintf("<message from='%s' to='%s'><body>%s</body></message>", to, jid, el.Child(wire.NSClient, "body").Text())
	case el.Name == "message" && strings.HasPrefix(to, "echo@"):
		return fmt.Sprintf("<message from='%s' to='%s'><received xmlns='%s' id='%s'/></message>", to, jid, nsReceipts, el.Attr("id"))
	case el.Name == "message" && strings.HasPrefix(to, "a@"), el.Name == "presence" && to == "":
		return ""
	case el.Name == "iq" && el.Child(wire.NSRoster, "query") != nil:
		return string(wire.AppendIQ(nil, "result", el.Attr("id"), "", jid, []byte("<query xmlns='"+wire.NSRoster+"'><item jid='a@b.test' subscription='both'/></query>")))
	case el.Name == "iq" && el.Child("", "pubsub") == nil && el.Child(nsMUCOwner, "query") == nil:
		return string(wire.AppendIQ(nil, "result", el.Attr("id"), to, jid, nil))
	}
	return services(jid, el)
}
