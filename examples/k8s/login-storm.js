// How many logins a second does a server take, and what does each way of fetching the
// roster cost? One scenario for each way, one after the other, each with accounts of its
// own. Rates are those of the whole test, however many pods share it.
import { connect, UserPool } from "k6/x/xmpp";
import { sleep } from "k6";

const MODES = ["monolithic", "versioned", "rsm", "chunked-push"];
const PEAK = Number(__ENV.PEAK || 200); // logins a second
const RAMP = Number(__ENV.RAMP || 30); // seconds until there
const STEADY = Number(__ENV.STEADY || 60); // seconds at the peak
const HOLD = Number(__ENV.HOLD || 5); // seconds that a session stays
const SLOT = Number(__ENV.SLOT || RAMP + STEADY + 4 * HOLD + 10); // seconds from one scenario to the next

export const options = {
  scenarios: Object.fromEntries(MODES.map((mode, i) => [mode.replace("-", "_"), {
    executor: "ramping-arrival-rate",
    startTime: `${i * SLOT}s`,
    startRate: 0,
    timeUnit: "1s",
    stages: [{ target: PEAK, duration: `${RAMP}s` }, { target: PEAK, duration: `${STEADY}s` }],
    preAllocatedVUs: PEAK * (HOLD + 3), // rate times time in the system
    gracefulStop: `${2 * HOLD + 5}s`,
    env: { MODE: mode, SLICE: String(i) },
    tags: { roster_mode: mode },
  }])),
  thresholds: {
    dropped_iterations: ["count==0"], // the generator itself kept up
    xmpp_login_success: ["rate>0.999"],
  },
  systemTags: ["scenario", "error_code"],
  insecureSkipTLSVerify: __ENV.XMPP_INSECURE === "true",
};

const PER_MODE = 20000;
const users = new UserPool({
  jid: `u{i}@${__ENV.XMPP_DOMAIN || "bench.test"}`,
  password: __ENV.XMPPBENCH_PASSWORD || "",
  pad: 7,
  count: PER_MODE * MODES.length,
});

export default async function () {
  // Iterations are numbered from 0 in every scenario.
  const user = users.byIteration(Number(__ENV.SLICE) * PER_MODE);
  const client = await connect({
    ...user,
    host: __ENV.XMPP_HOST || "127.0.0.1",
    port: Number(__ENV.XMPP_PORT || 5222),
    tls: { mode: __ENV.XMPP_TLS || "starttls" },
    timeout: "20s",
  });
  const ver = __ENV.MODE === "versioned" ? { ver: "" } : {};
  await client.roster.get({ mode: __ENV.MODE, ...ver, tags: { phase: "roster" } });
  await client.presence();
  sleep(HOLD);
  await client.disconnect();
}
