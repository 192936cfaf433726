// A crowd that stays: sessions that outlive iterations, with rooms, publish-subscribe and resumption, and swarms of
// silent ones. Needs a server with rooms (muc.DOMAIN) and publish-subscribe (pubsub.DOMAIN), and accounts: m0 to m499, of
// which m0 may create nodes, and l0 to l29999.
//
//   k6 run -e DOMAIN=example.org -e XMPP_HOST=xmpp.example.org examples/03-online-crowd.ts
import { Client, Swarm, UserPool, XMPPError, connect } from "k6/x/xmpp";
import type { TLSMode } from "k6/x/xmpp";
import { check } from "k6";
import exec from "k6/execution";
import { Counter } from "k6/metrics";
import type { Options } from "k6/options";

const MEMBERS = Number(__ENV.MEMBERS || 100), SILENT = Number(__ENV.SILENT || 10_000);
const RAMP = Number(__ENV.RAMP || 30), STAY = Number(__ENV.STAY || 120), PAUSE = Number(__ENV.PAUSE || 5); // seconds
const ROOMS = 10, ITEMS = 200, SWARMS = 2;

export const options: Options = {
  scenarios: {
    members: {
      executor: "ramping-vus",
      stages: [{ target: MEMBERS, duration: `${RAMP}s` }, { target: MEMBERS, duration: `${STAY}s` }, { target: 0, duration: `${RAMP}s` }],
      gracefulRampDown: "10s",
      exec: "member",
    },
    silent: { executor: "per-vu-iterations", vus: SWARMS, iterations: 1, maxDuration: `${3 * RAMP + STAY + 60}s`, exec: "silent" },
  },
  thresholds: { checks: ["rate==1"], xmpp_login_success: ["rate==1"] },
  setupTimeout: "2m",
};

const domain = __ENV.DOMAIN || "bench.test", news = `pubsub.${domain}`;
const server = {
  host: __ENV.XMPP_HOST || "127.0.0.1",
  port: Number(__ENV.XMPP_PORT || 5222),
  tls: { mode: (__ENV.XMPP_TLS || "starttls") as TLSMode },
};
const password = __ENV.XMPPBENCH_PASSWORD;
const members = new UserPool({ jid: `m{i}@${domain}`, password, count: 500, onExhausted: "wrap" });
const lurkers = new UserPool({ jid: `l{i}@${domain}`, password, count: 30_000 });
const seen = new Counter("room_messages_seen");
const room = (i: number) => `room${i % ROOMS}@muc.${domain}`;

// A test that is split runs this in each instance: what is there already is no fault.
export async function setup() {
  const owner = await connect({ ...members.at(0), ...server });
  for (let i = 0; i < ROOMS; i++) {
    await owner.muc.join(room(i), "owner", { config: { "muc#roomconfig_persistentroom": true } });
  }
  try {
    await owner.pubsub.create(news, "big", { "pubsub#max_items": ITEMS });
  } catch (e) {
    if (!(e instanceof XMPPError) || e.condition !== "conflict") throw e;
  }
  for (let i = 0; i < ITEMS; i++) {
    await owner.pubsub.publish(news, "big", { name: "entry", ns: "urn:example:entry", children: [`number ${i}`] }, { id: `${i}` });
  }
  await owner.disconnect();
}

let client: Client | undefined; // one for each virtual user: so is the scope of a module

export async function member() {
  if (!client?.connected) {
    client = new Client({ ...members.byVU(), ...server, lifetime: "vu", streamManagement: true });
    client.on("message", (m) => { if (m.type === "groupchat") seen.add(1); });
    await client.connect();
    await client.presence({ show: "chat" });
  }
  const me = exec.vu.idInTest;
  const joined = await client.muc.join(room(me), `n${me}`, { history: 0 });
  await joined.send("hello");
  const items = await client.pubsub.items(news, "big", { mode: "rsm", max: 50 });
  check(items, { "the node has all items": (r) => r.count === ITEMS });
  await joined.leave();
  if (exec.vu.iterationInScenario % 10 === 9) {
    const info = await client.sm.resume({ after: "1s" });
    check(info, { "the session was resumed": (i) => i.resumed });
  }
  await new Promise((done) => setTimeout(() => done(undefined), PAUSE * 1000));
}

// Each of the virtual users carries many idle sessions.
export async function silent() {
  const swarm = new Swarm({ ...server, users: lurkers, by: "iteration", size: SILENT / SWARMS, rate: SILENT / SWARMS / RAMP, presence: {}, roster: {} });
  const r = await swarm.connect();
  check(r, { "all are connected": (s) => s.failed === 0 });
  console.log(`${r.connected} connected, ${r.failed} failed in ${r.duration} ms`);
  await swarm.hold(`${STAY}s`);
  await swarm.disconnect();
}
