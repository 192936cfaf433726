// A login storm on an open model, with one way of fetching the roster after the other.
//
//   k6 x xmppbench serve --domain bench.test --accounts 30000 --items 1000 --optional-tls
//   k6 run examples/02-login-storm.js
//
// At a server of your own: -e DOMAIN=… -e XMPP_HOST=… -e XMPP_TLS=starttls -e MODES=monolithic,versioned, which is what
// servers speak today, and EACH accounts for each mode, from u0000000 on.
import { connect, UserPool } from "k6/x/xmpp";

const MODES = /** @type {import("k6/x/xmpp").RosterMode[]} */ ((__ENV.MODES || "monolithic,rsm,chunked-push").split(","));
const PEAK = Number(__ENV.PEAK || 50); // logins per second, all instances together
const RAMP = Number(__ENV.RAMP || 30); // seconds to get there, and to stay there
const HOLD = Number(__ENV.HOLD || 2); // seconds that a session stays
const SLOT = Number(__ENV.SLOT || 2 * RAMP + HOLD + 20); // seconds of a mode, the pause included

/** @type {import("k6/options").Options} */
export const options = {
  scenarios: Object.fromEntries(MODES.map((mode, i) => [mode.replace("-", "_"), {
    executor: "ramping-arrival-rate",
    startTime: `${i * SLOT}s`,
    startRate: 1,
    timeUnit: "1s",
    stages: [{ target: PEAK, duration: `${RAMP}s` }, { target: PEAK, duration: `${RAMP}s` }],
    preAllocatedVUs: PEAK * (HOLD + 2), // Little's law: rate times the time that a session stays
    gracefulStop: "10s",
    env: { MODE: mode, SLICE: String(i) },
    tags: { roster_mode: mode },
  }])),
  thresholds: {
    dropped_iterations: ["count==0"], // k6 itself kept up
    xmpp_login_success: ["rate>0.999"],
    // Empty ones only show the figure in the summary.
    ...Object.fromEntries(MODES.flatMap((mode) => [
      [`xmpp_login_duration{roster_mode:${mode}}`, []],
      [`xmpp_roster_duration{roster_mode:${mode}}`, []],
      [`xmpp_roster_stall{roster_mode:${mode}}`, []],
    ])),
  },
  summaryTrendStats: ["min", "med", "p(90)", "p(99)", "max", "count"],
};

// Iterations are numbered from 0 in each scenario: each mode has accounts of its own.
const EACH = Number(__ENV.EACH || 10000);
const users = new UserPool({ jid: `u{i}@${__ENV.DOMAIN || "bench.test"}`, password: __ENV.XMPPBENCH_PASSWORD, count: EACH * MODES.length, pad: 7 });

export default async function () {
  const mode = /** @type {import("k6/x/xmpp").RosterMode} */ (__ENV.MODE);
  const client = await connect({
    ...users.byIteration(Number(__ENV.SLICE) * EACH),
    host: __ENV.XMPP_HOST || "127.0.0.1",
    port: Number(__ENV.XMPP_PORT || 5222),
    tls: { mode: /** @type {import("k6/x/xmpp").TLSMode} */ (__ENV.XMPP_TLS || "none") },
    timeout: "20s",
  });
  await client.roster.get({ mode, probe: { interval: "20ms" } });
  await client.presence();
  await new Promise((done) => setTimeout(() => done(undefined), HOLD * 1000));
  await client.disconnect();
}
