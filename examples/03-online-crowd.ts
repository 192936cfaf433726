// A crowd that stays: sessions that outlive iterations, with rooms, publish-subscribe and resumption, and a swarm of
// silent ones. Needs a server with rooms (muc.DOMAIN) and publish-subscribe (pubsub.DOMAIN).
//
//   k6 run -e DOMAIN=example.org -e XMPP_HOST=xmpp.example.org examples/03-online-crowd.ts
import { Client, Swarm, UserPool } from "k6/x/xmpp";
import exec from "k6/execution";
import { Counter } from "k6/metrics";
import type { Options } from "k6/options";

export const options: Options = {
  scenarios: {
    members: {
      executor: "ramping-vus",
      stages: [{ target: 100, duration: "30s" }, { target: 100, duration: "2m" }, { target: 0, duration: "10s" }],
      gracefulRampDown: "10s",
      exec: "member",
    },
    silent: { executor: "per-vu-iterations", vus: 2, iterations: 1, maxDuration: "5m", exec: "silent" },
  },
};

const domain = __ENV.DOMAIN || "bench.test";
const host = __ENV.XMPP_HOST || "127.0.0.1";
const password = __ENV.XMPPBENCH_PASSWORD;
const members = new UserPool({ jid: `m{i}@${domain}`, password, count: 500, onExhausted: "wrap" });
const lurkers = new UserPool({ jid: `l{i}@${domain}`, password, count: 200_000 });
const seen = new Counter("room_messages_seen");

let client: Client | undefined; // one for each virtual user: so is the scope of a module

export async function member() {
  if (!client?.connected) {
    client = new Client({ ...members.byVU(), host, lifetime: "vu", streamManagement: true });
    client.on("message", (m) => { if (m.type === "groupchat") seen.add(1); });
    await client.connect();
    await client.presence({ show: "chat" });
  }
  const room = await client.muc.join(`room${exec.vu.idInTest % 10}@muc.${domain}`, `n${exec.vu.idInTest}`);
  await room.send("hello");
  const items = await client.pubsub.items(`pubsub.${domain}`, "big", { mode: "rsm", max: 50 });
  if (items.count === 0) exec.test.fail("the node is empty");
  await room.leave();
  if (exec.vu.iterationInScenario % 10 === 9) await client.sm.resume({ after: "1s" });
}

// Two virtual users carry 10 000 idle sessions.
export async function silent() {
  const swarm = new Swarm({
    users: lurkers, size: 5000, rate: 100, host, presence: {}, roster: { mode: "chunked-push", chunk: 200 },
  });
  const r = await swarm.connect();
  console.log(`${r.connected} connected, ${r.failed} failed in ${r.duration} ms`);
  await swarm.hold("2m");
  await swarm.disconnect();
}
