// Everything that rooms, publish-subscribe, stream management and components of a real server have to do for a script.
// Not all services page: PAGES is the verdict that is expected of them.
import { Component, XMPPError, connect } from "k6/x/xmpp";
import { check } from "k6";

const domain = __ENV.DOMAIN;
const server = { host: __ENV.XMPP_HOST, port: Number(__ENV.XMPP_PORT), tls: { mode: __ENV.XMPP_TLS } };
const account = (i) => ({ jid: `u000000${i}@${domain}`, password: __ENV.XMPPBENCH_PASSWORD, ...server });

const each = (exec) => ({ executor: "per-vu-iterations", vus: 1, iterations: 1, maxDuration: "3m", exec });

export const options = {
  scenarios: { rooms: each("rooms"), pubsub: each("pubsub"), management: each("management"), component: each("component"), guests: each("guests") },
  thresholds: {
    checks: ["rate==1"],
    xmpp_login_success: ["rate==1"],
    xmpp_errors: ["count==5"], // those that are asked for below
    iterations: ["count==5"],
  },
};

// ok is a check with the value that was seen.
function ok(what, seen, want) {
  if (!check(seen, { [what]: (v) => JSON.stringify(v) === JSON.stringify(want) })) {
    console.error(`${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(want)}`);
  }
}

async function rejects(what, promise, want) {
  try {
    await promise;
    ok(what, "resolved", want);
  } catch (e) {
    if (!(e instanceof XMPPError)) throw e;
    ok(what, `${e.stage}:${e.condition}`, want);
  }
}

export async function rooms() {
  const a = await connect({ ...account(0), resource: "a" });
  const b = await connect({ ...account(1), resource: "b" });
  const jid = `den@muc.${domain}`;
  const ann = await a.muc.join(jid, "ann", { config: { "muc#roomconfig_persistentroom": true } });
  ok("the first to join makes the room", [ann.created, ann.occupants, ann.nick, ann.jid], [true, 1, "ann", jid]);
  await rejects("a nickname in use", b.muc.join(jid, "ann"), "muc:conflict");
  const seen = a.waitFor({ name: "presence", from: `${jid}/bob` });
  const bob = await b.muc.join(jid, "bob", { history: 0 });
  ok("the second finds it open", [bob.created, bob.occupants], [false, 2]);
  ok("the others see who comes", (await seen).type, "");
  const heard = a.waitFor({ name: "message", type: "groupchat", body: "hello" });
  check(await bob.send("hello", { payload: { name: "x", ns: "urn:example:x" } }), { "a message is reflected": (ms) => ms > 0 });
  const message = await heard;
  ok("it is heard", [message.from, message.child("x", "urn:example:x") !== null], [`${jid}/bob`, true]);
  const gone = a.waitFor({ name: "presence", type: "unavailable", from: `${jid}/bob` });
  await bob.leave();
  await gone;
  await rejects("talking in a room that was left", bob.send("anybody?"), "muc:not-acceptable");
  await ann.leave();
  const back = await b.muc.join(jid, "bob");
  ok("the room was made to stay", back.created, false);
  await back.leave();
  const quick = await b.muc.join(`hall@muc.${domain}`, "bob");
  const other = await a.muc.join(`hall@muc.${domain}`, "ann");
  ok("a room of the service's making is open too", [quick.created, other.created, other.occupants], [true, false, 2]);
  await Promise.all([a.disconnect(), b.disconnect()]);
}

export async function pubsub() {
  const owner = await connect({ ...account(0), resource: "p" });
  const reader = await connect({ ...account(2), resource: "p" });
  const service = `pubsub.${domain}`;
  await owner.pubsub.create(service, "news", { "pubsub#max_items": 50 });
  await rejects("a node that is there", owner.pubsub.create(service, "news"), "pubsub:conflict");
  await reader.presence();
  await reader.pubsub.subscribe(service, "news");
  const entry = (i) => ({ name: "entry", ns: "urn:example:entry", children: [`number ${i}`] });
  const told = reader.waitFor({ name: "message", from: service, ns: "http://jabber.org/protocol/pubsub#event" });
  ok("an item keeps its id", await owner.pubsub.publish(service, "news", entry(0), { id: "0" }), "0");
  ok("subscribers are told", (await told).child("event").children[0].attrs.node, "news");
  for (let i = 1; i < 24; i++) await owner.pubsub.publish(service, "news", entry(i), { id: `${i}` });
  const made = await owner.pubsub.publish(service, "news", entry(24));
  check(made, { "the service makes an id": (id) => id !== "" });

  const all = await reader.pubsub.items(service, "news", { items: true });
  const verdict = (r) => [r.mode, r.verdict, r.count];
  ok("all items", verdict(all), ["monolithic", "spoken", 25]);
  const paged = await reader.pubsub.items(service, "news", { mode: "rsm", max: 10, items: true });
  ok("pages", [...verdict(paged), paged.stanzas], ["rsm", __ENV.PAGES, 25, __ENV.PAGES === "spoken" ? 3 : 1]);
  ok("every item once", new Set(paged.items.map((i) => i.id)).size, 25);
  ok("with its payload", paged.items.find((i) => i.id === "7")?.payload.children, ["number 7"]);
  const latest = await reader.pubsub.items(service, "news", { mode: "latest", max: 3, items: true });
  ok("the latest", [...verdict(latest), latest.items.some((i) => i.id === made)], ["latest", "spoken", 3, true]);
  const some = await reader.pubsub.items(service, "news", { mode: "ids", ids: ["3", "5"], items: true });
  ok("by their ids", [...verdict(some), some.items.map((i) => i.id).sort()], ["ids", "spoken", 2, ["3", "5"]]);
  await rejects("no such node", reader.pubsub.items(service, "none"), "pubsub:item-not-found");
  await rejects("a node of somebody else", reader.pubsub.delete(service, "news"), "pubsub:forbidden");
  await reader.pubsub.unsubscribe(service, "news");
  await owner.pubsub.delete(service, "news");

  // A node of the account itself (XEP-0163), which comes into being when something is published.
  ok("an item of one's own", await owner.pubsub.publish(null, "urn:example:mood", entry(1), { id: "current" }), "current");
  const own = await owner.pubsub.items(null, "urn:example:mood", { items: true });
  ok("is there", [own.count, own.items[0].id], [1, "current"]);
  await Promise.all([owner.disconnect(), reader.disconnect()]);
}

export async function management() {
  const a = await connect({ ...account(3), resource: "s", streamManagement: true });
  const b = await connect({ ...account(4), resource: "s", streamManagement: { ackEvery: 2 } });
  await a.presence();
  check(a.sm, { "stream management is on": (sm) => sm.enabled });
  check(await a.sm.request(), { "acknowledged": (ms) => ms > 0 });
  ok("nothing is left", a.sm.unacked, 0);
  const [from, to] = [b.info.jid, a.info.jid];
  const waiting = a.waitForCount({ name: "message", from }, 3, { timeout: "60s" });
  await b.message({ to, body: "before the cut" });
  const resuming = a.sm.resume({ after: "500ms", timeout: "60s" });
  await b.message({ to, body: "during the cut" });
  const info = await resuming;
  ok("the same session", [info.resumed, info.jid, a.connected], [true, to, true]);
  await b.message({ to, body: "after the cut" });
  ok("no message is lost", await waiting.then((r) => r.count, (e) => e.message), 3);
  await a.message({ to: from, body: "back", receipt: true, timeout: "60s" });
  await Promise.all([a.disconnect(), b.disconnect()]);
}

export async function component() {
  const jid = `bots.${domain}`;
  const options = { domain: jid, secret: __ENV.SECRET, host: server.host, port: Number(__ENV.COMPONENT_PORT) };
  const bots = new Component(options);
  const client = await connect({ ...account(5), resource: "c" });
  await bots.connect();
  bots.on("message", (m) => { bots.message({ from: m.to, to: m.from, type: "chat", body: `you said ${m.body}` }); });
  await client.presence();
  const answer = client.waitFor({ name: "message", from: `echo@${jid}` });
  await client.message({ to: `echo@${jid}`, type: "chat", body: "hello" });
  ok("a bot answers", (await answer).body, "you said hello");
  check(await client.ping(`any@${jid}`), { "the component answers pings": (ms) => ms > 0 });
  check(await bots.ping(`echo@${jid}`, client.info.jid), { "a client answers the component": (ms) => ms > 0 });
  check(await bots.ping(jid, domain), { "the server answers the component": (ms) => ms > 0 });
  await bots.disconnect();
  await client.disconnect();
}

export async function guests() {
  const anywhere = { ...server, mechanisms: ["ANONYMOUS"], streamManagement: { resume: false } };
  const one = await connect({ ...anywhere, jid: `guests.${domain}` });
  const other = await connect({ ...anywhere, jid: `guests.${domain}`, resource: "r" });
  const at = (client) => client.info.jid.split(/[@/]/)[1];
  ok("the server names its guests", [at(one), at(other), one.info.mechanism], [`guests.${domain}`, `guests.${domain}`, "ANONYMOUS"]);
  check(one.info, { "each another name": (info) => info.jid !== other.info.jid, "streams have ids": (info) => info.streamId !== "" });
  ok("a session that nobody keeps", [one.sm.enabled, one.info.smId], [true, null]);
  await one.roster.get();
  await other.presence();
  const arrival = other.waitFor({ name: "message", body: "hello" });
  await one.message({ to: other.info.jid, type: "chat", body: "hello" });
  ok("guests talk", (await arrival).from, one.info.jid);
  await Promise.all([one.disconnect(), other.disconnect()]);
}
