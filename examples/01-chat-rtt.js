// Two accounts of each virtual user talk to each other; receipts give the round trips.
//
//   k6 x xmppbench serve --domain bench.test --accounts 200 --optional-tls
//   k6 run examples/01-chat-rtt.js
//
// At a server of your own: -e DOMAIN=… -e XMPP_HOST=… -e XMPP_TLS=starttls, and accounts u0000000 to u0000199.
import { connect, UserPool, XMPPError } from "k6/x/xmpp";
import { check } from "k6";
import exec from "k6/execution";

export const options = {
  scenarios: {
    chat: { executor: "per-vu-iterations", vus: 20, iterations: 5, maxDuration: "2m", gracefulStop: "10s" },
  },
  thresholds: {
    xmpp_login_success: [{ threshold: "rate>0.99", abortOnFail: true, delayAbortEval: "10s" }],
    xmpp_message_rtt: ["p(95)<250", "p(99)<1000"],
    checks: ["rate>0.99"],
  },
  summaryTrendStats: ["min", "med", "p(90)", "p(99)", "max", "count"],
};

// The first half of the accounts write, the second half read.
const users = new UserPool({ jid: `u{i}@${__ENV.DOMAIN || "bench.test"}`, password: __ENV.XMPPBENCH_PASSWORD, count: 200, pad: 7 });
const server = {
  host: __ENV.XMPP_HOST || "127.0.0.1",
  port: Number(__ENV.XMPP_PORT || 5222),
  tls: { mode: /** @type {import("k6/x/xmpp").TLSMode} */ (__ENV.XMPP_TLS || "none") },
};

export default async function () {
  const peer = users.byVU(100);
  try {
    const a = await connect({ ...users.byVU(), ...server, resource: "a", tags: { side: "a" } });
    const b = await connect({ ...peer, ...server, resource: "b", tags: { side: "b" } });
    await b.presence();

    for (let i = 0; i < 10; i++) {
      const id = `m-${exec.scenario.iterationInTest}-${i}`;
      const arrival = b.waitFor({ name: "message", id }, { timeout: "5s" }); // before it is sent
      await a.message({ to: `${peer.jid}/b`, type: "chat", id, body: "ping", receipt: true });
      check(await arrival, { "the text arrived": (m) => m.body === "ping" });
    }
    check(await a.ping(), { "the server answers pings": (ms) => ms < 1000 });

    await Promise.all([a.disconnect(), b.disconnect()]);
  } catch (e) {
    if (!(e instanceof XMPPError)) throw e;
    console.warn(`${e.stage}: ${e.condition}: ${e.message}`);
    if (e.condition === "not-authorized") exec.test.abort("the credentials are wrong");
  }
}
