// 20 logins, a ping each, over two seconds: enough for every output.
import { connect, UserPool } from "k6/x/xmpp";

export const options = {
  scenarios: { rate: { executor: "constant-arrival-rate", rate: 10, timeUnit: "1s", duration: "1990ms", preAllocatedVUs: 10 } },
  thresholds: { xmpp_login_success: ["rate==1"], xmpp_sessions: ["count==20"], xmpp_errors: ["count==0"] },
};

const users = new UserPool({ jid: "u{i}@bench.test", pad: 7, password: "secret", count: 20 });

export default async function () {
  const client = await connect({
    ...users.byIteration(), host: "127.0.0.1", port: Number(__ENV.XMPP_PORT), tls: { mode: "none" }, tags: { side: "a" },
  });
  await client.ping();
  await client.disconnect();
}
