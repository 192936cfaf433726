// 20 logins, a ping each, over two seconds: enough for every output. No thresholds: k6's
// own dashboard reads them while they are judged, without a lock.
import { sleep } from "k6";
import { connect, UserPool } from "k6/x/xmpp";

export const options = {
  scenarios: { number: { executor: "shared-iterations", vus: 2, iterations: 20 } },
};

const users = new UserPool({ jid: "u{i}@bench.test", pad: 7, password: "secret", count: 20 });

export default async function () {
  const client = await connect({
    ...users.byIteration(), host: "127.0.0.1", port: Number(__ENV.XMPP_PORT), tls: { mode: "none" }, tags: { side: "a" },
  });
  await client.ping();
  await client.disconnect();
  sleep(0.2);
}
