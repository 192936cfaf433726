// 30 iterations of a fixed number, and 40 more at a rate. Each of these has a virtual user, and the stages go on after
// the last one is due: a slow machine drops none and loses none. Every login changes its account and fails if somebody
// did so before.
import { connect, UserPool } from "k6/x/xmpp";

export const options = {
  scenarios: {
    number: { executor: "shared-iterations", vus: 6, iterations: 30, env: { OFFSET: "0" } },
    rate: { executor: "ramping-arrival-rate", startRate: 20, timeUnit: "1s", stages: [{ target: 20, duration: "1980ms" }, { target: 0, duration: "0s" }, { target: 0, duration: "5s" }], preAllocatedVUs: 60, env: { OFFSET: "200" } },
  },
  thresholds: { xmpp_login_success: ["rate==1"], dropped_iterations: ["count==0"], xmpp_errors: ["count==0"] },
};

const users = new UserPool({ jid: "u{i}@bench.test", pad: 7, password: "secret", count: 400 });

export default async function () {
  const client = await connect({
    ...users.byIteration(Number(__ENV.OFFSET)), host: "127.0.0.1", port: Number(__ENV.XMPP_PORT), tls: { mode: "none" },
  });
  const before = await client.roster.get({ mode: "chunked-push" });
  if (before.count !== 5) throw new Error(`somebody has logged in as ${client.info.jid} before`);
  await client.roster.set([{ jid: "mark@bench.test" }]);
  await client.disconnect();
}
